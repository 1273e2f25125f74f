"""The search of widths: the same however often it is stopped or killed, its decisions those of its own records."""

import json
import math

import pytest
import torch

from benchmark import search_channels
from benchmark.channels import ChannelGraph
from benchmark.channels.metrics import rank_slope
from benchmark.channels.rules import ChannelRecipe, Moving, moved
from benchmark.channels.search import Search, SearchRun, Subject, read_result
from benchmark.errors import UsageError
from benchmark.provenance import checksum
from tests.flags import instead

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 12, 3, stride=2), nn.Conv2d(12, 12, 3, groups=3)
        self.norm, self.last = nn.BatchNorm2d(12), nn.Conv2d(12, 20, 3, stride=2)
        self.head = nn.Linear(20, classes)
    def forward(self, x):
        x = self.last(self.norm(self.body(self.stem(x)))).relu()
        return self.head(nn.functional.dropout(x.mean((2, 3)), 0.2, self.training))

def make(classes):
    return Net(classes)

def fixed():
    return Net(7)

def lost(classes):
    return Lost(classes)

def flat(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.Linear(8, classes))

def bound(classes):
    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def viewed(classes):
    return Viewed(classes)

class Viewed(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, stride=16), nn.Linear(32, classes)
    def forward(self, x):
        return self.head(self.stem(x).view(-1, 32))

class Lost(Net):
    def forward(self, x):
        return {}["x"]

class Turning(Net):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)
"""
RECIPE = ChannelRecipe(
    dataset="synthetic", epochs=3, trials=3, train_images=96, eval_images=16, batch_size=4, floor=6, cap=40, start=12,
    precision="fp32", lr=0.1,
)  # fmt: skip
FLAGS = [
    word
    for key, value in (RECIPE.to_dict()).items()
    if value is not None and key != "memory_layout"
    for word in (f"--{key.replace('_', '-')}", str(value))
]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "my_net.py"
    path.write_text(NETWORK)
    return f"{path}:make"


def searching(network, out, recipe=RECIPE, delta=0.01, seed=0):
    return Search(Subject(network, "cifar", 10, 32), recipe, delta, seed, out)


def worked(search, stop=lambda: False, steps=None):
    """What a worker answers; after so many steps it dies without notice."""
    search.prepare()
    generator = SearchRun(None, "cpu", "resident", {"version": "test"})(search, lambda news: None, stop)
    taken = 0
    while steps is None or taken < steps:
        try:
            next(generator)
        except StopIteration as end:
            return end.value
        taken += 1
    generator.close()
    return None


def left(search):
    """All that a finished search leaves, without timings."""
    trials = [json.loads(search.trial_path(number).read_text()) for number in range(search.recipe.trials)]
    for trial in trials:
        assert trial.pop("timings")["seconds"] > 0
    result = json.loads(search.result_path.read_text())
    result.pop("seconds")
    assert list((search.folder / "work").iterdir()) in ([], [search.folder / "work" / "search.lock"])
    return trials, result


@pytest.fixture(scope="module")
def undisturbed(network, tmp_path_factory):
    torch.set_num_threads(1)
    search = searching(network, tmp_path_factory.mktemp("undisturbed"))
    assert worked(search) is True
    return search, *left(search)


@pytest.mark.parametrize("optimizer", ["adas", "sgd"])
def test_stopped_and_killed_again_and_again_it_leaves_the_same(network, undisturbed, tmp_path, optimizer):
    expected = undisturbed[1:]
    recipe = RECIPE
    if optimizer == "sgd":
        recipe = ChannelRecipe(**RECIPE.to_dict() | {"optimizer": "sgd"})
        other = searching(network, tmp_path / "other", recipe)
        assert worked(other)
        expected = left(other)
        assert expected[0][0]["curves"]["train_loss"][:2] == undisturbed[1][0]["curves"]["train_loss"][:2]
        assert expected[0][0]["curves"] != undisturbed[1][0]["curves"]  # Adas' rates differ from the third epoch on
    search = searching(network, tmp_path / "here", recipe)
    asked = iter(range(1, 10**9))
    starts = 0
    while worked(search, lambda: next(asked) % 25 == 0, 70 if starts % 2 else 41) is not True:
        starts += 1
        assert starts < 30
    assert starts > 4
    assert left(search) == expected


def test_decisions_follow_from_the_sides_that_are_kept(undisturbed):
    _, trials, result = undisturbed
    states = {"stem": Moving(12, 0.2), "last": Moving(12, 0.2)}
    assert trials[0]["widths"] == {"stem": 12, "last": 12}
    assert trials[0]["convolutions"] == ["stem", "body", "last"]
    for trial in trials[:2]:
        epochs = trial["curves"]["sides"]
        assert [len(epochs), len(epochs[0]), len(epochs[0][0]), len(epochs[0][0][0])] == [3, 3, 2, 3]
        # stem and the grouped convolution share a width: both outputs, and the inputs of body and last
        who = {"stem": [(0, 1), (1, 1), (1, 0), (2, 0)], "last": [(2, 1)]}
        for name, places in who.items():
            means = [[sum(e[c][s][k] for c, s in places) / len(places) for e in epochs] for k in (0, 1)]
            slope, condition = rank_slope(means[0]), means[1][-1]
            states[name] = moved(states[name], slope, condition, 0.01, RECIPE, 6 if name == "stem" else 2)
            decision = trial["decisions"][name]
            assert decision["to"] == states[name].width
            assert decision["slope"] == pytest.approx(slope, rel=1e-5)
            assert decision["condition"] == pytest.approx(condition, rel=1e-5)
    assert trials[2]["decisions"] == {}  # the last training is unused
    assert result["widths"] == trials[2]["widths"] == {name: state.width for name, state in states.items()}
    assert trials[1]["widths"] != trials[0]["widths"]
    assert max(max(side[0] for pair in epoch for side in pair) for epoch in trials[1]["curves"]["sides"]) > 0


def test_a_record_holds_sizes_and_a_fresh_network(undisturbed):
    search, trials, result = undisturbed
    graph = search.subject.graph()
    for trial in trials:
        assert trial["parameters"] == graph.parameters(trial["widths"])
        assert trial["macs"] == graph.macs(trial["widths"])
        assert trial["images"] == 3 * 96
    assert len({trial["curves"]["train_loss"][0] for trial in trials}) == 3
    assert result["own"] == {"parameters": graph.parameters(), "macs": graph.macs()}
    assert [h["trial"] for h in result["history"]] == [0, 1, 2]
    assert search.seed_of(0) != search.seed_of(1)


def test_seed_and_delta_decide(network, undisturbed, tmp_path):
    for change in ({"seed": 1}, {"delta": 0.0}):
        search = searching(network, tmp_path, **change)
        assert search.name != undisturbed[0].name
        assert worked(search)
        trials, _ = left(search)
        assert (trials[0]["curves"] == undisturbed[1][0]["curves"]) == ("delta" in change)
    assert all(d["why"].endswith("grows") or ">= mu" in d["why"] for d in trials[0]["decisions"].values())


def test_a_result_is_a_network(undisturbed, tmp_path):
    search, _, result = undisturbed
    again = Subject(str(search.result_path), "cifar", 10, 32)
    graph = again.graph()
    assert {v.name: v.width for v in graph.variables} == result["widths"]
    assert graph.parameters() == result["parameters"]
    assert again.network()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    onward = searching(str(search.result_path), tmp_path, ChannelRecipe(**RECIPE.to_dict() | {"start": None}))
    assert {name: s.width for name, s in onward.start(graph).items()} == result["widths"]
    with pytest.raises(UsageError, match="10 classes, but the data has 7"):
        Subject(str(search.result_path), "cifar", 7, 32).network()
    other = tmp_path / "other.json"
    other.write_text(json.dumps(result | {"widths": {"stem": 12}}))
    with pytest.raises(UsageError, match="widths of another network: 'last' is not among them"):
        Subject(str(other), "cifar", 10, 32).network()
    other.write_text(json.dumps(result | {"widths": result["widths"] | {"stem": 13}}))
    with pytest.raises(UsageError, match="'stem' is 13: it must be a multiple of 3"):
        Subject(str(other), "cifar", 10, 32).network()
    other.write_text(json.dumps(result | {"widths": result["widths"] | {"layer9": 13}}))
    with pytest.raises(UsageError, match="no width 'layer9'"):
        Subject(str(other), "cifar", 10, 32).network()
    for text in ("", "[]", "{}", json.dumps({"widths": 3}), json.dumps(result | {"network": str(other)})):
        other.write_text(text)
        with pytest.raises(UsageError, match="is no result of a search"):
            read_result(other)


def test_a_search_with_other_options_is_refused_and_nothing_lost(network, tmp_path):
    search = searching(network, tmp_path)
    search.prepare()
    path = search.folder / "search.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"delta": 0.5}))
    with pytest.raises(UsageError, match="a search with another 'delta': nothing of it is touched"):
        search.prepare()
    assert json.loads(path.read_text())["delta"] == 0.5
    path.write_text("{")
    with pytest.raises(UsageError, match="search with another"):
        search.prepare()


def test_a_trial_that_was_altered_is_not_believed(network, tmp_path):
    search = searching(network, tmp_path)
    worked(search, steps=80)
    path = search.trial_path(0)
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"parameters": 1}))
    with pytest.raises(UsageError, match="no whole record of trial 0: remove it"):
        worked(search)
    path.write_text(json.dumps(record | {"timings": {"seconds": 1}}))
    assert search.read_trial(0)["checksum"] == checksum(record)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--delta", "small"], "'small' is not a number"),
        (["--delta", "nan"], "delta is nan"),
        (["--delta", "-1"], "delta is -1.0"),
        (["--network", "resnet_34"], "unknown network 'resnet_34': did you mean resnet34"),
        (["--network", "OWN:fixed"], r"makes \(7,\) of an image, but the data has 10 classes"),
        (["--network", "OWN:Turning"], "Turning cannot be traced .*let the module say"),
        (["--network", "OWN:absent"], "cannot be made: AttributeError"),
        (["--network", "OWN:lost"], "does not run on images of 32 pixels: KeyError: 'x'"),
        (["--network", "OWN:flat"], "OWN:flat' has no convolution that speaks for a width: .*--scale compound"),
        (["--network", "OWN:bound"], "has no width that may be chosen"),
        (["--network", "OWN:viewed"], "not run in the memory layout channels_last .*--memory-layout contiguous"),
        (["--network", "README.md:make"], "'README.md' is no Python file: its name must end in .py"),
        (["--network", "none.json"], "none.json cannot be read"),
        (["--stem", "mnist"], "unknown stem 'mnist'"),
        (["--recipe", "tiny"], "unknown recipe 'tiny'"),
        (["--floor", "64", "--cap", "32"], "cap is 32, below floor, 64"),
        (["--dataset", "cifar1"], "cifar10"),
        (["--epochs-per-trial", "0"], "whole number from 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(network, tmp_path, words, said):
    words = [word.replace("OWN", network.partition(":")[0]) for word in words]
    usual = ["--network", network, "--dataset", "synthetic", "--precision", "fp32", "--out", str(tmp_path / "out")]
    given = instead(usual, *words)
    said = said.replace("OWN", network.partition(":")[0])
    with pytest.raises(UsageError, match=said) as caught:
        search_channels.main(given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_command(network, undisturbed, tmp_path, capsys):
    words = ["--network", network, "--delta", "0.01", "0.1", *FLAGS, "--out", str(tmp_path), "--json"]
    assert search_channels.main(words) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["delta"] for result in results.values()] == [0.01, 0.1]
    first = next(iter(results.values()))
    assert first["widths"] == undisturbed[2]["widths"]
    assert [h["test_accuracy"] for h in first["history"]] == [h["test_accuracy"] for h in undisturbed[2]["history"]]
    assert search_channels.main(words[:-1]) == 0  # nothing is made again
    said = capsys.readouterr().out
    assert f"{first['parameters']:,} parameters" in said
    assert "widths: stem" in said
    assert "result.json" in said


def test_transposed_convolutions_are_seen_from_their_own_sides():
    from benchmark.channels.trial import measured

    torch.manual_seed(0)
    weight = torch.randn(24, 5) @ torch.randn(5, 16) + 0.3 * torch.randn(24, 16)
    there, back = torch.nn.Conv2d(16, 24, 1), torch.nn.ConvTranspose2d(24, 16, 1)
    with torch.no_grad():
        there.weight.copy_(weight[:, :, None, None])
        back.weight.copy_(weight[:, :, None, None])
    ((into, out),) = measured(torch.nn.Sequential(there))
    assert into.rank > out.rank > 0
    assert measured(torch.nn.Sequential(back)) == [(out, into)]


def test_units_of_widths():
    graph = ChannelGraph.of(torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.GroupNorm(3, 6), torch.nn.Conv2d(6, 2, 3), torch.nn.Flatten()), torch.zeros(2, 3, 8, 8))  # fmt: skip
    assert [math.lcm(2, v.floor) for v in graph.variables] == [6]


def test_a_result_of_a_file_that_was_changed_is_not_believed(undisturbed, tmp_path):
    _, _, result = undisturbed
    path = tmp_path / "my_net.py"
    path.write_text(NETWORK)
    moved_along = tmp_path / "result.json"
    moved_along.write_text(json.dumps(result | {"network": f"{path}:make"}))
    assert Subject(str(moved_along), "cifar", 10, 32).graph().parameters() == result["parameters"]
    path.write_text(NETWORK.replace("Conv2d(3, 12, 3, stride=2)", "Conv2d(3, 12, 5, stride=2)"))
    with pytest.raises(UsageError, match="before the file was changed"):
        Subject(str(moved_along), "cifar", 10, 32).network()
