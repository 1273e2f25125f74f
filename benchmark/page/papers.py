"""The papers' tables with columns of ours beside them. No torch.

What the mixture paper (Javan, Toews and Pedersoli, 2023) prints of single methods stands in the methods' own files; its
Tables 3, 4 and 7 stand here. A number of ours carries the file that it was read from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmark.errors import UsageError
from benchmark.page.kept import Kept, KeptTable, Offered
from benchmark.page.leaderboard import Board, Picked, Standing
from benchmark.page.studies import Studies
from benchmark.tables.files import load_table
from benchmark.tables.published import BEST, DEFAULT, ROWS, Published

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """link: the file of ours that says so, as it is seen from the report's folder; None of what a paper prints."""

    text: str
    link: str | None = None


@dataclass(frozen=True)
class PaperTable:
    """One of the papers' tables. key: its file's name. ours: how many columns at the right are this suite's."""

    key: str
    title: str
    columns: tuple[str, ...]
    ours: int
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class _Larger:
    """A row of Tables 3, 4 and 7: what is printed, and the configuration of a space that it is about, if it is one."""

    printed: tuple[str, ...]
    space: str | None = None
    configs: tuple[str | None, ...] = field(default_factory=tuple)


BASELINE, BEST_ONE = "default", "best"
_LARGER = {
    "mixture-table-3": (
        "Mixture paper, Table 3: gaps to the default",
        ("method", "data", "network", "baseline", "improved", "gap", "our default %", "our best %"),
        (
            _Larger(("DiffStride", "CIFAR10", "ResNet18", "91.4 ± 0.2", "92.4 ± 0.1", "1.0")),
            _Larger(
                ("Balanced Mixtures", "CIFAR10", "ResNet18", "90.45 ± 0.21", "91.51 ± 0.09", "1.06"),
                "resnet18-cifar10",
                (BASELINE, BEST_ONE),
            ),
            _Larger(("DynOPool", "CIFAR100", "ResNet50", "78.50", "80.60", "2.1")),
            _Larger(("ShapeAdaptor", "CIFAR100", "ResNet50", "78.50", "80.29", "1.8")),
            _Larger(
                ("Balanced Mixtures", "CIFAR100", "ResNet50", "77.57 ± 0.18", "79.61 ± 0.21", "2.04"),
                "resnet50-cifar100",
                (BASELINE, BEST_ONE),
            ),
        ),
    ),
    "mixture-table-4": (
        "Mixture paper, Table 4: ResNet50 on Food-101",
        ("models", "found", "accuracy %", "ours %"),
        tuple(
            _Larger((name, config, accuracy), "resnet50-food101", (config,))
            for name, config, accuracy in (
                ("Default", "[3,4,6,3]", "84.00 ± 0.10"),
                ("M = 1", "[6,4,5,1]", "84.24 ± 0.09"),
                ("M = 2", "[4,5,6,1]", "84.34 ± 0.18"),
                ("M = 4", "[8,3,3,2]", "84.35 ± 0.14"),
                ("M = 8", "[9,4,2,1]", "84.73 ± 0.09"),
            )
        ),
    ),
    "mixture-table-7": (
        "Mixture paper, Table 7: ResNet18 on ImageNet",
        ("models", "found", "top-1 %", "best of top 3", "average of top 3", "ours %"),
        tuple(
            _Larger((name, config, one, best, average), "resnet18-imagenet", (config,))
            for name, config, one, best, average in (
                ("Default", "[2,2,2,2]", "68.32 ± 0.24", NOTHING, NOTHING),
                ("M = 1", "[1,3,1,3]", "62.21 ± 0.26", "65.91 ± 0.21", "63.51 ± 1.56"),
                ("M = 2", "[3,1,1,3]", "62.56 ± 0.18", "68.32 ± 0.24", "64.70 ± 2.57"),
                ("M = 4", "[5,1,1,1]", "65.88 ± 0.24", "66.12 ± 0.18", "64.73 ± 1.78"),
                ("M = 8", "[2,3,2,1]", "64.81 ± 0.11", "66.12 ± 0.23", "64.15 ± 2.98"),
            )
        ),
    ),
}
ABSENT = (
    "Of the CONet paper, Tables 2 to 4 and Figures 1c, 3, 4, 6 and 7 (searches of channels) are not here: no results of "
    "that kind lie under this folder."
)


def papers_of(kept: Kept, board: Board | None, studies: Studies) -> tuple[PaperTable, ...]:
    """board: of the published table, whose accuracies the picks of our searches are given; None where it has none."""
    found = [_compared(number, board, kept.offered) for number in ROWS]
    found += [_figure1(kept.tables, studies), _figure3(board, kept.offered), _configurations(kept.tables)]
    found += [_larger(key, kept.tables) for key in _LARGER]
    return tuple(sorted(found, key=lambda table: table.key))


def _standing(board: Board | None, offer: Offered) -> Standing | None:
    """The row of the leaderboard that has these options; of several, the one with most seeds."""
    wanted = (offer.method, dict(offer.options))
    fitting = [row for row in (board.standings if board else ()) if (row.method, row.options) == wanted]
    return max(fitting, key=lambda row: len(row.taus), default=None)


def _compared(number: int, board: Board | None, offered: Sequence[Offered]) -> PaperTable:
    """Table 1 or 2: what each method found, and what ours of that kind found."""
    rows: dict[int, tuple[Cell, ...]] = {}
    table = load_table("published")
    for printed in (row for row in (*DEFAULT, BEST) if row.table == number):
        known = table.best if printed is BEST else table.row(table.space.default)
        ours = (Cell(str(known.config)), Cell(f"{known.mean:.2f}"), Cell(NOTHING), Cell(NOTHING))
        rows[printed.row] = (*_printed(printed), *ours)
    for offer in offered:
        standing = _standing(board, offer)
        for printed in (row for row in offer.variant.published if row.table == number):
            rows[printed.row] = (*_printed(printed), *_ours(standing))
    return PaperTable(
        key=f"mixture-table-{number}",
        title=f"Mixture paper, Table {number}: what methods found on CIFAR-10",
        columns=("method", "found", "accuracy %", "GPU hours", "we found", "accuracy %", "tau-b", "device hours"),
        ours=4,
        rows=tuple(rows[row] for row in sorted(rows)),
        note="Accuracies of ours are those of the published table; device hours are per seed, on what the leaderboard says.",
    )


def _printed(row: Published) -> tuple[Cell, ...]:
    hours = NOTHING if row.hours is None else f"{row.hours:g}"
    return Cell(row.name), Cell(row.architecture), Cell(f"{row.accuracy:.2f} ± {row.std:g}"), Cell(hours)


def _ours(standing: Standing | None) -> tuple[Cell, ...]:
    if standing is None:
        return Cell("not run"), Cell(NOTHING), Cell(NOTHING), Cell(NOTHING)
    link = standing.links[0] if standing.links else None
    hours = NOTHING if standing.seconds is None else f"{standing.seconds / 3600:.1f}"
    return (
        Cell(_each(standing.picks, "text"), link),
        Cell(_each(standing.picks, "accuracy"), link),
        Cell(f"{standing.tau:.3f}", link),
        Cell(hours, link if standing.seconds is not None else None),
    )


def _each(picks: Sequence[Picked], name: str) -> str:
    """One quantity of the picks, seed by seed; once where they agree."""
    values = [getattr(pick, name) for pick in picks]
    texts = ["outside" if value is None else value if isinstance(value, str) else f"{value:.2f}" for value in values]
    return "; ".join(texts) if len(set(texts)) > 1 else texts[0]


def _figure3(board: Board | None, offered: Sequence[Offered]) -> PaperTable:
    rows = []
    for offer in offered:
        if offer.variant.tau is not None:
            standing = _standing(board, offer)
            ours = Cell(f"{standing.tau:.3f}", standing.links[0] if standing.links else None) if standing else None
            words = " ".join(f"{key} = {value}" for key, value in offer.variant.options.items())
            name = Cell(" ".join(filter(None, [offer.method, words])))
            rows.append((name, Cell(f"{offer.variant.tau:.3f}"), ours or Cell("not run")))
    return PaperTable(
        "mixture-figure-3",
        "Mixture paper, Figure 3: Kendall's tau by the number of models",
        ("method", "tau", "our tau-b"),
        1,
        tuple(rows),
        "The points themselves are drawn under Method against truth.",
    )


# Figure 1 prints (alone, together) in per cent; which configurations these are, Table 6 says.
FIGURE_1 = {"[1,1,8]": (87.45, 86.81), "[6,2,2]": (91.83, 89.84)}


def _figure1(tables: Iterable[KeptTable], studies: Studies) -> PaperTable:
    """Two configurations trained alone, and together in one set of weights. Ours alone are those of our tables, too."""
    own = _own(tables)
    asked = [one for one in studies.interference if one.result.alone and set(FIGURE_1) <= set(one.result.configs)]
    asked = [one for one in asked if (one.result.space, one.result.dataset) == ("resnet20-cifar10", "cifar10")]
    rows = []
    for at, side in enumerate(("alone", "together")):
        for (config, printed), kind in zip(FIGURE_1.items(), ("early", "late"), strict=True):
            tested = [_accuracy(kept, config) if side == "alone" else Cell(NOTHING) for kept in own]
            found = [Cell(f"{one.result.mean(side, one.result.configs.index(config)):.2f}", one.link) for one in asked]
            rows.append((Cell(f"{config}, {kind} pooling, {side}"), Cell(f"{printed[at]:.2f}"), *tested, *found))
    note = (
        "A table's accuracies are of the test set, after its own recipe. Where the two share weights, each is trained on as "
        "many batches as alone, and tested on the validation half."
        if asked
        else 'Not run here: python -m benchmark.evaluate --method spos --configs "[1,1,8]" "[6,2,2]"'
    )
    return PaperTable(
        "mixture-figure-1",
        "Mixture paper, Figure 1: two configurations alone, and in one set of weights",
        (
            "configuration",
            "published %",
            *(f"{kept.title} %" for kept in own),
            *(f"one set of weights, {one.result.recipe[0]} %" for one in asked),
        ),
        len(own) + len(asked),
        tuple(rows),
        note,
    )


def _own(tables: Iterable[KeptTable]) -> list[KeptTable]:
    """The tables of the published one's space and data, but for itself."""
    published = load_table("published")
    return [
        kept
        for kept in tables
        if (kept.table.space.name, kept.table.dataset) == (published.space.name, published.dataset)
        and kept.table.sha256 != published.sha256
    ]


def _configurations(tables: Iterable[KeptTable]) -> PaperTable:
    """Table 6: every configuration, as published and in each table of ours of that space and data."""
    published, own = load_table("published"), _own(tables)
    rows = []
    for row in published.rows:
        cells = [
            Cell(str(published.space.number(row.config))),
            Cell(str(row.config)),
            Cell(f"{row.mean:.2f} ± {row.std}"),
        ]
        for kept in own:
            if row.config in kept.table.missing():
                cells.append(Cell(NOTHING))
                continue
            ours = kept.table.row(row.config)
            spread = "" if ours.std is None else f" ± {ours.std:.2f}"
            cells.append(Cell(f"{ours.mean:.2f}{spread} (n = {ours.n})", kept.link))
        rows.append(tuple(cells))
    return PaperTable(
        "mixture-table-6",
        "Mixture paper, Table 6: every configuration of ResNet20 on CIFAR-10",
        ("number", "configuration", "published %", *(f"{kept.title} %" for kept in own)),
        len(own),
        tuple(rows),
    )


def _larger(key: str, tables: Iterable[KeptTable]) -> PaperTable:
    title, columns, printed = _LARGER[key]
    held = {kept.table.space.name: kept for kept in tables}
    rows = []
    for row in printed:
        width = len(columns) - len(row.printed)
        ours = [Cell(NOTHING)] * width
        if row.space in held:
            ours = [_accuracy(held[row.space], wanted) for wanted in row.configs]
        rows.append((*map(Cell, row.printed), *ours))
    ours_columns = len(columns) - len(printed[0].printed)
    absent = sorted({row.space for row in printed if row.space and row.space not in held})
    note = f"No table of {' or '.join(absent)} lies under this folder." if absent else ""
    return PaperTable(key, title, columns, ours_columns, tuple(rows), note)


def _accuracy(kept: KeptTable, wanted: str | None) -> Cell:
    table = kept.table
    try:
        row = (
            table.best if wanted == BEST_ONE else table.row(table.space.default if wanted == BASELINE else wanted or "")
        )
    except UsageError:
        return Cell(NOTHING)
    return Cell(f"{row.mean:.2f}" + ("" if row.std is None else f" ± {row.std:.2f}"), kept.link)
