"""What a step cannot do without: the machine's rates, measured, and a step's arithmetic and traffic, counted.

Rates: every core at once, one process of one thread each, launched as our workers are. A large matrix product gives
the peak arithmetic rate (there is no faster kernel in this torch), a large `copy_` the memory bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from benchmark.spaces import costs
from benchmark.spaces.space import Config, PoolingSpace, require_trainable
from speed.sides import Window, together

SIDE = 4096  # of the square matrices
COPIED = 2**28  # bytes of the tensor that is copied, per process: far more than a core's share of the caches
NUMBER = 2  # bytes of a bf16 number


def _one_worker(work: tuple[float, Barrier], report: Callable[[Any], None], stop: Callable[[], bool]) -> bool:
    seconds, barrier = work
    torch.set_num_threads(1)
    found = {}

    def repeat(name: str, event: Callable[[], object], amount: float) -> None:
        window = Window(seconds, barrier)
        event()
        while not window.event():
            event()
        found[name] = amount * window.rate

    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a, b, c = (torch.ones(SIDE, SIDE, dtype=dtype) for _ in range(3))
        repeat(f"{precision}_flops_per_second", lambda a=a, b=b, c=c: torch.mm(a, b, out=c), 2.0 * SIDE**3)  # type: ignore[misc]
    source, target = (torch.ones(COPIED // 4) for _ in range(2))
    repeat("copy_bytes_per_second", lambda: target.copy_(source), 2.0 * COPIED)  # read and written
    report(found)
    return True


def rates(processes: int, seconds: float) -> dict[str, float]:
    """bf16 and fp32 FLOP/s and copied bytes/s (read + written) of all processes at once."""
    found = together(_one_worker, seconds, processes)
    return {name: sum(worker[name] for worker in found) for name in found[0]}


def step_flops(space: PoolingSpace, config: Config) -> int:
    """Floating point operations of one image's training step: 6 per MAC (2 forward, 4 backward; Kaplan et al., 2020)."""
    return 6 * costs.macs(space, config)


def step_bytes(space: PoolingSpace, config: Config) -> int:
    """Bytes per image that a training step moves when every operation reads and writes whole bf16 tensors.

    Numbers moved, forward + backward, where `i` and `o` are the numbers in an operation's input and output:

        convolution    i + o, then o + i for the input's gradient (the stem has none) and i + o for the weights'
        batch norm     statistics o, normalising 2o; then sums 2o, gradient 3o
        ReLU, in place 2o; then 3o
        addition       3o; its gradient is passed on as it is, but a block's input joins the gradients of two: 3i
        max-pool       i + o and an 8-byte index per output; then the same again

    Left out, together some per cent: weights and optimizer (once per batch), the head behind the last block, the loss.
    """
    path, sides, widths = config.path, space.sizes, require_trainable(space).widths

    def convolution(i: int, o: int, first: bool = False) -> int:
        return (2 if first else 3) * (i + o) * NUMBER

    def norm(o: int) -> int:
        return (3 + 5) * o * NUMBER

    def relu(o: int) -> int:
        return (2 + 3) * o * NUMBER

    area = sides[path[0]] ** 2
    total = convolution(3 * area, widths[0] * area, first=True) + norm(widths[0] * area) + relu(widths[0] * area)
    for (r_before, r), (before, after) in zip(pairwise(path), pairwise(widths), strict=True):
        area, area_before = sides[r] ** 2, sides[r_before] ** 2
        i, o = before * area, after * area
        if r != r_before:
            total += 2 * ((before * area_before + i) * NUMBER + 8 * i)
        total += convolution(i, o) + norm(o) + relu(o) + convolution(o, o) + norm(o)
        if before != after:
            total += convolution(i, o) + norm(o)
        total += 3 * o * NUMBER + 3 * i * NUMBER + relu(o)
    return total
