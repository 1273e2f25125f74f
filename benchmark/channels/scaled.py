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
from benchmark.channels.results import SCHEMA, file_of, read_result
from benchmark.channels.search import Subject
from benchmark.errors import UsageError


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
            **file_of(self.subject.base),
        }
        self._require_own(result)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(self.path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
        return result

    def _require_own(self, result: Mapping[str, Any]) -> None:
        """Raises UsageError where the result that is there is of another network, as of a file that was changed."""
        if not self.path.exists():
            return
        there = read_result(self.path)
        if what := next((key for key in ("network", "from") if there.get(key) != result[key]), None):
            raise UsageError(
                f"{self.path} is of another network (its '{what}' is '{there.get(what)}'): nothing of it is touched; "
                "use another --out"
            )
