"""Kendall's tau-b of many tables at once, in O(C log C) for each. No torch and no scipy.

Knight's way (1966): sort by one side, then merge sort by the other and weigh what changes places. Every step of it is
taken for many tables together. All counts are whole numbers, so no order of summation changes a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

CHUNK = 2**17  # numbers that are sorted together: they stay in a processor's cache
BASE = 16  # configurations of which all pairs are taken: below, that is faster than merging


def kendall(tables: Array, scores: Array, copies: Array | None = None) -> Array:
    """tau-b (Kendall, 1945) of each table with scores: (draws,); NaN where either side is constant.

    tables  (draws, C) finite numbers
    scores  (C,) of all tables, or (draws, C) of each
    copies  (draws, C) how many times each configuration counts, whole numbers from 0; None: once. A pair of copies
            of one configuration does not count, for it would be a tie that nobody made.

    The same numbers as scipy's, which takes one pair of vectors at a time. Time is O(C log C) for each table (Knight,
    1966); beyond what is given, memory is that of a few tables, or a few MB where these are small.
    """
    import numpy as np

    of_all = _ranks(scores[None]) if scores.ndim == 1 else None
    step = max(1, CHUNK // tables.shape[-1])
    found = []
    for start in range(0, len(tables), step):
        chunk = slice(start, start + step)
        ranks = _ranks(scores[chunk]) if of_all is None else of_all
        found.append(_kendall(tables[chunk], ranks, None if copies is None else copies[chunk]))
    return np.concatenate(found)


def partial(between: Array | float, with_one: Array | float, with_other: Array | float) -> Array:
    """Kendall's partial tau (1942) from the tau-b between two and of each with what is given; all of one shape.

    NaN where one of both orders exactly as what is given does, or where a tau is NaN.
    """
    import numpy as np

    rest = (1 - np.square(with_one)) * (1 - np.square(with_other))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rest > 1e-12, (between - with_one * with_other) / np.sqrt(rest), np.nan)


def _kendall(tables: Array, ranks: Array, copies: Array | None) -> Array:
    """The same for all at once, of scores that are given as ranks (1, C) or (draws, C)."""
    import numpy as np

    order = np.argsort(tables, axis=-1)
    ranks = np.take_along_axis(np.broadcast_to(ranks, tables.shape), order, axis=-1)
    weights = np.ones(1, np.int64) if copies is None else np.take_along_axis(copies.astype(np.int64), order, axis=-1)
    bits = _Bits(int(weights.max()).bit_length(), tables.shape[-1].bit_length())
    # Sorting the keys sorts by table and, where that is tied, by rank.
    groups = _groups(np.take_along_axis(tables, order, axis=-1))
    keys = groups << bits.above | ranks << bits.below | weights
    keys.sort(axis=-1, kind="stable")
    in_table = _untied(keys >> bits.above, keys & bits.weight)
    somewhere = _untied(keys >> bits.below, keys & bits.weight)
    discordant, keys = _merged(keys & ~(-1 << bits.above), bits)
    in_scores = _untied(keys >> bits.below, keys & bits.weight)
    both = in_table + in_scores - somewhere
    with np.errstate(invalid="ignore"):
        return (both - 2 * discordant) / np.sqrt(in_table.astype(float) * in_scores)


@dataclass(frozen=True)
class _Bits:
    """How one whole number holds, from its lowest bits up, a weight, a side (0 or 1) and a rank.

    copies, ranks  bits that the largest weight and the largest rank take
    """

    copies: int
    ranks: int

    @property
    def weight(self) -> int:
        """Where the weight is."""
        return (1 << self.copies) - 1

    @property
    def side(self) -> int:
        """Where the side is."""
        return 1 << self.copies

    @property
    def below(self) -> int:
        """Bits below the rank."""
        return self.copies + 1

    @property
    def above(self) -> int:
        """Bits up to the end of the rank."""
        return self.below + self.ranks


def _ranks(values: Array) -> Array:
    """Ranks from 0 along the last axis, equal where values are: (d, C) -> (d, C)."""
    import numpy as np

    order = np.argsort(values, axis=-1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, _groups(np.take_along_axis(values, order, axis=-1)), axis=-1)
    return ranks


def _groups(ordered: Array) -> Array:
    """Numbers of the groups of equal values, from 0: (d, C), sorted along the last axis -> (d, C)."""
    import numpy as np

    starts = np.zeros(ordered.shape, np.int64)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return np.cumsum(starts, axis=-1)


def _untied(groups: Array, weights: Array) -> Array:
    """Pairs of different groups, each counted by the product of its weights: (d, C), groups sorted -> (d,)."""
    import numpy as np

    before = np.cumsum(weights, axis=-1)[:, :-1]
    of_other_groups = np.maximum.accumulate(before * (groups[:, 1:] != groups[:, :-1]), axis=-1)
    return np.einsum("ij,ij->i", weights[:, 1:], of_other_groups)


def _merged(keys: Array, bits: _Bits) -> tuple[Array, Array]:
    """Merge sort of keys (d, C) of side 0: (pairs that change places (d,), the sorted keys (d, at least C)).

    A pair counts by the product of its weights. At the end come keys of weight 0, if need be.
    """
    import numpy as np

    draws, size = keys.shape
    levels = ((size - 1) // BASE).bit_length()
    width = -(-size // 2**levels)
    last = ~(-1 << bits.above) & ~(bits.side | bits.weight)
    keys = np.pad(keys, ((0, 0), (0, (width << levels) - size)), constant_values=last).reshape(-1, width)
    changed = _all_pairs(keys.T.copy(), bits)
    keys.sort(axis=-1)
    while len(keys) > draws:
        # Of equal ranks the left one comes first. Two sorted runs are what the stable sort merges in linear time.
        keys[1::2] |= bits.side
        keys = keys.reshape(-1, 2 * keys.shape[1])
        keys.sort(axis=-1, kind="stable")
        weights = keys & bits.weight
        right = (keys & bits.side) >> bits.copies
        right *= weights
        weights -= right
        left = np.cumsum(weights, axis=-1)
        total = left[:, -1] * right.sum(axis=-1)
        changed = changed.reshape(-1, 2).sum(axis=-1) + total - np.einsum("ij,ij->i", right, left)
        keys &= ~bits.side
    return changed, keys


def _all_pairs(keys: Array, bits: _Bits) -> Array:
    """Pairs of keys (few, many) along the first axis of which the first has the higher rank, by their weights: (many,)."""
    import numpy as np

    ranks, weights = keys >> bits.below, keys & bits.weight
    found = np.zeros(keys.shape[1], np.int64)
    for i in range(len(keys) - 1):
        found += weights[i] * (weights[i + 1 :] * (ranks[i] > ranks[i + 1 :])).sum(axis=0)
    return found
