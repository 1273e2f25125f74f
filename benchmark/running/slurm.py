"""Slurm's own commands: what one of them prints, or why it does not answer. No torch."""

from __future__ import annotations

import os
import re
import subprocess

from benchmark.errors import Failure, UsageError

OF_SLURM = (
    "SLURM_",
    "SLURMD_",
    "SBATCH_",
    "SALLOC_",
    "SRUN_",
    "SQUEUE_",
    "SCANCEL_",
    "SCONTROL_",
    "SINFO_",
    "SACCT_",
    "SUBMITIT_",
)
WAY_TO_SLURM = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")  # where its controller is, and how it knows us


def ask_slurm(*words: str) -> str:
    """What one of Slurm's commands prints. Raises UsageError where there is no Slurm, Failure where it does not answer."""
    try:
        done = subprocess.run(
            words, env=clean_environment(), capture_output=True, text=True, errors="replace", timeout=120, check=False
        )
    except FileNotFoundError:
        raise no_slurm(words[0]) from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{words[0]} does not answer") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise Failure(f"{words[0]}: {lines[-1]}")
    return done.stdout


def no_slurm(command: str) -> UsageError:
    return UsageError(f"this machine has no {command}: --where slurm works where Slurm's commands do")


def clean_environment() -> dict[str, str]:
    """Our variables without those by which Slurm's commands take options, or a job tells what it is."""
    return {name: v for name, v in os.environ.items() if name in WAY_TO_SLURM or not name.startswith(OF_SLURM)}


def max_array_size() -> int:
    """How many tasks an array may have here."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask_slurm("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(match[1])) if match else 1000
