"""All methods beside what the paper prints of them: what `evaluate --method all` found, as tables. No torch.

Knows no method by name: variants and published rows stand in the methods' own files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from benchmark import cli
from benchmark.errors import Failure, UsageError
from benchmark.scoring.ranking import NoRanking
from benchmark.scoring.scored import Pick, Score
from benchmark.tables.published import BEST, DEFAULT, ROWS, Published, Variant
from benchmark.tables.table import GroundTruth, Row

T = TypeVar("T")

NOT_YET = "not run yet"
HEADINGS = ("found", "accuracy %", "GPU hours", "tau", "| pick here", "accuracy %", "tau-b (95 %)", "time")


@dataclass(frozen=True, eq=False)
class Entry:
    """A variant of a method; each is one of its own."""

    method: str
    variant: Variant = field(default_factory=Variant)

    def __str__(self) -> str:
        return " ".join([self.method, *cli.flags(self.variant.options)])


@dataclass
class Results:
    """What became of the entries, against one table.

    table    complete
    entries  all of them, each with why it has no score
    scores   of those that are through
    failed   those that could not be carried out; one that ranks nothing is not among them
    """

    table: GroundTruth
    entries: dict[Entry, str] = field(default_factory=dict)
    scores: dict[Entry, Score] = field(default_factory=dict)
    failed: set[Entry] = field(default_factory=set)

    def attempt(self, entry: Entry, step: Callable[[], T]) -> T | None:
        """What the step returns; None where it fails, which is said and remembered."""
        try:
            return step()
        except (UsageError, Failure, OSError) as error:
            self.entries[entry] = " ".join(str(error).split())
            if isinstance(error, NoRanking):
                cli.say(f"{entry}: no ranking: {self.entries[entry]}")
            else:
                self.failed.add(entry)
                cli.say(f"{entry} failed: {self.entries[entry]}")
            return None

    def text(self) -> str:
        """Tables 1 and 2 with a column of ours beside the published ones, what is in neither, what failed."""
        blocks = []
        for number, size in ROWS.items():
            rows = {row.row: self._fixed(row) for row in (*DEFAULT, BEST) if row.table == number}
            for entry in self.entries:
                rows |= {row.row: self._cells(entry, row) for row in entry.variant.published if row.table == number}
            lines = [f"Table {number}", _columns([rows[row] for row in sorted(rows)])]
            if absent := sorted(set(range(1, size + 1)) - set(rows)):
                lines.append(f"Rows of Table {number} without a method here: {', '.join(map(str, absent))}")
            blocks.append("\n".join(lines))
        if others := [self._cells(entry) for entry in self.entries if not entry.variant.published]:
            blocks.append(f"In neither table\n{_columns(others)}")
        blocks.append("\n".join(self._notes()))
        return "\n\n".join(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types; `score` is that of a single evaluation, or null, with the reason in `why`."""
        return {
            "table": self.table.name,
            "table_sha256": self.table.sha256,
            "complete": all(entry in self.scores or why != NOT_YET for entry, why in self.entries.items()),
            "rows_without_method": [
                {
                    "published": asdict(row),
                    "config": str(self._of(row).config),
                    "accuracy": self._of(row).mean,
                }
                for row in (*DEFAULT, BEST)
            ],
            "entries": [
                {
                    "method": entry.method,
                    "options": dict(entry.variant.options),
                    "published": [asdict(row) for row in entry.variant.published],
                    "published_tau": entry.variant.tau,
                    "score": self.scores[entry].to_dict() if entry in self.scores else None,
                    "failed": entry in self.failed,
                    "why": "" if entry in self.scores else why,
                }
                for entry, why in self.entries.items()
            ],
        }

    def _of(self, row: Published) -> Row:
        """What the table holds in the place of a row that no method finds."""
        return self.table.best if row is BEST else self.table.row(self.table.space.default)

    def _fixed(self, row: Published) -> list[str]:
        known = self._of(row)
        return [row.name, *_printed(row), "", f"| {known.config}", f"{known.mean:.2f}", "", ""]

    def _cells(self, entry: Entry, row: Published | None = None) -> list[str]:
        tau = "" if entry.variant.tau is None else f"{entry.variant.tau:.3f}"
        left = [row.name if row else str(entry), *(_printed(row) if row else ("", "", "")), tau]
        if (found := self.scores.get(entry)) is None:
            why = self.entries[entry]
            return [
                *left,
                "| " + ("failed" if entry in self.failed else why if why == NOT_YET else "no ranking"),
                "",
                "",
                "",
            ]
        picks = found.method.picks
        known = [seconds for seconds in found.seconds if seconds is not None and found.device]
        return [
            *left,
            "| " + _each(picks, lambda pick: pick.config),
            _each(picks, _accuracy),
            f"{found.tau:.3f}" + (" ({:.3f} to {:.3f})".format(*found.interval) if found.interval else ""),
            cli.readable(sum(known) / len(known)) if known else "",
        ]

    def _notes(self) -> list[str]:
        lines = [f"Left of | the paper, right of it this suite: accuracies and tau-b against table {self.table.name}"]
        if found := next(iter(self.scores.values()), None):
            if found.ceiling:
                lines.append(f"ceiling: a perfect predictor gets {found.ceiling.perfect}")
            if found.macs:
                lines.append(f"counting MACs: {found.macs.tau:.3f}")
        devices = dict.fromkeys(score.device for score in self.scores.values() if score.device)
        lines += [f"time: per seed, on {', '.join(devices)}"] if devices else []
        return lines + [
            f"{entry}: {why}" for entry, why in self.entries.items() if entry not in self.scores and why != NOT_YET
        ]


def _accuracy(pick: Pick) -> str:
    """Of a pick outside the space, beside the configuration that stands for it."""
    if inside := pick.projected:
        return f"outside ({inside.config} {inside.accuracy:.2f})"
    return f"{pick.accuracy:.2f}"


def _printed(row: Published) -> tuple[str, str, str]:
    return row.architecture, f"{row.accuracy:.2f} ± {row.std:g}", "" if row.hours is None else f"{row.hours:g}"


def _each(picks: Sequence[Pick], show: Callable[[Pick], str]) -> str:
    """One quantity of the picks, seed by seed; once where they agree."""
    texts = [show(pick) for pick in picks]
    return "; ".join(texts) if len(set(texts)) > 1 else texts[0]


def _columns(rows: Sequence[Sequence[str]]) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(*("", *HEADINGS), box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for row in rows:
        table.add_row(*row)
    out = io.StringIO()
    plain = Console(file=out, width=1000, color_system=None, force_terminal=False, markup=False, highlight=False)
    plain.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
