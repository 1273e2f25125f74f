"""DARTS: every block runs at every resolution, and gradients weigh them (Liu et al., 2019; paper, appendix C, eqs. 4, 5).

    python -m benchmark.evaluate --method darts
    python -m benchmark.evaluate --method darts --sharing unshared --init random
    python -m benchmark.evaluate --method darts --optimizer gaea
    python -m benchmark.evaluate --method darts --second-order

Per iteration: one step of the weights' mixture alpha on a batch of the validation half, one SGD step of the weights on
a batch of the training half (Algorithm 1 of Liu et al.). The find takes the likeliest resolution of each block, so it
may rise as well as fall and lie outside the configurations; a configuration scores the log likelihood of its path.

Cost: E epochs, but a step costs all branches of all blocks, 363 M MACs a forward pass (a sampler's: 49 M on average),
and 5 passes an image (6 in compiled blocks); the second order 14, and as much more memory. Published (Figure 4, blocks 1 to 9):
012220220, 89.23; GAEA 022022210, 89.12 (both in 12 GPU hours); unshared, same initialisation 011222110, 89.85; random
012220110, 90.03.
"""

from __future__ import annotations

import math
import operator
import time
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.errors import Failure, UsageError
from benchmark.given import require_values
from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from benchmark.spaces.networks import resize
from benchmark.spaces.space import PoolingSpace
from benchmark.training.engine import Learner
from benchmark.training.engine import learners as make_learners
from benchmark.training.memory import training_bytes
from benchmark.training.train import Checkpoint, learning_rate
from nas_methods import Published, Stopped, Task, Variant
from nas_methods.supernet import SNAPSHOTS, Feed

VERSION = 1

ALPHA_LR = {"adam": 0.01, "gaea": 0.1}  # appendix B.1; the paper prints none for GAEA, whose own authors take 0.1
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Method:
    """Differentiable search over the resolution of every block but the stem.

    sharing       `shared`: one set of weights per block; `unshared`: one per block and resolution
    init          of unshared weights. `same`: all resolutions of a block start as the shared block would; `random`:
                  each from a draw of its own
    optimizer     of the mixture. `adam`: on alpha, whose softmax weighs the branches; `gaea`: exponentiated gradient on
                  the weights themselves, which stay on the simplex and grow sparse (Li et al., 2021)
    second_order  the validation loss is taken after the SGD step that these weights would cause (equation 7 of Liu et
                  al.), and differentiated through it, exactly
    alpha_lr      rate of that optimizer; 0: 0.01 with adam, 0.1 with gaea. For Adam about how far alpha moves in an
                  iteration, whatever the gradient; for GAEA what a gradient of 1 takes off the logarithm of a weight
    """

    sharing: Literal["shared", "unshared"] = "shared"
    init: Literal["same", "random"] = "same"
    optimizer: Literal["adam", "gaea"] = "adam"
    second_order: bool = False
    alpha_lr: float = 0.0

    VARIANTS: ClassVar[tuple[Variant, ...]] = (
        Variant(
            {},
            (
                Published(1, 2, "DARTS, fully shared", "Fig. 4a", 89.23, 0.13),
                Published(2, 2, "DARTS", "Fig. 4a", 89.23, 0.08, 12.0),
            ),
        ),
        Variant({"sharing": "unshared"}, (Published(1, 3, "DARTS, not shared, same init.", "Fig. 4b", 89.85, 0.18),)),
        Variant(
            {"sharing": "unshared", "init": "random"},
            (Published(1, 4, "DARTS, not shared, random init.", "Fig. 4b", 90.03, 0.21),),
        ),
        Variant({"optimizer": "gaea"}, (Published(2, 1, "DARTS + GAEA", "Fig. 4a", 89.12, 0.1, 12.0),)),
        Variant({"second_order": True}),
    )

    def __post_init__(self) -> None:
        require_values(self)
        if self.sharing == "shared" and self.init == "random":
            raise UsageError("init is 'random', but shared weights have one draw only: add --sharing unshared")
        if not 0 <= self.alpha_lr <= 10:
            raise UsageError(f"alpha_lr is {self.alpha_lr}: it must lie between 0 (the optimizer's own) and 10")
        object.__setattr__(self, "alpha_lr", float(self.alpha_lr) or ALPHA_LR[self.optimizer])  # as records state it

    def network(self, task: Task) -> nn.Module:
        """The supernet before its first step."""
        if self.sharing == "shared":
            return task.data.network(0)
        network: Any = task.data.network(0, shared=False)
        if self.init == "same":
            shared: Any = task.data.network(0)
            for branches, block in zip(network.blocks, shared.blocks, strict=True):
                for branch in branches:
                    branch.load_state_dict(block.state_dict())
        return network

    def work(self, task: Task) -> float:
        """Expected MACs of the whole search, from which its time on this machine is told beforehand."""
        recipe, train = task.recipe, task.data.train
        # Forward and backward to all weights is three passes, to the mixture alone two. Through a virtual step: three
        # for the step, three for the loss after it, five back through the step.
        passes = 3 + (11 if self.second_order else 2)
        return float(passes * mixture_macs(task) * recipe.epochs * train.steps * min(recipe.batch_size, len(train)))

    def memory(self, task: Task) -> float:
        """Bytes that the search takes at most, told beforehand: all resolutions of all blocks at once, and half as much
        again for what they are given and for their weighted sums; the second order keeps those of three passes.
        """
        space, branches = task.space, 1 if self.sharing == "shared" else len(task.space.sizes)
        levels = [(0,) + (space.depth - 1) * (r,) for r in range(len(space.sizes))]
        numbers = sum(costs.outputs(space, level) for level in levels) * 3 // 2 * (3 if self.second_order else 1)
        return training_bytes(space, task.recipe, numbers, branches=branches, device=task.device)

    def rank(self, task: Task) -> Ranking:
        """The whole search."""
        return search(self, task)


def mixture_macs(task: Task) -> int:
    """MACs of a forward pass of all branches; the stem and the classifier, which have one, are counted with each."""
    space = task.space
    return sum(costs.path_macs(space, (0,) + (space.depth - 1) * (r,)) for r in range(len(space.sizes)))


class MultiResolution(nn.Module):
    """Equation 4: a ResNet each of whose blocks gives the weighted sum of what it gives at every resolution."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, S, S); weights: (blocks, resolutions), rows on the simplex.

        The input and output of every block have the stem's side. Batch norms see each branch by itself.
        """
        x = self.network.stem(x)
        side = x.shape[-1]
        for block, row in zip(self.network.blocks, weights, strict=True):
            # Weighed before they are upsampled, which is linear: the same sum, but for a part of the work.
            branches = (resize(weight * block(x, r), side) for r, weight in enumerate(row))
            x = reduce(operator.add, branches)
        return self.network.head(x)


class Alpha:
    """The mixture (blocks, resolutions), uniform at the start, and the optimizer that moves it.

    Adam's parameter is alpha of equation 5. GAEA's are the weights, kept as their logarithms, so that one that is
    driven towards zero neither leaves the simplex nor underflows: w <- w exp(-rate * gradient) / sum.
    """

    def __init__(self, method: Method, blocks: int, resolutions: int, device: torch.device) -> None:
        self.rate = method.alpha_lr
        self.values = torch.full((blocks, resolutions), -math.log(resolutions), device=device)
        self.adam = None
        if method.optimizer == "adam":
            self.values.requires_grad_()
            self.adam = torch.optim.Adam([self.values], lr=self.rate)

    @property
    def weights(self) -> Tensor:
        """Equation 5 (blocks, resolutions)."""
        return torch.softmax(self.values, dim=1)

    def step(self, gradient: Tensor) -> None:
        """gradient: of the loss with regard to the weights."""
        if self.adam is not None:
            (self.values.grad,) = torch.autograd.grad(self.weights, self.values, gradient)
            self.adam.step()
        else:
            self.values = torch.log_softmax(self.values - self.rate * gradient, dim=1)

    def likely(self) -> np.ndarray:
        """Logarithms (blocks, resolutions) of the weights, in float64."""
        return torch.log_softmax(self.values.detach().cpu().double(), dim=1).numpy()

    def state(self) -> dict[str, Any]:
        return {"values": self.values.detach(), "adam": self.adam.state_dict() if self.adam else {}}

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.values.copy_(state["values"])
        if self.adam:
            self.adam.load_state_dict(state["adam"])


def virtual_step(learner: Learner, weights: Tensor, batch: Batch) -> dict[str, Tensor]:
    """The parameters that the learner's next SGD step would give on a batch, as functions of the weights. Moves nothing."""
    x, y = batch
    parameters = dict(learner.network.named_parameters())
    with learner.precision():
        logits = learner.network(x, weights)
    gradients = torch.autograd.grad(F.cross_entropy(logits, y), list(parameters.values()), create_graph=True)
    recipe, after = learner.recipe, {}
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        velocity = gradient + recipe.weight_decay * parameter
        if (before := learner.optimizer.state.get(parameter, {}).get("momentum_buffer")) is not None:
            velocity = velocity + recipe.momentum * before
        after[name] = parameter - learner.rate * velocity
    return after


def mixture_gradient(
    learner: Learner, weights: Tensor, validation: Batch, ahead: tuple[Batch, float] | None = None
) -> tuple[Tensor, Tensor]:
    """(validation loss, its gradient with regard to the weights).

    ahead: (training batch, rate) of an SGD step to look ahead by (second order); None takes the network as it is.
    """

    def body(weights: Tensor, x: Tensor, y: Tensor, *training: Tensor) -> tuple[Tensor, Tensor]:
        weights = weights.detach().requires_grad_()
        moved = virtual_step(learner, weights, (training[0], training[1])) if training else {}
        with learner.precision():
            logits = functional_call(learner.network, moved, (x, weights)) if moved else learner.network(x, weights)
        loss = F.cross_entropy(logits, y)
        (gradient,) = torch.autograd.grad(loss, weights)
        return loss.detach(), gradient

    training: tuple[Tensor, ...] = ()
    if ahead is not None:
        training, rate = ahead
        learner.take_rate(rate)
    learner.network.train()
    return learner.run("mixture", body, weights.detach(), *validation, *training)


def search(method: Method, task: Task) -> Ranking:
    """Trains the weights and their mixture in turn, then scores every configuration by the mixture alone.

    The result depends on the method's options, recipe, seed, data and device alone, not on interruptions.
    Raises Stopped at a checkpoint when asked to stop, Failure if a loss is no longer finite.
    """
    torch.set_num_threads(task.recipe.threads)
    stand = _Stand(method, task)
    while stand.iteration < stand.iterations:
        stand.train()
        stand.tell()
        stand.keep()
    likely = stand.alpha.likely()
    find = (0, *likely.argmax(axis=1).tolist())  # ties go to the higher resolution
    timings = {"seconds": round(stand.seconds, 3), "curve": stand.clock}
    return Ranking(
        task.space.name,
        tuple(scores(likely, task.space)),
        pick=str(task.space.along(find)),
        history=stand.history | {"images": stand.iterations * stand.batch},
        provenance={"engine": stand.learner.engine, "timings": timings},
    )


class _Stand:
    """Where a search stands, all of which a checkpoint keeps, and what one iteration moves of it.

    learner    the weights of all branches
    alpha      their mixture
    iteration  how many are done
    losses     the sum of the validation losses in this epoch
    history    curves for the figures
    clock      seconds at each point of the scores' curve
    """

    def __init__(self, method: Method, task: Task) -> None:
        recipe, space, train = task.recipe, task.space, task.data.train
        self.method, self.task = method, task
        self.iterations = recipe.epochs * train.steps
        self.batch = min(recipe.batch_size, len(train))
        self.feed = Feed(task)

        device = torch.device(task.device)
        # What torch.compile makes cannot be differentiated twice; recorded as it is written, it can.
        engine = "graph" if method.second_order and task.engine == "compiled" else task.engine
        (self.learner,) = make_learners([MultiResolution(method.network(task))], recipe, device, engine)
        self.alpha = Alpha(method, space.depth - 1, len(space.sizes), device)
        self.iteration, self.losses = 0, 0.0
        self.history: dict[str, list[Any]] = {"validation_loss": [], "weights": [], "curve": []}
        self.clock: list[float] = []
        stamp = {"method": repr(method), "recipe": recipe.hash, "seed": task.seed} | dict(task.data.provenance)
        self.keeper = Checkpoint(task.checkpoint, stamp)
        saved = self.keeper.load()
        if saved:
            self.learner.restore(saved["learner"])
            self.alpha.restore(saved["alpha"])
            self.iteration, self.losses = saved["iteration"], saved["loss_sum"]
            self.history, self.clock = saved["history"], saved["clock"]
        self.began = time.monotonic() - (saved["seconds"] if saved else 0.0)

    @property
    def seconds(self) -> float:
        """What the search took, over all attempts if there were several."""
        return time.monotonic() - self.began

    @property
    def epoch_ended(self) -> bool:
        return self.iteration % self.task.data.train.steps == 0

    def train(self) -> None:
        """One iteration: a step of the mixture, one of the weights; after an epoch's last one, continue the curves."""
        rate = learning_rate(self.task.recipe, self.iteration, self.iterations)
        here = self.feed.train(self.iteration)
        ahead = (here, rate) if self.method.second_order else None
        validation = self.feed.validation(self.iteration)
        validation_loss, gradient = mixture_gradient(self.learner, self.alpha.weights, validation, ahead)
        self.alpha.step(gradient)
        train_loss, _ = self.learner.learn(*here, self.alpha.weights.detach(), rate)
        for loss in (float(validation_loss), float(train_loss)):
            if not math.isfinite(loss):
                raise Failure(f"the loss is {loss} in iteration {self.iteration + 1}; try a lower --lr")
        self.losses += float(validation_loss)
        self.iteration += 1
        if self.epoch_ended:
            self._end_epoch(self.iteration // self.task.data.train.steps)

    def _end_epoch(self, epochs: int) -> None:
        """epochs: how many are done."""
        self.history["validation_loss"].append(self.losses / self.task.data.train.steps)
        self.losses = 0.0
        every = max(1, math.ceil(self.task.recipe.epochs / SNAPSHOTS))
        if (epochs - 1) % every == 0 or self.iteration == self.iterations:
            likely = self.alpha.likely()
            self.history["weights"].append(np.exp(likely).round(5).tolist())
            point = {"epoch": epochs, "images": self.iteration * self.batch, "scores": scores(likely, self.task.space)}
            self.history["curve"].append(point)
            self.clock.append(round(self.seconds, 3))

    def tell(self) -> None:
        """Progress."""
        epoch = -(-self.iteration // self.task.data.train.steps)
        self.task.progress(self.iteration / self.iterations, {"epoch": epoch, "images": self.iteration * self.batch})

    def keep(self) -> None:
        """Keeps a checkpoint where one is due, or where the search is asked to stop. Raises Stopped then."""
        stopped = self.task.stop()
        # A death without notice costs little.
        if stopped or self.keeper.due or (self.epoch_ended and self.keeper.affordable):
            self.keeper.save(
                {
                    "learner": self.learner.state(),
                    "alpha": self.alpha.state(),
                    "iteration": self.iteration,
                    "loss_sum": self.losses,
                    "seconds": self.seconds,
                    "history": self.history,
                    "clock": self.clock,
                }
            )
        if stopped:
            raise Stopped


def scores(likely: np.ndarray, space: PoolingSpace) -> list[float]:
    """Log likelihood (C,) of each configuration's path under independent blocks; likely: (blocks, resolutions)."""
    blocks = np.arange(space.depth - 1)
    return [float(likely[blocks, config.path[1:]].sum()) for config in space]
