"""What `search_channels` and `build_groundtruth --probe rank` have left, as plain records. No torch.

What cannot be read as such is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RANK, MACS = "mean rank", "counting MACs"


@dataclass(frozen=True)
class Searched:
    """One search. trials: its records, in order."""

    label: str
    trials: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Judged:
    """Contenders that were trained from scratch beside each other. all: the names of all, for one style each everywhere."""

    label: str
    rows: tuple[Mapping[str, Any], ...]
    all: tuple[str, ...]


@dataclass(frozen=True)
class Followed:
    """A ledger whose records have the curve `rank`. values: (measure, epoch or None for MACs, of what, value)."""

    label: str
    configurations: int
    values: tuple[tuple[str, int, str, float], ...]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def searches(out: Path) -> Iterator[Searched]:
    """Every search of widths under an output folder."""
    seen: set[str] = set()
    for path in sorted((out / "channels").glob("*/search.json")):
        try:
            said = _read(path)
            trials = [_read(one) for one in sorted((path.parent / "trials").glob("*.json"))]
            label = f"{said['network']}, {said['dataset']}, delta {said['delta']:g}, seed {said['seed']}"
            label = label if label not in seen else f"{label}, {said['recipe_hash']}"
            for trial in trials:
                _ = trial["curves"]["sides"], trial["convolutions"], trial["widths"], trial["decisions"]
        except (TypeError, KeyError, ValueError):
            continue
        if trials:
            seen.add(label)
            yield Searched(label, tuple(trials))


def judgements(out: Path) -> Iterator[Judged]:
    """Every set of contenders that was trained."""
    for path in sorted((out / "channels" / "evaluations").glob("*/judged-*.json")):
        try:
            said = _read(path)
            rows = tuple(said["rows"])
            for row in rows:
                _ = row["contender"], row["parameters"][0], row["macs"][0], row["accuracy"]["mean"]
            label = f"{said['network']}, {said['dataset']}, {path.stem.removeprefix('judged-')}"
            yield Judged(label, rows, tuple(row["contender"] for row in rows))
        except (TypeError, KeyError, IndexError):
            continue


def followings(out: Path) -> Iterator[Followed]:
    """Every ledger of three configurations or more whose records have the rank of their convolutions."""
    from scipy.stats import kendalltau, spearmanr

    from benchmark.spaces import costs
    from benchmark.spaces.space import load_space

    for folder in sorted((out / "ledgers").glob("*")):
        try:
            records = [_read(path) for path in sorted((folder / "records").glob("*.json"))]
            records = [record for record in records if "rank" in record["curves"]]
            by: dict[str, list[Any]] = {}
            for record in records:
                by.setdefault(record["config"], []).append(record)
            if len(by) < 3:  # no order to speak of
                continue
            space = load_space(records[0]["space"])
            accuracy = [average([r["test_accuracy"] for r in mine]) for mine in by.values()]
            epochs = min(len(record["curves"]["rank"]) for record in records)
            macs = [costs.path_macs(space, space.architecture(config).path) for config in by]
            values = []
            for name, measured in (("tau", kendalltau), ("Spearman", spearmanr)):
                for epoch in range(epochs):
                    rank = [average([r["curves"]["rank"][epoch] for r in mine]) for mine in by.values()]
                    for of, order in ((RANK, rank), (MACS, macs)):
                        if min(len({*order}), len({*accuracy})) > 1:  # all alike are in no order
                            values.append((name, epoch + 1, of, float(measured(order, accuracy)[0])))
        except (TypeError, KeyError, ValueError, IndexError):
            continue
        if values:
            yield Followed(folder.name, len(by), tuple(values))


def average(values: Sequence[float]) -> float:
    return sum(values) / len(values)
