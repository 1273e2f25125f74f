"""Two tables beside each other: the numbers of `scoring.comparison`, as far as the page shows them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from benchmark.errors import UsageError
from benchmark.page.kept import KeptTable
from benchmark.scoring.comparison import compare
from benchmark.scoring.estimate import Estimate


@dataclass(frozen=True)
class Both:
    """One configuration in both tables: accuracy in per cent, std in points (None of one seed), rank from 1."""

    number: int
    config: str
    first: int
    a: float
    a_std: float | None
    a_rank: int
    b: float
    b_std: float | None
    b_rank: int


@dataclass(frozen=True)
class Settled:
    """How a table ranks after an epoch of its own: tau-b with its end, and with the other table."""

    table: str
    epoch: int
    own: float | None
    other: float | None


@dataclass(frozen=True)
class Pair:
    """Two tables over the configurations of both, `size` of `of`.

    resolved, agree  pairs of configurations that differ significantly in both, and how many of them have one order
    contradictions   the others, "better > worse" as A has them
    command          that prints all of the comparison
    """

    a: str
    b: str
    size: int
    of: int
    tau: Estimate
    given_macs: Estimate
    one_truth: float | None
    resolved: int | None
    agree: int | None
    contradictions: tuple[str, ...]
    lines: tuple[Both, ...]
    settling: tuple[Settled, ...]
    command: str


def pairs_of(tables: Sequence[KeptTable]) -> tuple[Pair, ...]:
    """Every two tables that can be compared and have two configurations or more in common."""
    found = []
    for one, other in combinations(tables, 2):
        try:
            result = compare(one.table, other.table)
        except UsageError:  # of other spaces or data
            continue
        if result.size < 2:
            continue
        first = {str(config): config.layers[0] for config in one.table.space}
        settling = [
            Settled(title, epoch, own, across)
            for title, side in ((one.title, result.a), (other.title, result.b))
            if side.settling
            for epoch, (own, across) in enumerate(zip(side.settling.own, side.settling.other, strict=True), start=1)
        ]
        found.append(
            Pair(
                a=one.title,
                b=other.title,
                size=result.size,
                of=result.of,
                tau=result.tau,
                given_macs=result.tau_given_macs,
                one_truth=result.one_truth.mean if result.one_truth else None,
                resolved=result.resolved,
                agree=result.agree,
                contradictions=result.contradictions,
                lines=tuple(
                    Both(
                        line.number,
                        line.config,
                        first[line.config],
                        line.a.mean,
                        line.a.std,
                        line.a.rank,
                        line.b.mean,
                        line.b.std,
                        line.b.rank,
                    )
                    for line in result.lines
                ),
                settling=tuple(settling),
                command=result.command,
            )
        )
    return tuple(found)
