"""What searches found in a space of which there is no table to score them against. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UsageError
from benchmark.scoring.ranking import Ranking
from benchmark.spaces.costs import path_macs
from benchmark.spaces.space import PoolingSpace


@dataclass(frozen=True)
class Finds:
    """The rankings of one method, by seed: what each picks and what that costs."""

    space: PoolingSpace
    rankings: Mapping[int, Ranking]

    @property
    def picks(self) -> dict[int, str]:
        """By seed; a configuration or, of methods that leave the space, a path. Text of anything else is kept as it is."""
        return {seed: str(ranking.pick) for seed, ranking in self.rankings.items()}

    def _macs(self, pick: str) -> int | None:
        try:
            return path_macs(self.space, self.space.architecture(pick).path)
        except UsageError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """`score` is None, so that nobody takes a search for one that was scored."""
        first = next(iter(self.rankings.values()))
        found = [{"seed": seed, "config": pick, "macs": self._macs(pick)} for seed, pick in self.picks.items()]
        return {
            "space": self.space.name,
            "method": first.method,
            "options": dict(first.options),
            "picks": found,
            "score": None,
        }

    def text(self) -> str:
        first = next(iter(self.rankings.values()))
        lines = [
            f"{first.method} on {self.space.name} ({len(self.space)} configurations), not scored: no table is given"
        ]
        default = path_macs(self.space, self.space.default.path)
        for seed, pick in self.picks.items():
            macs = self._macs(pick)
            cost = (
                f", {macs / 1e6:,.1f} M MACs ({macs / default:.2f} of the default {self.space.default})" if macs else ""
            )
            lines.append(f"  seed {seed} picks {pick}{cost}")
        return "\n".join(lines)
