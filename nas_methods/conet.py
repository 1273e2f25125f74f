"""CONet's indicator: how much low-rank structure short training has put into the convolutions (Hosseini et al., 2021).

    python -m benchmark.evaluate --method conet
    python -m benchmark.evaluate --method conet --score slope --epochs-each 5

Every configuration is trained alone for a few epochs. After each, every convolution's weights are unfolded to a matrix
from both sides, and what is no noise in it counts: the rank R (`benchmark.channels.metrics`), here averaged over the
convolutions. The paper uses it to choose widths, not poolings; no tau is printed. Cost: E' epochs of 36 networks on one
half of the data, shared with `short_training`. Weights as drawn have rank 0, and it takes some tens of steps until the
first one rises: trainings that end before are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from benchmark.channels import metrics
from benchmark.channels.metrics import rank_slope
from benchmark.errors import Failure, UsageError
from benchmark.given import require_values
from benchmark.scoring.ranking import Ranking
from nas_methods import Task
from nas_methods.alone import Alone

VERSION = 1


def ranks(network: nn.Module) -> list[list[float]]:
    """What the shared trainings keep of a network after each epoch: R of every convolution, (convolutions, 2)."""
    return metrics.ranks(network)


@dataclass(frozen=True)
class Method(Alone):
    """CONet's indicator on short stand-alone trainings.

    epochs_each  epochs of each configuration, cosine over all of them; the recipe's `epochs` are of supernets
    score        `rank`: mean R over all convolutions and both sides after the last epoch;
                 `slope`: S of that mean, from epoch to epoch
    """

    score: Literal["rank", "slope"] = "rank"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_values(self)
        if self.score == "slope" and self.epochs_each < 2:
            raise UsageError("score is slope with epochs_each 1: a slope needs 2 epochs or more")

    def rank(self, task: Task) -> Ranking:
        trained = self.trainings(task, ranks)
        means = [[float(np.mean(epoch)) for epoch in one.measured] for one in trained]
        slopes = [rank_slope(series) for series in means]
        scores = slopes if self.score == "slope" else [series[-1] for series in means]
        if len(set(scores)) == 1:
            raise Failure(
                f"every configuration has the same {self.score}, {scores[0]}, after {self.epochs_each} epochs: that is no "
                "ranking; train longer (--epochs-each) or in smaller batches (--batch-size)"
            )
        so_far = [[rank_slope(series[: e + 1]) for e in range(len(series))] for series in means]
        by_score = {"rank": means, "slope": so_far}
        return self.ranking(task, trained, by_score[self.score], {"rank": means, "slope": slopes})
