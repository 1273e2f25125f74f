"""MCTS-UCB: a walk down a tree of pooling decisions picks the configuration (paper, appendix C, equation 6).

    python -m benchmark.evaluate --method mcts
    python -m benchmark.evaluate --method mcts --warmup 0.5

One supernet. Layer by layer the walk keeps the resolution or pools, until a configuration is left; a node is a prefix of
decisions and is never merged with another: 164 nodes and 36 leaves for ResNet20. At a fork, children that were never
visited come first; then a child is drawn from softmax(UCB / temperature). The reward is credited to every node on the
way. Cost: E epochs of one supernet. Published: [4,2,4], 90.34; with uniform warm-up [4,4,2], 90.85; 2.5 GPU hours each
(Table 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from benchmark.errors import UsageError
from benchmark.spaces.space import PoolingSpace
from nas_methods import Published, Task, Variant
from nas_methods.supernet import Sampler, State, Step

VERSION = 1


def ucb(mean: ArrayLike, n: ArrayLike, n_parent: ArrayLike, c: float) -> np.ndarray:
    """Upper confidence bound of a tree's node, mean + c sqrt(log(n_parent) / n) (equation 6); infinite for n = 0.

    mean: mean reward of the node (any value where n = 0), n: its visits, n_parent: its parent's; scalars or arrays
    that broadcast, as the result does. Raises ValueError for negative visits and for a visited node whose parent
    was not.
    """
    mean, n, n_parent = (np.asarray(values, dtype=np.float64) for values in (mean, n, n_parent))
    if not (np.all(n >= 0) and np.all((n_parent >= 1) | (n == 0))):
        raise ValueError(f"visits are counts, a parent's at least 1 where its child was visited: {n}, {n_parent}")
    bound = mean + c * np.sqrt(np.log(np.maximum(n_parent, 1)) / np.maximum(n, 1))
    return np.where(n > 0, bound, np.inf)[()]  # [()]: a scalar for scalars


def tree(space: PoolingSpace) -> np.ndarray:
    """(C, L): the nodes on the walk to each configuration, the root first, its leaf last.

    Nodes are numbered layer by layer from the root, 0; within a layer earlier poolings come first, so that the last C
    numbers are the configurations in canonical order.
    """
    numbers: dict[tuple[int, ...], int] = {}
    prefixes = [[config.path[:layers] for config in space] for layers in range(1, space.depth + 1)]
    return np.array([[numbers.setdefault(prefix, len(numbers)) for prefix in layer] for layer in prefixes]).T


@dataclass(frozen=True)
class Method(Sampler):
    """Monte-Carlo tree search by upper confidence bounds.

    c            weight of exploration in equation 6; the paper prints none, 1 is that of the authors' later code
    temperature  of the softmax over the children's bounds; likewise 0.7
    argmax       follow the largest bound (ties at random) in the place of drawing from the softmax
    warmup       share of the search, from its beginning, in which leaves are drawn uniformly; the tree learns all along.
                 The paper compares none with some and does not say how much: our choice is 0.5

    The history keeps visits and mean reward (0 where there were no visits) of every node, numbered as in `tree`.
    """

    c: float = 1.0
    temperature: float = 0.7
    argmax: bool = False
    warmup: float = 0.0

    VARIANTS: ClassVar[tuple[Variant, ...]] = (
        Variant({}, (Published(2, 5, "MCTS-UCB", "[4,2,4]", 90.34, 0.12, 2.5),)),
        Variant({"warmup": 0.5}, (Published(2, 8, "MCTS-UCB, uniform warm-up", "[4,4,2]", 90.85, 0.09, 2.5),)),
    )

    def __post_init__(self) -> None:
        if not 0 <= self.c < np.inf:
            raise UsageError(f"c is {self.c}: it must be finite and at least 0")
        if not 0 < self.temperature < np.inf:
            raise UsageError(f"temperature is {self.temperature}: it must be finite and above 0")
        if not 0 <= self.warmup <= 1:
            raise UsageError(f"warmup is {self.warmup}: it is a share of the search, between 0 and 1")

    def start(self, task: Task) -> State:
        nodes = tree(task.space)
        return {"nodes": nodes, "visits": np.zeros(nodes.max() + 1, np.int64), "rewards": np.zeros(nodes.max() + 1)}

    def mean(self, state: State) -> np.ndarray:
        """Mean reward of every node; 0 for those without a visit."""
        return state["rewards"] / np.maximum(state["visits"], 1)

    def chances(self, bounds: np.ndarray) -> np.ndarray:
        """The probability of each child at a fork, from their bounds."""
        from scipy.special import softmax

        if self.argmax or np.isinf(bounds).any():
            best = bounds == bounds.max()
            return best / best.sum()
        return softmax(bounds / self.temperature)

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        nodes, visits = state["nodes"], state["visits"]
        if step.within(self.warmup):
            return int(step.configuration.integers(len(nodes))), 0
        mean, below = self.mean(state), np.arange(len(nodes))  # below: the leaves under the node reached
        for parents, layer in zip(nodes.T[:-1], nodes.T[1:], strict=True):
            parent, children = parents[below[0]], np.unique(layer[below])
            if len(children) > 1:
                bounds = ucb(mean[children], visits[children], visits[parent], self.c)
                child = step.configuration.choice(children, p=self.chances(bounds))
                below = below[layer[below] == child]
        return int(below[0]), 0

    def update(self, state: State, picked: tuple[int, int], reward: float) -> State:
        visits, rewards = state["visits"].copy(), state["rewards"].copy()
        way = state["nodes"][picked[0]]
        visits[way] += 1
        rewards[way] += reward
        return state | {"visits": visits, "rewards": rewards}

    def watch(self, state: State, step: Step) -> dict[str, np.ndarray]:
        return {"visits": state["visits"], "mean": self.mean(state)}
