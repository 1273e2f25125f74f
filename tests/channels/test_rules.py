"""Algorithm 2, the maps of ranks and Adas, against numbers worked out beforehand."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmark.channels import ChannelGraph
from benchmark.channels.adas import Adas, next_rate
from benchmark.channels.metrics import Side
from benchmark.channels.networks import make
from benchmark.channels.reading import readers, said
from benchmark.channels.rules import EXPAND, FREEZE, SHRINK, ChannelRecipe, Moving, moved, why
from benchmark.errors import UsageError
from benchmark.recipe import Recipe

DELTA = 0.01
UP, DOWN = 0.02, 0.005  # slopes


def moves(pattern, count=None, condition=1.0, unit=2, **fields):
    recipe = ChannelRecipe(**{"floor": 16} | fields)
    states = [Moving(32, recipe.phi)]
    for step in range(count or len(pattern)):
        slope = UP if pattern[step % len(pattern)] == "E" else DOWN
        states.append(moved(states[-1], slope, condition, DELTA, recipe, unit))
    return states


def widths(*args, **fields):
    return [state.width for state in moves(*args, **fields)]


def test_widths_that_are_always_told_to_grow():
    assert widths("E", 13) == [32, 38, 46, 56, 68, 82, 98, 118, 142, 170, 204, 244, 256, 256]


def test_widths_that_are_always_told_to_shrink():
    states = moves("S", 5)
    assert [s.width for s in states] == [32, 26, 20, 16, 18, 18]
    assert [s.phi for s in states[1:]] == [0.2, 0.2, 0.2, 0.1, 0.05]
    assert widths("S", 5, floor=32) == [32, 38, 34, 32, 34, 34]  # at the floor it grows, whatever it is told


def test_widths_that_turn_each_time_freeze():
    states = moves("ES", 8)
    assert [s.width for s in states[:5]] == [32, 38, 34, 36, 36]
    assert [s.phi for s in states[1:8]] == [0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125]
    assert [s.last for s in states[6:]] == [SHRINK, FREEZE, FREEZE]
    assert states[7] == states[8]


def test_widths_that_turn_now_and_then():
    assert widths("EESS", 8) == [32, 38, 46, 42, 38, 40, 42, 40, 40]


def test_a_condition_of_mu_shrinks_and_a_slope_of_delta_grows():
    assert widths("E", 1, condition=9.999) == [32, 38]
    assert widths("E", 1, condition=10.0) == [32, 26]
    at = moved(Moving(32, 0.2), DELTA, 1.0, DELTA, ChannelRecipe())
    assert (at.width, at.last) == (38, EXPAND)


def test_widths_are_multiples_and_halves_go_to_the_even_one():
    recipe = ChannelRecipe(floor=1, phi=0.0)
    assert [moved(Moving(w, 0.0), UP, 1, DELTA, recipe).width for w in (33, 35, 37)] == [32, 36, 36]
    assert widths("E", 3, unit=12) == [32, 36, 48, 60]
    assert widths("S", 3, unit=12, floor=20) == [32, 24, 24, 24]
    assert all(w % 6 == 0 for w in widths("E", 20, unit=6, cap=100)[1:])
    assert widths("E", 20, unit=6, cap=100)[-1] == 96
    assert widths("E", 2, unit=300) == [32, 300, 300]  # more groups than the cap allows channels: one each


def test_decisions_in_words():
    recipe = ChannelRecipe(floor=16)
    for state, slope, condition, words in (
        (Moving(32, 0.2), UP, 1, "slope 0.02 >= delta 0.01: grows"),
        (Moving(32, 0.2), DOWN, 1, "slope 0.005 < delta 0.01: shrinks"),
        (Moving(32, 0.2), UP, 12, "condition 12 >= mu 10: shrinks"),
        (Moving(16, 0.2), DOWN, 1, "at the floor: grows"),
        (Moving(300, 0.2), UP, 1, "above the cap 256: shrinks"),
        (Moving(32, 0.005, SHRINK), UP, 1, "turns again at phi 0.005 < 0.01: frozen"),
        (Moving(32, 0.005, FREEZE), UP, 1, "frozen"),
    ):
        assert why(state, moved(state, slope, condition, DELTA, recipe), slope, condition, DELTA, recipe) == words


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"trials": 2, "updates": 3}, "updates is 3: there are 2 trials"),
        ({"floor": 64, "cap": 32}, "cap is 32, below floor, 64"),
        ({"phi": 2.0}, "phi is 2.0: it must lie between 0.0 and 1.0"),
        ({"mu": float("nan")}, "mu is nan"),
        ({"milestones": "0.5"}, "milestones is 0.5"),
        ({"optimizer": "adam"}, "optimizer is 'adam'"),
    ],
)
def test_recipes_that_make_no_sense(fields, said):
    with pytest.raises(UsageError, match=said):
        ChannelRecipe(**fields)


def test_24_updates_of_25_trials():
    assert ChannelRecipe().moves == 24
    assert ChannelRecipe(updates=25).moves == 25
    assert ChannelRecipe.preset("smoke").moves == 2


# --- who speaks for a width ---


def counting(network):
    """An epoch in which convolution i has the ranks i and 100 + i."""
    names = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    return {name: (Side(i, 10 * i, 0), Side(100 + i, 10 * (100 + i), 0)) for i, name in enumerate(names)}


def test_the_published_map_of_resnet34():
    network = make("resnet34", 10)
    epoch = counting(network)
    assert len(epoch) == 36
    variables = ChannelGraph.of(network, torch.zeros(2, 3, 32, 32)).variables
    read = readers(variables, "resnet34")
    means = {name: said([epoch], of).rank[0] for name, of in read.items()}
    shared = ["conv1", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]
    first = [f"layer{n}.0.conv1" for n in (1, 2, 3, 4)]
    second = [f"layer{n}.1.conv1" for n in (1, 2, 3, 4)]
    assert [means[name] for name in shared] == pytest.approx([53.5, 61.25, 72.333333, 82.166667], abs=1e-6)
    assert [means[name] for name in first] == [51.5, 57.5, 66.5, 79.5]
    assert [means[name] for name in second] == [53.5, 60.5, 69.5, 82.5]
    assert said([epoch], read["conv1"]).condition == pytest.approx(535)
    general = readers(variables, "resnet34", "general")
    assert {name for name in general if general[name] != read[name]} == set(shared)
    assert ("conv1", 1) in general["conv1"]


def test_the_published_map_of_cells():
    network = make("darts7", 10)
    variables = ChannelGraph.of(network, torch.zeros(2, 3, 32, 32)).variables
    read, general = readers(variables, "darts7"), readers(variables, "darts7", "general")
    assert {name for name in general if general[name] != read[name]} == {"stem0.0"}
    assert read["stem0.0"] == (("stem0.0", 1),)
    epoch = {name: (Side(0, 0, 0), Side(0.1, 1, 0)) for name in counting(network)}
    epoch["cells.3.pre0.even"] = (Side(0, 0, 0), Side(0.7, 1, 0))  # counts as one with its other half
    shared = next(of for of in read.values() if any("+" in name for name, _ in of))
    outs = sum(side for _, side in shared)
    assert said([epoch], shared).rank[0] == pytest.approx((0.4 + 0.1 * (outs - 1)) / len(shared))


def test_slopes_are_of_the_mean_rank_and_the_condition_is_the_last():
    history = [
        {"a": (Side(r, 9, 0), Side(r + 0.2, 1, 0)), "b": (Side(0, 3, 0), Side(0, 0, 0))} for r in (0.1, 0.3, 0.2)
    ]
    history[-1]["a"] = (Side(0.2, 9, 0), Side(0.4, 4, 0))
    found = said(history, [("a", 1), ("b", 0)])
    assert found.rank == pytest.approx((0.15, 0.25, 0.2))
    assert found.slope == pytest.approx(0.1 / 1.0001)
    assert found.condition == 3.5


# --- Adas ---


def test_rates_of_adas():
    gains = [
        (i + o) / 2
        for i, o in zip([0.1, 0.14, 0.2, 0.21, 0.19, 0.19], [0.12, 0.18, 0.22, 0.25, 0.25, 0.10], strict=True)
    ]
    rates, rate = [0.1], 0.0
    for epoch in range(6):
        rate = next_rate(rate, gains[: epoch + 1], 0.1, 0.8)
        rates.append(rate)
    assert rates == pytest.approx([0.1, 0.1, 0.13, 0.154, 0.1432, 0.10456, 0.008648])
    assert next_rate(0.0, [0.5, 0.1], 0.1, 0.8) == 1e-20


class Unpathed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3))
        self.head = nn.Linear(6, 10)

    def forward(self, x, path):
        return self.head(self.body(x).mean((2, 3)))


def test_each_convolution_has_its_rate_and_linear_layers_that_of_the_last_output():
    torch.manual_seed(0)
    recipe = Recipe(lr=0.1, momentum=0.9, weight_decay=0.01, precision="fp32", memory_layout="contiguous")
    network = Unpathed()
    learner = Adas(network, recipe, torch.device("cpu"), 0, 0.8)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    learner.advance([(Side(0, 0, 0.1), Side(0, 0, 0.3)), (Side(0, 0, 0.2), Side(0, 0, 0.4))])
    assert learner.now == pytest.approx([0.1, 0.1, 0.1])
    learner.advance([(Side(0, 0, 0.3), Side(0, 0, 0.3)), (Side(0, 0, 0.2), Side(0, 0, 0.2))])
    assert learner.now == pytest.approx([0.18, 1e-20, 1e-20])
    learner.now = [0.5, 0.25, 0.125]
    learner.learn(torch.randn(4, 3, 8, 8), torch.tensor([1, 2, 3, 4]), (), 99.0)
    rate_of = {"body.0": 0.5, "body.1": 0.5, "body.3": 0.25, "head": 0.125}
    for name, parameter in network.named_parameters():
        step = before[name] - parameter.detach()
        assert torch.allclose(
            step, rate_of[name.rpartition(".")[0]] * (parameter.grad + 0.01 * before[name]), atol=1e-6
        ), name
    state = learner.state()
    other = Adas(Unpathed(), recipe, torch.device("cpu"), 0, 0.8)
    other.restore(state)
    assert (other.rates(), other.gains, other.taken) == (learner.rates(), learner.gains, 1)


def test_a_depthwise_convolution_decays():
    """Its input side has no gain; of a constant gain, the rate falls by beta each epoch."""
    learner = SimpleNamespace(rate=0.0)
    rates = []
    for epoch in range(1, 5):
        learner.rate = next_rate(learner.rate, [0.0] * epoch, 0.1, 0.8)
        rates.append(learner.rate)
    assert rates == pytest.approx([0.1 * 0.8**e for e in range(4)])


def test_what_precedes_the_first_convolution_has_its_rate():
    """A network that begins with a norm has one rate per convolution all the same."""
    network = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.Linear(6, 2)
    )
    learner = Adas(network, Recipe(), torch.device("cpu"), 0, 0.8)
    learner.advance([(Side(0, 0, 0.1), Side(0, 0, 0.3)), (Side(0, 0, 0.2), Side(0, 0, 0.4))])
    assert len(learner.rates()) == 3
    groups = [[id(p) for p in group["params"]] for group in learner.optimizer.param_groups]
    expected = [[*network[0].parameters(), *network[1].parameters(), *network[2].parameters()], [*network[3].parameters()], [*network[4].parameters()]]  # fmt: skip
    assert groups == [[id(p) for p in group] for group in expected]


def test_a_file_is_no_network_of_cells_by_its_name():
    graph = ChannelGraph.of(nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 4, 3), last=nn.Conv2d(4, 6, 3))), torch.zeros(2, 3, 8, 8))  # fmt: skip
    assert readers(graph.variables, "darts_of_mine.py:make") == {"stem": (("stem", 1), ("last", 0))}
    assert readers(graph.variables, "darts7") == {"stem": (("stem", 1),)}
