"""The search spaces: every way to place the poolings of a network.

A network of L searched layers and p poolings: layer 1 is never pooled, each other layer may be
preceded by one 2x2 max-pool. A configuration says how many layers work at each resolution, so the
space has C(L-1, p) members (paper, section 2.1 and Table 5). Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, pairwise
from operator import index
from typing import Any, Literal, TypeVar

from benchmark.datasheets import datasheet
from benchmark.errors import UsageError, choices
from benchmark.given import values_of
from benchmark.recipe import Recipe, SearchRecipe

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True, order=True)
class Config:
    """One placement of the poolings: `layers[k]` layers work at resolution k (0 = unpooled).

    Frozen, hashable, ordered as in the paper's Table 6; `str` gives `[4,3,3]`.
    """

    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.layers, str) or not hasattr(self.layers, "__iter__"):
            raise UsageError(f"{repr(self.layers)[:80]} are no layers: write Config((4, 3, 3)), or parse '[4,3,3]'")
        whole = all(hasattr(n, "__index__") and not isinstance(n, bool) for n in self.layers)
        object.__setattr__(self, "layers", tuple(map(index, self.layers)) if whole else tuple(self.layers))
        if not self.layers or not whole or min(self.layers) < 1:
            raise UsageError(
                f"{str(list(self.layers))[:80]} is no configuration: it needs whole numbers of 1 or more, as in [4,3,3]"
            )

    def __str__(self) -> str:
        return "[" + ",".join(map(str, self.layers)) + "]"

    @classmethod
    def parse(cls, value: Architecture | str | Iterable[int]) -> Config:
        """A Config from itself, from `"[4,3,3]"` (spaces allowed) or from a sequence of whole numbers.

        Raises UsageError for anything else.
        """
        if isinstance(value, Config):
            return value
        if isinstance(value, str):
            if not re.fullmatch(r"\s*\[\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*\]\s*", value, re.ASCII):
                raise UsageError(f"'{value[:40]}' is no configuration: write it as [4,3,3]")
            return cls(tuple(int(n) for n in re.findall(r"\d+", value)))
        try:
            return cls(tuple(value))  # type: ignore[arg-type]
        except TypeError:
            raise UsageError(f"{repr(value)[:80]} is no configuration: write it as [4,3,3]") from None

    @property
    def path(self) -> tuple[int, ...]:
        """Resolution index of each layer: [4,3,3] -> (0,0,0,0,1,1,1,2,2,2)."""
        return tuple(r for r, n in enumerate(self.layers) for _ in range(n))


@dataclass(frozen=True)
class Path:
    """A resolution index for each of the L layers, falling or rising: what a method finds that leaves the space.

    `str` gives `012220220`: the layers after the first, whose resolution is always 0.
    """

    path: tuple[int, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.path[1:]))


@dataclass(frozen=True)
class Sizes:
    """Height and width in pixels of each layer after the first: what a method finds that learns sizes freely.

    `str` gives `32,32,24x23,...`: one number where a map is square.
    """

    sizes: tuple[tuple[int, int], ...]

    @property
    def path(self) -> tuple[Any, ...]:
        """As `networks.ResNet.forward` takes it: the first layer is never resized."""
        return (0, *self.sizes)

    def __str__(self) -> str:
        return ",".join(str(h) if h == w else f"{h}x{w}" for h, w in self.sizes)


Architecture = Config | Path | Sizes

FEW_FROM = 100
EXPANSION = {"basic": 1, "bottleneck": 4}  # channels out of a block, in multiples of its width


@dataclass(frozen=True)
class Backbone:
    """The network whose poolings a space places. Raises UsageError for a kind of block or stem that is not built.

    block   basic: two conv3x3 with batch norm and a skip; bottleneck: conv1x1, conv3x3 and conv1x1, the last of four times
            the width (He et al., 2016)
    widths  of each searched layer, in channels
    stem    cifar: conv3x3, searched as layer 1, whose width is the first; imagenet: conv7x7 of stride 2 and a max-pool of
            stride 2, fixed and not searched, as wide as layer 1
    side    of the images, in pixels
    """

    block: Literal["basic", "bottleneck"]
    widths: tuple[int, ...]
    stem: Literal["cifar", "imagenet"]
    side: int

    def __post_init__(self) -> None:
        for name, valid in values_of(type(self)).items():
            if (value := getattr(self, name)) not in valid:
                raise UsageError(f"no backbone is built with the {name} '{value}': {choices(value, valid)}")
        if not _are_whole(self.widths):
            raise UsageError(
                f"no backbone has the widths {self.widths!r}: give channels per searched layer, as in (16, 16)"
            )
        if not _are_whole((self.side,)):
            raise UsageError(f"no backbone has images of side {self.side!r}: give it in pixels, as in 32")

    @property
    def blocks(self) -> tuple[tuple[int, int, int], ...]:
        """(channels in, width, channels out) of every block, in order. A searched stem is layer 1 and no block."""
        widths = self.widths[1:] if self.stem == "cifar" else self.widths
        after = [EXPANSION[self.block] * width for width in widths]
        return tuple(zip((self.widths[0], *after[:-1]), widths, after, strict=True))

    @property
    def features(self) -> int:
        """Channels of the last layer, which the classifier sees."""
        return self.blocks[-1][2]

    @property
    def first(self) -> int:
        """Side of the feature maps after the stem, in pixels: what the first of a space's sizes must be."""
        return self.side if self.stem == "cifar" else self.side // 4


def _are_whole(numbers: Any) -> bool:
    """Whether it is a tuple of whole numbers of 1 or more, one at least."""
    return isinstance(numbers, tuple) and len(numbers) > 0 and all(type(one) is int and one > 0 for one in numbers)


@dataclass(frozen=True)
class PoolingSpace:
    """Every configuration of one backbone on one data set, in canonical (lexicographic) order.

    name        as in `load_space`
    sizes       side of the searched feature maps in pixels, one per resolution
    depth       L, the number of searched layers
    default     the placement that the standard network uses
    dataset     the name of the data set that it is trained on unless a recipe says otherwise
    backbone    None where this suite cannot train it yet
    training    by preset, the fields of a Recipe that this space sets otherwise than `Recipe.PRESETS`
    search      the same of a SearchRecipe

    Raises UsageError where these do not fit together.
    """

    name: str
    sizes: tuple[int, ...]
    depth: int
    default: Config
    dataset: str
    backbone: Backbone | None = None
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    search: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not _are_whole(self.sizes) or any(a <= b or a % b for a, b in pairwise(self.sizes)):
            raise UsageError(
                f"{self.name} has the sizes {self.sizes!r}: give the side at each resolution, each a whole fraction of the "
                "one before, as in (32, 16)"
            )
        if not _are_whole((self.depth,)):
            raise UsageError(f"{self.name} has the depth {self.depth!r}: give the number of searched layers")
        default = self.default.layers if isinstance(self.default, Config) else ()
        if (len(default), sum(default)) != (len(self.sizes), self.depth):
            raise UsageError(
                f"{self.name} has the default {self.default}: give a Config of {len(self.sizes)} numbers of 1 or more that "
                f"sum to its depth, {self.depth}"
            )
        if self.backbone and len(self.backbone.widths) != self.depth:
            raise UsageError(
                f"{self.name} has {self.depth} searched layers, but its backbone {len(self.backbone.widths)} widths"
            )
        if self.backbone and self.backbone.first != self.sizes[0]:
            raise UsageError(
                f"{self.name} has maps of {self.sizes[0]} pixels first, but the stem of its backbone gives {self.backbone.first}"
            )
        for kind, own in ((Recipe, self.training), (SearchRecipe, self.search)):
            for name, given in own.items():
                kind.require_known(name, given)

    @property
    def classes(self) -> int:
        """Of its data set. Raises UsageError where there is none of that name yet."""
        return datasheet(self.dataset).classes

    def presets(self, kind: type[Recipe]) -> dict[str, dict[str, Any]]:
        """The presets of a kind of recipe as they are for this space: by name, the fields that differ from that kind's defaults."""
        if not (isinstance(kind, type) and issubclass(kind, Recipe)):
            raise UsageError(f"{repr(kind)[:80]} is no kind of recipe: write Recipe or SearchRecipe, without a call")
        own = self.search if issubclass(kind, SearchRecipe) else self.training
        return {
            name: dict(general) | {"dataset": self.dataset} | dict(own.get(name, {}))
            for name, general in kind.PRESETS.items()
        }

    def preset(self, kind: type[R], name: str, **overrides: Any) -> R:
        """The named preset for this space with some fields replaced. Raises UsageError as `Recipe.preset` does."""
        presets = self.presets(kind)
        kind.require_known(name, overrides)
        return kind(**(presets[name] | overrides))

    def label(self, recipe: Recipe) -> str:
        """The preset of this space that is closest to a recipe, with what differs from it: `paper-epochs10`.

        Raises UsageError for what is no recipe.
        """
        if not isinstance(recipe, Recipe):
            raise UsageError(f"{repr(recipe)[:80]} is no recipe: write space.label(space.preset(Recipe, 'paper'))")
        return recipe.labelled(self.presets(type(recipe)))

    def at(self, side: int | None) -> PoolingSpace:
        """The same configurations on images of another side (None: its own), the feature maps scaled with them.

        Raises UsageError where the smallest maps would not have a whole number of pixels, 1 at least.
        """
        if side is None or self.backbone is None or side == self.backbone.side:
            return self
        whole = self.backbone.side // self.sizes[-1]  # pixels of the image for one of the smallest map
        if not isinstance(side, int) or side < 1 or side % whole:
            raise UsageError(f"side is {side}: images of {self.name} have a multiple of {whole} pixels")
        sizes = tuple(size * side // self.backbone.side for size in self.sizes)
        return replace(self, sizes=sizes, backbone=replace(self.backbone, side=side))

    @cached_property
    def few(self) -> tuple[Config, ...]:
        """What is enough to see it work: all of a space of FEW_FROM configurations or fewer, of others the default and
        8 that are spread evenly, the first ([1,1,...]) and the last among them.
        """
        if len(self) <= FEW_FROM:
            return self.configs
        spread = {self.configs[round(k * (len(self) - 1) / 7)] for k in range(8)}
        return tuple(sorted({*spread, self.default}))

    @property
    def poolings(self) -> int:
        return len(self.sizes) - 1

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """All configurations, in the order of the paper's Table 6."""
        cuts = combinations(range(1, self.depth), self.poolings)
        return tuple(Config(tuple(b - a for a, b in zip((0, *cut), (*cut, self.depth), strict=True))) for cut in cuts)

    @cached_property
    def _indices(self) -> dict[Config, int]:
        return {config: index for index, config in enumerate(self.configs)}

    def __len__(self) -> int:
        return len(self.configs)

    def __iter__(self) -> Iterator[Config]:
        return iter(self.configs)

    def __getitem__(self, index: int) -> Config:
        if not (isinstance(index, slice) or hasattr(index, "__index__")):
            raise UsageError(
                f"{repr(index)[:80]} is no position: write space.index('{self.default}') for the one it has"
            )
        return self.configs[index]

    def __contains__(self, config: Any) -> bool:
        """Whether what `index` takes, "[4,3,3]" or (4, 3, 3) too, is a configuration of this space."""
        try:
            return Config.parse(config) in self._indices
        except UsageError:
            return False

    def index(self, config: Architecture | str | Iterable[int]) -> int:
        """Position from 0. Raises UsageError for what is not in the space."""
        parsed = Config.parse(config)
        try:
            return self._indices[parsed]
        except KeyError:
            raise UsageError(
                f"{parsed} is not in {self.name}: its {len(self)} configurations have {self.poolings + 1} numbers "
                f"of 1 or more that sum to {self.depth}, as {self.default} has"
            ) from None

    def number(self, config: Architecture | str | Iterable[int]) -> int:
        """Position from 1, as printed in Table 6. Raises UsageError for what is not in the space."""
        return self.index(config) + 1

    def along(self, path: Sequence[int]) -> Architecture:
        """The configuration that runs along a path (L,) of resolutions, or the path where none does.

        Raises UsageError for what is no path of this space.
        """
        given = tuple(path) if isinstance(path, Iterable) else ()
        known = all(one in range(len(self.sizes)) for one in given)
        if not known or len(given) != self.depth or given[0] != 0:
            raise UsageError(
                f"{repr(path)[:80]} is no path of {self.name}: give {self.depth} resolutions from 0 to {self.poolings}, the "
                f"first of them 0, as {self.default}.path has"
            )
        counts = tuple(given.count(r) for r in range(len(self.sizes)))
        if 0 not in counts and (config := Config(counts)).path == given:
            return config
        return Path(given)

    def architecture(self, text: str) -> Architecture:
        """What a text names: a configuration ("[4,3,3]"), any path ("012220220") or sizes ("32,32,24x23,...").

        Raises UsageError for the rest.
        """
        if not isinstance(text, str):
            raise UsageError(f"{repr(text)[:80]} is no text: write space.architecture('{self.default}')")
        one = r"[1-9]\d{0,3}(?:x[1-9]\d{0,3})?"
        if re.fullmatch(rf"{one}(?:,{one}){{{self.depth - 2}}}", text, re.ASCII) and self.depth > 2:
            sides = [[int(side) for side in size.split("x")] for size in text.split(",")]
            return Sizes(tuple((size[0], size[-1]) for size in sides))
        if re.fullmatch(rf"[0-{self.poolings}]{{{self.depth - 1}}}", text, re.ASCII):
            return self.along((0, *map(int, text)))
        if not text.strip().startswith("["):
            raise UsageError(
                f"'{text[:40]}' names neither a configuration, as {self.default} does, nor a path: "
                f"{self.depth - 1} digits from 0 to {self.poolings}, or sizes in pixels with commas between them"
            )
        return self[self.index(text)]

    def select(self, texts: Iterable[str]) -> tuple[Config, ...]:
        """The configurations named by numbers ("7"), ranges ("1-36") or themselves ("[4,3,3]"), canonical order.

        Raises UsageError naming the first text that is none of these.
        """
        chosen: set[Config] = set()
        if isinstance(texts, str) or not hasattr(texts, "__iter__"):
            raise UsageError(f"{repr(texts)[:80]} is no list of texts: write space.select(['1-{len(self)}'])")
        for text in texts:
            if not isinstance(text, str):
                raise UsageError(f"{repr(text)[:80]} is no text: write space.select(['7', '{self.default}'])")
            if match := re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text.strip(), re.ASCII):
                first, last = int(match[1]), int(match[2] or match[1])
                if not 1 <= first <= last <= len(self):
                    raise UsageError(f"'{text}' is outside the numbers 1 to {len(self)} of {self.name}")
                chosen.update(self.configs[first - 1 : last])
            else:
                chosen.add(self.configs[self.index(text)])
        return tuple(sorted(chosen))


_RESNET20 = Backbone("basic", (16,) + 3 * (16,) + 3 * (32,) + 3 * (64,), "cifar", 32)
_RESNET18 = 2 * (64,) + 2 * (128,) + 2 * (256,) + 2 * (512,)  # widths of the blocks
_RESNET50 = 3 * (64,) + 4 * (128,) + 6 * (256,) + 3 * (512,)

# To see them work in two minutes on two cores: smaller images, and so few that the numbers mean nothing.
_SMOKE_32 = {"epochs": 1, "train_images": 64, "eval_images": 64, "batch_size": 32, "side": 8}
_SMOKE_224 = _SMOKE_32 | {"train_images": 32, "eval_images": 32, "batch_size": 16, "side": 32}
# Up to 560 are scored, on one batch each: maps are so small that a pass costs its weights, not its images. At 0.1 a supernet
# answers all images alike after 8 steps: all scores would be equal.
_SMOKE_SEARCH = {
    "train_images": 32,
    "batch_size": 8,
    "eval_images": 8,
    "calibration_images": 8,
    "curve_images": 0,
    "lr": 1e-3,
}

# Paper, Table 5 and appendix. The stem is counted as a searched layer on CIFAR; on Food-101 and ImageNet the stem
# and the first max-pool are fixed and not counted.
SPACES = {
    space.name: space
    for space in (
        PoolingSpace("resnet20-cifar10", (32, 16, 8), 10, Config((4, 3, 3)), "cifar10", _RESNET20),
        PoolingSpace(
            "resnet18-cifar10",
            (32, 16, 8, 4),
            9,
            Config((3, 2, 2, 2)),
            "cifar10",
            Backbone("basic", (64, *_RESNET18), "cifar", 32),
            training={
                "paper": {"epochs": 400, "milestones": "0.5,0.75", "weight_decay": 5e-3},  # after 200 and 300
                "smoke": _SMOKE_32,
            },
            search={"smoke": _SMOKE_32 | _SMOKE_SEARCH},
        ),
        PoolingSpace(
            "resnet50-cifar100",
            (32, 16, 8, 4),
            17,
            Config((4, 4, 6, 3)),
            "cifar100",
            Backbone("bottleneck", (64, *_RESNET50), "cifar", 32),
            training={
                "paper": {
                    "epochs": 250,
                    "milestones": "0.24,0.48,0.64",
                    "gamma": 0.2,
                    "weight_decay": 5e-4,
                },  # 60, 120, 160
                "smoke": _SMOKE_32,
            },
            search={"paper": {"epochs": 75}, "smoke": _SMOKE_32 | _SMOKE_SEARCH},
        ),
        PoolingSpace(
            "resnet50-food101",
            (56, 28, 14, 7),
            16,
            Config((3, 4, 6, 3)),
            "food101",
            Backbone("bottleneck", _RESNET50, "imagenet", 224),
            training={"paper": {"epochs": 90}, "smoke": _SMOKE_224},
            search={"paper": {"epochs": 75}, "smoke": _SMOKE_224 | _SMOKE_SEARCH},
        ),
        PoolingSpace(
            "resnet18-imagenet",
            (56, 28, 14, 7),
            8,
            Config((2, 2, 2, 2)),
            "imagenet",
            Backbone("basic", _RESNET18, "imagenet", 224),
            training={"paper": {"weight_decay": 1e-4}, "smoke": _SMOKE_224},
            # 35 configurations, 1,000 classes: on 16 images none might be right
            search={"paper": {"epochs": 50}, "smoke": _SMOKE_224 | _SMOKE_SEARCH | {"eval_images": 256}},
        ),
    )
}


def load_space(name: str = "resnet20-cifar10") -> PoolingSpace:
    """The named space. Raises UsageError, listing the names, for any other."""
    try:
        return SPACES[name]
    except (KeyError, TypeError):
        raise UsageError(f"unknown space '{name}': {choices(name, SPACES)}") from None


def require_trainable(space: PoolingSpace) -> Backbone:
    """The space's backbone. Raises UsageError where `networks` cannot build it yet."""
    if space.backbone is None:
        able = ", ".join(s.name for s in SPACES.values() if s.backbone)
        raise UsageError(f"{space.name} can be enumerated but not trained or costed yet: choose from {able}")
    return space.backbone
