"""Widths without a search: compound and static scaling, and random widths; each at a given number of parameters, too.

What a search finds has to beat these at equal parameters, or counting parameters would have done (specification, section 10).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmark.channels.graph import ChannelGraph, Variable
from benchmark.channels.reading import OUTPUT, Epoch
from benchmark.errors import Failure, UsageError
from benchmark.streams import stream

CAP = 256  # of every width, in the paper's compound scaling too, as its parameters say
STEPS = (1.0, 3.0, 5.0, 7.0, 9.0)  # k of the paper's compound scaling
WITHIN = 0.01  # of the parameters asked for

Widths = dict[str, int]


def _fitted(variable: Variable, width: float, floor: int = 1, cap: int | None = CAP) -> int:
    """The nearest even width within bounds that the variable may have."""
    unit = math.lcm(2, variable.floor)
    low = -(-max(floor, 1) // unit) * unit
    high = max(low, cap // unit * unit) if cap else math.inf
    return int(min(max(unit * round(width / unit), low), high))


def compound(graph: ChannelGraph, k: float, cap: int = CAP) -> Widths:
    """Every width times sqrt(2)^k (Tan and Le, 2019, as CONet's Table 3 has it), which may be no whole number."""
    if not math.isfinite(k) or abs(k) > 40:
        raise UsageError(f"k is {k}: widths are scaled by sqrt(2)^k, with k from -40 to 40")
    return {v.name: _fitted(v, v.width * math.sqrt(2) ** k, cap=cap) for v in graph.variables}


def compound_of(graph: ChannelGraph, parameters: int, cap: int = CAP) -> Widths:
    """Compound scaling to within 1 % of so many parameters. Raises Failure where no k gives them."""
    return _met(graph, lambda k: compound(graph, k, cap), parameters, "compound scaling")


def random_of(graph: ChannelGraph, parameters: int, seed: int, draw: int, floor: int, cap: int = CAP) -> Widths:
    """Widths at random, log-uniform between floor and cap, then scaled alike to within 1 % of so many parameters."""
    numbers = stream("channels", "random widths", seed, draw).uniform(
        math.log(floor), math.log(cap), len(graph.variables)
    )
    sizes = {v.name: math.exp(number) for v, number in zip(graph.variables, numbers, strict=True)}

    def scaled(k: float) -> Widths:
        return {v.name: _fitted(v, sizes[v.name] * math.sqrt(2) ** k, floor, cap) for v in graph.variables}

    return _met(graph, scaled, parameters, f"random widths, draw {draw}")


def static(graph: ChannelGraph, history: Sequence[Epoch], share: float) -> Widths:
    """Widths cut down to what was used of them, by a share S of it (CONet, equation 4): C (O + (1 - S)(1 - O)).

    O is the mean over the convolutions that make a width of this size, projections aside, of the highest rank of their
    output side in any epoch of a whole training. history: of the network at its own widths.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share}: static scaling goes from 0, as it was, to 1")
    used = used_of(graph, history)
    return {
        v.name: v.width
        if v.width not in used
        else _fitted(v, v.width * (used[v.width] + (1 - share) * (1 - used[v.width])), cap=None)
        for v in graph.variables
    }


def used_of(graph: ChannelGraph, history: Sequence[Epoch]) -> dict[int, float]:
    """O by width, of the widths that some convolution makes."""
    found: dict[int, list[float]] = {}
    for variable in graph.variables:
        for name in (one for together in variable.producers for one in together.split("+")):
            if not re.search(r"downsample|projection|shortcut", name):
                found.setdefault(variable.width, []).append(max(epoch[name][OUTPUT].rank for epoch in history))
    return {width: sum(ranks) / len(ranks) for width, ranks in found.items()}


def _met(graph: ChannelGraph, widths: Callable[[float], Widths], parameters: int, what: str) -> Widths:
    """The widths nearest to so many parameters, where `widths` grow with their argument.

    Halving finds the step at which they are passed; the widths that change there are changed one by one, and the nearest
    is brought nearer by single widths, up or down.
    """

    def away(each: Widths) -> int:
        return abs(graph.parameters(each) - parameters)

    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        if graph.parameters(widths(middle)) <= parameters:
            low = middle
        else:
            high = middle
    below, above = widths(low), widths(high)
    candidates = [dict(below)]
    for name in below:
        if below[name] != above[name]:
            candidates.append(candidates[-1] | {name: above[name]})
    best = min(candidates, key=away)
    least, most = widths(-40.0), widths(40.0)
    while away(best) > WITHIN * parameters / 10:
        nearby = [
            best | {v.name: width}
            for v in graph.variables
            for width in (best[v.name] - math.lcm(2, v.floor), best[v.name] + math.lcm(2, v.floor))
            if least[v.name] <= width <= most[v.name]
        ]
        nearer = min(nearby, key=away, default=best)
        if away(nearer) >= away(best):
            break
        best = nearer
    reached = graph.parameters(best)
    if abs(reached - parameters) > WITHIN * parameters:
        raise Failure(f"{what} comes to {reached:,} parameters at best, not within 1 % of {parameters:,}")
    return best


def sizes(graph: ChannelGraph, widths: Mapping[str, int]) -> dict[str, Any]:
    """What a result states of widths."""
    return {"widths": dict(widths), "parameters": graph.parameters(widths), "macs": graph.macs(widths)}
