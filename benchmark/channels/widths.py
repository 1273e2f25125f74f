"""Which channels of a network come in equal numbers: widths that are tied, cut into parts, or shared out.

The channels of a feature map are a row of parts, each a share of an unknown width. Adding two maps ties their parts,
one after the other; where the cuts differ, the longer part is cut, too. So a tied width, a concatenation and a split
are one thing: an unknown that stands for others (CONet, 2021, section 4.1 and Algorithm 1, with sums solved by union-find).
Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

Part = tuple[int, Fraction]  # an unknown's number, and which multiple of its width this is


class Untied(ValueError):
    """Raised where widths can be neither tied nor cut as asked."""


@dataclass(frozen=True)
class Channels:
    """The channels of one feature map, in order.

    mixed   shuffled: the parts are there, but not one after the other
    groups  0, or that many: the axis of channels is split into two just now, as in the midst of a shuffle
    last    the axis of channels is the last one just now, as a layer norm wants it
    """

    parts: tuple[Part, ...]
    mixed: bool = False
    groups: int = 0
    last: bool = False

    def times(self, factor: Fraction | int) -> Channels:
        return replace(self, parts=tuple((unknown, share * factor) for unknown, share in self.parts))


class Unknowns:
    """The widths of a network that may be chosen, as far as they are known to be free."""

    def __init__(self) -> None:
        self.size: list[int] = []  # as the network has it
        self.multiple: list[int] = []  # of which the width must be one
        self.fixed: list[bool] = []
        self._instead: list[tuple[int, ...] | None] = []

    def new(self, size: int, multiple: int = 1, fixed: bool = False) -> Channels:
        """Channels of a width of their own."""
        self.size.append(size)
        self.multiple.append(multiple)
        self.fixed.append(fixed)
        self._instead.append(None)
        return Channels(((len(self.size) - 1, Fraction(1)),))

    def parts(self, channels: Channels) -> tuple[Part, ...]:
        """The parts in terms of unknowns that stand for themselves."""
        found: list[Part] = []
        for unknown, share in channels.parts:
            instead = self._instead[unknown]
            found += [(unknown, share)] if instead is None else self.parts(Channels(tuple((u, share) for u in instead)))
        return tuple(found)

    def width(self, channels: Channels, of: Callable[[int], int] | None = None) -> int:
        """How many channels there are; by default as the network has them."""
        total = sum(
            (share * (of or self.size.__getitem__)(unknown) for unknown, share in self.parts(channels)), Fraction()
        )
        if total.denominator != 1:
            raise Untied(f"{total} channels")
        return int(total)

    def tie(self, one: Channels, other: Channels) -> None:
        """Makes two maps have equal parts. Raises Untied where they have not the same width, or cannot be cut alike."""
        left, right = self.parts(one), self.parts(other)
        while left and right:
            (a, s), (b, t) = left[0], right[0]
            if (a, s) == (b, t):
                left, right = left[1:], right[1:]
                continue
            if a == b or s != t:
                raise Untied("shares of one width cannot be tied to other shares")
            small, large = (a, b) if self.size[a] <= self.size[b] else (b, a)
            if self.size[small] == self.size[large]:
                # The one that was there first stays, so that a class has the name of its first layer.
                small, large = min(small, large), max(small, large)
                self._replace(large, (small,))
            else:
                (rest, _), *_ = self.new(self.size[large] - self.size[small]).parts
                self._replace(large, (small, rest))
            left, right = self.parts(Channels(left)), self.parts(Channels(right))
        if left or right:
            raise Untied("the widths differ")

    def require_multiple(self, channels: Channels, number: int) -> None:
        """Every part has to be a multiple of a number."""
        for unknown, share in self.parts(channels):
            need = Fraction(number) / share
            if self.size[unknown] % need.numerator:
                raise Untied(f"{self.size[unknown]} channels are no multiple of {need.numerator}")
            self.multiple[unknown] = math.lcm(self.multiple[unknown], need.numerator)

    def fix(self, channels: Channels) -> None:
        """These widths may not be chosen."""
        for unknown, _ in self.parts(channels):
            self.fixed[unknown] = True

    def halves(self, channels: Channels, count: int) -> list[Channels]:
        """The map in so many equal runs, as `chunk` gives them. A run of a shuffled map has a share of every part."""
        parts = self.parts(channels)
        if channels.mixed and len(parts) > 1:
            each, odd = divmod(len(parts), count)
            if odd or not each:
                raise Untied(f"{len(parts)} shuffled parts are not cut into {count} equal ones")
            runs = [Channels(parts[i * each : (i + 1) * each]) for i in range(count)]
            for run in runs[1:]:
                self.tie(runs[0], run)
            # or the shares would be those of a sum, which no width below it could be told from
            for other in runs[0].parts[1:]:
                self.tie(Channels(runs[0].parts[:1]), Channels((other,)))
            return runs
        size = self.width(channels)
        if size % count:
            raise Untied(f"{size} channels are not cut into {count} equal parts")
        run = self.new(size // count)
        self.tie(channels, Channels(run.parts * count))
        return [run] * count

    def cut(self, channels: Channels, sizes: Sequence[int]) -> list[Channels]:
        """The map in runs of these sizes, which are then free of each other."""
        runs = [self.new(size) for size in sizes]
        self.tie(channels, Channels(tuple(part for run in runs for part in run.parts)))
        return runs

    def _replace(self, unknown: int, by: tuple[int, ...]) -> None:
        """From now on the unknown stands for others, which take over what is asked of it."""
        alike = len(set(by)) == 1
        need = self.multiple[unknown]
        each = need // math.gcd(need, len(by)) if alike else need
        for part in set(by):
            if self.size[part] % each:
                raise Untied(f"a part of {self.size[part]} channels is no multiple of {each}")
            self.multiple[part] = math.lcm(self.multiple[part], each)
            self.fixed[part] = self.fixed[part] or self.fixed[unknown]
        self._instead[unknown] = by
