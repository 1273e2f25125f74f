"""SPOS: one supernet, every path drawn equally often (Guo et al., 2020; paper, section 3.2, M = 1).

    python -m benchmark.evaluate --method spos
    python -m benchmark.evaluate --method spos --sharing unshared
    python -m benchmark.evaluate --method spos --sharing unshared --paths 19683

Cost: E epochs of one supernet; the mean of the 19,683 paths takes 2.5 times the MACs of the mean configuration (121 M,
49 M). Published: [3,3,4], 90.61, with shared weights (Table 1; Table 2 says [4,2,4], 90.34, in 1.5 GPU hours);
[4,2,4], 90.34, with unshared weights, by 36 and by 19,683 paths (Table 1); Figure 3 prints tau 0.142 for M = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from benchmark.cli import say
from benchmark.errors import UsageError
from benchmark.given import require_values
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace
from benchmark.training.memory import training_bytes
from nas_methods import Published, Task, Variant
from nas_methods.supernet import Sampler, State, Step, forward_passes

VERSION = 1


@dataclass(frozen=True)
class Method(Sampler):
    """Single path one-shot with uniform sampling.

    sharing  `shared`: one set of weights per block; `unshared`: one per block and resolution. Weights that the drawn
             path does not use are left as they are, momentum and weight decay included
    paths    36: the configurations; 19683: every path, each block's resolution uniform and independent of the others,
             so that resolutions rise too. Counted for ResNet20, as in Table 1; other spaces have other numbers of both,
             which are said. Scores are of the configurations always
    """

    sharing: Literal["shared", "unshared"] = "shared"
    paths: int = 36

    VARIANTS: ClassVar[tuple[Variant, ...]] = (
        Variant(
            {},
            (
                Published(1, 5, "SPOS, fully shared", "[3,3,4]", 90.61, 0.17),
                Published(2, 4, "SPOS", "[4,2,4]", 90.34, 0.12, 1.5),
            ),
            tau=0.142,
        ),
        Variant({"sharing": "unshared"}, (Published(1, 6, "SPOS, not shared, 36 paths", "[4,2,4]", 90.34, 0.12),)),
        Variant(
            {"sharing": "unshared", "paths": 19683},
            (Published(1, 7, "SPOS, not shared, 19,683 paths", "[4,2,4]", 90.34, 0.12),),
        ),
    )

    def __post_init__(self) -> None:
        require_values(self)
        if self.paths not in (36, 19683):
            raise UsageError(f"paths is {self.paths}: choose from 36 (the configurations), 19683 (every path)")

    def network(self, task: Task, model: int) -> torch.nn.Module:
        return task.data.network(model) if self.sharing == "shared" else task.data.network(model, shared=False)

    def start(self, task: Task) -> State:
        count, space = self.choices(task.space), task.space
        if count != self.paths:
            what = (
                "configurations"
                if self.paths == 36
                else f"paths, {space.depth - 1} layers at {len(space.sizes)} resolutions"
            )
            say(f"spos draws from the {count:,} {what} of {space.name}")
        return {"paths": np.array(count)}

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        return int(step.configuration.integers(state["paths"])), 0

    def choices(self, space: PoolingSpace) -> int:
        return len(space) if self.paths == 36 else len(space.sizes) ** (space.depth - 1)

    def path(self, space: PoolingSpace, index: int) -> tuple[int, ...]:
        if self.paths == 36:
            return space[index].path
        # The digits of the index are the blocks' resolutions, so uniform indices make them uniform and independent.
        return 0, *map(int, np.unravel_index(index, (len(space.sizes),) * (space.depth - 1)))

    def memory(self, task: Task) -> float:
        space, branches = task.space, 1 if self.sharing == "shared" else len(task.space.sizes)
        paths = [config.path for config in space] if self.paths == 36 else [space.depth * (0,)]
        numbers = max(costs.outputs(space, path) for path in paths)
        return training_bytes(space, task.recipe, numbers, branches=branches, device=task.device)

    def work(self, task: Task) -> float:
        if self.paths == 36:
            return super().work(task)
        space, (training, final) = task.space, forward_passes(self, task)
        # Blocks cost what their own resolution says, so the mean over all paths is that over the level ones.
        level = [costs.path_macs(space, (0,) + (space.depth - 1) * (r,)) for r in range(len(space.sizes))]
        falling = [costs.macs(space, config) for config in space]
        return float(np.mean(level)) * training + float(np.mean(falling)) * final
