"""What the measurement of learned sizes is made of: an iteration of each method, and the MACs that it is set beside."""

import pytest

from benchmark.recipe import SearchRecipe
from benchmark.spaces import costs
from benchmark.spaces.space import load_space
from speed.resizing import METHODS, iterations

SPACE = load_space()


def test_iterations_are_of_the_mean_configuration_and_of_the_sizes_at_the_start():
    found = iterations(SPACE, SearchRecipe(threads=1, precision="fp32", batch_size=2))
    assert list(found) == ["spos", *METHODS]
    macs = {name: macs for name, (macs, _) in found.items()}
    assert macs["spos"] == pytest.approx(sum(costs.macs(SPACE, config) for config in SPACE) / 36)
    assert macs["dynopool"] == costs.macs(SPACE, SPACE.default)
    assert macs["diffstride"] > 3 * macs["dynopool"]
    for name in METHODS:
        found[name][1]()
