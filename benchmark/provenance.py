"""Which code made a result, and whether it is still what was made. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

__version__ = "0.2.0"


@lru_cache
def code_version() -> dict[str, Any]:
    """Version, and commit where the package runs from a checkout.

    `git_dirty` looks at the code alone: results that are being written do not count.
    """
    root = Path(__file__).resolve().parent.parent
    commit = dirty = None
    if (root / ".git").exists():
        try:
            commit = _git(root, "rev-parse", "HEAD").strip()
            dirty = bool(
                _git(
                    root, "status", "--porcelain", "--untracked-files=normal", "--", "benchmark", "nas_methods"
                ).strip()
            )
        except (OSError, subprocess.SubprocessError):
            commit = dirty = None  # no git on this machine, or a checkout it refuses to read
    return {
        "version": __version__,
        "git_commit": commit,
        "git_dirty": dirty,
        "python": platform.python_version(),
    }


def _git(root: Path, *words: str) -> str:
    # Inside a hook GIT_DIR and others name another repository; none of them says anything of this one.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *words], cwd=root, env=plain, check=True, capture_output=True, text=True, timeout=20
    ).stdout


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record or a ranking without itself, timings and loader: what is made twice on one device has the same."""
    body = {key: value for key, value in record.items() if key not in ("timings", "checksum")}
    if isinstance(made := body.get("provenance"), dict):
        body["provenance"] = {key: value for key, value in made.items() if key not in ("timings", "loader")}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
