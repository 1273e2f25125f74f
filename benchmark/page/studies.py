"""What else lies under an output folder: interference, what ranks like what, searches in simulated time. No torch.

interference/*.json   of `evaluate --configs` and `--gradients`
correlations/*.csv    of `correlate --csv`
simulation/*.json     of `simulate --out`
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from benchmark.errors import UsageError
from benchmark.given import read_bytes
from benchmark.page.histories import Mixing
from benchmark.page.kept import link
from benchmark.scoring.correlations import LATE, MACS
from benchmark.scoring.interference import Interference, read_interference

Read = TypeVar("Read")

MOST_NAMES = 200  # of a matrix: 40,000 cells


@dataclass(frozen=True)
class Shared:
    """How often one mixture serves two configurations by one model, beside the cosine of their gradients.

    chances  of each pair, in the order of `combinations`: sum over models of p(m|a) p(m|b)
    tau      Kendall's tau-b between these and the cosines; None where either is the same for all pairs
    """

    label: str
    seed: str
    chances: tuple[float, ...]
    tau: float | None


@dataclass(frozen=True)
class KeptInterference:
    """shared: of each mixture that searched all of these configurations; held against the last look."""

    name: str
    link: str
    result: Interference
    shared: tuple[Shared, ...]


@dataclass(frozen=True)
class Matrix:
    """Names and their tau-b, by row; None where a ranking is constant. MACs, late pooling and accuracies stand first."""

    name: str
    link: str
    names: tuple[str, ...]
    taus: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Replayed:
    """One optimiser over simulated time; arrays have one entry per time. rank: None where it was alone."""

    optimizer: str
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    found: tuple[float, ...]
    rank: tuple[float, ...] | None


@dataclass(frozen=True)
class Simulation:
    """Searches of several optimisers on one table.

    trainings  (times,) in multiples of the mean cost of one full training
    expected   regret of random search after 1, 2, ... trainings, exactly
    low, high  of `Replayed`: between which the middle half of the searches lies
    """

    name: str
    link: str
    table: str
    clock: str
    runs: int
    configurations: int
    trainings: tuple[float, ...]
    optimizers: tuple[Replayed, ...]
    expected: tuple[float, ...]
    said: tuple[str, ...]


@dataclass(frozen=True)
class Studies:
    interference: tuple[KeptInterference, ...] = ()
    correlations: tuple[Matrix, ...] = ()
    simulations: tuple[Simulation, ...] = ()
    left_out: tuple[str, ...] = ()


def studies_of(out: Path, report: Path, mixtures: Sequence[Mixing] = ()) -> Studies:
    """Links are relative to the folder `report`. What cannot be read is named and left out."""
    left_out: list[str] = []

    def each(folder: str, end: str, read: Callable[[Path, str], Read]) -> tuple[Read, ...]:
        found = []
        for path in sorted((out / folder).glob(f"*{end}")):
            try:
                found.append(read(path, link(path, report)))
            except UsageError as error:
                left_out.append(" ".join(str(error).split()))
        return tuple(found)

    def interference(path: Path, place: str) -> KeptInterference:
        result = read_interference(path)
        return KeptInterference(path.stem, place, result, _shared(result, mixtures))

    return Studies(
        each("interference", ".json", interference),
        each("correlations", ".csv", _matrix),
        each("simulation", ".json", _simulation),
        tuple(left_out),
    )


def _shared(result: Interference, mixtures: Sequence[Mixing]) -> tuple[Shared, ...]:
    import numpy as np
    from scipy.stats import kendalltau

    if not result.looks or len(result.configs) < 4:  # a handful of pairs has no order to speak of
        return ()
    cosines = [result.looks[-1].cosines[a][b] for a, b in combinations(range(len(result.configs)), 2)]
    found = []
    for one in mixtures:
        if set(result.configs) <= set(one.configs):
            rows = [one.chances[-1][one.configs.index(config)] for config in result.configs]
            chances = [sum(p * q for p, q in zip(a, b, strict=True)) for a, b in combinations(rows, 2)]
            varied = np.ptp(chances) > 0 and np.ptp(cosines) > 0
            tau = float(kendalltau(cosines, chances).statistic) if varied else None
            found.append(Shared(one.label, one.seed, tuple(chances), tau))
    return tuple(found)


def _matrix(path: Path, place: str) -> Matrix:
    """Raises UsageError, naming the file, for what is no square of names and numbers."""
    try:
        head, *rows = csv.reader(read_bytes(path).decode().splitlines(), strict=True)
        names = head[1:]
        values = [[float(text) for text in row[1:]] for row in rows]
        if [row[0] for row in rows] != names or any(len(row) != len(names) for row in values):
            raise ValueError("its rows are not its columns")
        if not 1 < len(names) <= MOST_NAMES:
            raise ValueError(f"{len(names)} names")
        if any(abs(value) > 1 for row in values for value in row):
            raise ValueError("a tau beyond 1")
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UsageError(f"{path} is no matrix of benchmark.correlate ({error}): make it again with --csv") from None
    first = next((at for at, name in enumerate(names) if name == MACS), len(names) - 1)
    known = [name in (MACS, LATE) or name.startswith("accuracy, ") for name in names]

    def place_of(at: int) -> tuple[bool, float]:
        return (not known[at], 0.0 if known[at] else -_or(values[at][first], -2.0))

    order = sorted(range(len(names)), key=place_of)
    return Matrix(
        path.stem,
        place,
        tuple(names[at] for at in order),
        tuple(tuple(_known(values[a][b]) for b in order) for a in order),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or(value: float, other: float) -> float:
    return value if math.isfinite(value) else other


def _simulation(path: Path, place: str) -> Simulation:
    """Raises UsageError, naming the file, for what `simulate --out` did not write."""
    try:
        body: Mapping[str, Any] = json.loads(read_bytes(path))
        trainings = _numbers(body["trainings"])
        optimizers = tuple(
            Replayed(
                optimizer=str(name)[:80],
                mean=_numbers(curve["mean"], len(trainings)),
                low=_numbers(curve["q25"], len(trainings)),
                high=_numbers(curve["q75"], len(trainings)),
                found=_numbers(curve["found"], len(trainings)),
                rank=_numbers(curve["mean_rank"], len(trainings)) if "mean_rank" in curve else None,
            )
            for name, curve in body["optimizers"].items()
        )
        if not optimizers:
            raise ValueError("no optimiser")
        return Simulation(
            name=path.stem,
            link=place,
            table=str(body["table"])[:120],
            clock=str(body["clock"])[:40],
            runs=int(body["runs"]),
            configurations=int(body["configurations"]),
            trainings=trainings,
            optimizers=optimizers,
            expected=_numbers(body["random_search_expected_regret"]),
            said=tuple(str(line)[:400] for line in body["said"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{path} is no result of benchmark.simulate ({error!r:.80}): make it again with --out"
        ) from None


def _numbers(values: Any, count: int | None = None) -> tuple[float, ...]:
    """Finite numbers, so many. Raises ValueError or TypeError for others."""
    found = tuple(float(value) for value in values)
    if not found or not all(map(math.isfinite, found)) or count not in (None, len(found)):
        raise ValueError("numbers that are none, or too few")
    return found
