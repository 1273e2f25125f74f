"""What configurations lose where they share weights (paper, Figure 1), and whose gradients pull which way. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.given import read_bytes
from benchmark.provenance import checksum
from benchmark.scoring.ranking import Ranking
from benchmark.spaces.space import PoolingSpace, load_space

KIND = "interference"
MOST_SHOWN = 8  # configurations, beyond which a matrix is for the page and not for a terminal


@dataclass(frozen=True)
class Look:
    """The gradients after an epoch of the training together.

    cosines  (C, C), between the gradients of two configurations on different images; symmetric. The diagonal, one
             configuration on different images, says how high a cosine can be. Mean over seeds
    """

    epoch: int
    cosines: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Interference:
    """Configurations alone, and together in one set of weights.

    configs          as text, in canonical order
    seeds            of the trainings
    epochs           of each alone and, C times as many, of all together; then, drawn equally often, each is trained on as
                     many batches as alone (None: not trained alone)
    alone, together  (C, seeds) accuracies on the validation half, per cent; alone is empty where it was not asked for
    shares           (C, seeds) epochs that each had of the training together
    recipe           of the training together: label, hash
    devices          that trained
    """

    space: str
    dataset: str
    configs: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: tuple[int | None, int]
    alone: tuple[tuple[float, ...], ...]
    together: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    looks: tuple[Look, ...]
    recipe: tuple[str, str]
    devices: tuple[str, ...]

    def mean(self, side: str, place: int) -> float | None:
        """Over seeds, of `alone` or `together`, of one configuration; None where it was not trained."""
        rows = getattr(self, side)
        return sum(rows[place]) / len(rows[place]) if rows else None

    def to_dict(self) -> dict[str, Any]:
        """With a checksum, as rankings have one."""
        body = {"kind": KIND, "space": self.space} | json.loads(json.dumps(asdict(self)))
        return body | {"checksum": checksum(body)}

    def text(self) -> str:
        """For people."""
        alone, together = self.epochs
        count, seeds = len(self.configs), ", ".join(map(str, self.seeds))
        what = f"{count} configurations of {self.space} on {self.dataset}"
        if alone:
            lines = [
                f"{what}: each alone for {alone} epochs, and together in one set of weights for {together}",
                f"accuracy on the validation half, %, mean of seeds {seeds} (recipe {self.recipe[0]})",
                f"{'':16}{'alone':>9}{'together':>10}{'lost':>8}{'epochs of its own, together':>30}",
            ]
            for place, config in enumerate(self.configs):
                one, other = self.mean("alone", place), self.mean("together", place)
                share = self.mean("shares", place)
                assert one is not None
                assert other is not None
                lines.append(f"{config:16}{one:9.2f}{other:10.2f}{one - other:8.2f}{share:30.1f}")
        else:
            lines = [f"{what}, together in one set of weights for {together} epochs, seeds {seeds}"]
        for look in self.looks:
            lines.append(_said(look, self.configs))
        return "\n".join(lines)


def _said(look: Look, configs: Sequence[str]) -> str:
    pairs = [(value, a, b) for a, row in enumerate(look.cosines) for b, value in enumerate(row) if a < b]
    own = sum(row[place] for place, row in enumerate(look.cosines)) / len(configs)
    start = f"cosine of gradients after epoch {look.epoch}: "
    end = f"a configuration with itself on other images {own:.3f}"
    if len(configs) <= MOST_SHOWN // 2:
        return start + "; ".join([*(f"{configs[a]} with {configs[b]} {value:.3f}" for value, a, b in pairs), end])
    (low, a, b), (high, c, d) = min(pairs), max(pairs)
    mean = sum(value for value, _, _ in pairs) / len(pairs)
    return (
        f"{start}mean of {len(pairs)} pairs {mean:.3f}, from {low:.3f} ({configs[a]} with {configs[b]}) "
        f"to {high:.3f} ({configs[c]} with {configs[d]}); {end}"
    )


def interference(alone: Sequence[Mapping[int, Ranking]], together: Mapping[int, Ranking]) -> Interference:
    """The result of trainings by `nas_methods.among`, by seed.

    alone: one per configuration, in canonical order; none where only the training together was asked for.
    """
    first = next(iter(together.values()))
    space, configs = load_space(first.space), tuple(first.options["configs"])
    places = [space.index(config) for config in configs]
    seeds = tuple(together)
    recipe = first.provenance["recipe"]

    def accuracy(ranking: Ranking, place: int) -> float:
        return round(100 * ranking.scores[place], 4)

    def share(ranking: Ranking, at: int) -> float:
        draws = ranking.history["watched"][-1]["draws"]
        return float(round(draws[at] / sum(draws) * recipe["epochs"], 3))

    def look(at: int) -> Look:
        matrices = [together[seed].history["observed"][at]["cosines"] for seed in seeds]
        mean = tuple(
            tuple(round(sum(values) / len(seeds), 4) for values in zip(*rows, strict=True))
            for rows in zip(*matrices, strict=True)
        )
        return Look(first.history["observed"][at]["epoch"], mean)

    made = [ranking for some in (*alone, together) for ranking in some.values()]
    return Interference(
        space=first.space,
        dataset=str(first.dataset),
        configs=configs,
        seeds=seeds,
        epochs=(next(iter(alone[0].values())).provenance["recipe"]["epochs"] if alone else None, recipe["epochs"]),
        alone=tuple(
            tuple(accuracy(some[seed], place) for seed in seeds)
            for some, place in zip(alone, places, strict=bool(alone))
        ),
        together=tuple(tuple(accuracy(together[seed], place) for seed in seeds) for place in places),
        shares=tuple(tuple(share(together[seed], at) for seed in seeds) for at in range(len(configs))),
        looks=tuple(look(at) for at in range(len(first.history.get("observed", ())))),
        recipe=(first.provenance["recipe_label"], first.provenance["recipe_hash"]),
        devices=tuple(sorted({str(ranking.provenance.get("device")) for ranking in made})),
    )


def read_interference(path: Path | str) -> Interference:
    """What `Interference.to_dict` wrote. Raises UsageError, naming the file, for anything else and for what was altered."""
    try:
        body = json.loads(read_bytes(path))
        if body.pop("checksum", None) != checksum(body) or body.pop("kind") != KIND:
            raise UsageError("it is not what was written")
        body["looks"] = tuple(Look(one["epoch"], _tuples(one["cosines"])) for one in body["looks"])
        found = Interference(**{key: _tuples(value) for key, value in body.items()})
        _require_shape(found, load_space(found.space))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"{path} is no result of an interference experiment ({why}): make it again") from None
    return found


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _require_shape(found: Interference, space: PoolingSpace) -> None:
    """Raises ValueError or TypeError where sizes do not fit: figures rely on them."""
    count, seeds = len(found.configs), len(found.seeds)
    rows = (found.together, found.shares, *([found.alone] if found.alone else []))
    fits = count > 0 and seeds > 0 and all(len(side) == count and all(len(r) == seeds for r in side) for side in rows)
    fits &= all(len(look.cosines) == count and all(len(r) == count for r in look.cosines) for look in found.looks)
    for config in found.configs:
        space.index(config)
    for row in (*(r for side in rows for r in side), *(r for look in found.looks for r in look.cosines)):
        if not all(-1e3 < float(value) < 1e3 for value in row):
            raise ValueError("a number that is none")
    if not fits:
        raise ValueError("rows of other lengths")
