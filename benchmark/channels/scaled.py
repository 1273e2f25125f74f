"""Widths that scaling gave, without a search, each kept as a result that `--network` takes again.

OUT/channels/NAME/result.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import files
from benchmark.channels.graph import ChannelGraph
from benchmark.channels.search import SCHEMA, Subject


@dataclass(frozen=True)
class Scaled:
    """A network's widths after a scaling.

    label  of the scaling, for people
    key    the same for a file's name; of static scaling also what the ranks are from
    how    what made it: {"kind": "compound", "k": 3.0}, say
    """

    subject: Subject
    dataset: str
    label: str
    key: str
    how: Mapping[str, Any]
    widths: Mapping[str, int]
    out: Path
    source: str = ""

    @property
    def path(self) -> Path:
        short = Path(self.subject.name.partition(":")[0]).stem or "network"
        if self.subject.name.endswith(".json"):
            short = f"{self.subject.base}-from-{self.source}"
        short += "-imagenet" if self.subject.stem != "cifar" else ""
        return self.out / "channels" / files.bounded(f"{short}-{self.dataset}-{self.key}") / "result.json"

    def write(self, graph: ChannelGraph) -> dict[str, Any]:
        """The result, which it keeps; the same each time."""
        result = {
            "schema": SCHEMA,
            "network": self.subject.base,
            "from": self.source,
            "stem": self.subject.stem,
            "classes": self.subject.classes,
            "dataset": self.dataset,
            "scaling": {"label": self.label} | dict(self.how),
            "widths": dict(self.widths),
            "parameters": graph.parameters(self.widths),
            "macs": graph.macs(self.widths),
            "own": {"parameters": graph.parameters(), "macs": graph.macs()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(self.path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
        return result
