"""The ground truth: a table of test accuracies, one row per configuration, with its curves. No torch.

Accuracies are in per cent. Nothing is imputed: what is not there cannot be read. The hash is taken over
the values, not over files' bytes, so it is the same on every system and for every order of rows.
`benchmark.tables.files` reads and writes tables.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError
from benchmark.files import LONGEST_STEM
from benchmark.recipe import CURVES, Recipe
from benchmark.spaces.space import Config, PoolingSpace, load_space

if TYPE_CHECKING:
    import pandas
    import xarray

SCHEMA = 1
LOSS_DECIMALS = 5  # of the losses in a table; accuracies are kept as they are
DECIMALS = 10  # of means and stds, so that the last bits of a sum break no tie
_NOT_SAID: Any = object()  # of what a query must say, to whoever leaves it out in one line that shows the call
COLUMNS = ["number", "config", "mean", "std", "n"]


@dataclass(frozen=True)
class Row:
    """What is known of one configuration.

    mean    test accuracy after the last epoch, in per cent, averaged over n seeds
    std     sample standard deviation over the seeds (ddof = 1); None where n is 1
    values  accuracy of each seed, by seed; empty where only mean and std are known
    """

    config: Config
    mean: float
    std: float | None
    n: int
    values: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Plain numbers: numpy's are written differently, so that the table would not read back.
        object.__setattr__(self, "mean", float(self.mean))
        object.__setattr__(self, "std", None if self.std is None else float(self.std))
        object.__setattr__(self, "n", int(self.n))
        object.__setattr__(self, "values", {int(seed): float(value) for seed, value in self.values.items()})
        numbers = [self.mean, *self.values.values()]
        if not all(math.isfinite(x) and 0 <= x <= 100 for x in numbers):
            raise UsageError(f"{self.config}: accuracies must lie between 0 and 100 per cent")
        if self.n < 1 or (self.values and self.n != len(self.values)):
            raise UsageError(f"{self.config}: n is {self.n}, which does not match its {len(self.values)} seeds")
        if (self.std is None) != (self.n == 1) or not 0 <= (self.std or 0) <= 100:
            raise UsageError(f"{self.config}: the std of n = {self.n} values cannot be {self.std}")

    @classmethod
    def of(cls, config: Config, values: Mapping[int, float]) -> Row:
        """The row of one accuracy per seed, at least one."""
        ordered = {seed: float(values[seed]) for seed in sorted(values)}
        n = len(ordered)
        mean = _mean(ordered.values())
        spread = math.fsum((x - mean) ** 2 for x in ordered.values())
        return cls(config, mean, round(math.sqrt(spread / (n - 1)), DECIMALS) if n > 1 else None, n, ordered)


@dataclass(frozen=True)
class Origin:
    """Where a table's accuracies come from, as its header states it.

    dataset   name of the data set whose test images were used; `checksum` is its own, None where unknown
    recipe    field by field, with its hash and its label; None where unknown
    source    who made them and how, in words; `notes` say what else a reader must know
    """

    dataset: str
    checksum: str | None = None
    recipe: Mapping[str, Any] | None = None
    recipe_hash: str | None = None
    recipe_label: str | None = None
    source: str = ""
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GroundTruth:
    """A table of test accuracies, complete or partial, as its three files hold it.

    header  the JSON header; its `sha256` is the hash of the content
    rows    the configurations that have a value, canonical order
    folder  where its files lie, if it was read from any
    curves  by (configuration, seed): train_loss, train_accuracy, test_loss, test_accuracy, each with one
            number per epoch (accuracies in per cent); empty where none were recorded
    """

    header: Mapping[str, Any]
    rows: tuple[Row, ...]
    curves: Mapping[tuple[Config, int], Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def from_rows(
        cls,
        name: str,
        space: PoolingSpace,
        rows: Iterable[Row],
        origin: Origin,
        curves: Mapping[tuple[Config, int], Mapping[str, tuple[float, ...]]] | None = None,
    ) -> GroundTruth:
        """A table of known rows.

        Raises UsageError for a name that cannot be a file's, no rows at all, or two rows of one configuration.
        """
        require_name(name)
        ordered = tuple(sorted(rows, key=lambda row: space.index(row.config)))
        if not ordered:
            raise UsageError(f"table {name} would be empty: finish a run first")
        if len({row.config for row in ordered}) != len(ordered):
            raise UsageError(f"table {name} would have two rows of one configuration: give one")
        header = {
            "name": name,
            "schema": SCHEMA,
            "space": space.name,
            "dataset": {"name": origin.dataset, "checksum": origin.checksum},
            "recipe_label": origin.recipe_label,
            "recipe_hash": origin.recipe_hash,
            "recipe": None if origin.recipe is None else dict(origin.recipe),
            "unit": "percent",
            "split": "test",
            "curves": bool(curves),
            "source": origin.source,
            "notes": list(origin.notes),
            "provenance": dict(origin.provenance),
            "timings": dict(origin.timings),
        }
        header["sha256"] = _content_hash(header, ordered, curves or {})
        return cls(header, ordered, dict(curves or {}))

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, Any]], name: str = _NOT_SAID, *, source: str = "", notes: Sequence[str] = ()
    ) -> GroundTruth:
        """A table from the ledger's records, in any order; losses are rounded to 5 decimals.

        Raises UsageError if there are none, if two are of one run, or if they disagree in space, recipe or data:
        results of two recipes never merge.
        """
        if name is _NOT_SAID or isinstance(records, str | Mapping) or not isinstance(records, Iterable):
            raise UsageError(
                "a table is made of a list of records, under a name: GroundTruth.from_records(ledger.records(), 'mine')"
            )
        records = list(records)
        if not records:
            raise UsageError(f"table {name} would be empty: finish a run first")
        values: dict[Config, dict[int, float]] = {}
        curves: dict[tuple[Config, int], dict[str, tuple[float, ...]]] = {}
        try:
            first = records[0]
            space, data = load_space(first["space"]), first["provenance"]["dataset"]
            for record in records:
                _require_same("space", first["space"], record["space"])
                _require_same("recipe_hash", first["recipe_hash"], record["recipe_hash"])
                for key in ("name", "checksum"):
                    _require_same(f"dataset {key}", data[key], record["provenance"]["dataset"][key])
                config, seed = space[space.index(record["config"])], _whole(record["seed"])
                by_seed = values.setdefault(config, {})
                if seed in by_seed:
                    raise UsageError(f"two records of {config} with seed {seed}: keep one")
                by_seed[seed] = float(record["test_accuracy"])
                if record.get("curves"):
                    curves[config, seed] = _tidy_curves(record["curves"], config, seed, by_seed[seed])
            if len({len(curve["test_accuracy"]) for curve in curves.values()}) > 1:
                raise UsageError("the records' curves differ in length: records of one recipe have the same epochs")
            origin = Origin(
                dataset=data["name"],
                checksum=data["checksum"],
                recipe=first["recipe"],
                recipe_hash=first["recipe_hash"],
                recipe_label=first["recipe_label"],
                source=source or "networks trained from scratch, one per configuration and seed",
                notes=notes,
                provenance=_provenance(records),
                timings=_timings(records),
            )
            rows = [Row.of(config, by_seed) for config, by_seed in values.items()]
            return cls.from_rows(name, space, rows, origin, curves)
        except UsageError:
            raise
        except KeyError as error:
            raise UsageError(f"a record lacks {error}: give records as the ledger writes them") from None
        except (TypeError, ValueError) as error:
            raise UsageError(f"a record is malformed ({error}): give records as the ledger writes them") from None

    def __repr__(self) -> str:
        """One line: whoever types a table's name means to see what it is, not each of its numbers."""
        held = f"{len(self.rows)} configurations of {self.header['space']}"
        return f"<GroundTruth {self.name}: {held}, sha256 {self.sha256[:12]}>"

    @property
    def name(self) -> str:
        return self.header["name"]

    @cached_property
    def space(self) -> PoolingSpace:
        return load_space(self.header["space"])

    @property
    def trained_space(self) -> PoolingSpace:
        """The space on images of the side that the recipe states, as it was trained: what MACs are counted of.

        Raises UsageError for a side that the space cannot have.
        """
        side = (self.header.get("recipe") or {}).get("side")
        return self.space.at(side if type(side) is int else None)

    @property
    def dataset(self) -> str:
        """Name of the data set whose test images were used."""
        return self.header["dataset"]["name"]

    @property
    def checksum(self) -> str | None:
        """Checksum of the data set; None where it is not known."""
        return self.header["dataset"]["checksum"]

    @property
    def recipe_hash(self) -> str | None:
        """Hash of the training recipe; None where it is not known."""
        return self.header.get("recipe_hash")

    @property
    def recipe_label(self) -> str | None:
        return self.header.get("recipe_label")

    @property
    def sha256(self) -> str:
        """Hash of the content, as the header states it; `verify` recomputes it."""
        return self.header["sha256"]

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that some configuration has; empty where the table holds no per-seed values."""
        return tuple(sorted({seed for row in self.rows for seed in row.values}))

    @cached_property
    def epochs(self) -> int | None:
        """How many epochs the curves have; None without curves."""
        return next((len(curve["test_accuracy"]) for curve in self.curves.values()), None)

    @cached_property
    def _by_config(self) -> dict[Config, Row]:
        return {row.config: row for row in self.rows}

    @property
    def means(self) -> tuple[float | None, ...]:
        """Mean accuracy in per cent, one per configuration of the space; None where there is none."""
        return tuple(self._by_config[c].mean if c in self._by_config else None for c in self.space)

    @property
    def stds(self) -> tuple[float | None, ...]:
        """Sample standard deviation over seeds, one per configuration of the space; None where absent or n is 1."""
        return tuple(self._by_config[c].std if c in self._by_config else None for c in self.space)

    @property
    def best(self) -> Row:
        """The row of highest mean (ties: the lowest number)."""
        return max(self.rows, key=lambda row: row.mean)

    def missing(self) -> tuple[Config, ...]:
        """The configurations of the space that have no value, canonical order."""
        return tuple(c for c in self.space if c not in self._by_config)

    @property
    def complete(self) -> bool:
        """Whether every configuration of the space has a value, from however many seeds."""
        return len(self.rows) == len(self.space)

    def require_complete(self) -> None:
        """Raises UsageError, saying what is missing and how to fill it, unless every configuration has a value."""
        if missing := self.missing():
            shown = ", ".join(map(str, missing[:3])) + (", ..." if len(missing) > 3 else "")
            raise UsageError(f"table {self.name} lacks {shown}: {self._how_full()}")

    def require_judge(self) -> None:
        """Raises UsageError unless rankings can be held against this table: it is complete, and not constant."""
        self.require_complete()
        if len({row.mean for row in self.rows}) == 1:
            mean = self.rows[0].mean
            raise UsageError(f"table {self.name} has the accuracy {mean} everywhere: it cannot judge a ranking")

    def _how_full(self) -> str:
        """What it holds, and the command that trains the rest of this very table, by its recipe and beside its records."""
        held = f"it holds {len(self.rows)} of {len(self.space)} configurations"
        try:
            recipe = Recipe.stated(self.header.get("recipe") or {}, self.recipe_hash or "")
        except UsageError:
            return (
                f"{held} and no recipe by which the others could be trained, so that it can be queried, but rankings cannot be "
                f"scored against it; benchmark.evaluate --space {self.space.name} searches without a table"
            )
        words = [
            "python",
            "-m",
            "benchmark.build_groundtruth",
            "--space",
            self.space.name,
            *recipe.flags(self.space.presets(type(recipe))),
        ]
        if self.seeds:
            words += ["--seeds", *map(str, self.seeds)]
        where = self.folder and self.folder.absolute()
        if where and where.name == "tables":
            words += ["--out", str(where.parent)]
        return f"{held}; `{shlex.join(words)}` fills them in, with --status it says what is left"

    def row(self, config: Config | str | Iterable[int]) -> Row:
        """What is known of a configuration. Raises UsageError if it is not in the space, or not in the table."""
        wanted = self.space[self.space.index(config)]
        if wanted not in self._by_config:
            raise UsageError(f"{wanted} is not in table {self.name}: {self._how_full()}")
        return self._by_config[wanted]

    def query(
        self,
        config: Config | str | Iterable[int],
        *,
        seed: int | str | None = _NOT_SAID,
        epoch: int | str | None = _NOT_SAID,
        split: str = _NOT_SAID,
    ) -> float:
        """Accuracy in per cent. Seed, epoch and split must be given, so that no query means less than it says.

        config  a Config, "[4,3,3]" or a sequence of whole numbers
        seed    one of the table's seeds; None or "mean": the mean over the seeds that the configuration has
                (`row(config).n` says how many)
        epoch   from 1, where the table has curves; None or "last": after the last epoch, never the best one
        split   "test"; or "train" where the table has curves

        Raises UsageError, saying what there is, for whatever the table does not hold.
        """
        if any(said is _NOT_SAID for said in (seed, epoch, split)):
            raise UsageError(
                "a query names seed, epoch and split; the mean over seeds after the last epoch is "
                f"table.query('{self.space.default}', seed=None, epoch=None, split='test')"
            )
        if split == "val":
            raise UsageError(
                "the ground truth trains on all training images, so it has no validation accuracy: ask for split='test'"
            )
        if split not in ("test", "train"):
            raise UsageError(f"no split {split!r}: ask for 'test'" + (" or 'train'" if self.curves else ""))
        row = self.row(config)
        seeds = list(row.values) if seed is None or seed == "mean" else [self._seed(row, seed)]
        if split == "test" and (epoch is None or epoch == "last"):
            return row.mean if len(seeds) != 1 else row.values[seeds[0]]
        if not (self.curves and seeds):
            raise UsageError(
                f"table {self.name} has no curves, so nothing for split {split!r}, epoch {epoch!r}: "
                "ask for split='test' after the last epoch, epoch=None"
            )
        at = self._epoch(epoch) - 1
        if without := [s for s in seeds if (row.config, s) not in self.curves]:
            raise UsageError(f"{row.config} has no curve for seed {without[0]}: ask for split='test' and epoch=None")
        return _mean([self.curves[row.config, s][f"{split}_accuracy"][at] for s in seeds])

    def _seed(self, row: Row, seed: Any) -> int:
        if not row.values:
            raise UsageError(f"table {self.name} holds means over {row.n} seeds only: ask for seed=None, not {seed!r}")
        try:
            known = _whole(seed) in row.values
        except (TypeError, ValueError):
            known = False
        if not known:
            raise UsageError(
                f"no seed {seed!r} of {row.config} in table {self.name}: it has {', '.join(map(str, row.values))}; None is their mean"
            )
        return _whole(seed)

    def _epoch(self, epoch: Any) -> int:
        if epoch is None or epoch == "last":
            return self.epochs or 0
        try:
            if 1 <= _whole(epoch) <= (self.epochs or 0):
                return _whole(epoch)
        except (TypeError, ValueError):
            pass
        raise UsageError(f"no epoch {epoch!r} in table {self.name}: it has 1 to {self.epochs}, or None for the last")

    def to_pandas(self) -> pandas.DataFrame:
        """One line per row of the table: number, config (text), mean, std, n and a column per seed; NaN where absent."""
        import pandas

        nan = math.nan
        lines: list[list[Any]] = []
        for row in self.rows:
            seeds = (row.values.get(seed, nan) for seed in self.seeds)
            std = nan if row.std is None else row.std
            lines.append([self.space.number(row.config), str(row.config), row.mean, std, row.n, *seeds])
        return pandas.DataFrame(lines, columns=[*COLUMNS, *(f"seed{seed}" for seed in self.seeds)])

    def to_xarray(self) -> xarray.DataArray:
        """The numbers with named axes (config, seed, epoch, metric), or (config, metric) where only means are known.

        Raises UsageError where xarray is not installed.
        """
        from benchmark.tables.arrays import named_axes

        return named_axes(self)

    def verify(self) -> str:
        """The hash of the content, recomputed. Raises UsageError unless it is the one that the header states."""
        found = _content_hash(self.header, self.rows, self.curves)
        if found != self.sha256:
            raise UsageError(
                f"table {self.name}: its content has the hash {found[:12]}, its header states {self.sha256[:12]}: "
                "it was altered or only partly written; take it from its source again or rebuild it"
            )
        return found


def require_name(name: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or len(name) > LONGEST_STEM:
        raise UsageError(
            f"{str(name)[:LONGEST_STEM]!r} cannot name a table: use letters, digits and . _ + -, {LONGEST_STEM} at most"
        )


def _content_hash(
    header: Mapping[str, Any],
    rows: Iterable[Row],
    curves: Mapping[tuple[Config, int], Mapping[str, Sequence[float]]],
) -> str:
    """SHA-256 over one line of JSON per row, per point of a curve, and for what the values are of; lines sorted.

    Floats stand in Python's shortest exact form, which no system writes differently.
    """
    identity = {key: header.get(key) for key in ("space", "dataset", "recipe", "recipe_hash", "unit", "split")}
    lines = [json.dumps(identity, sort_keys=True)]
    for row in rows:
        lines.append(json.dumps([str(row.config), row.mean, row.std, row.n, sorted(row.values.items())]))
    for (config, seed), curve in curves.items():
        points = zip(*(curve[key] for key in CURVES), strict=True)
        lines += [json.dumps([str(config), seed, epoch, *point]) for epoch, point in enumerate(points, start=1)]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _mean(values: Collection[float]) -> float:
    return round(math.fsum(values) / len(values), DECIMALS)


def _whole(value: Any) -> int:
    """A whole number of any integer type, but no bool. Raises TypeError otherwise."""
    if isinstance(value, bool):
        raise TypeError(f"{value} is no whole number")
    return operator.index(value)


def _require_same(what: str, first: Any, other: Any) -> None:
    if first != other:
        raise UsageError(f"the records disagree in their {what}, {first} and {other}: build one table of each")


def _tidy_curves(
    curves: Mapping[str, Sequence[float]], config: Config, seed: int, last: float
) -> dict[str, tuple[float, ...]]:
    tidy = {
        key: tuple(round(float(x), LOSS_DECIMALS) if key.endswith("loss") else float(x) for x in curves[key])
        for key in CURVES
    }
    where = f"the curves of {config}, seed {seed}"
    if len({len(curve) for curve in tidy.values()}) != 1 or not tidy["test_accuracy"]:
        raise UsageError(f"{where} differ in length or are empty: give one number per epoch in each")
    if not all(math.isfinite(x) for curve in tidy.values() for x in curve):
        raise UsageError(f"{where} hold a number that is not finite: rerun that run")
    if tidy["test_accuracy"][-1] != last:
        raise UsageError(f"{where} end at {tidy['test_accuracy'][-1]} per cent, its result is {last}: rerun that run")
    return tidy


def _provenance(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The number of runs, and every value that each entry of the records' provenance takes."""
    keys = sorted({key for record in records for key in record["provenance"]} - {"dataset"})
    found: dict[str, Any] = {"runs": len(records)}
    for key in keys:
        texts = {json.dumps(record["provenance"].get(key), sort_keys=True) for record in records}
        found[key] = [json.loads(text) for text in sorted(texts)]
    return found


def _timings(records: list[Mapping[str, Any]]) -> dict[str, Any]:
    timings = [record.get("timings") or {} for record in records]
    # Runs that took turns on one GPU each saw the whole time go by.
    seconds = [float(t["seconds"]) / t.get("sharing", 1) for t in timings if t.get("seconds") is not None]
    finished = sorted(str(t["finished"]) for t in timings if t.get("finished"))
    return {"device_seconds": math.fsum(seconds), "finished": finished[-1] if finished else None}
