"""Runs optimisers on a table in simulated time: how much regret is left after how much training?

    python -m benchmark.simulate                                                        # all on `published`
    python -m benchmark.simulate --table NAME --optimizer all
    python -m benchmark.simulate --optimizer random_search evolution:population=20,sample=5 --workers 4
    python -m benchmark.simulate --table NAME --clock macs --budget 18 --runs 500 --out DIR --json

An optimiser asks for a configuration and some epochs, is charged what that training costs, and is told the recorded
accuracy. It is judged by its incumbent. The budget is in multiples of the mean cost of one full training. --out writes
NAME.json, NAME.csv (the curves) and NAME.traces.csv (every answer of every search).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import cli
from benchmark.errors import UsageError
from benchmark.files import bounded, write_atomically
from benchmark.scoring.estimate import tidy
from benchmark.simulation import anytime
from benchmark.simulation.asking import Optimizer
from benchmark.simulation.known import OPTIMIZERS, all_named
from benchmark.simulation.problem import CLOCKS, Problem, problem_of
from benchmark.simulation.replay import Trace, replay
from benchmark.tables.files import distinct_name, load_table
from benchmark.tables.table import GroundTruth

if TYPE_CHECKING:
    import numpy as np

LEAST_RUNS = 10  # of which a mean and its error say something (JAHS-Bench-201's protocol)
MOST_TRAININGS = 100.0  # of the default budget
POINTS = 100  # of a curve, evenly over the budget
SHOWN = (1, 2, 5, 10, 20, 50, 100)  # trainings at which the text says the regret


@dataclass(frozen=True)
class Simulated:
    """Searches of several optimisers on one table.

    times    (POINTS,) clock units
    traces   by optimiser as it was written, one per seed
    """

    table: GroundTruth
    problem: Problem
    budget: float
    workers: int
    times: np.ndarray
    traces: Mapping[str, Sequence[Trace]]

    def to_dict(self) -> dict[str, Any]:
        """All but the single searches, as plain numbers: what a page or a figure needs."""
        training = self.problem.training
        return {
            "table": self.table.name,
            "table_sha256": self.table.sha256,
            "space": self.problem.space.name,
            "configurations": len(self.problem.space),
            "clock": self.problem.clock,
            "said": list(self.problem.said),
            "mean_training": tidy(training),
            "budget": tidy(self.budget),
            "workers": self.workers,
            "runs": len(next(iter(self.traces.values()))),
            "times": [tidy(float(t)) for t in self.times],
            "trainings": [tidy(float(t) / training) for t in self.times],
            "optimizers": {
                name: anytime.to_dict(curve) for name, curve in anytime.curves(self.traces, self.times).items()
            },
            "random_search_draws_to_best": anytime.draws_to_best(len(self.problem.space)),
            "random_search_expected_regret": [tidy(float(x)) for x in anytime.random_line(self.problem)],
        }

    def text(self) -> str:
        """For people: regret after some trainings' time, with standard errors, and mean ranks at the end."""

        import numpy as np

        problem, size = self.problem, len(self.problem.space)
        training, runs = problem.training, len(next(iter(self.traces.values())))
        many = "" if self.workers == 1 else f", {self.workers} workers"
        lines = [f"{self.table.name}: {size} configurations, {runs} searches each{many}", *problem.said]
        at: list[float] = [k for k in SHOWN if k * training <= self.budget * (1 + 1e-9)]
        at = at or [self.budget / training]
        found = anytime.curves(self.traces, np.array(at) * training * (1 + 1e-9))
        ranked = ", rank: mean rank among these," if len(found) > 1 else ""
        lines += [
            "regret of the incumbent in points, mean (standard error over searches), after the time of so many trainings;",
            f"found: share of searches that have met the best{ranked} by the last of these times:",
            f"{'':24}" + "".join(f"{k:>14g}" for k in at) + f"{'found':>8}" + ("    rank" if len(found) > 1 else ""),
        ]
        for name, curve in found.items():
            cells = "".join(f"{f'{m:.3f} ({e:.3f})':>14}" for m, e in zip(curve.mean, curve.error, strict=True))
            rank = "" if curve.rank is None else f"{curve.rank[-1]:8.2f}"
            lines.append(f"{name:24}{cells}{curve.found[-1]:8.2f}{rank}")
        expected = anytime.random_line(problem)
        cells = "".join(f"{f'{expected[int(k) - 1]:.3f}' if 1 <= k <= size else '':>14}" for k in at)
        lines += [
            f"{'random, exactly':24}{cells}",
            f"Random search without replacement meets the best of {size} after {anytime.draws_to_best(size):g} trainings "
            "on average.",
        ]
        if size < 100:
            lines.append(f"{size} configurations are few: an optimiser has little room to be better than chance here.")
        return "\n".join(lines)

    def write(self, folder: Path | str) -> tuple[Path, ...]:
        """Writes JSON, curves and traces; the same bytes for the same searches."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = bounded(f"{distinct_name(self.table.name, self.table.sha256)}-{self.problem.clock}")
        texts = {
            ".json": json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n",
            ".csv": _csv(self._curve_rows()),
            ".traces.csv": _csv(self._trace_rows()),
        }
        for end, text in texts.items():
            write_atomically(folder / f"{name}{end}", text.encode())
        return tuple(folder / f"{name}{end}" for end in texts)

    def _curve_rows(self) -> list[list[Any]]:
        made = self.to_dict()
        columns = list(next(iter(made["optimizers"].values())))
        return [["optimizer", "time", "trainings", *columns]] + [
            [name, made["times"][i], made["trainings"][i], *(curve[column][i] for column in columns)]
            for name, curve in made["optimizers"].items()
            for i in range(len(self.times))
        ]

    def _trace_rows(self) -> list[list[Any]]:
        space, seeds = self.problem.space, self.problem.seeds or ("mean",)
        columns = [
            "optimizer",
            "search",
            "sees",
            "worker",
            "began",
            "ended",
            "config",
            "epochs",
            "seen",
            "incumbent",
            "regret",
        ]
        return [columns] + [
            [
                name,
                trace.seed,
                seeds[trace.training],
                event.worker,
                tidy(event.began),
                tidy(event.ended),
                str(space[event.config]),
                event.epochs,
                tidy(event.seen),
                str(space[event.incumbent]),
                tidy(event.regret),
            ]
            for name, traces in self.traces.items()
            for trace in traces
            for event in trace.events
        ]


def simulate(
    table: GroundTruth,
    optimizers: Mapping[str, Optimizer],
    *,
    clock: str = "auto",
    ledger: Path | str | None = None,
    trainings: float | None = None,
    runs: int = 200,
    workers: int = 1,
) -> Simulated:
    """Searches of seeds 0 to runs - 1 for each optimiser; the same call gives the same numbers.

    trainings: the budget, in multiples of the mean cost of one full training; by default as many as there are
    configurations, 100 at most. Raises UsageError as `problem_of` does, and for fewer than 10 runs.
    """

    import numpy as np

    if runs < LEAST_RUNS:
        raise UsageError(f"{runs} searches are too few to tell optimisers apart: give {LEAST_RUNS} or more")
    if trainings is not None and not 0 < trainings < float("inf"):
        raise UsageError(f"a budget of {trainings} trainings: give a number above 0")
    problem = problem_of(table, clock, ledger)
    budget = problem.training * (min(float(len(table.space)), MOST_TRAININGS) if trainings is None else trainings)
    traces = {
        # A hair more than the budget: sums of costs round.
        name: [replay(problem, name, optimizer, seed, budget * (1 + 1e-9), workers) for seed in range(runs)]
        for name, optimizer in optimizers.items()
    }
    times = np.arange(1, POINTS + 1) / POINTS * budget
    return Simulated(table, problem, budget, workers, times, traces)


def _csv(rows: list[list[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.simulate", description=__doc__)
    parser.add_argument("--table", default="published", metavar="T", help="a table's name or path (default published)")
    parser.add_argument(
        "--optimizer",
        nargs="+",
        default=["all"],
        metavar="O",
        help=f"{', '.join(OPTIMIZERS)}, each perhaps with options as in evolution:population=20; all (default)",
    )
    parser.add_argument(
        "--budget", type=cli.number, metavar="X", help="trainings; default all configurations, 100 at most"
    )
    parser.add_argument("--runs", type=cli.positive, default=200, metavar="N", help="searches each (default 200)")
    parser.add_argument("--workers", type=cli.positive, default=1, metavar="K", help="trainings at once (default 1)")
    parser.add_argument(
        "--clock",
        default="auto",
        choices=["auto", *CLOCKS],
        help="seconds of the table's records, MACs, or a training; auto (default): the first that there is",
    )
    parser.add_argument(
        "--ledger", metavar="DIR", help="the table's records, where they do not lie beside it in ledgers/NAME"
    )
    parser.add_argument("--out", type=cli.folder, metavar="DIR", help="also write the curves and every search there")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse(argv)
    optimizers = all_named(options.optimizer)
    result = simulate(
        load_table(options.table),
        optimizers,
        clock=options.clock,
        ledger=options.ledger,
        trainings=options.budget,
        runs=options.runs,
        workers=options.workers,
    )
    if options.json:
        cli.print_json(result.to_dict())
    else:
        cli.answer(result.text())
    if options.out:
        cli.say(f"kept: {', '.join(map(str, result.write(options.out)))}")
    return 0


if __name__ == "__main__":
    cli.command(main)
