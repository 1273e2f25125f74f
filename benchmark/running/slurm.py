"""Slurm's own commands: what one of them prints, or why it does not answer. No torch."""

from __future__ import annotations

import re
import subprocess

from benchmark.errors import Failure, UsageError


def ask_slurm(*words: str) -> str:
    """What one of Slurm's commands prints. Raises UsageError where there is no Slurm, Failure where it does not answer."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        raise UsageError(f"this machine has no {words[0]}: --where slurm works where Slurm's commands do") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{words[0]} does not answer") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise Failure(f"{words[0]}: {lines[-1]}")
    return done.stdout


def max_array_size() -> int:
    """How many tasks an array may have here."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask_slurm("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(match[1])) if match else 1000
