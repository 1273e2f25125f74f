"""Recipes: frozen records of everything that decides what a training gives. No torch.

The hash of a recipe is part of every result, so results of two recipes never merge. A preset's
fields can be overridden one by one; the hash is that of the recipe as run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

from benchmark import datasheets
from benchmark.errors import UsageError, choices
from benchmark.given import plain_number, require_values

MOST_THREADS = 1024  # of one process

PRECISIONS = ("bf16", "fp32")
# What a training records after every epoch; accuracies in per cent, losses in nats.
CURVES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


Presets = Mapping[str, Mapping[str, Any]]  # by name, the fields that are not the defaults


def later(implicit: Any, **metadata: Any) -> Any:
    """A field that recipes have got since results were first kept. Its default is what recipes without it mean, and at
    that value it is neither stated nor hashed: old results keep their hashes, and an old recipe is the same as a new one.
    """
    return field(default=implicit, metadata=metadata | {"later": True})


def is_implicit(of: Field[Any], value: Any) -> bool:
    """Whether a field of `later` has the value that it does not state; methods have such options too."""
    return "later" in of.metadata and value == of.default


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a stand-alone network is trained and tested. The defaults are the preset `paper`.

    SGD with momentum, cosine schedule from `lr` to 0 stepped per batch (appendix B.1). The paper
    prints no number of epochs; 100 is this suite's choice. `train_images` and `eval_images` take the
    first so many of each set (None: all of them). `precision`, `memory_layout` and `threads` are
    here because they move the last bits of a result.

    milestones  shares of the training, as in "0.5,0.75", at which the rate is multiplied by `gamma`; empty: cosine
    gamma       that factor
    side        images are scaled to this side in pixels, and the space's feature maps with them; None: the space's own
    """

    dataset: str = field(default="cifar10", metadata={"values": datasheets.names})
    epochs: int = 100
    batch_size: int = 256
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-3
    train_images: int | None = None
    eval_images: int | None = None
    precision: Literal["bf16", "fp32"] = "bf16"
    memory_layout: Literal["channels_last", "contiguous"] = "channels_last"
    threads: int = 1
    milestones: str = later("")
    gamma: float = later(0.1)
    side: int | None = later(None)

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "smoke": {"epochs": 2, "train_images": 512, "eval_images": 512},
    }

    def __new__(cls, *words: Any, **given: Any) -> Self:
        """Raises UsageError where Python would complain of an argument: a recipe is among the first things that one writes."""
        if words:
            raise UsageError(f"{repr(words[0])[:80]} has no name: write {cls.__name__}(epochs=10), or .preset('paper')")
        cls.require_fields(given)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        require_values(self)
        optional = ("train_images", "eval_images", "side")
        for name in ("epochs", "batch_size", "threads", *optional):
            value = getattr(self, name)
            if (value is not None or name not in optional) and (type(value) is not int or value < 1):
                raise UsageError(f"{name} is {value}: it must be a whole number of 1 or more")
        if self.threads > MOST_THREADS:  # a library would end the process with a line of its own
            raise UsageError(f"threads is {self.threads}: it must be a whole number from 1 to {MOST_THREADS}")
        if self.batch_size < 2:
            raise UsageError("batch_size is 1: batch norm needs 2 images or more")
        rates = (("lr", 0.0, 100.0), ("momentum", 0.0, 0.9999), ("weight_decay", 0.0, 1.0), ("gamma", 0.0, 1.0))
        for name, low, high in rates:
            value = getattr(self, name)
            if type(value) not in (int, float) or not low <= value <= high:
                raise UsageError(f"{name} is {value}: it must lie between {low} and {high}")
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one recipe: one hash
        _ = self.drops  # they can be read
        if self.gamma != 0.1 and not self.milestones:  # it would do nothing, and still be another recipe
            raise UsageError(f"gamma is {self.gamma}, but there are no milestones for it: give --milestones 0.5,0.75")

    @property
    def drops(self) -> tuple[float, ...]:
        """The milestones as numbers. Raises UsageError for any text but rising shares between 0 and 1."""
        try:
            found = tuple(float(plain_number(word)) for word in self.milestones.split(",")) if self.milestones else ()
        except (AttributeError, ValueError):
            found = (0.0,)
        if not all(a < b for a, b in pairwise((0.0, *found, 1.0))):
            raise UsageError(
                f"milestones is '{self.milestones}': write rising shares of the training, as in 0.5,0.75, or leave it empty"
            )
        return found

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """The named preset with some fields replaced. Raises UsageError for unknown names and bad values."""
        cls.require_known(name, overrides)
        return cls(**(cls.PRESETS[name] | overrides))

    @classmethod
    def require_known(cls, name: str, given: Iterable[str]) -> None:
        """Raises UsageError, listing what there is, for an unknown preset and for a name that no field has."""
        if not isinstance(name, str) or name not in cls.PRESETS:
            raise UsageError(f"unknown recipe '{name}': {choices(name, cls.PRESETS)}")
        cls.require_fields(given)

    @classmethod
    def require_fields(cls, given: Iterable[str]) -> None:
        """Raises UsageError, listing what there is, for a name that no field has."""
        known = sorted(field.name for field in fields(cls))
        if unknown := sorted(set(given) - set(known)):
            raise UsageError(f"a recipe has no field '{unknown[0]}': {choices(unknown[0], known, 'its fields are')}")

    @classmethod
    def stated(cls, fields: Mapping[str, Any], digest: str) -> Self:
        """The recipe that a ledger or a table states. Raises UsageError if this version has no such recipe."""
        none = "this version has no recipe of the fields that are stated"
        if not isinstance(fields, Mapping):
            raise UsageError(f"{none}, {repr(fields)[:80]}")
        try:
            cls.require_fields(fields)
        except UsageError as error:
            raise UsageError(f"{none} ({error})") from None
        recipe = cls(**fields)
        if recipe.hash != digest:
            raise UsageError(f"the recipe that is stated has the hash {recipe.hash} here, not {digest}: it was altered")
        return recipe

    @property
    def hash(self) -> str:
        """12 hex digits over what `to_dict` states, the same on every system."""
        text = json.dumps({"kind": type(self).__name__} | self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """The preset that is closest, with what differs from it: `paper`, `paper-epochs10`."""
        return self.labelled(self.PRESETS)

    def labelled(self, presets: Presets) -> str:
        """The label among these presets: by name, the fields that are not the defaults."""
        name, changed = self._nearest(presets)
        words = [f"{field.replace('_', '')}{getattr(self, field)}" for field in changed if field != "dataset"]
        return "-".join([name, *words])

    def flags(self, presets: Presets) -> list[str]:
        """The words that ask a command for this recipe; the precision always, for by default a command chooses it."""
        name, changed = self._nearest(presets)
        words = ["--recipe", name]
        for changing in dict.fromkeys([*changed, "precision"]):
            value = getattr(self, changing)
            words += [f"--{changing.replace('_', '-')}", "all" if value is None else str(value)]
        return words

    def _nearest(self, presets: Presets) -> tuple[str, list[str]]:
        """The preset that differs in the fewest fields, and these fields."""
        candidates = []
        for name, given in presets.items():
            base = type(self)(**given)
            changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(base, f.name)]
            candidates.append((len(changed), name, changed))
        _, name, changed = min(candidates)
        return name, changed

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, but for those of `later` that say what recipes meant before there were such fields."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not is_implicit(f, getattr(self, f.name))}


@dataclass(frozen=True, kw_only=True)
class SearchRecipe(Recipe):
    """How a search method trains its supernets, on one half of the training set.

    `epochs` is E, per model: M models are trained for E x M epochs of the training half.
    `train_images` and `eval_images` are taken from the two halves.

    bn                  statistics of batch norm when a configuration is evaluated at the end: `calibrated`
                        re-estimates them on training images just before, `batch` uses those of each
                        evaluated batch (the authors' release)
    calibration_images  how many training images the estimate sees, in whole batches, at least one
    split_seed          which 50/50 split of the training set
    curve_images        on how many validation images, in whole batches, every configuration is scored after an epoch,
                        for curves of tau against budget; 0: no curve. It moves nothing else of a search
    """

    threads: int = 2
    split_seed: int = 0
    bn: Literal["calibrated", "batch"] = "calibrated"
    calibration_images: int = 2560
    curve_images: int = 512

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        # Small batches: 64 steps, or CONet's ranks would still be those of the weights as drawn, all 0.
        "smoke": Recipe.PRESETS["smoke"] | {"batch_size": 16, "curve_images": 256},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.calibration_images) is not int or self.calibration_images < 2:
            raise UsageError(f"calibration_images is {self.calibration_images}: it must be 2 or more")
        if type(self.curve_images) is not int or self.curve_images < 0:
            raise UsageError(f"curve_images is {self.curve_images}: it must be a whole number, 0 for no curve")
