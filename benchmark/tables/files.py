"""Tables as files: reading, writing, and the ones that come with the package. No torch.

A table is up to three files beside each other:

    NAME.csv          number, config, mean, std, n, then one column per seed (none where only means are known)
    NAME.curves.csv   config, seed, epoch from 1, loss and accuracy on both sets (only where there are curves)
    NAME.json         the header: space, data, recipe, source, provenance and the hash of the content
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError, choices
from benchmark.files import write_atomically
from benchmark.given import plain_number, read_bytes
from benchmark.recipe import CURVES
from benchmark.spaces.space import Config, PoolingSpace, load_space
from benchmark.tables.table import COLUMNS, SCHEMA, GroundTruth, Row, require_name

if TYPE_CHECKING:
    pass

_CURVE_COLUMNS = ["config", "seed", "epoch", *CURVES]
_SUFFIXES = (".curves.csv", ".csv", ".json")
# Where shipped tables live: inside this package in a wheel, beside `benchmark` in a checkout.
_FOLDERS = (Path(__file__).parent / "shipped", Path(__file__).parents[2] / "results" / "tables")


def write_table(table: GroundTruth, folder: Path | str) -> Path:
    """Writes a table's files into a folder, which is made if needed; the path of the CSV file.

    Each file is written beside and renamed. The header, which holds the hash, goes last: whoever reads
    between the files finds a hash that does not match, never a mixture of two tables.
    """
    table.verify()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps(table.header, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    files = {f"{table.name}.csv": _csv(table), f"{table.name}.json": header}
    if table.curves:
        files = {f"{table.name}.curves.csv": _curves_csv(table), **files}
    for name, text in files.items():
        # The process number keeps two builders of one table out of each other's way.
        write_atomically(folder / name, text.encode())
    if not table.curves:
        (folder / f"{table.name}.curves.csv").unlink(missing_ok=True)
    return folder / f"{table.name}.csv"


def _csv(table: GroundTruth) -> str:
    lines: list[list[Any]] = []
    for row in table.rows:
        seeds = ("" if seed not in row.values else repr(row.values[seed]) for seed in table.seeds)
        std = "" if row.std is None else repr(row.std)
        lines.append([table.space.number(row.config), str(row.config), repr(row.mean), std, row.n, *seeds])
    return _csv_text([*COLUMNS, *(f"seed{seed}" for seed in table.seeds)], lines)


def _curves_csv(table: GroundTruth) -> str:
    lines = [
        [str(config), seed, epoch, *map(repr, numbers)]
        for (config, seed), curve in sorted(table.curves.items())
        for epoch, numbers in enumerate(zip(*(curve[key] for key in CURVES), strict=True), start=1)
    ]
    return _csv_text(_CURVE_COLUMNS, lines)


def _shipped() -> dict[str, Path]:
    """The header of every shipped table, by name."""
    return {path.stem: path for folder in reversed(_FOLDERS) for path in sorted(folder.glob("*.json"))}


def shipped_tables() -> tuple[str, ...]:
    """Names of the tables that come with the package."""
    return tuple(sorted(_shipped()))


def distinct_name(name: str, sha256: str) -> str:
    """A table's name in what is kept about it: the plain one of a shipped table, else with the start of its hash.

    Tables of one recipe share their name, and what is kept about one must not take another's place.
    """
    try:
        plain = name in (shipped := _shipped()) and _read_header(shipped[name])["sha256"] == sha256
    except UsageError:  # a shipped header that cannot be read is not this table's
        plain = False
    return name if plain else f"{name}-{sha256[:12]}"


def load_table(name_or_path: str | Path = "published") -> GroundTruth:
    """The shipped table of that name, or the one at a path (of the .csv, of the .json, or without either ending).

    `published` is the paper's Table 6. Raises UsageError for unknown names, and for files that are missing,
    cut short, edited or of another schema.
    """
    if not isinstance(name_or_path, str | Path):
        raise UsageError(f"{name_or_path!r} is no table: give the name or the path of one")
    text = str(name_or_path)
    if text in (shipped := _shipped()):
        return _read(shipped[text].parent / text)
    stem = next((text.removesuffix(end) for end in _SUFFIXES if text.endswith(end)), text)
    if not any(os.path.isfile(stem + end) for end in _SUFFIXES):
        raise UsageError(
            f"no table {text[:200]!r}: {choices(text, shipped, 'the shipped ones are')}; "
            "the path of a table's .csv or .json works too"
        )
    return _read(Path(stem))


def _read(stem: Path) -> GroundTruth:
    """The table whose files are STEM.json, STEM.csv and perhaps STEM.curves.csv."""
    path = stem.with_name(stem.name + ".json")
    try:
        header = _read_header(path)
        space = load_space(header["space"])
        path = stem.with_name(stem.name + ".csv")
        rows = _read_rows(path, space)
        curves = {}
        if header.get("curves"):
            path = stem.with_name(stem.name + ".curves.csv")
            curves = _read_curves(path, space)
        path = stem  # a hash is of all files together
        table = GroundTruth(header, rows, curves, stem.parent)
        table.verify()
    except UsageError as error:
        raise UsageError(" ".join(f"{path}: {error}".split())) from None  # one line, whatever the file holds
    return table


def _unreadable(why: str) -> UsageError:
    return UsageError(f"{why}: take the table from its source again or rebuild it")


def _read_header(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        header = json.loads(text)
        json.dumps(header, ensure_ascii=False, allow_nan=False).encode()  # neither infinite nor half a character
    except (ValueError, RecursionError):
        raise _unreadable("not a whole JSON header") from None
    if not isinstance(header, dict):
        raise _unreadable("its header is no JSON object")
    if header.get("schema") != SCHEMA:
        raise UsageError(
            f"its schema is {str(header.get('schema'))[:20]!r}, this version reads {SCHEMA}: rebuild the table"
        )
    dataset = header.get("dataset")
    named = isinstance(dataset, dict) and isinstance(dataset.get("name"), str)
    if not named or not all(isinstance(header.get(key), str) for key in ("name", "space", "sha256")):
        raise _unreadable("its name, space, dataset or sha256 is missing")
    for key in ("recipe", "provenance", "timings"):
        if not isinstance(header.get(key), dict | None):
            raise _unreadable(f"its {key} is no JSON object")
    for key in ("recipe_hash", "recipe_label"):
        if not isinstance(header.get(key), str | None):
            raise _unreadable(f"its {key} is no text")
    require_name(header["name"])
    return header


def _read_rows(path: Path, space: PoolingSpace) -> tuple[Row, ...]:
    columns, lines = _csv_lines(path)
    seeds = [int(name[4:]) for name in columns[len(COLUMNS) :] if re.fullmatch(r"seed\d{1,10}", name, re.ASCII)]
    if columns != [*COLUMNS, *(f"seed{seed}" for seed in seeds)] or len(set(seeds)) != len(seeds):
        raise _unreadable(f"its columns are {','.join(columns)[:80]!r}, not {','.join(COLUMNS)},seed0,...")
    rows: dict[Config, Row] = {}
    for number, text, mean, std, n, *values in lines:
        config = _config(space, text)
        if space.number(config) != _int(number) or config in rows:
            raise _unreadable(f"{config} has a second row or a wrong number, {number}")
        by_seed = {seed: _float(value) for seed, value in sorted(zip(seeds, values, strict=True)) if value != ""}
        rows[config] = Row(config, _float(mean), _float(std) if std else None, _int(n), by_seed)
    return tuple(rows[config] for config in space if config in rows)


def _read_curves(path: Path, space: PoolingSpace) -> dict[tuple[Config, int], dict[str, tuple[float, ...]]]:
    columns, lines = _csv_lines(path)
    if columns != _CURVE_COLUMNS:
        raise _unreadable(f"its columns are {','.join(columns)[:80]!r}, not {','.join(_CURVE_COLUMNS)}")
    found: dict[tuple[Config, int], dict[int, list[float]]] = {}
    known: dict[str, Config] = {}  # parsing a configuration's text once, not once per epoch
    for text, seed, epoch, *numbers in lines:
        config = known[text] if text in known else known.setdefault(text, _config(space, text))
        by_epoch = found.setdefault((config, _int(seed)), {})
        if _int(epoch) in by_epoch:
            raise _unreadable(f"{config}, seed {seed}, epoch {epoch} stands there twice")
        by_epoch[_int(epoch)] = [_float(number) for number in numbers]
    curves = {}
    for key, by_epoch in found.items():
        if sorted(by_epoch) != list(range(1, len(by_epoch) + 1)):
            raise _unreadable(f"the curve of {key[0]}, seed {key[1]} lacks an epoch")
        series = zip(*(by_epoch[epoch] for epoch in sorted(by_epoch)), strict=True)
        curves[key] = dict(zip(CURVES, series, strict=True))
    return curves


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(f"cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise _unreadable("not a text file") from None


def _csv_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """The columns and the lines below them, each of as many cells; line ends of any system."""
    text = _text(path)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise _unreadable(f"not a whole CSV file ({error})") from None
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise _unreadable("it has no rows")
    columns, *rows = lines
    if any(len(row) != len(columns) for row in rows):
        raise _unreadable("a row is cut short or too long")
    return columns, rows


def _csv_text(columns: list[str], lines: list[list[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([columns, *lines])
    return out.getvalue()


def _config(space: PoolingSpace, text: str) -> Config:
    try:
        return space[space.index(text)]
    except UsageError:
        raise _unreadable(f"{text[:40]!r} is no configuration of {space.name}") from None


def _int(text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII):
        raise _unreadable(f"{text[:40]!r} is no whole number")
    return int(text)


def _float(text: str) -> float:
    try:
        number = float(plain_number(text))
    except ValueError:
        raise _unreadable(f"{text[:40]!r} is no number") from None
    if not math.isfinite(number):
        raise _unreadable(f"{text[:40]!r} is not finite")
    return number
