"""A ranking: what a search method returns, and the text file in which it is kept. No torch.

One score per configuration, higher is better. Where a ranking came from (data, recipe, options) goes
with it, so that it is never scored against a table made on other data.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmark.errors import Failure, UsageError, nearest
from benchmark.given import plain_number, read_bytes
from benchmark.provenance import checksum
from benchmark.spaces.space import PoolingSpace, load_space

SCHEMA = 2
WITHOUT_CHECKSUM = 1  # the schema of rankings that earlier versions wrote, which had none
NO_RANKING = "that is no ranking"


class NoRanking(Failure):
    """A method gave every configuration the same score: an answer, if one that cannot be scored."""


@dataclass(frozen=True)
class Ranking:
    """Scores of every configuration of a space.

    space       name of the space
    scores      one finite float per configuration, canonical order, higher is better
    pick        the architecture picked, as text: a configuration ("[4,3,3]") or, where a method may leave the
                space, a path ("012220220"); None takes the best score (ties: the lowest number)
    dataset     data that the scores saw; None when they saw none (counting MACs) or nobody says
    method      name for tables and figures
    options     the method's options
    provenance  recipe, seed, split, device: what a record needs
    history     what figures need, plain lists by name; `finds`, architectures as text that `--retrain` trains beside the pick

    Raises UsageError if the scores are missing, not finite, or all the same: a constant ranks nothing; if two differ
    and a float cannot tell them apart: they would be ties; and for a pick that is no architecture.
    """

    space: str
    scores: tuple[float, ...]
    pick: str | None = None
    dataset: str | None = None
    method: str = "unnamed"
    options: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        space = load_space(self.space)
        if isinstance(self.scores, str | bytes) or not isinstance(self.scores, Iterable):
            raise UsageError(
                f"{str(self.scores)[:80]!r} are no scores: give {len(space)} numbers, one per configuration"
            )
        try:
            given = tuple(Decimal(plain_number(s)) if isinstance(s, str) else s for s in self.scores)
            object.__setattr__(self, "scores", tuple(map(_float, given)))
        except (TypeError, ValueError) as error:
            raise UsageError(f"a score that is no number ({error}): give {len(space)} numbers") from None
        if len(self.scores) != len(space):
            raise UsageError(f"a ranking of {space.name} needs {len(space)} scores, not {len(self.scores)}")
        for config, score in zip(space, self.scores, strict=True):
            if not math.isfinite(score):
                raise UsageError(f"the score of {config} is {score}: every score must be finite")
        if len(set(self.scores)) == 1:
            raise UsageError(f"every configuration has the same score, {self.scores[0]}: {NO_RANKING}")
        for one, other in pairwise(sorted(range(len(space)), key=self.scores.__getitem__)):
            if self.scores[one] == self.scores[other] and given[one] != given[other]:
                raise UsageError(
                    f"the scores of {space[one]} and {space[other]} differ, but both are {self.scores[one]!r} as floating "
                    "point: subtract what all scores have in common, or round them where they are ties"
                )
        if self.pick is None:
            object.__setattr__(self, "pick", str(space[self.scores.index(max(self.scores))]))
        try:
            object.__setattr__(self, "pick", str(space.architecture(str(self.pick))))
        except UsageError as error:
            raise UsageError(f"a pick that is no architecture: {error}") from None

    @classmethod
    def from_mapping(cls, scores: Mapping[Any, Any], space: PoolingSpace | None = None, **more: Any) -> Ranking:
        """From {configuration: score}; keys as Config, text or tuple. Raises UsageError for missing or extra keys."""
        space = space or load_space()
        by_index: dict[int, Any] = {}
        for key, value in scores.items():
            index = space.index(key)
            if index in by_index:
                raise UsageError(f"{space[index]} has two scores: give each configuration one")
            by_index[index] = value
        require_complete(space, by_index)
        return cls(space.name, tuple(by_index[i] for i in range(len(space))), **more)


def _float(score: Any) -> float:
    """The score as a float; infinite where it is too large for one, which is refused with the others that are."""
    try:
        return float(score)
    except OverflowError:
        return math.inf if score > 0 else -math.inf


def holdable(ranking: Ranking) -> tuple[Ranking, list[str]]:
    """The ranking without those entries of its history and provenance that JSON cannot hold, or that figures and scores
    look up and could not read, and what is wrong with each.

    They are noticed when a search is over: they may cost themselves, but not the scores.
    """
    kept: dict[str, dict[str, Any]] = {}
    faults = []
    for part in ("history", "provenance"):
        kept[part] = {}
        entries = getattr(ranking, part)
        if not isinstance(entries, Mapping):
            faults.append(f"its {part} is left out, for it is no dict but {type(entries).__name__}")
            continue
        for key, value in entries.items():
            try:
                json.dumps({key: value}, allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                faults.append(f"{key!r} of its {part} is left out, for JSON cannot hold it ({error})")
                continue
            if fault := _fault(part, key, value, len(ranking.scores)):
                faults.append(f"{key!r} of its {part} is left out: {fault}")
            else:
                kept[part][key] = value
    return replace(ranking, history=kept["history"], provenance=kept["provenance"]), faults


def _fault(part: str, key: Any, value: Any, size: int) -> str:
    """What is wrong with an entry that is looked up by its name, in a ranking of so many scores; empty for all others."""
    if (part, key) == ("provenance", "timings"):
        right = (
            isinstance(value, Mapping)
            and _are_numbers(value.get("curve", []))
            and _are_numbers([value.get("seconds", 0)])
        )
        return "" if right else "it is a dict of `seconds`, a number, and `curve`, a list of them"
    plain: dict[Any, tuple[Any, str]] = {
        "recipe_label": (str, "it is text"),
        "seed": (int | str, "it is a whole number"),
        "dataset": (Mapping, "it is a dict of `name` and `checksum`"),
    }
    if part == "provenance" and key in plain:
        kind, shape = plain[key]
        return "" if isinstance(value, kind) else shape
    if (part, key) == ("history", "curve"):
        right = isinstance(value, list | tuple) and all(
            isinstance(point, Mapping)
            and _are_numbers([point.get("epoch"), point.get("images")])
            and _are_numbers(point.get("scores"), size)
            for point in value
        )
        return "" if right else f"each of its points is a dict of `epoch`, `images` and {size} numbers, `scores`"
    return ""


def _are_numbers(values: Any, count: int | None = None) -> bool:
    return (
        isinstance(values, list | tuple)
        and all(isinstance(one, int | float) and math.isfinite(_float(one)) for one in values)
        and count in (None, len(values))
    )


def require_complete(space: PoolingSpace, given: Iterable[int], where: str = "the scores") -> None:
    """Raises UsageError naming the configurations of the space whose index is not given."""
    missing = [str(space[i]) for i in sorted(set(range(len(space))) - set(given))]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UsageError(f"{where}: {len(missing)} of {len(space)} configurations have no score ({shown}): add them")


def read_scores(path: Path | str, space: PoolingSpace) -> Ranking:
    """A ranking from a CSV file with the columns `config` and `score`; other columns are ignored.

    Columns are separated by commas, semicolons or tabs, and with the latter two decimals may have a comma, as
    spreadsheets of many countries write them. UTF-8, or UTF-16 with its byte-order mark. Lines that start with `#` are
    comments; `# dataset: synthetic` and `# method: name` are read.

    Raises UsageError, naming file and line, for anything that is not one finite score per configuration, and for a
    comment that looks like one of these two and cannot be read.
    """
    if not isinstance(path, str | Path) or not isinstance(space, PoolingSpace):
        raise UsageError("scores are read from a file, for a space: read_scores('scores.csv', benchmark.load_space())")
    path = Path(path)
    said: dict[str, str] = {}
    lines: list[str] = []
    numbers: list[int] = []
    for number, line in enumerate(re.split(r"\r\n|\r|\n", _csv_text(path)), start=1):
        if line.lstrip(' "').startswith("#"):
            key, value = _stated(line, f"{path}, line {number}")
            if said.setdefault(key, value) != value:
                raise UsageError(f"{path}, line {number}: a second {key}, '{value[:40]}': keep one")
        elif line.strip(" \t,;"):
            lines.append(line)
            numbers.append(number)
    said.pop("", None)
    if not lines:
        raise UsageError(f"{path}: empty: its first line must be config,score and {len(space)} lines must follow")
    separator = next((mark for mark in ",;\t" if {"config", "score"} <= set(_cells(lines[0], mark))), ",")
    try:
        header, *rows = csv.reader(lines, strict=True, skipinitialspace=True, delimiter=separator)
    except csv.Error as error:
        raise UsageError(f'{path}: not a CSV file ({error}): quote configurations, as in "[4,3,3]",0.87') from None
    if len(rows) != len(numbers) - 1:
        raise UsageError(f"{path}: a quoted field runs over several lines: give one configuration per line")
    header = [name.strip() for name in header]
    for column in ("config", "score"):
        if header.count(column) != 1:
            raise UsageError(
                f"{path}: its columns are {', '.join(header)[:80]}: it needs one named {column}, and commas, semicolons or "
                "tabs between them"
            )

    scores: dict[int, Decimal] = {}
    points = any("." in row[header.index("score")] for row in rows if len(row) == len(header))
    for number, row in zip(numbers[1:], rows, strict=True):
        where = f"{path}, line {number}"
        if len(row) != len(header):
            raise UsageError(
                f"{where}: {len(row)} fields where the header has {len(header)}: quote configurations, and write decimals "
                'with a point, as in "[4,3,3]",0.87'
            )
        entry = dict(zip(header, row, strict=True))
        try:
            index = space.index(entry["config"])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        text = entry["score"] if points or separator == "," else entry["score"].replace(",", ".")
        try:
            score = Decimal(plain_number(text))
        except ValueError:
            raise UsageError(f"{where}: the score '{entry['score'][:40]}' is not a number") from None
        if not math.isfinite(float(score)):
            raise UsageError(f"{where}: the score of {space[index]} is {float(score)}: every score must be finite")
        if index in scores:
            raise UsageError(f"{where}: {space[index]} has a second score: keep one")
        scores[index] = score
    require_complete(space, scores, str(path))
    try:
        return Ranking(
            space.name,
            tuple(scores[i] for i in range(len(space))),  # type: ignore[misc]  # decimals, so that no digit is lost unseen
            dataset=said.get("dataset"),
            method=said.get("method", path.stem),
            provenance={"file": path.name},
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _csv_text(path: Path) -> str:
    """The text of a file that should be CSV, as a text editor or a spreadsheet saves it."""
    columns = "give a CSV file with the columns config, score"
    try:
        data = read_bytes(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}): {columns}") from None
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8: {columns}") from None
    if "\0" in text:
        raise UsageError(f"{path}: not a text file: {columns}")
    return text


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip(' "') for cell in line.split(separator)]


def _stated(line: str, where: str) -> tuple[str, str]:
    """(dataset or method, its value) of a comment that states one; ("", "") of any other comment.

    Spreadsheets fill a line up with separators, and quote it where it holds one. Raises UsageError for a comment that
    begins with the word for the data and cannot be read: the ranking would be scored against other data in silence.
    """
    comment = line.strip(' "\t,;').lstrip("# ").replace('""', '"')
    match = re.match(r"(data[ _-]?sets?|data|method)\b\s*([:=]?)\s*(.*)", comment, re.IGNORECASE | re.DOTALL)
    if match is None:
        near = re.match(r"([a-z]{4,10})\s*[:=]", comment, re.IGNORECASE)
        if near and (meant := nearest(near[1].lower(), ("dataset", "method"), cutoff=0.8)):
            raise UsageError(f"{where}: a comment that states '{near[1]}': write it as '# {meant}: NAME'")
        return "", ""
    key, mark, value = match[1].lower(), match[2], match[3].strip()
    if key == "method":
        return ("method", value) if mark and value else ("", "")
    if key == "data" and not mark:  # a sentence
        return "", ""
    if not mark or not re.fullmatch(r"[\w.+-]+", value):
        raise UsageError(f"{where}: a comment on the data that cannot be read: write it as '# dataset: synthetic'")
    return "dataset", value


def scores_csv(ranking: Ranking) -> str:
    """The text that `read_scores` reads back, with data and method said in comments."""
    out = io.StringIO()
    if ranking.dataset:
        out.write(f"# dataset: {ranking.dataset}\n")
    out.write(f"# method: {ranking.method}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["config", "score"])
    writer.writerows((str(c), repr(s)) for c, s in zip(load_space(ranking.space), ranking.scores, strict=True))
    return out.getvalue()


def ranking_json(ranking: Ranking) -> str:
    """All of a ranking as JSON text, which `read_ranking` reads back."""
    space = load_space(ranking.space)
    record = {
        "schema": SCHEMA,
        "space": ranking.space,
        "method": ranking.method,
        "options": dict(ranking.options),
        "dataset": ranking.dataset,
        "pick": ranking.pick,
        "scores": {str(config): score for config, score in zip(space, ranking.scores, strict=True)},
        "provenance": dict(ranking.provenance),
        "history": dict(ranking.history),
    }
    record["checksum"] = checksum(json.loads(json.dumps(record)))  # of what will be read: keys are text there
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_ranking(path: Path | str) -> Ranking:
    """A ranking from the JSON file that `benchmark.evaluate` wrote. Raises UsageError, naming the file, for any other."""
    path = Path(path)
    again = "take it from its source again, or move it away and the same command makes it anew"
    try:
        record = json.loads(read_bytes(path).decode())
        if record["schema"] not in (SCHEMA, WITHOUT_CHECKSUM):
            raise UsageError(f"schema {record['schema']} is not {SCHEMA}")
        if record["schema"] == SCHEMA and record["checksum"] != checksum(record):
            raise UsageError("its content does not match its checksum")
        for key in ("options", "provenance", "history"):
            if not isinstance(record[key], dict):
                raise UsageError(f"its {key} is no JSON object")
            for name, value in record[key].items():
                if fault := _fault(key, name, value, len(record["scores"])):
                    raise UsageError(f"{name} of its {key}: {fault}")
        for key in ("method", "pick", "dataset"):
            if not isinstance(record[key], str if key == "method" else str | None):
                raise UsageError(f"its {key} is no text")
        more = {key: record[key] for key in ("pick", "dataset", "method", "options", "provenance", "history")}
        return Ranking.from_mapping(record["scores"], load_space(record["space"]), **more)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise UsageError(f"{path}: not a ranking that benchmark.evaluate wrote ({error}): {again}") from None
