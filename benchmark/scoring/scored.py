"""What a score holds, and how people read it. No torch.

`benchmark.scoring` works it out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.scoring.noise import Ceiling


@dataclass(frozen=True)
class Pick:
    """The architecture picked. Where it lies outside the space, accuracy, rank and regret are None.

    accuracy   the table's mean, in per cent
    rank       1 + the number of configurations that are truly better
    regret     best mean - accuracy, in percentage points
    projected  of a pick outside the space: the configuration scored highest (of ties the first); None inside
    """

    config: str
    accuracy: float | None
    rank: int | None
    regret: float | None
    projected: Pick | None = None


@dataclass(frozen=True)
class Top:
    """The k best by score. Ties in the scores count with their expected value: none is broken.

    precision  share of them that is in the true top k; the true top k holds all that tie with its k-th
    best       accuracy of the truly best among them, in per cent
    regret     best mean of the table - best, in percentage points
    """

    k: int
    precision: float
    best: float
    regret: float


@dataclass(frozen=True)
class Agreement:
    """One method against one table; averages over the method's seeds.

    tau              Kendall's tau-b with the table's means
    taus             the same for each seed of the method
    interval         95 % percentile interval of tau; None where it cannot be had
    spearman         Spearman's rank correlation
    tau_significant  tau-b over the pairs of configurations that differ significantly
    tau_given_macs   partial tau given MACs
    picks            one per seed of the method
    regret           mean regret of the picks, in percentage points; None if any lies outside the space
    top              for k in 1, 3, 5, as far as there are so many configurations
    """

    method: str
    tau: float
    taus: tuple[float, ...]
    interval: tuple[float, float] | None
    spearman: float
    tau_significant: float | None
    tau_given_macs: float | None
    picks: tuple[Pick, ...]
    regret: float | None
    top: tuple[Top, ...]


@dataclass(frozen=True)
class Score:
    """A ranking's agreement with a table, and beside it that of counting MACs.

    method       the ranking, or the method's rankings with several seeds
    macs         the baseline; None for spaces whose MACs cannot be counted yet
    ceiling      None where some configuration has one seed only
    significant  pairs of configurations that differ significantly; None likewise
    size, pairs  number of configurations, and of pairs of them
    n            fewest and most seeds of a configuration in the table
    why          why ceiling and intervals are None; empty where they are not
    recipes      of the ranking and of the table, in words; None where not known
    seconds      that each of the rankings took on its device, over all attempts; None where not known
    table_sha256 the content that was scored against: a growing table keeps its name
    tied         configurations that share each ranking's highest score; for people, not among the kept numbers
    """

    table: str
    dataset: str
    space: str
    n: tuple[int, int]
    method: Agreement
    macs: Agreement | None
    ceiling: Ceiling | None
    significant: int | None
    size: int
    pairs: int
    why: str
    recipes: tuple[str | None, str | None]
    options: Mapping[str, Any]
    draws: int
    seconds: tuple[float | None, ...]
    device: str | None
    table_sha256: str
    tied: tuple[int, ...] = ()

    @property
    def tau(self) -> float:
        """Kendall's tau-b, averaged over the method's seeds."""
        return self.method.tau

    @property
    def interval(self) -> tuple[float, float] | None:
        return self.method.interval

    @property
    def regret(self) -> float | None:
        return self.method.regret

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types; None where there is no number."""
        kept = asdict(self)
        del kept["tied"]  # scores that are kept from before have none
        return json.loads(json.dumps(kept, allow_nan=False, default=str))

    def _doubt(self) -> str:
        """Why the evaluation protocol (sections 1 and 3) lets no claim rest on this score; empty where it may."""
        if any((recipe or "").startswith("smoke") for recipe in self.recipes):
            return "no result: the recipe smoke only shows that everything works"
        if self.recipes[0] and len(self.method.taus) == 1:
            return "one seed: no claim to be better than another rests on it; --seeds 0 1 2 runs three"
        return ""

    def text(self) -> str:
        """The score for people: one line per quantity, MACs in the second column unless they are the first."""
        columns = [self.method] + ([self.macs] if self.macs and self.macs != self.method else [])
        options = " ".join(f"{key}={value}" for key, value in self.options.items())
        low, high = self.n
        seeds = f"{low} to {high} seeds" if low != high else f"{low} seed{'s' * (low > 1)}"
        lines = [
            f"{' '.join(filter(None, [self.method.method, options]))} against table {self.table}",
            f"{self.space} on {self.dataset}, {seeds} per configuration",
        ]
        if self.recipes[0]:
            lines.append(f"recipes: ranking {self.recipes[0]}; table {self.recipes[1] or 'not stated'}")
        if doubt := self._doubt():
            lines.append(doubt)
        rows: list[tuple[str, list[str]]] = [
            ("", [column.method for column in columns]),
            ("Kendall tau-b", [_number(column.tau) for column in columns]),
            ("  95 % interval over seeds", [_range(column.interval) for column in columns]),
        ]
        if len(self.method.taus) > 1:
            rows.append(("  per seed of the method", ["; ".join(map(_number, self.method.taus))]))
        significant = f"  {self.significant or 0} of {self.pairs} pairs that differ"
        rows += [
            (significant, [_number(column.tau_significant) for column in columns]),
            ("  given MACs (partial)", [_number(column.tau_given_macs) for column in columns]),
            ("Spearman", [_number(column.spearman) for column in columns]),
            ("pick", [_each(column, _where) for column in columns]),
            ("  accuracy %", [_each(column, lambda p: _number(p.accuracy, 2)) for column in columns]),
            (f"  true rank of {self.size}", [_each(column, lambda p: _number(p.rank, 0)) for column in columns]),
            ("  regret, points", [_each(column, lambda p: _number(p.regret, 2)) for column in columns]),
        ]
        if any(pick.projected for pick in self.method.picks):
            rows.append(("  projected: accuracy %, regret", [_each(column, _projected) for column in columns]))
        for number, top in enumerate(self.method.top):
            tops = [column.top[number] for column in columns]
            rows.append((f"top {top.k}: precision", [f"{t.precision:.2f}" for t in tops]))
            rows.append(("  best accuracy %, regret", [f"{t.best:.2f}, {t.regret:.2f}" for t in tops]))
        left = max(len(name) for name, _ in rows)
        middle = max(len(cells[0]) for _, cells in rows)
        lines += ["  ".join([name.ljust(left), cells[0].ljust(middle), *cells[1:]]).rstrip() for name, cells in rows]
        if any(tied > 1 for tied in self.tied):
            count = "; ".join(map(str, self.tied if len({*self.tied}) > 1 else self.tied[:1]))
            lines.append(
                f"ties: configurations with the highest score: {count}; a method that names none of them picks"
            )
            lines.append("      the first by number, and top k takes what ties with its k-th by expected value")
        if self.device and any(seconds is not None for seconds in self.seconds):  # without a device nothing trained
            took = ", ".join(_number(seconds, 0) for seconds in self.seconds)
            lines.append(f"device seconds: {took} ({self.device})")
        if self.ceiling:
            lines.append(f"ceiling: a perfect predictor gets {self.ceiling.perfect},")
            lines.append(f"         two tables of this noise agree at {self.ceiling.independent}")
        if self.why:
            lines.append(f"no ceiling and no interval: {self.why}")
        return "\n".join(lines)

    __str__ = text


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _where(pick: Pick) -> str:
    return pick.config if pick.accuracy is not None else f"{pick.config} (outside the space)"


def _projected(pick: Pick) -> str:
    """The configuration that stands for a pick in the space; none where the pick is one itself."""
    inside = pick.projected
    return f"{inside.config}: {inside.accuracy:.2f}, {inside.regret:.2f}" if inside else "-"


def _each(column: Agreement, show: Callable[[Pick], str]) -> str:
    """One quantity of the picks, seed by seed; once where they agree."""
    texts = [show(pick) for pick in column.picks]
    return "; ".join(texts) if len(set(texts)) > 1 else texts[0]
