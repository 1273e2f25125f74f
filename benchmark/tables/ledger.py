"""The ledger: one atomic JSON record per run. No torch.

A ledger is a folder for one (space, recipe): `records/` holds what is finished, `work/` what is under
way (checkpoints and claims). A record is written beside and renamed, so it is whole or absent. A run is
trained by whoever holds its claim (`place`), on this host or on another one that shares the folder.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.given import read_bytes
from benchmark.provenance import checksum
from benchmark.recipe import CURVES, Recipe
from benchmark.running.claims import Lease, Terms, Workplace, claim, is_held
from benchmark.spaces.space import Architecture, Config, PoolingSpace, load_space

SCHEMA = 1


@dataclass(frozen=True, order=True)
class Run:
    """One training from scratch. Ordered seed by seed, so that any cut leaves a table that ranks."""

    seed: int
    config: Architecture  # a configuration, or what a search found outside the space


class CorruptRecord(UsageError):
    """A record that cannot be believed: cut short, altered, or of another run."""


@dataclass(frozen=True)
class Ledger:
    """The runs of one space under one recipe, in `folder`."""

    folder: Path
    space: PoolingSpace
    recipe: Recipe

    @classmethod
    def under(cls, out: Path | str, space: PoolingSpace, recipe: Recipe) -> Ledger:
        """The ledger's place below an output folder: `OUT/ledgers/NAME`."""
        return cls(Path(out) / "ledgers" / table_name(space, recipe), space, recipe)

    @classmethod
    def at(cls, folder: Path | str) -> Ledger:
        """The ledger that lies in a folder. Raises UsageError unless its recipe.json states one that can be made here."""
        path = Path(folder) / "recipe.json"
        try:
            said = json.loads(path.read_bytes())
            return cls(Path(folder), load_space(said["space"]), Recipe.stated(said["recipe"], said["recipe_hash"]))
        except OSError as error:
            why = f"{folder} is no ledger: {path.name} cannot be read ({error.strerror or error})"
        except UsageError as error:
            raise UsageError(f"{path}: states no recipe of a ledger ({error}): use the version that made it") from None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            why = f"{path}: states no recipe of a ledger ({error})"
        raise UsageError(
            f"{why}; where there is none, benchmark.build_groundtruth with the ledger's flags writes it anew"
        )

    @property
    def name(self) -> str:
        return table_name(self.space, self.recipe)

    def stem(self, run: Run) -> str:
        number = self._number(run)
        name = f"{type(run.config).__name__.lower()}{run.config}" if number is None else f"{number:03d}"
        return f"{name}-seed{run.seed}"

    def _number(self, run: Run) -> int | None:
        return self.space.number(run.config) if isinstance(run.config, Config) else None

    def record_path(self, run: Run) -> Path:
        return self.folder / "records" / f"{self.stem(run)}.json"

    def place(self, run: Run) -> Workplace:
        """Where a run is trained, by whoever holds the claim to its lock."""
        return Workplace(self.folder / "work", self.stem(run))

    def checkpoint_path(self, run: Run) -> Path:
        return self.place(run).checkpoint

    def prepare(self) -> None:
        """Makes the folders and states the recipe in words. Raises UsageError where they are another user's."""
        for part in ("records", "work"):
            path = self.folder / part
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):  # else every run would fail, each with a reason of its own
                raise UsageError(
                    f"{path} may not be written by this user: use another --out, or have its owner share it "
                    f"(chmod -R g+rwX {self.folder})"
                )
        statement = {"space": self.space.name, "recipe": self.recipe.to_dict(), "recipe_hash": self.recipe.hash}
        path = self.folder / "recipe.json"
        if not path.exists():
            write_atomically(path, json.dumps(statement, indent=1).encode() + b"\n")

    def read(self, run: Run) -> dict[str, Any] | None:
        """The record of a run, or None where there is none. Raises CorruptRecord, naming file and fault."""
        path = self.record_path(run)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
                raise CorruptRecord(f"{path}: not a file")
            data = read_bytes(path)
        except FileNotFoundError:
            return None
        except OSError as error:  # one that may not be read is neither missing nor corrupt
            if error.errno not in (errno.ELOOP, errno.EFBIG):
                raise
            raise CorruptRecord(f"{path}: {error.strerror}") from None
        return self._parse(path, data, run)

    def _parse(self, path: Path, data: bytes, run: Run) -> dict[str, Any]:
        try:
            record = json.loads(data)
        except (ValueError, RecursionError):
            raise CorruptRecord(f"{path}: not a whole JSON record") from None
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise CorruptRecord(f"{path}: not a record of schema {SCHEMA}")
        expected = {
            "space": self.space.name,
            "config": str(run.config),
            "seed": run.seed,
            "recipe_hash": self.recipe.hash,
        }
        for key, value in expected.items():
            if record.get(key) != value:
                raise CorruptRecord(f"{path}: its {key} is {record.get(key)!r}, expected {value!r}")
        if record.get("checksum") != checksum(record):
            raise CorruptRecord(f"{path}: its content does not match its checksum")
        if fault := _fault(record, self.recipe):
            raise CorruptRecord(f"{path}: {fault}")
        return record

    def write(self, run: Run, results: dict[str, Any], provenance: dict[str, Any], timings: dict[str, Any]) -> None:
        """Writes the record of a finished run, then removes its checkpoint and lock.

        results: `test_accuracy` (per cent, last epoch), `images` (trained on), `curves` (per epoch; a probe's, too).
        Raises ValueError if a number is not finite.
        """
        record = {
            "schema": SCHEMA,
            "space": self.space.name,
            "config": str(run.config),
            "number": self._number(run),
            "seed": run.seed,
            "recipe": self.recipe.to_dict(),
            "recipe_hash": self.recipe.hash,
            "recipe_label": self.space.label(self.recipe),
            **results,
            "provenance": provenance,
            "timings": timings,
        }
        if not all(math.isfinite(value) for curve in results["curves"].values() for value in curve):
            raise ValueError("a record holds finite numbers only")
        record["checksum"] = checksum(record)
        text = json.dumps(record, indent=1, allow_nan=False) + "\n"
        write_atomically(self.record_path(run), text.encode(), beside=self.folder / "work")
        self.sweep(run)

    def sweep(self, run: Run) -> None:
        """Removes what a finished run left in `work/`."""
        self.place(run).sweep()

    def claim(self, run: Run, terms: Terms | None = None, wait: bool = False) -> AbstractContextManager[Lease | None]:
        """Gives a lease while this process alone may train the run, None where another one holds it."""
        return claim(self.place(run).lock, terms, wait)

    def set_aside(self, run: Run) -> Path:
        """Renames a corrupt record so that its run counts as missing; nothing is lost. For the holder of the run."""
        path = self.record_path(run)
        names = (path.with_name(f"{path.name}.corrupt{n}") for n in ("", *range(1, 1_000_000)))
        aside = next(name for name in names if not name.exists())
        os.replace(path, aside)
        return aside

    def recorded(self) -> list[Run]:
        """The runs of configurations that have a record, good or bad."""
        found: list[Run] = []
        with suppress(FileNotFoundError):  # a folder that cannot be read is an error: what it holds is not missing
            for name in os.listdir(self.folder / "records"):
                match = re.fullmatch(r"(\d+)-seed(\d+)\.json", name)
                if match and 1 <= int(match[1]) <= len(self.space):
                    found.append(Run(int(match[2]), self.space[int(match[1]) - 1]))
        return sorted(found)

    def records(self) -> list[dict[str, Any]]:
        """All records of this ledger, by seed, then configuration. Raises CorruptRecord for the first bad one."""
        return [record for run in self.recorded() if (record := self.read(run))]

    def status(self, configs: Iterable[Config], seeds: Iterable[int]) -> dict[str, list[Run]]:
        """The asked-for runs, by state: done, running (somebody holds it), started (has a checkpoint), missing, corrupt."""
        states: dict[str, list[Run]] = {key: [] for key in ("done", "running", "started", "missing", "corrupt")}
        for run in sorted(Run(seed, config) for seed in seeds for config in configs):
            try:
                state = "done" if self.read(run) else None
            except CorruptRecord:
                state = "corrupt"
            if state is None and is_held(self.place(run).lock):
                state = "running"
            if state is None:
                state = "started" if self.checkpoint_path(run).exists() else "missing"
            states[state].append(run)
        return states


def _fault(record: dict[str, Any], recipe: Recipe) -> str | None:
    """Why no table could be made of a record, whatever its checksum; None where nothing is wrong."""
    result, curves, made, timings = (record.get(key) for key in ("test_accuracy", "curves", "provenance", "timings"))
    data = made.get("dataset") if isinstance(made, dict) else None
    if record.get("recipe") != recipe.to_dict():
        return "its recipe is not the one of its hash"
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("name", "checksum")):
        return "its provenance names no data set"
    if not isinstance(record.get("recipe_label"), str):
        return "its recipe_label is no text"
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "it holds half a character"
    if not isinstance(timings, dict) or not all(_finite(timings.get(key, 1)) for key in ("seconds", "sharing")):
        return "its timings are no numbers"
    if not isinstance(curves, dict) or not all(isinstance(curves.get(name), list) for name in CURVES):
        return f"its curves are not {', '.join(CURVES)}"
    if not all(isinstance(curve, list) and all(map(_finite, curve)) for curve in curves.values()):
        return "a curve holds what is no finite number"
    if any(len(curve) != recipe.epochs for curve in curves.values()) or curves["test_accuracy"][-1] != result:
        return f"its curves are not of {recipe.epochs} epochs, or do not end at its accuracy"
    if not all(0 <= number <= 100 for name in CURVES if name.endswith("accuracy") for number in curves[name]):
        return "its accuracies are no per cent"
    return None


def _finite(number: Any) -> bool:
    return isinstance(number, float | int) and abs(number) <= sys.float_info.max


def table_name(space: PoolingSpace, recipe: Recipe) -> str:
    """The name under which a ledger and its table are kept: space, data where they differ, recipe, hash."""
    data = "" if space.name.endswith(f"-{recipe.dataset}") else f"-on-{recipe.dataset}"
    return f"{space.name}{data}-{space.label(recipe)}-{recipe.hash}"
