"""Checkpoints: a file from which a killed training goes on, bit for bit. Never unpickled beyond tensors and numbers."""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.cli import say
from benchmark.files import write_atomically

CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.05  # of the time between two checkpoints that writing one may take
CHEAP = 0.2  # seconds; a checkpoint that takes less is not waited for
DIGEST = 32  # bytes of SHA-256, before what torch saves
CHECKPOINT_FORMAT = 2  # goes up when a checkpoint of old must not be resumed by new code


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The stamp and state in a checkpoint's file: a SHA-256, for torch checks no sums, and what torch saved."""
    with open(path, "rb") as file:
        digest, content = file.read(DIGEST), file.read()
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("the content does not match its checksum")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


@dataclass
class Checkpoint:
    """A file with everything that a killed training needs to go on as if nothing had happened.

    `stamp` says which training and which numerics; a checkpoint with another stamp is not resumed.
    """

    path: Path | None
    stamp: dict[str, Any]

    def __post_init__(self) -> None:
        self.stamp = self.stamp | {"format": CHECKPOINT_FORMAT}
        self._written = time.monotonic()
        self._took = 0.0  # seconds, the last time

    def load(self) -> dict[str, Any] | None:
        """The state, or None where there is none that fits. One line says so where one had to be ignored."""
        if self.path is None or not self.path.exists():
            return None
        try:
            saved = read_checkpoint(self.path)
            stamp, state = saved["stamp"], saved["state"]
        except Exception as error:  # a file of any content may stand there; torch raises many kinds
            say(f"{self.path} is no checkpoint ({type(error).__name__}): this training starts afresh")
            return None
        if stamp != self.stamp:
            say(
                f"{self.path} was made by another version, device or data set, or with another probe: "
                "this training starts afresh"
            )
            return None
        return state

    @property
    def due(self) -> bool:
        return self.affordable and time.monotonic() - self._written > CHECKPOINT_SECONDS

    @property
    def affordable(self) -> bool:
        """Whether another one would take no more than CHECKPOINT_SHARE of the time since the last. Large networks take
        seconds: at the end of each short epoch, writing would take longer than training. Measured: that of 8 ResNet50s
        is 1.51 GB and takes 3.0 s of a core, so one a minute where nothing else runs; beside 13 busy processes it took
        20 s, so one in 400 s. The first is always written, for nothing tells before what it takes.
        """
        since = time.monotonic() - self._written
        return self.path is not None and (self._took < CHEAP or self._took <= CHECKPOINT_SHARE * since)

    def save(self, state: dict[str, Any]) -> None:
        if self.path is None:
            return
        began = time.monotonic()
        buffer = io.BytesIO(bytes(DIGEST))
        buffer.seek(DIGEST)
        torch.save({"stamp": self.stamp, "state": state}, buffer)
        with buffer.getbuffer() as content:  # not a copy, each of which would take 1.5 GB of eight ResNet50s
            content[:DIGEST] = hashlib.sha256(content[DIGEST:]).digest()
            write_atomically(self.path, content)
        self._written = time.monotonic()
        self._took = self._written - began
