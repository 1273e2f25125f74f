"""What a search did epoch by epoch, by what its history holds, whichever method it is. No torch.

p(m|c)   watched[i]["p(m|c)"], (C, M): how probable each model is for each configuration (a mixture)
weights  weights[i], (L - 1, R): the weight of each resolution in each block (DARTS)
sizes    sizes[i], (L - 1, 2): height and width in pixels of each layer after the first, before the first epoch and after
         each (DiffStride, ShapeAdaptor, DynOPool)
draws    watched[i]["visits"], whose last C numbers count the draws of each configuration until then (MCTS), or
         watched[i]["p(c)"], (C,): how probable each is to be drawn (BSE)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.page.kept import KeptRanking
from benchmark.spaces.space import PoolingSpace, load_space

if TYPE_CHECKING:
    import numpy as np

SHOWN = 8  # epochs of a mixture, evenly over its search, the first and the last among them
COLUMNS = 15  # of epochs in a figure of draws


@dataclass(frozen=True)
class Mixing:
    """chances: (epochs, C, M), p(m|c); configs are sorted by the model that each ends with."""

    label: str
    seed: str
    link: str
    epochs: tuple[int, ...]
    configs: tuple[str, ...]
    models: tuple[int, ...]
    chances: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True)
class Weighing:
    """weights: (L - 1, R) at the end of the search; found: (L,) the resolutions picked, the first layer's with them."""

    label: str
    seed: str
    link: str
    text: str
    inside: bool
    sizes: tuple[int, ...]
    found: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Sizing:
    """learned: (E + 1, L - 1, 2) in pixels, before the first epoch and after each; sizes: those of the space."""

    label: str
    seed: str
    link: str
    sizes: tuple[int, ...]
    learned: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Drawing:
    """shares: (columns, C), the share of draws between two epochs, or the chance to be drawn at one; rows sum to 1."""

    label: str
    seed: str
    link: str
    counted: bool
    epochs: tuple[int, ...]
    configs: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Histories:
    mixing: tuple[Mixing, ...]
    weighing: tuple[Weighing, ...]
    sizing: tuple[Sizing, ...]
    drawing: tuple[Drawing, ...]
    left_out: tuple[str, ...]


def histories_of(rankings: Sequence[KeptRanking], labels: Mapping[int, str]) -> Histories:
    """labels: the name of each ranking on the page, by its `id`. What has such a name and another shape is left out."""
    mixing: list[Mixing] = []
    weighing: list[Weighing] = []
    sizing: list[Sizing] = []
    drawing: list[Drawing] = []
    left_out = []
    seen: dict[tuple[str, str], int] = {}
    for kept in rankings:
        label = labels[id(kept.ranking)]
        times = seen[label, kept.seed] = seen.get((label, kept.seed), 0) + 1
        if times > 1:  # no seeds of one method: each is a search of its own
            label = f"{label}, {times}"
        try:
            space = load_space(kept.ranking.space)
            watched = kept.ranking.history.get("watched") or []
            last = watched[-1] if isinstance(watched, list) and watched and isinstance(watched[-1], dict) else {}
            if "p(m|c)" in last:
                mixing.append(_mixing(label, kept, space, watched))
            if "visits" in last or "p(c)" in last:
                drawing.append(_drawing(label, kept, space, watched))
            if "weights" in kept.ranking.history:
                weighing.append(_weighing(label, kept, space))
            if "sizes" in kept.ranking.history:
                learned = _array(kept.ranking.history["sizes"], None, space.depth - 1, 2)
                if learned.min() < 1:
                    raise ValueError("a map of no pixels")
                pixels = tuple(tuple((int(h), int(w)) for h, w in layers) for layers in learned)
                sizing.append(Sizing(label, kept.seed, kept.link, space.sizes, pixels))
        except (ValueError, TypeError, KeyError, IndexError, OverflowError):
            left_out.append(f"{kept.link}: its history is not drawn, for it has another shape; its scores are used")
    return Histories(tuple(mixing), tuple(weighing), tuple(sizing), tuple(drawing), tuple(left_out))


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the places 0 to count - 1, evenly, the first and the last among them."""
    import numpy as np

    return sorted({round(float(place)) for place in np.linspace(0, count - 1, min(count, wanted))})


def _array(values: Any, *shape: int | None) -> np.ndarray:
    """Finite numbers of that shape, None for any length. Raises ValueError for others."""
    import numpy as np

    found = np.array(values, dtype=float)
    fits = found.ndim == len(shape) and all(b in (None, a) for a, b in zip(found.shape, shape, strict=True))
    if not fits or not found.size or not np.isfinite(found).all():
        raise ValueError(f"an array of {found.shape}")
    return found


def _mixing(label: str, kept: KeptRanking, space: PoolingSpace, watched: Sequence[Any]) -> Mixing:
    chances = _array([then["p(m|c)"] for then in watched], None, len(space), None)
    last = chances[-1]
    models = [int(model) for model in last.argmax(axis=1)]
    order = sorted(range(len(space)), key=lambda c: (models[c], -last[c, models[c]], c))
    shown = _spread(len(watched), SHOWN)
    return Mixing(
        label,
        kept.seed,
        kept.link,
        tuple(int(watched[place]["epoch"]) for place in shown),
        tuple(str(space[c]) for c in order),
        tuple(models[c] for c in order),
        tuple(tuple(tuple(map(float, chances[place, c])) for c in order) for place in shown),
    )


def _weighing(label: str, kept: KeptRanking, space: PoolingSpace) -> Weighing:
    weights = _array(kept.ranking.history["weights"][-1], space.depth - 1, len(space.sizes))
    found = space.architecture(str(kept.ranking.pick))
    return Weighing(
        label,
        kept.seed,
        kept.link,
        str(found),
        found in space,
        space.sizes,
        tuple(found.path),
        tuple(tuple(map(float, row)) for row in weights),
    )


def _drawing(label: str, kept: KeptRanking, space: PoolingSpace, watched: Sequence[Any]) -> Drawing:
    import numpy as np

    counted = "visits" in watched[-1]
    shown = _spread(len(watched), COLUMNS)
    if counted:
        visits = _array([watched[place]["visits"] for place in shown], None, None)[:, -len(space) :]
        if visits.shape[1] != len(space):
            raise ValueError("fewer nodes than configurations")
        shares = np.diff(visits, axis=0, prepend=0)
        shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)
    else:
        shares = _array([watched[place]["p(c)"] for place in shown], None, len(space))
    return Drawing(
        label,
        kept.seed,
        kept.link,
        counted,
        tuple(int(watched[place]["epoch"]) for place in shown),
        tuple(map(str, space)),
        tuple(tuple(map(float, row)) for row in shares),
    )
