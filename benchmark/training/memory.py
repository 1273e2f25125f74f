"""What a training takes of a device's memory, told before it begins: an estimate, from shapes alone.

weights      4 bytes each for a weight, its gradient and its momentum, for each model; while a checkpoint is written, when
             there are no activations, a copy of weights and momenta instead (8 ResNet50s: measured 3.0 GB in all)
activations  what convolutions put out, KEPT times over: a convolution's output and its batch norm's are kept for the
             backward pass, which is 2.0 times (fake tensors through forward, backward and step); a CPU's libraries make
             copies of their own beside it: measured 2.9 to 3.5 times. On a GPU nothing was measured: tensors and a margin
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from benchmark.errors import UsageError
from benchmark.recipe import Recipe
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace

KEPT = {"cpu": 3.5, "cuda": 2.3}  # by type of device
SURE = 0.8  # an estimate is refused where not even so much of it is there: it may be too high by as much
LIBRARIES = 0.4e9  # bytes of a process that has torch loaded


def training_bytes(
    space: PoolingSpace, recipe: Recipe, numbers: int, models: int = 1, branches: int = 1, device: str = "cpu"
) -> float:
    """Bytes that a training takes of a torch device, named as text.

    numbers: what the convolutions put out for an image, `costs.outputs` of the largest path; models: how many networks
    are held beside each other; branches: sets of weights per block.
    """
    width = 2 if recipe.precision == "bf16" else 4
    each = 4 * models * branches * costs.parameters(space)
    training = each + KEPT["cuda" if device.startswith("cuda") else "cpu"] * width * recipe.batch_size * numbers
    return LIBRARIES + 2 * each + max(training, 2 * each)


def available_bytes(device: torch.device) -> float:
    """What a device has left; of a CPU, what neither the machine nor a container's limit keeps back."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))] if hasattr(os, "sysconf") else []
    for path, name in (("/proc/meminfo", "MemAvailable:"), ("/sys/fs/cgroup/memory.max", "")):
        try:
            words = Path(path).read_text().split()
            found.append(1024 * float(words[words.index(name) + 1]) if name else float(words[0]))
        except (OSError, ValueError, IndexError):  # elsewhere than on Linux; or `max`, no limit
            continue
    return min(found, default=float("inf"))


BATCH_OR_DEVICE = "a smaller --batch-size (another recipe) or another --device"


def require(needed: float, what: str, device: torch.device, together: int = 1, way_out: str = BATCH_OR_DEVICE) -> str:
    """A line on what `together` of something take. Raises UsageError, with the way out, where that cannot fit."""
    there = available_bytes(device)
    said = f"{what} takes about {readable(needed)}"
    if SURE * needed > there:
        raise UsageError(f"{said}, {device} has {readable(there)} left: use {way_out}")
    if SURE * together * needed > there:
        raise UsageError(
            f"{said}, {together} at once {readable(together * needed)}, {device} has {readable(there)} left: "
            f"use --together {max(1, int(there / needed / SURE))}"
        )
    return f"memory: {said}" + (f", {together} at once" if together > 1 else "") + f"; {readable(there)} are free"


def readable(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
