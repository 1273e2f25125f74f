"""What a search or a scaling of widths leaves, read back: `--network result.json`. No torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.given import read_bytes

SCHEMA = 1


def read_result(path: Path) -> dict[str, Any]:
    """What a search, or a scaling, has left. Raises UsageError for anything else."""
    try:
        said = json.loads(read_bytes(path))
        fits = said["schema"] == SCHEMA and isinstance(said["widths"], dict) and isinstance(said["classes"], int)
        if not (fits and all(isinstance(said[key], str) for key in ("network", "stem", "dataset"))):
            raise ValueError
        if said["network"].endswith(".json"):  # a result states the network itself
            raise ValueError
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}): give a result.json of a search") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UsageError(f"{path} is no result of a search of widths: give a result.json of one") from None
    return said


def base_of(network: str) -> str:
    """The network that is meant by `--network`: that of a result, else itself."""
    return read_result(Path(network))["network"] if network.endswith(".json") else network


def is_file(base: str) -> bool:
    """Whether a file's function makes the network, and not one by name."""
    return ":" in base or base.endswith(".py")


def is_of_cells(base: str) -> bool:
    """Whether it is one of the networks of DARTS cells."""
    return base.startswith("darts") and not is_file(base)


def checksum_of(path: Path) -> str:
    """SHA-256 of a file, in part."""
    return hashlib.sha256(read_bytes(path)).hexdigest()[:12]


def file_of(base: str) -> dict[str, str]:
    """What a result states of the file that makes its network, so that it is known again; nothing for one by name."""
    return {"file": checksum_of(Path(base.rpartition(":")[0] or base))} if is_file(base) else {}
