"""Measures time and memory of a score, a verdict and a comparison against the number of configurations C. From the root:

    python -m speed.scoring              # some minutes; a quiet machine, please
    python -m speed.scoring --quick      # small tables only: to see it work, not to be quoted

Tables of C configurations with three seeds each, made up of a normal truth and normal noise; one ranking per method; 2,000
draws, as is usual. Each measurement runs in a fresh process that has loaded its libraries; medians over rounds count, of
time and of peak memory (of the whole process). A comparison lists all pairs of configurations that differ, so it is measured
up to C = 2,000 only.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmark import cli, provenance
from benchmark.files import write_atomically
from benchmark.scoring import comparison, scores, versus
from benchmark.scoring.ranking import Ranking
from benchmark.spaces.space import SPACES, Config, PoolingSpace
from benchmark.tables.table import GroundTruth, Origin, Row
from speed import figures
from speed.memory import peak_memory

SIZES, QUICK_SIZES = (36, 560, 2000, 15_625), (36, 560)
LARGEST = {"score": 15_625, "verdict": 15_625, "compare": 2000}
DRAWS, SEEDS, NOISE = 2000, 3, 0.3  # noise of one seed, in points; the truth's std is 1 point


@dataclass(frozen=True)
class Turn:
    """One measurement of what, on a table of so many configurations."""

    what: str
    size: int


def space_of(size: int) -> PoolingSpace:
    """A space of so many configurations, which `load_space` then knows: one pooling, after any of `size` layers."""
    name = f"one-pooling-of-{size}"
    return SPACES.setdefault(name, PoolingSpace(name, (2, 1), size + 1, Config((1, size)), "made-up"))


def made_up(size: int) -> tuple[list[GroundTruth], list[Ranking]]:
    """Two tables of one truth, and two rankings that are nearly right."""
    draw, of = np.random.default_rng(0), space_of(size)
    truth = 80 + draw.standard_normal(size)
    tables = []
    for name in ("a", "b"):
        values = np.round(truth[:, None] + NOISE * draw.standard_normal((size, SEEDS)), 2)
        rows = [Row.of(config, dict(enumerate(own))) for config, own in zip(of, values.tolist(), strict=True)]
        tables.append(GroundTruth.from_rows(name, of, rows, Origin("made-up")))
    return tables, [Ranking(of.name, tuple((truth + draw.standard_normal(size)).tolist())) for _ in range(2)]


def measured(turn: Turn) -> dict[str, float]:
    """Seconds by the clock and of the processor, and bytes of memory; in a process of its own."""
    import scipy.stats  # noqa: F401 so that its loading is outside the window

    (a, b), (one, other) = made_up(turn.size)
    work: dict[str, Callable[[], object]] = {
        "score": lambda: scores.score(one, a, draws=DRAWS),
        "verdict": lambda: versus.verdict([one], [other], a, draws=DRAWS),
        "compare": lambda: comparison.compare(a, b, draws=DRAWS),
    }
    began, busy = time.perf_counter(), time.process_time()
    work[turn.what]()
    return {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - busy,
        "peak_memory_bytes": peak_memory(),
    }


def summary(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Medians over rounds, by what and number of configurations."""
    keys = ("seconds", "processor_seconds", "peak_memory_bytes")
    medians: dict[str, dict[str, dict[str, float]]] = {}
    for what, size in dict.fromkeys((one["what"], one["size"]) for one in found):
        same = [one for one in found if (one["what"], one["size"]) == (what, size)]
        medians.setdefault(what, {})[str(size)] = {key: median(one[key] for one in same) for key in keys}
    return medians


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = cli.Parser(prog="python -m speed.scoring", description=__doc__)
    parser.add_argument("--rounds", type=cli.positive, metavar="N", help="of each measurement; default 3, quick 1")
    parser.add_argument(
        "--out", type=cli.folder, default="results/speed", metavar="DIR", help="default ./results/speed"
    )
    parser.add_argument("--quick", action="store_true", help="one round of small tables")
    options = parser.parse(words)
    if lacking := figures.lacking():
        cli.say(lacking)
    rounds = options.rounds or (1 if options.quick else 3)
    turns = [
        Turn(what, size)
        for _ in range(rounds)
        for size in (QUICK_SIZES if options.quick else SIZES)
        for what in LARGEST
        if size <= LARGEST[what]
    ]
    began = datetime.now(UTC)
    found = []
    for turn in turns:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            facts = pool.submit(measured, turn).result()
        cli.say(f"{turn.what} of {turn.size}: {facts['seconds']:.2f} s, {facts['peak_memory_bytes'] / 1e6:,.0f} MB")
        found.append(asdict(turn) | facts)

    # These load torch: afterwards, for a new process takes over its parent's peak of memory.
    from benchmark.training import pace
    from speed import measure

    hardware = measure.hardware(pace.default_together(measure.RECIPE, measure.CPU))
    result = {
        "command": cli.command_line("speed.scoring", words),
        "quick": options.quick,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - began).total_seconds() / 60, 1),
        "hardware": hardware,
        "versions": {name: version(name) for name in ("numpy", "scipy")},
        "code": provenance.code_version(),
        "rounds": rounds,
        "draws": DRAWS,
        "seeds": SEEDS,
        "scoring": summary(found),
        "measurements": found,
    }
    machine = re.sub(r"\W+", "-", hardware["cpu"].lower()).strip("-")
    out = Path(options.out) / f"{machine}-{hardware['cores']}cores-scoring-{began:%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    for what, by_size in summary(found).items():
        for size, facts in by_size.items():
            print(f"{what:8}{size:>7}{facts['seconds']:9.2f} s{facts['peak_memory_bytes'] / 1e6:9,.0f} MB")
    print(f"written: {out}" + (" (quick: not to be quoted)" if options.quick else ""))
    if not figures.lacking():
        print(f"written: {figures.draw_scoring(out)}")
    return 0


if __name__ == "__main__":
    cli.command(main)
