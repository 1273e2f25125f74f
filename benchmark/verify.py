"""Verifies a ledger or a table: trains a random sample of its cells again, by its own recipe, and compares.

    python -m benchmark.verify resnet20-cifar10-paper-epochs10-2daccdc2036b --sample 3
    python -m benchmark.verify results/tables/NAME.csv --sample 1 --seed 7

Where the numerics are those of the record (device, instructions, engine, precision, torch, numpy), accuracies and
losses of all epochs must be equal bit for bit. Where they are not, or where a table does not say which cell they
made, the two final accuracies must differ by no more than seeds do: by at most t sqrt(2) s, where s is the std over
seeds, pooled over the table's configurations, and t leaves out 5 % in all, shared among the cells that are so judged.
That finds what is wrong with a cell; for a small shift of all cells, build a table and use `benchmark.compare`.

A name is looked for in OUT/ledgers, then among the shipped tables. Kill it at any moment: the same command goes on
where it stopped. Exit code 0: all hold; 1: one does not, or some are not trained yet. OUT/verify keeps a report of each
verification, and none takes the place of another.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmark import cli, files, provenance
from benchmark.errors import Failure, UsageError
from benchmark.jobs.runs import require_memory, say_how_long, train_runs
from benchmark.recipe import CURVES, Recipe
from benchmark.running import claims
from benchmark.scoring.noise import LEVEL, Pooled, pool
from benchmark.spaces.space import PoolingSpace, require_trainable
from benchmark.streams import stream
from benchmark.tables.files import load_table
from benchmark.tables.ledger import CorruptRecord, Ledger, Run, table_name
from benchmark.tables.table import LOSS_DECIMALS, GroundTruth
from benchmark.training import precision


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.verify", description=__doc__)
    parser.add_argument("claim", metavar="LEDGER_OR_TABLE", help="a ledger's folder or name, a table's name or path")
    parser.add_argument("--sample", required=True, type=cli.positive, metavar="K", help="how many cells to train again")
    parser.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="which sample (default 0)")
    parser.add_argument("--out", type=cli.folder, default="results", metavar="DIR", help="default ./results")
    cli.add_data(parser)
    cli.add_device(parser)
    cli.add_loader(parser)
    parser.add_argument(
        "--precision",
        default=precision.AUTO,
        choices=[precision.AUTO, *precision.PRECISIONS],
        help="auto (default): the claim's where bits can be compared, else the faster one here, judged by noise",
    )
    parser.add_argument("--together", type=cli.positive, metavar="K", help="runs at once; default: one per core")
    parser.add_argument("--stop-after", type=cli.duration, metavar="T", help="end at a checkpoint after 90s, 8m, 1.5h")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


@dataclass(frozen=True)
class Kept:
    """What is claimed of one cell: accuracy in per cent, curves, and the numerics that made it.

    curves    by name, one number per epoch; empty where none are kept
    """

    accuracy: float
    curves: Mapping[str, Sequence[float]]
    numerics: Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A ledger or a table, as far as it can be verified.

    source         which of the two, and where a ledger lies or how a table's hash begins, for people
    noise          pooled std over seeds; None where no configuration has two
    loss_decimals  to which losses are kept; None: all
    """

    name: str
    source: str
    space: PoolingSpace
    recipe: Recipe
    checksum: str
    cells: Mapping[Run, Kept]
    noise: Pooled | None
    loss_decimals: int | None

    @classmethod
    def found(cls, name: str, out: Path) -> Claim:
        """What a name or a path stands for. Raises UsageError for what is not there or cannot be trained again."""
        for folder in (Path(name), out / "ledgers" / name):
            # os.path.exists, for which a name that is too long is merely not there
            if any(os.path.exists(folder / part) for part in ("recipe.json", "records")):
                return cls.of_ledger(Ledger.at(folder))
        try:
            return cls.of_table(load_table(name))
        except UsageError as error:
            ledgers = sorted(path.parent.name for path in (out / "ledgers").glob("*/recipe.json"))
            raise UsageError(f"{error}; ledgers in {out}: {', '.join(ledgers) or 'none'}") from None

    @classmethod
    def of_ledger(cls, ledger: Ledger) -> Claim:
        """All records, each checked. Raises UsageError if there are none, Failure if one cannot be believed."""
        if not ledger.recorded():
            raise UsageError(f"ledger {ledger.folder} has no records: build some first")
        try:
            records = ledger.records()
            table = GroundTruth.from_records(records, ledger.name)
        except CorruptRecord as error:
            raise Failure(
                f"{error}; benchmark.build_groundtruth with the ledger's flags sets it aside and trains that run again"
            ) from None
        except UsageError as error:
            raise Failure(str(error)) from None
        cells = {
            Run(record["seed"], ledger.space[ledger.space.index(record["config"])]): Kept(
                record["test_accuracy"], record["curves"], record["provenance"]
            )
            for record in records
        }
        return cls(
            ledger.name,
            f"ledger {ledger.folder}",
            ledger.space,
            ledger.recipe,
            table.checksum or "",
            cells,
            pool(table.rows),
            loss_decimals=None,
        )

    @classmethod
    def of_table(cls, table: GroundTruth) -> Claim:
        """Raises UsageError for a table without a recipe or without values of single seeds."""
        recipe, digest = table.header.get("recipe"), table.recipe_hash
        if not (recipe and digest and table.checksum and table.seeds):
            raise UsageError(
                f"table {table.name} states no recipe, data and values of single seeds, so nothing can be trained again: "
                "give a table or a ledger that benchmark.build_groundtruth made"
            )
        made = table.header.get("provenance") or {}
        # A list of several values equals none, so a cell of which it is not known what made it is judged by noise.
        numerics = {key: v[0] if isinstance(v, list) and len(v) == 1 else v for key, v in made.items()}
        cells = {
            Run(seed, row.config): Kept(value, table.curves.get((row.config, seed), {}), numerics)
            for row in table.rows
            for seed, value in row.values.items()
        }
        return cls(
            table.name,
            f"table {table.name}, {table.sha256[:12]}",
            table.space,
            Recipe.stated(recipe, digest),
            table.checksum,
            cells,
            pool(table.rows),
            LOSS_DECIMALS,
        )

    def sample(self, count: int, seed: int) -> list[Run]:
        """`count` cells. Each draws a lot of its own, so that a growing ledger keeps the order of those it had."""
        if count > len(self.cells):
            raise UsageError(
                f"--sample {count}: {self.name} has {len(self.cells)} cells to draw from, so give 1 to {len(self.cells)}"
            )

        def lot(run: Run) -> tuple[float, Run]:
            return stream("verify", seed, self.space.number(run.config), run.seed).random(), run

        return sorted(sorted(self.cells, key=lot)[:count])


@dataclass(frozen=True)
class Verdict:
    """One cell, trained again. Accuracies in per cent; z and margin (points) are None where bits were compared."""

    config: str
    seed: int
    kept: float
    again: float
    holds: bool
    why: str
    z: float | None = None
    margin: float | None = None

    def __str__(self) -> str:
        return f"{self.config} seed {self.seed}: {self.kept:.2f} kept, {self.again:.2f} again: {self.why}"


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    options = arguments().parse(words)
    out = Path(options.out)
    claim = Claim.found(options.claim, out)
    require_trainable(claim.space)
    runs = claim.sample(options.sample, options.seed)

    from benchmark.datasets import loaders
    from benchmark.training import devices, engine, train  # imports torch, so faults of the claim come before it

    device = devices.device_named(options.device)
    dataset = loaders.load(claim.recipe.dataset, options.data, loader=options.loader)
    if dataset.checksum != claim.checksum:
        raise UsageError(f"{claim.name} was made on another version of {dataset.name} than the one here: use its own")
    dataset = dataset.sized_for(claim.space, claim.recipe.side)
    chosen = engine.working_engine(options.engine, claim.space, claim.recipe, device)

    def numerics(recipe: Recipe) -> dict[str, Any]:
        found = devices.numerics(recipe, device, dataset, chosen)
        return {key: value for key, value in found.items() if key != "dataset"}

    def work_folder(recipe: Recipe) -> Path:
        return out / "verify" / table_name(claim.space, recipe)

    recipe, here = claim.recipe, numerics(claim.recipe)
    if options.precision != precision.AUTO:
        recipe = replace(recipe, precision=options.precision)
    elif not any(_same(claim.cells[run], here) for run in runs):
        measure = precision.measured_on(options.device, claim.space)
        recipe = precision.settled(recipe, lambda choice: int(work_folder(choice).exists()), measure)
    here = numerics(recipe)
    _require_decidable(claim, runs, here)
    reduced = dataset.reduced(recipe)
    images = len(reduced.train), len(reduced.test)
    works = {run: train.work(claim.space, run.config, recipe, *images) for run in runs}

    ledger = Ledger(work_folder(recipe), claim.space, recipe)
    if Path(options.claim).resolve() == ledger.folder.resolve():
        raise UsageError(f"{options.claim} is where this verification itself would work: use another --out")
    cli.say(f"verifying {claim.source}: {len(runs)} of its {len(claim.cells)} cells")
    ledger.prepare()
    with claims.claim(ledger.folder / "work" / "verify.lock", wait=True) as mine:
        if not mine:
            raise Failure(f"another process verifies {claim.name} in {out}: wait for it, or use another --out")
        left, interrupted = _train_again(ledger, works, here, device, options)
        if left:
            again = shlex.join(["python", "-m", "benchmark.verify", *words])
            line = f"{left} of {len(runs)} cells are not trained yet, so nothing is decided; go on with: {again}"
            if not interrupted:
                raise Failure(line)
            cli.say(line)
            return 130
        records = {run: record for run in runs if (record := ledger.read(run))}
        verdicts = list(_verdicts(claim, records, here))
        report = _report(claim, options, verdicts, here, records)
        path = _keep(out / "verify" / f"{claim.name}-sample{options.sample}-seed{options.seed}.json", report)
        for run in runs:  # the next verification trains anew; what another sample has begun stays
            ledger.record_path(run).unlink(missing_ok=True)
            ledger.sweep(run)
        if not ledger.recorded() and not any((ledger.folder / "work").glob("*.pt")):
            shutil.rmtree(ledger.folder)
    if options.json:
        cli.print_json(report)
    else:
        cli.answer(*map(str, verdicts))
        cli.answer(f"{sum(v.holds for v in verdicts)} of {len(verdicts)} cells hold; report: {path}")
    if wrong := [verdict for verdict in verdicts if not verdict.holds]:
        raise Failure(f"{len(wrong)} of {len(verdicts)} cells do not hold: {'; '.join(map(str, wrong))}")
    return 0


def _train_again(
    ledger: Ledger, works: Mapping[Run, float], here: Mapping[str, Any], device: Any, options: Any
) -> tuple[int, bool]:
    """Trains what is missing of these runs, works in MACs; how many are left, and whether Ctrl-C ended it."""
    from benchmark.training import pace

    missing = [run for run in works if not _trained(ledger, run, here)]
    cli.say(f"{ledger.name}: {len(works) - len(missing)} of {len(works)} cells are trained again already")
    if not missing:
        return 0, False
    together = options.together or pace.default_together(ledger.recipe, device)
    way_out = "another --device"  # the recipe is that of the claim
    cli.say(require_memory(ledger.space, ledger.recipe, missing, device, together, way_out=way_out))
    if device.type == "cpu":
        say_how_long(ledger.space, ledger.recipe, device, together, sum(works[run] for run in missing))
    failed, interrupted = train_runs(ledger, missing, works, together, options)
    if failed:
        why = "; ".join(f"{run.config} seed {run.seed}: {why}" for run, why in sorted(failed.items()))
        raise Failure(f"{len(failed)} of {len(works)} cells could not be trained again: {why}")
    return len(set(works) - set(ledger.recorded())), interrupted


def _trained(ledger: Ledger, run: Run, here: Mapping[str, Any]) -> bool:
    """Whether an earlier start of this verification trained the run. One of other code or numerics does not count."""
    try:
        record = ledger.read(run)
    except CorruptRecord:
        record = {"provenance": {}}
    if record is None:
        return False
    made = {key: value for key, value in record["provenance"].items() if key not in ("dataset", "loader")}
    if made != dict(here) | provenance.code_version():
        ledger.record_path(run).unlink()
        return False
    return True


def _same(kept: Kept, here: Mapping[str, Any]) -> bool:
    return all(kept.numerics.get(key) == value for key, value in here.items())


def _require_decidable(claim: Claim, runs: Sequence[Run], here: Mapping[str, Any]) -> None:
    """Raises UsageError, before anything is trained, if a cell could be judged neither by bits nor by seed noise."""
    if claim.noise is not None and claim.noise.std > 0:
        return
    for run in runs:
        if not _same(claim.cells[run], here):
            raise UsageError(
                f"{run.config} seed {run.seed}: {_other(claim.cells[run], here)}, and {claim.name} has no configuration "
                "with two seeds that would tell the noise: verify it where it was made"
            )


def _other(kept: Kept, here: Mapping[str, Any]) -> str:
    """In which numerics a cell differs from this machine, in words."""
    differ = [
        f"{key} {kept.numerics.get(key, 'not stated')}, here {value}"
        for key, value in here.items()
        if kept.numerics.get(key) != value
    ]
    return f"other numerics ({'; '.join(differ)})"


def _verdicts(claim: Claim, records: Mapping[Run, Mapping[str, Any]], here: Mapping[str, Any]) -> Iterator[Verdict]:
    from scipy.stats import t

    by_noise = sum(not _same(claim.cells[run], here) for run in records)
    for run, record in records.items():
        kept, again = claim.cells[run], record["test_accuracy"]
        cell = str(run.config), run.seed, kept.accuracy, again
        if _same(kept, here):
            difference = _first_difference(kept, record, claim.loss_decimals)
            yield Verdict(*cell, difference is None, difference or "equal bit for bit")
            continue
        assert claim.noise is not None
        spread = claim.noise.std * math.sqrt(2)  # of a difference of two seeds; equal seeds only make it smaller
        margin = float(t.ppf(1 - LEVEL / 2 / by_noise, claim.noise.freedom)) * spread
        delta = again - kept.accuracy
        holds = abs(delta) <= margin
        why = (
            f"{delta:+.2f} points, z {delta / spread:+.2f}, margin {margin:.2f}: "
            f"{'within' if holds else 'beyond'} the noise of seeds; {_other(kept, here)}"
        )
        yield Verdict(*cell, holds, why, delta / spread, margin)


def _first_difference(kept: Kept, record: Mapping[str, Any], loss_decimals: int | None) -> str | None:
    """Where result or curves differ, in words; None if they are equal bit for bit."""
    for epoch in range(len(next(iter(kept.curves.values()), ()))):
        for name in CURVES:
            old, new = kept.curves[name][epoch], record["curves"][name][epoch]
            if name.endswith("loss") and loss_decimals is not None:
                new = round(new, loss_decimals)
            if old != new:
                return f"not equal on the same numerics: {name} of epoch {epoch + 1} is {old!r} kept, {new!r} again"
    if kept.accuracy != record["test_accuracy"]:
        return "not equal on the same numerics: the final accuracy"
    return None


def _keep(path: Path, report: Mapping[str, Any]) -> Path:
    """Writes a report beside those that lie there, under the first free name: PATH.json, PATH-2.json, ..."""
    content = (json.dumps(report, indent=1, allow_nan=False) + "\n").encode()
    places = (path if number == 1 else path.with_name(f"{path.stem}-{number}.json") for number in count(1))
    # The same lies there already where it was killed before it had swept up.
    place = next(place for place in places if not place.exists() or place.read_bytes() == content)
    files.write_atomically(place, content)
    return place


def _report(
    claim: Claim,
    options: Any,
    verdicts: Sequence[Verdict],
    here: Mapping[str, Any],
    records: Mapping[Run, Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything about the verification, with what was trained again."""
    return {
        "name": claim.name,
        "recipe_hash": claim.recipe.hash,
        "sample": options.sample,
        "seed": options.seed,
        "of": len(claim.cells),
        "holds": all(verdict.holds for verdict in verdicts),
        "noise": asdict(claim.noise) if claim.noise else None,
        "provenance": dict(here) | provenance.code_version(),
        "cells": [asdict(verdict) for verdict in verdicts],
        "records": list(records.values()),
    }


if __name__ == "__main__":
    cli.command(main)
