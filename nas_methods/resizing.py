"""The base of methods that learn the sizes of feature maps by gradient, while one network trains: `diffstride`, `dynopool`,
`shape_adaptor`.

A stand-alone network is trained on the training half by the suite's loop. Beside its weights it has values (strides,
scales), from which the sizes of its maps follow; with the gradient of the same loss on the same batch they take steps of
an SGD of their own. Such a method finds one trained network with sizes of its own, and no ranking: a configuration scores
minus its distance from these sizes, so that tau says whether they point at the good configurations; the pick is the
nearest one. The found sizes themselves are trained from scratch by `--retrain`, beside the pick.

A CUDA graph replays one shape; these shapes move. So these methods run eagerly, whatever --engine says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmark.errors import Failure, UsageError
from benchmark.recipe import SearchRecipe
from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace, Sizes
from benchmark.training.checkpoint import Checkpoint
from benchmark.training.engine import Learner
from benchmark.training.train import Fit, fitting, followed
from nas_methods import Stopped, Task
from nas_methods.supernet import SNAPSHOTS

VERSION = 1

Size = tuple[int, int]  # height and width of a map, in pixels


@dataclass(frozen=True)
class Resizing:
    """Base: a method supplies `start`, `settle` and `run`, and what differs of the rest.

    size_lr  rate of the values' SGD, which falls as that of the weights does; 0: the weights' own
    """

    size_lr: float = 0.0

    affine: ClassVar[bool] = True  # it trains stand-alone networks
    overhead: ClassVar[float] = (
        1.0  # how many times as long a step takes as its MACs do in SPOS: `python -m speed.resizing`
    )

    def __post_init__(self) -> None:
        if not 0 <= self.size_lr <= 10:
            raise UsageError(f"size_lr is {self.size_lr}: it must lie between 0 (the rate of the weights) and 10")

    def start(self, space: PoolingSpace) -> Tensor:
        """The values before the first step, of any shape, in fp32."""
        raise NotImplementedError

    def settle(self, values: Tensor, space: PoolingSpace) -> list[Size]:
        """Brings values, in place, back to where a gradient can move them. Returns the size of every layer but the first.

        A layer's size is that at which its convolutions work.
        """
        raise NotImplementedError

    def run(self, blocks: Sequence[Any], x: Tensor, values: Tensor) -> Tensor:
        """All blocks, with what resizes the maps between them; x: (B, C, side, side), of the first layer."""
        raise NotImplementedError

    def penalty(self, values: Tensor, space: PoolingSpace) -> Tensor | None:
        """A term of the loss, of the values alone; None: there is none."""
        return None

    def steps_at(self, step: int) -> bool:
        """Whether the values take a step beside the weights' step number `step`, counted from 1."""
        return True

    def optimizer(self, values: Tensor, recipe: SearchRecipe) -> torch.optim.Optimizer:
        """Of the values. Weight decay would pull sizes to where nobody asked for."""
        return torch.optim.SGD([values], lr=recipe.lr, momentum=recipe.momentum)

    def work(self, task: Task) -> float:
        """Expected MACs of the whole search, as the sizes are at the start; time that is not spent on MACs is counted in."""
        recipe, train, space = task.recipe, task.data.train, task.space
        macs = costs.path_macs(space, Sizes(tuple(self.settle(self.start(space), space))).path)
        images = 3 * train.steps * min(recipe.batch_size, len(train)) + len(task.data.validation)
        return self.overhead * macs * images * recipe.epochs

    def rank(self, task: Task) -> Ranking:
        """The whole search."""
        return search(self, task)


class Resized(nn.Module):
    """A network whose maps are resized as the values of a method say."""

    def __init__(self, network: nn.Module, method: Resizing) -> None:
        super().__init__()
        self.network: Any = network
        self.method = method

    def forward(self, x: Tensor, values: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, S, S)."""
        return self.network.head(self.method.run(self.network.blocks, self.network.stem(x), values))


class ResizingLearner(Learner):
    """A learner that steps the values, too, and keeps them in its state. Whatever path it is given, it takes the values.

    values  on the CPU: sizes are read from them in every step, for which a GPU would have to be waited for
    sizes   of every layer but the first, as the values are now
    """

    def __init__(self, network: nn.Module, method: Resizing, task: Task) -> None:
        super().__init__(Resized(network, method), task.recipe, torch.device(task.device))
        self.method, self.space = method, task.space
        self.values = method.start(task.space)
        self.sizes = method.settle(self.values, task.space)
        self.values.requires_grad_()
        self.values_optimizer = method.optimizer(self.values, task.recipe)
        self.steps, self._before, self._began = 0, 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Over all attempts, if there were several, as far as checkpoints go."""
        return self._before + time.monotonic() - self._began

    def learn(self, x: Tensor, y: Tensor, path: Any, rate: float) -> tuple[Tensor, Tensor]:
        """As `Learner.learn`, for weights and values."""
        self.steps += 1
        moves = self.method.steps_at(self.steps)
        outputs = super().learn(x, y, self.values if moves else self.values.detach(), rate)
        if moves:
            if (penalty := self.method.penalty(self.values, self.space)) is not None:
                penalty.backward()
            share = self.method.size_lr / self.recipe.lr if self.method.size_lr and self.recipe.lr else 1.0
            for group in self.values_optimizer.param_groups:
                group["lr"] = share * rate
            self.values_optimizer.step()
            self.values_optimizer.zero_grad()
            self._settle()
        return outputs

    def _settle(self) -> None:
        if not self.values.isfinite().all():
            raise Failure(f"the learned sizes are no numbers after step {self.steps}; try a lower --size-lr or --lr")
        with torch.no_grad():
            self.sizes = self.method.settle(self.values, self.space)

    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]], path: Any) -> tuple[float, float]:
        """As `Learner.evaluate`, at the sizes of now."""
        return super().evaluate(batches, self.values.detach())  # type: ignore[arg-type]

    def state(self) -> dict[str, Any]:
        more = {"values": self.values.detach(), "values_optimizer": self.values_optimizer.state_dict()}
        return super().state() | more | {"steps": self.steps, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore({name: state[name] for name in ("network", "optimizer")})
        with torch.no_grad():
            self.values.copy_(state["values"])
        self.values_optimizer.load_state_dict(state["values_optimizer"])
        self.steps, self._before, self._began = state["steps"], state["seconds"], time.monotonic()
        self._settle()


def resampled(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x (B, C, H, W), interpolated bilinearly at rows (h,) x columns (w,): (B, C, h, w). In fp32, or in x's float64.

    Positions in pixels, 0 that of the first; those outside are taken at the border. At whole positions, where there are
    two, the gradient of a position is that towards higher ones. By products with matrices, which give the same bits
    again on a GPU, too; interpolation there does not.
    """
    with torch.autocast(x.device.type, enabled=False):
        precise = x if x.dtype == torch.float64 else x.float()
        vertical = _interpolation(rows, x.shape[2]).to(x.device, precise.dtype)
        horizontal = _interpolation(columns, x.shape[3]).to(x.device, precise.dtype)
        return (vertical @ precise @ horizontal.T).to(x.dtype)


def _interpolation(positions: Tensor, side: int) -> Tensor:
    """The matrix (n, side) of linear interpolation at n positions in a row of pixels."""
    positions = positions.clamp(0, side - 1)
    before = positions.detach().floor().long()
    share = (positions - before)[:, None]
    pixels = torch.arange(side)
    after = (before + 1).clamp(max=side - 1)
    return (1 - share) * (pixels == before[:, None]) + share * (pixels == after[:, None])


def standard_strides(space: PoolingSpace) -> Tensor:
    """Strides (L - 1, 2) in fp32, vertical and horizontal, before each block: 2 where the default configuration pools, else 1."""
    path = space.default.path
    return torch.tensor([2 * [2.0 ** (r - before)] for before, r in pairwise(path)])


def search(method: Resizing, task: Task) -> Ranking:
    """Trains one network with its sizes, then scores every configuration by its distance from them.

    The result depends on the method's options, recipe, seed, data and device alone, not on interruptions. Raises Stopped
    at a checkpoint when asked to stop, Failure if a loss or a size is no longer finite.

    The history holds `sizes`, (E + 1, L - 1, 2) in pixels: before the first step and after each epoch; `values` likewise;
    `loss` and `accuracy` after each epoch, of the training and of the validation half; `macs` of the first and the last
    sizes; `finds`, the last sizes as text.
    """
    recipe, space, halves = task.recipe, task.space, task.data
    torch.set_num_threads(recipe.threads)
    learner = ResizingLearner(halves.network(0, affine=True), method, task)

    def seen(_: nn.Module | None = None) -> dict[str, Any]:
        values = [round(value, 6) for value in learner.values.detach().flatten().tolist()]
        return {"sizes": [list(size) for size in learner.sizes], "values": values, "seconds": round(learner.seconds, 3)}

    start = seen()  # before a checkpoint is read
    stamp = {"method": repr(method), "recipe": recipe.hash, "seed": task.seed} | dict(halves.provenance)
    keeper = Checkpoint(task.checkpoint, stamp)
    fit = Fit(learner, space.default, task.seed, halves.train, halves.validation, probe=seen)
    outcome = followed(fitting(fit, keeper, task.stop), task.progress)
    if outcome is None:
        raise Stopped
    results, seconds = outcome
    curves = results["curves"]

    sizes = [start["sizes"], *curves["sizes"]]
    first, last = (Sizes(tuple((h, w) for h, w in found)) for found in (sizes[0], sizes[-1]))
    every = max(1, math.ceil(recipe.epochs / SNAPSHOTS))
    shown = [e for e in range(recipe.epochs) if e % every == 0 or e + 1 == recipe.epochs]
    images = results["images"]
    return Ranking(
        space.name,
        tuple(scores(sizes[-1], space)),
        history={
            "sizes": sizes,
            "values": [start["values"], *curves["values"]],
            "loss": curves["train_loss"],
            "accuracy": [round(per_cent / 100, 8) for per_cent in curves["test_accuracy"]],
            "macs": [costs.path_macs(space, found.path) for found in (first, last)],
            "finds": [str(last)],
            "images": images,
            "curve": [
                {"epoch": e + 1, "images": images * (e + 1) // recipe.epochs, "scores": scores(sizes[e + 1], space)}
                for e in shown
            ],
        },
        provenance={
            "engine": learner.engine,
            "timings": {"seconds": round(seconds, 3), "curve": [curves["seconds"][e] for e in shown]},
        },
    )


def scores(sizes: Sequence[Sequence[int]], space: PoolingSpace) -> list[float]:
    """Minus the distance (C,) of each configuration from the sizes, (L - 1, 2) in pixels: in octaves, root mean square over
    the layers after the first and over height and width."""
    logs = torch.tensor(sizes, dtype=torch.float64).log2()
    paths = torch.tensor([[space.sizes[r] for r in config.path[1:]] for config in space], dtype=torch.float64).log2()
    distances = (paths[:, :, None] - logs).square().mean((1, 2)).sqrt()
    return [0.0 - round(distance, 9) for distance in distances.tolist()]  # ties stay ties, and no distance is 0.0
