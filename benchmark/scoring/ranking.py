"""A ranking: what a search method returns, and the text file in which it is kept. No torch.

One score per configuration, higher is better. Where a ranking came from (data, recipe, options) goes
with it, so that it is never scored against a table made on other data.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.errors import Failure, UsageError
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
                space, whatever names it; None takes the best score (ties: the lowest number)
    dataset     data that the scores saw; None when they saw none (counting MACs) or nobody says
    method      name for tables and figures
    options     the method's options
    provenance  recipe, seed, split, device: what a record needs
    history     what figures need, plain lists by name

    Raises UsageError if the scores are missing, not finite, or all the same: a constant ranks nothing.
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
        object.__setattr__(self, "scores", tuple(float(s) for s in self.scores))
        if len(self.scores) != len(space):
            raise UsageError(f"a ranking of {space.name} needs {len(space)} scores, not {len(self.scores)}")
        for config, score in zip(space, self.scores, strict=True):
            if not math.isfinite(score):
                raise UsageError(f"the score of {config} is {score}: every score must be finite")
        if len(set(self.scores)) == 1:
            raise UsageError(f"every configuration has the same score, {self.scores[0]}: {NO_RANKING}")
        if self.pick is None:
            object.__setattr__(self, "pick", str(space[self.scores.index(max(self.scores))]))

    @classmethod
    def from_mapping(cls, scores: Mapping[Any, float], space: PoolingSpace | None = None, **more: Any) -> Ranking:
        """From {configuration: score}; keys as Config, text or tuple. Raises UsageError for missing or extra keys."""
        space = space or load_space()
        by_index: dict[int, float] = {}
        for key, value in scores.items():
            index = space.index(key)
            if index in by_index:
                raise UsageError(f"{space[index]} has two scores: give each configuration one")
            by_index[index] = float(value)
        require_complete(space, by_index)
        return cls(space.name, tuple(by_index[i] for i in range(len(space))), **more)


def require_complete(space: PoolingSpace, given: Iterable[int], where: str = "the scores") -> None:
    """Raises UsageError naming the configurations of the space whose index is not given."""
    missing = [str(space[i]) for i in sorted(set(range(len(space))) - set(given))]
    if missing:
        shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UsageError(f"{where}: {len(missing)} of {len(space)} configurations have no score ({shown}): add them")


def read_scores(path: Path | str, space: PoolingSpace) -> Ranking:
    """A ranking from a CSV file with the columns `config` and `score`; other columns are ignored.

    Lines that start with `#` are comments; `# dataset: synthetic` and `# method: name` are read. Raises
    UsageError, naming file and line, for anything that is not one finite score per configuration.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror or error}): give a CSV file with the columns config, score"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file: give a CSV file with the columns config, score") from None
    if "\0" in text:
        raise UsageError(f"{path}: not a text file: give a CSV file with the columns config, score")

    said: dict[str, str] = {}
    lines: list[str] = []
    numbers: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#"):
            key, colon, value = line[1:].partition(":")
            if colon:
                said[key.strip()] = value.strip()
        elif line.strip():
            lines.append(line)
            numbers.append(number)
    if not lines:
        raise UsageError(f"{path}: empty: its first line must be config,score and {len(space)} lines must follow")
    try:
        header, *rows = csv.reader(lines, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise UsageError(f'{path}: not a CSV file ({error}): quote configurations, as in "[4,3,3]",0.87') from None
    if len(rows) != len(numbers) - 1:
        raise UsageError(f"{path}: a quoted field runs over several lines: give one configuration per line")
    header = [name.strip() for name in header]
    for column in ("config", "score"):
        if header.count(column) != 1:
            raise UsageError(f"{path}: its columns are {', '.join(header)[:80]}: it needs one named {column}")

    scores: dict[int, float] = {}
    for number, row in zip(numbers[1:], rows, strict=True):
        where = f"{path}, line {number}"
        if len(row) != len(header):
            raise UsageError(
                f'{where}: {len(row)} fields where the header has {len(header)}: quote configurations, as in "[4,3,3]",0.87'
            )
        entry = dict(zip(header, row, strict=True))
        try:
            index = space.index(entry["config"])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        try:
            score = float(entry["score"])
        except ValueError:
            raise UsageError(f"{where}: the score '{entry['score'][:40]}' is not a number") from None
        if not math.isfinite(score):
            raise UsageError(f"{where}: the score of {space[index]} is {score}: every score must be finite")
        if index in scores:
            raise UsageError(f"{where}: {space[index]} has a second score: keep one")
        scores[index] = score
    require_complete(space, scores, str(path))
    try:
        return Ranking(
            space.name,
            tuple(scores[i] for i in range(len(space))),
            dataset=said.get("dataset"),
            method=said.get("method", path.stem),
            provenance={"file": path.name},
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


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
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] not in (SCHEMA, WITHOUT_CHECKSUM):
            raise UsageError(f"schema {record['schema']} is not {SCHEMA}")
        if record["schema"] == SCHEMA and record["checksum"] != checksum(record):
            raise UsageError("its content does not match its checksum")
        for key in ("options", "provenance", "history"):
            if not isinstance(record[key], dict):
                raise UsageError(f"its {key} is no JSON object")
        for key in ("method", "pick", "dataset"):
            if not isinstance(record[key], str if key == "method" else str | None):
                raise UsageError(f"its {key} is no text")
        more = {key: record[key] for key in ("pick", "dataset", "method", "options", "provenance", "history")}
        return Ranking.from_mapping(record["scores"], load_space(record["space"]), **more)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise UsageError(f"{path}: not a ranking that benchmark.evaluate wrote ({error}): {again}") from None
