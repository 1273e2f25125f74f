"""What the paper prints of its search of widths: Tables 2, 3 and 4 (Hosseini et al., 2021). No torch.

As printed, but for one slip: of two rows of Table 3 that say DARTS14, delta_3, the one of 0.17 million parameters is that
of delta_4. Rows without a delta are baselines; k is of compound scaling, every width times sqrt(2)^k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DELTAS = (0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025)  # delta_0 to delta_6


@dataclass(frozen=True)
class Figures:
    """Test accuracy in per cent with its std over runs, millions of parameters, and the search's GPU days, where printed."""

    accuracy: float
    std: float
    parameters: float
    days: float | None = None


@dataclass(frozen=True)
class Row:
    """A row of Table 3: a network, and the delta or the k that gave its widths, or neither."""

    network: str
    cifar10: Figures | None
    cifar100: Figures | None
    delta: float | None = None
    k: int | None = None


@dataclass(frozen=True)
class Ablation:
    """A row of Table 2: DARTS7 on CIFAR-100 at delta_3, with one option changed. Accuracy in per cent, parameters in millions."""

    epochs: int
    phi: float
    parameters: float
    accuracy: float


@dataclass(frozen=True)
class Transferred:
    """A row of Table 4 that is the paper's own: a network searched on one data set, trained on ImageNet; per cent, millions."""

    network: str
    delta: float | None
    searched_on: str
    top1: float
    top5: float
    parameters: float


TABLE2 = (
    Ablation(10, 0.2, 4.78, 80.65),
    Ablation(15, 0.2, 2.17, 79.01),
    Ablation(20, 0.2, 1.24, 79.45),
    Ablation(20, 0.1, 1.13, 78.16),
    Ablation(20, 0.3, 1.78, 79.42),
    Ablation(20, 0.4, 2.51, 79.52),
)


def _searched(network: str, rows: Mapping[int, tuple[Figures | None, Figures]]) -> list[Row]:
    return [Row(network, here, there, DELTAS[number]) for number, (here, there) in rows.items()]


TABLE3 = (
    Row("resnet34", Figures(95.56, 0.11, 21.28), Figures(77.88, 0.43, 21.28)),
    *_searched("resnet34", {
        6: (Figures(95.12, 0.08, 2.05, 0.3), Figures(74.69, 0.02, 2.56, 0.3)),
        5: (Figures(95.34, 0.06, 3.20, 0.3), Figures(76.92, 0.22, 5.20, 0.3)),
        4: (Figures(95.59, 0.13, 5.47, 0.4), Figures(78.07, 0.15, 9.33, 0.4)),
        3: (Figures(95.74, 0.06, 10.55, 0.5), Figures(78.43, 0.40, 15.60, 0.5)),
    }),
    Row("darts7", Figures(94.30, 0.18, 0.20), Figures(73.81, 0.31, 0.25)),
    *_searched("darts7", {
        4: (None, Figures(77.38, 0.47, 0.58, 0.3)),
        3: (Figures(95.18, 0.17, 0.63, 0.3), Figures(79.45, 0.33, 1.24, 0.3)),
        2: (Figures(95.87, 0.12, 2.04, 0.3), Figures(80.12, 0.2, 2.89, 0.3)),
        1: (Figures(96.25, 0.13, 4.11, 0.4), Figures(80.53, 0.08, 5.04, 0.4)),
        0: (Figures(96.69, 0.12, 6.54, 0.5), Figures(80.75, 0.31, 6.25, 0.5)),
    }),
    Row("darts7", None, Figures(75.81, 0.30, 0.46), k=1),
    Row("darts7", None, Figures(78.77, 0.14, 1.67), k=3),
    Row("darts7", Figures(96.16, 0.094, 3.85), Figures(80.27, 0.25, 3.94), k=5),
    Row("darts7", Figures(96.32, 0.16, 5.66), Figures(80.50, 0.25, 5.76), k=7),
    Row("darts7", None, Figures(80.66, 0.21, 6.96), k=9),
    Row("darts_plus7", Figures(94.31, 0.07, 0.26), Figures(75.17, 0.31, 0.28)),
    *_searched("darts_plus7", {
        3: (Figures(95.21, 0.11, 0.81, 0.3), Figures(79.87, 0.27, 2.16, 0.3)),
        2: (Figures(95.84, 0.15, 1.38, 0.3), Figures(80.67, 0.34, 3.54, 0.3)),
        1: (Figures(96.19, 0.12, 4.2, 0.4), Figures(81.01, 0.13, 5.61, 0.4)),
        0: (Figures(96.46, 0.11, 7.05, 0.5), Figures(81.21, 0.21, 7.44, 0.5)),
    }),
    Row("darts14", Figures(96.53, 0.12, 3.93), Figures(81.43, 0.17, 4.00)),
    *_searched("darts14", {
        4: (Figures(94.46, 0.12, 0.17, 0.8), Figures(76.33, 0.33, 0.41, 0.8)),
        3: (Figures(95.54, 0.1, 0.46, 0.8), Figures(78.4, 0.31, 0.91, 0.8)),
        2: (Figures(96.24, 0.14, 1.38, 0.8), Figures(80.67, 0.41, 3.06, 0.8)),
        1: (Figures(96.6, 0.08, 4.07, 0.9), Figures(82.06, 0.33, 8.2, 0.9)),
        0: (Figures(96.79, 0.09, 10.42, 1.0), Figures(82.4, 0.57, 12.65, 1.0)),
    }),
    Row("darts_plus14", Figures(96.43, 0.09, 3.35), Figures(80.84, 0.89, 3.40)),
    *_searched("darts_plus14", {
        4: (Figures(94.18, 0.17, 0.17, 0.8), Figures(76.3, 0.49, 0.59, 0.8)),
        3: (Figures(95.08, 0.08, 0.44, 0.8), Figures(78.1, 0.14, 1.60, 0.8)),
        2: (Figures(95.78, 0.09, 1.19, 0.8), Figures(79.46, 0.33, 2.89, 0.8)),
        1: (Figures(96.5, 0.19, 3.59, 0.9), Figures(80.68, 0.25, 5.46, 0.9)),
        0: (Figures(96.69, 0.16, 7.01, 1.0), Figures(81.47, 0.26, 8.57, 1.0)),
    }),
)  # fmt: skip

TABLE4 = (
    Transferred("darts7", None, "cifar10", 52.9, 76.9, 0.5),
    Transferred("darts14", None, "cifar10", 73.3, 91.3, 4.7),
    Transferred("darts7", DELTAS[3], "cifar100", 67.9, 88.0, 1.8),
    Transferred("darts7", DELTAS[2], "cifar100", 72.0, 90.6, 3.4),
    Transferred("darts7", DELTAS[1], "cifar100", 74.1, 91.7, 5.6),
    Transferred("darts14", DELTAS[2], "cifar10", 67.2, 87.6, 1.8),
    Transferred("darts14", DELTAS[1], "cifar10", 74.0, 91.8, 4.8),
    Transferred("darts14", DELTAS[1], "cifar100", 76.6, 93.2, 9.0),
)


def beside(network: str, dataset: str, delta: float | None = None, k: float | None = None) -> Figures | None:
    """What Table 3 prints of this search, or of compound scaling by this k; None where it has none."""
    if delta is None and k is None:
        return None
    row = next((row for row in TABLE3 if (row.network, row.delta, row.k) == (network, delta, k)), None)
    return getattr(row, dataset, None) if row and dataset in ("cifar10", "cifar100") else None


def tables() -> list[str]:
    """Tables 2, 3 and 4 in Markdown: accuracies in per cent (std over runs), millions of parameters."""
    lines = ["Table 2: DARTS7 on CIFAR-100, delta 0.01", "", "| epochs per trial | phi | accuracy | parameters |"]
    lines += ["|---|---|---|---|"]
    lines += [f"| {row.epochs} | {row.phi:g} | {row.accuracy:.2f} | {row.parameters:g} |" for row in TABLE2]
    lines += [
        "",
        "Table 3: accuracy / parameters",
        "",
        "| network | widths | CIFAR-10 | CIFAR-100 |",
        "|---|---|---|---|",
    ]
    for row in TABLE3:
        how = f"delta {row.delta:g}" if row.delta else f"compound scaling, k {row.k}" if row.k else "as it comes"
        lines.append(f"| {row.network} | {how} | {_said(row.cifar10)} | {_said(row.cifar100)} |")
    lines += [
        "",
        "Table 4: trained on ImageNet",
        "",
        "| network | widths | top-1 | top-5 | parameters |",
        "|---|---|---|---|---|",
    ]
    for one in TABLE4:
        how = f"delta {one.delta:g}, searched on {one.searched_on}" if one.delta else "as it comes"
        lines.append(f"| {one.network} | {how} | {one.top1} | {one.top5} | {one.parameters} |")
    return lines


def _said(figures: Figures | None) -> str:
    return f"{figures.accuracy:.2f} ({figures.std:.2f}) / {figures.parameters:.2f}" if figures else ""
