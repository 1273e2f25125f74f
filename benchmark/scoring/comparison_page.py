"""The comparison of two tables as a page for people, in Markdown. Its numbers are made in `benchmark.scoring.comparison`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from benchmark.scoring.comparison import Cell, Comparison
from benchmark.scoring.estimate import Estimate, Interval, tidy
from benchmark.scoring.noise import LEVEL, Simulated
from benchmark.scoring.paired import Heterogeneity, Paired
from benchmark.scoring.sides import MADE_ON, Leaders, Side


def page(result: Comparison) -> str:
    """A comparison for people, in Markdown."""
    parts = [
        _what(result),
        _agreement(result) if result.size > 1 else [],
        _noise(result) if result.a.pooled or result.b.pooled else [],
        _paired(result, result.paired) if result.paired else [],
        _settling(result) if result.a.settling or result.b.settling else [],
        _configurations(result),
    ]
    return "\n".join(line for part in parts for line in part)


def _sides(result: Comparison) -> tuple[tuple[str, Side], tuple[str, Side]]:
    return ("A", result.a), ("B", result.b)


def _what(result: Comparison) -> list[str]:
    a, b = result.a, result.b
    lines = [
        f"# A: {a.name}, B: {b.name}",
        "",
        f"`{result.command}`",
        "",
        f"{result.size} of {result.of} configurations of {result.space} are in both tables; all below is about them. "
        f"Test accuracy on {result.dataset} after the last epoch, in per cent; differences are B - A in points; "
        "intervals are 95 %.",
        "",
    ]
    facts: list[tuple[str, ...]] = [("recipe", a.recipe or "not stated", b.recipe or "not stated")]
    facts += [(f"its {field}", str(one), str(other)) for field, (one, other) in result.differ.items()]
    facts += [
        ("configurations", f"{a.holds} of {result.of}", f"{b.holds} of {result.of}"),
        ("seeds per configuration", _span(a.n), _span(b.n)),
        ("trainings", str(sum(line.a.n for line in result.lines)), str(sum(line.b.n for line in result.lines))),
    ]
    for key in MADE_ON:
        if a.made_on[key] or b.made_on[key]:
            facts.append((key, *("; ".join(side.made_on[key]) or "not stated" for side in (a, b))))
    lines += _grid(["", "A", "B"], [*facts, ("content, sha256", a.sha256[:12], b.sha256[:12])])
    if result.identical:
        lines += ["Both tables have the same content, value for value.", ""]
    for letter, side in _sides(result):
        if side.pooled is None:
            lines += [
                f"{letter} has one seed per configuration: its noise is not known, so no interval, no ceiling.",
                "",
            ]
        elif side.lone:
            lines += [
                f"{letter} has a single seed of {side.lone} of the {result.size} configurations: its noise is known from "
                f"the others alone ({side.pooled.freedom} degrees of freedom).",
                "",
            ]
    return lines


def _agreement(result: Comparison) -> list[str]:
    rows = [
        ("Kendall tau-b, A with B", *_pair(result.tau)),
        ("  given MACs (partial)", *_pair(result.tau_given_macs)),
        ("Spearman", *_pair(result.spearman)),
        ("Pearson, of the means", *_pair(result.pearson)),
        ("tau if both were draws of one truth", *_pair(result.one_truth)),
    ]
    for letter, side in _sides(result):
        ceiling = side.ceiling
        rows += [
            (f"tau of {letter} with another draw of it", *_pair(ceiling.independent if ceiling else None)),
            (f"tau of a perfect predictor with {letter}", *_pair(ceiling.perfect if ceiling else None)),
            (f"tau of counting MACs with {letter}", *_pair(side.macs)),
            (f"tau of pooling late with {letter}", *_pair(side.late)),
            ("  given MACs (partial)", *_pair(side.late_given_macs)),
        ]
    how = "with the same seeds in both, since all are paired" if result.jointly else "each on its own"
    lines = ["## Do they rank alike?", "", *_grid(["", "value", "95 %"], rows)]
    if result.tau.interval or result.a.macs.interval or result.b.macs.interval:
        lines += [
            f"Intervals redraw the tables {result.draws} times, {how}. The means hold noise already, so where tau is "
            "high its interval lies low. Pooling late: the layers before the first pooling.",
            "",
        ]
    told = []
    for letter, side in _sides(result):
        if side.resolved is not None:
            told.append(
                f"- {letter} resolves {len(side.resolved)} of {math.comb(result.size, 2)} pairs (t-test with the "
                "pooled std, Benjamini-Hochberg at 5 %)."
            )
    if result.resolved is not None:
        opposite = f"; the others, as A has them: {', '.join(result.contradictions)}" if result.contradictions else ""
        told.append(f"- Of the {result.resolved} that both resolve, they order {result.agree} alike{opposite}.")
    lines += [*told, ""] if told else []
    for letter, side in _sides(result):
        if side.leaders:
            lines += _leaders(letter, side.leaders)
    if result.a.leaders or result.b.leaders:
        lines += [
            "Chance: the posterior that a configuration is the best of all, by the noise of seeds alone (flat prior of "
            "the means and the log of their common std). Seeds per configuration at which a two-sample t-test (two-sided 5 %) has a power of "
            "80 % for the gap d as observed: about 2 (1.960 + 0.842)^2 s^2 / d^2, s the pooled std. An observed gap is itself noisy: this "
            "plans, and promises nothing.",
            "",
        ]
    return lines


def _leaders(letter: str, best: Leaders) -> list[str]:
    gaps = [*(_say(gap, 2) for gap in best.gaps), "-"]
    seeds = [*("none: a tie" if n is None else str(n) for n in best.seeds), "-"]
    chances = ["< 0.01" if chance < 0.01 else _say(chance, 2) for chance in best.chances]
    lines = _grid(
        [f"best of {letter}", "chance that it is", "gap to the next", "seeds to resolve it"],
        zip(best.configs, chances, gaps, seeds, strict=True),
    )
    return lines if best.more is None else [*lines, f"Runs missing for all of these gaps: {best.more}.", ""]


def _noise(result: Comparison) -> list[str]:
    rows = [
        (letter, _say(side.median), *((_say(side.pooled.std), str(side.pooled.freedom)) if side.pooled else ("-", "-")))
        for letter, side in _sides(result)
    ]
    lines = ["## Noise between seeds, in points", ""]
    lines += _grid(["", "median std", "pooled std", "degrees of freedom"], rows)
    if spreads := [(letter, side.std_spread) for letter, side in _sides(result) if side.std_spread is not None]:
        shares = ", ".join(
            f"in {100 * spread:.1f} % they lie closer together than in {letter}" for letter, spread in spreads
        )
        lines += [
            "If the noise is the same for all configurations, their stds still scatter by chance: of simulated tables with as "
            f"many seeds, {shares}. Near 100 %: the noise differs between configurations. Near 0 %: the stds "
            "are more alike than independent seeds make them.",
            "",
        ]
    if result.std_ratio.value is not None:
        value, interval = _pair(result.std_ratio)
        lines += [
            f"Pooled std of B / that of A: {value} ({interval}; F, which takes the tables as independent and the "
            "configurations of one to vary alike).",
            "",
        ]
    return lines


def _paired(result: Comparison, paired: Paired) -> list[str]:
    shared = "what equal seeds have in common is not known of these tables"
    if result.a.recipe and result.b.recipe and "train_images" not in result.differ:
        shared = "a seed fixes initial weights, order and augmentation in both"
    pairs, margin = _count(paired.pairs, "pair"), f"{paired.margin:g}"
    lines = [
        "## Are they equal, seed by seed?",
        "",
        f"{pairs} (configuration, seed) in {_count(len(paired.configs), 'configuration')}; {shared}. Points, B - A:",
        "",
    ]
    means = [("all pairs, taken as independent", paired.mean), ("means of configurations", paired.of_configs)]
    lines += _grid(["", "mean", "95 %"], [(name, *_pair(mean, 3, True)) for name, mean in means])
    if paired.std is not None:
        apart = f"; {_say(paired.unpaired_std)} if equal seeds had nothing in common" if paired.unpaired_std else ""
        lines.append(f"- Std of the differences: {_say(paired.std)}{apart}.")
    if paired.equal is None:
        lines.append(f"- Equal within {margin} points: cannot be told from {pairs}.")
    elif paired.equal:
        lines.append(
            f"- **Equal within {margin} points**: the interval of the mean over all pairs lies within ±{margin} "
            f"(the least such margin: {_say(paired.least_margin)})."
        )
    else:
        lines.append(
            f"- **Equal within {margin} points: not shown**; the interval reaches {_say(paired.least_margin)}. With "
            f"this std, about {paired.pairs_needed} pairs show it with a chance of 80 % if the truth is 0."
        )
    if paired.heterogeneity:
        lines.append(_heterogeneity(paired.heterogeneity))
    lines.append("")
    by_config = [(c.config, " ".join(map(str, c.seeds)), *_pair(c.mean, 3, True)) for c in paired.configs]
    return lines + _grid(["config", "seeds", "mean", "95 % (std pooled)"], by_config)


def _heterogeneity(found: Heterogeneity) -> str:
    varies = found.p <= LEVEL
    between, interval = _pair(found.between)
    return (
        f"- Between configurations the differences {'vary' if varies else 'are not shown to vary'} beyond the noise of "
        f"seeds: F({found.freedom[0]}, {found.freedom[1]}) = {_say(found.f, 2)}, p = {_say(found.p)}; std within "
        f"{_say(found.within)}, between {between} ({interval})."
        + (" The mean then speaks of these configurations together, not of each." if varies else "")
    )


def _settling(result: Comparison) -> list[str]:
    lines = [
        "## How fast the rankings settle",
        "",
        "tau-b after epoch 1, 2, ... of one schedule, so epoch e is no training of e epochs. Epochs and end are of the "
        "same runs: with itself every table ends at 1.",
        "",
    ]
    for (letter, side), (other, _) in zip(_sides(result), reversed(_sides(result)), strict=True):
        if found := side.settling:
            own, others = (" ".join(_say(tau, 2) for tau in taus) for taus in (found.own, found.other))
            lines.append(f"- {letter} with its own end: {own} (MACs {_say(found.own_macs, 2)})")
            lines.append(f"- {letter} with the end of {other}: {others} (MACs {_say(found.other_macs, 2)})")
    return [*lines, ""]


def _configurations(result: Comparison) -> list[str]:
    def shown(cell: Cell) -> str:
        return f"{_say(cell.mean, 2)} ± {_say(cell.std, 2)} ({cell.n})"

    rows = []
    for line in result.lines:
        delta, interval = _pair(line.delta, 2, True)
        ranks = str(line.a.rank), str(line.b.rank)
        rows.append((str(line.number), line.config, shown(line.a), shown(line.b), delta, interval, *ranks))
    columns = [
        "number",
        "config",
        "A: mean ± std (n)",
        "B: mean ± std (n)",
        "B - A",
        "95 %",
        "rank A",
        "rank B",
    ]
    lines = ["## Each configuration", "", *_grid(columns, rows)]
    return [
        *lines,
        "Intervals by the pooled stds. Each is on its own: of twenty, one is expected to miss the truth.",
        "",
    ]


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns stand under each other on a terminal too."""
    cells = [list(header), *map(list, rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:], ""]


def _pair(found: Estimate | Simulated | None, decimals: int = 3, sign: bool = False) -> tuple[str, str]:
    """A value and its interval."""
    if found is None:
        return "-", "-"
    if isinstance(found, Simulated):
        found = Estimate(found.mean, (found.low, found.high))
    return _say(found.value, decimals, sign), _range(found.interval, decimals, sign)


def _range(interval: Interval | None, decimals: int, sign: bool) -> str:
    return "-" if interval is None else " to ".join(_say(end, decimals, sign) for end in interval)


def _say(value: float | None, decimals: int = 3, sign: bool = False) -> str:
    """The number as it is kept, so that the last bits of a sum turn no digit here."""
    if value is None:
        return "-"
    text = f"{tidy(value):{'+' if sign else ''}.{decimals}f}"
    return text if float(text) else text.lstrip("+-")


def _span(n: tuple[int, int]) -> str:
    return str(n[0]) if n[0] == n[1] else f"{n[0]} to {n[1]}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
