"""Devices by name, and what of device and libraries the last bits of a result depend on."""

from __future__ import annotations

import os
import platform
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.datasets.sets import Dataset
from benchmark.errors import UsageError, choices
from benchmark.recipe import Recipe


def device_named(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `cuda:N`. Raises UsageError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name, re.ASCII):
        raise UsageError(f"unknown device '{name}': {choices(name, ['auto', 'cpu', 'cuda', 'cuda:N'])}")
    device = torch.device("cuda:0" if name == "cuda" else name)  # with its number, as tensors state it
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise UsageError(f"device '{name}' is not there: torch sees {torch.cuda.device_count()} GPUs; use --device cpu")
    return device


@lru_cache
def device_label(device: torch.device) -> str:
    """The device's name as its maker gives it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache
def instruction_set(device: torch.device) -> str:
    """The instructions that torch's kernels choose from, for makers' names of processors hide them.

    Two processors of one name, or one with `ATEN_CPU_CAPABILITY` or `ONEDNN_MAX_CPU_ISA` set, may round differently.
    """
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    words = [torch.backends.cpu.get_cpu_capability()]
    for name in ("avx512_bf16", "amx_tile", "amx_fp16"):
        supported = getattr(torch.cpu, f"_is_{name}_supported", None)  # private, so it may go or change its name
        if supported is not None and supported():
            words.append(name)
    chosen = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")
    words += [f"{name}={os.environ[name]}" for name in chosen if os.environ.get(name)]
    return " ".join(words)


def numerics(recipe: Recipe, device: torch.device, dataset: Dataset, engine: str = "eager") -> dict[str, Any]:
    """What the last bits of a result depend on, beside recipe and seed. A checkpoint is resumed under the same only."""
    libraries: dict[str, Any] = {"cudnn": torch.backends.cudnn.version()} if device.type == "cuda" else {}
    if engine == "compiled":
        import triton  # it compiles the blocks

        libraries["triton"] = triton.__version__
    decoder = {"decoder": dataset.decoder} if dataset.decoder else {}
    return (
        libraries
        | decoder
        | {
            "device": device_label(device),
            "instructions": instruction_set(device),
            "engine": engine,
            "precision": recipe.precision,
            "numpy": np.__version__,  # it draws weights, order and crops
            "torch": str(torch.__version__),  # its own class could not be read back from a checkpoint
            "dataset": {"name": dataset.name, "checksum": dataset.checksum},
        }
    )
