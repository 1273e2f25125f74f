"""Baseline: trains every configuration alone for a few epochs and ranks by validation accuracy.

    python -m benchmark.evaluate --method short_training
    python -m benchmark.evaluate --method short_training --epochs-each 5

What a search must beat at the same cost: E' epochs of 36 networks on one half of the data. Shares its trainings with
`conet`: with the same seed, recipe and epochs, the second of the two trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.scoring.ranking import Ranking
from nas_methods import Task
from nas_methods.alone import Alone
from nas_methods.conet import ranks

VERSION = 1


@dataclass(frozen=True)
class Method(Alone):
    """Accuracy on the validation half after the last epoch of a short stand-alone training, a fraction.

    epochs_each  epochs of each configuration, cosine over all of them; the recipe's `epochs` are of supernets
    """

    def rank(self, task: Task) -> Ranking:
        trained = self.trainings(task, ranks)  # measured for `conet`, whose trainings these are too
        accuracy = [training.accuracy for training in trained]
        return self.ranking(task, trained, accuracy, {"accuracy": accuracy})
