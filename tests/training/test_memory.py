"""What trainings take of memory is told before, and what cannot fit is refused with the way out."""

import importlib
import re
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.errors import UsageError
from benchmark.recipe import Recipe, SearchRecipe
from benchmark.spaces import costs, networks
from benchmark.spaces.space import Config, load_space
from benchmark.training import checkpoint, memory, pace
from benchmark.training.checkpoint import Checkpoint
from benchmark.training.engine import Learner
from nas_methods import Task
from nas_methods.darts import Method as Darts
from nas_methods.darts import MultiResolution
from nas_methods.mixture import Method as Mixture
from nas_methods.spos import Method as Spos

CPU = torch.device("cpu")
FOOD = load_space("resnet50-food101")
WIDE = Recipe(dataset="food101", batch_size=256, precision="bf16")


def needed(space, recipe, config, **more):
    return memory.training_bytes(space, recipe, costs.outputs(space, space[space.index(config)].path), **more)


def test_outputs_are_counted_by_hand():
    space = load_space()
    stem, first = 16 * 32**2, 3 * 2 * 16 * 32**2
    second = (2 * 32 + 32 + 2 * 2 * 32) * 16**2
    third = (2 * 64 + 64 + 2 * 2 * 64) * 8**2
    assert costs.outputs(space, space.default.path) == stem + first + second + third


@pytest.mark.parametrize(
    ("space", "config", "batch", "precision", "measured"),
    [  # growth of a process over two steps, in MB, by the system's account
        ("resnet20-cifar10", "[8,1,1]", 64, "fp32", 462),
        ("resnet20-cifar10", "[8,1,1]", 64, "bf16", 263),
        ("resnet18-cifar10", "[6,1,1,1]", 16, "fp32", 523),
        ("resnet50-cifar100", "[4,4,6,3]", 16, "fp32", 800),
    ],
)
def test_the_estimate_is_what_was_measured_within_a_quarter(space, config, batch, precision, measured):
    found = needed(load_space(space), Recipe(batch_size=batch, precision=precision), config) - memory.LIBRARIES
    assert measured < found / 1e6 < 1.3 * measured


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that are there, and how many were at most. Of fake ones, too."""

    def __init__(self, *there):
        super().__init__()
        self.seen, self.now, self.most = set(), 0, 0
        for tensor in there:
            self.add(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        return made

    def add(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.seen:
            self.seen.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.drop, key, size)

    def drop(self, key, size):
        self.seen.discard(key)
        self.now -= size


def live_bytes(monkeypatch, network, recipe, way):
    """Bytes of all tensors at most in a second step of a fake network, forward, backward and SGD, on a CPU."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)  # fake parameters cannot be swapped
    learner = Learner(network, recipe, CPU)
    side, dtype = network.space.backbone.side, torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    x = torch.empty(recipe.batch_size, 3, side, side, dtype=dtype, memory_format=torch.channels_last)
    y = torch.zeros(recipe.batch_size, dtype=torch.long)
    with Live(*network.parameters(), *network.buffers(), x, y) as live:
        loss, right = learner.learn(x, y, way, 0.1)  # after which there are momenta
        live.most = live.now
        learner.learn(x, y, way, 0.1)
    assert (loss.shape, right.shape) == ((), ())
    return live.most


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("resnet20-cifar10", "[8,1,1]"),
        ("resnet18-cifar10", "[6,1,1,1]"),
        ("resnet50-cifar100", "[14,1,1,1]"),
        ("resnet50-food101", "[13,1,1,1]"),
        ("resnet18-imagenet", "[5,1,1,1]"),
    ],
)
def test_a_step_at_full_size_keeps_what_is_told(monkeypatch, name, config, precision):
    """Each backbone at the size of its paper's recipe, its largest cell: fake tensors, nothing is computed."""
    space = load_space(name)
    recipe = space.preset(Recipe, "paper", precision=precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        most = live_bytes(monkeypatch, networks.ResNet(space), recipe, Config.parse(config).path)
    told = {device: needed(space, recipe, config, device=device) - memory.LIBRARIES for device in ("cuda:0", "cpu")}
    assert 1.0 < told["cuda:0"] / most < 1.25
    assert 1.4 < told["cpu"] / most < 2.0  # whose libraries keep copies
    if config == "[13,1,1,1]" and precision == "bf16":
        assert 54e9 < most < 57e9


@pytest.mark.parametrize("sharing", ["shared", "unshared"])
def test_a_mixture_of_all_resolutions_keeps_what_is_told(monkeypatch, sharing):
    space = load_space("resnet50-food101")
    recipe = space.preset(SearchRecipe, "paper", precision="bf16", batch_size=64)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = MultiResolution(networks.ResNet(space, affine=False, shared=sharing == "shared"))
        network.space = space
        weights = torch.full((space.depth - 1, len(space.sizes)), 0.25)
        most = live_bytes(monkeypatch, network, recipe, weights)
    task = Task(space, recipe, 0, "cuda:0", lambda: pytest.fail("no data is needed to tell"))
    assert 1.0 < Darts(sharing=sharing).memory(task) / most < 1.3


def test_the_largest_cell_of_food101_at_batch_256_is_a_named_case(monkeypatch):
    large = needed(FOOD, WIDE, "[13,1,1,1]")
    assert 80e9 < large < 100e9
    monkeypatch.setattr(memory, "available_bytes", lambda device: 64e9)
    with pytest.raises(
        UsageError, match=r"\[13,1,1,1\] at batch 256 takes about 9\d\.\d GB, cpu has 64\.0 GB left: use a "
    ):
        memory.require(large, "[13,1,1,1] at batch 256", CPU)
    smaller = Recipe(dataset="food101", batch_size=128)
    assert "memory: " in memory.require(needed(FOOD, smaller, "[13,1,1,1]"), "it", CPU)
    with pytest.raises(UsageError, match=r"2 at once 9.* use --together 1"):
        memory.require(needed(FOOD, smaller, "[13,1,1,1]"), "it", CPU, 2)
    assert needed(FOOD, Recipe(batch_size=256, precision="fp32"), "[1,1,1,13]") > needed(FOOD, WIDE, "[1,1,1,13]")


def test_what_is_there_is_asked_of_the_machine():
    assert 1e8 < memory.available_bytes(CPU) < 1e14
    assert re.fullmatch(r"\d+\.\d GB", memory.readable(2.5e9))


@pytest.mark.parametrize(
    "words",
    [
        ("benchmark.build_groundtruth", "--configs", "1", "--seeds", "0"),
        ("benchmark.evaluate", "--space", "resnet20-cifar10", "--method", "mixture", "--M", "64"),
    ],
    ids=["table", "search"],
)
@pytest.mark.parametrize("given", [(), ("--precision", "fp32")], ids=["auto", "fp32"])
def test_what_cannot_fit_is_refused_before_anything_is_measured(tmp_path, monkeypatch, words, given):
    """With 64 large models, steps that only tell how fast this machine is would take minutes, and memory."""
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1e8)
    for name in ("precision_rates", "measure_speed"):
        monkeypatch.setattr(pace, name, lambda *_: pytest.fail("nothing is to be measured"))
    main = importlib.import_module(words[0]).main
    flags = ("--dataset", "synthetic", "--recipe", "smoke", "--device", "cpu", "--out", str(tmp_path), *given)
    with pytest.raises(UsageError, match=r"takes about .*cpu has 100 MB left: use a smaller --batch-size"):
        main([*words[1:], *flags])


def test_models_branches_and_mixtures_take_more():
    recipe = SearchRecipe(dataset="cifar100", precision="bf16", batch_size=32)
    task = Task(load_space("resnet50-cifar100"), recipe, 0, "cpu", lambda: pytest.fail("no data is needed to tell"))
    weights = 12 * costs.parameters(task.space)
    assert Mixture(M=8).memory(task) - Mixture(M=1).memory(task) == pytest.approx(7 * weights)
    assert Spos(sharing="unshared").memory(task) - Spos().memory(task) == pytest.approx(3 * weights)
    assert Spos(paths=19683).memory(task) > Spos().memory(task)  # never pooled
    assert Darts().memory(task) > Spos(paths=19683).memory(task)
    assert Darts(second_order=True).memory(task) > 2 * Darts().memory(task)


def test_models_that_outweigh_their_activations_take_what_a_checkpoint_copies():
    space = load_space("resnet50-cifar100").at(8)
    recipe = SearchRecipe(batch_size=2)
    found = memory.training_bytes(space, recipe, costs.outputs(space, space.default.path), models=8)
    assert found - memory.LIBRARIES == 16 * 8 * costs.parameters(space)  # weights and momenta, twice


def test_a_checkpoint_that_takes_long_is_written_less_often(tmp_path, monkeypatch):
    """It may stop a training for 5 % of the time between two: one of 10 s comes after 200 s at the earliest."""
    clock = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    takes = [0.0]
    monkeypatch.setattr(checkpoint, "write_atomically", lambda path, data: clock.__setitem__(0, clock[0] + takes[0]))
    for seconds, first in ((0.1, 0), (10.0, 200), (1.0, 20)):
        clock[0], takes[0] = 0.0, seconds
        keeper = Checkpoint(tmp_path / "x.pt", {})
        assert keeper.affordable
        keeper.save({})
        begun = clock[0]
        free = next(second for second in range(1000) if clock.__setitem__(0, begun + second) or keeper.affordable)
        assert free == first
        due = next(second for second in range(1000) if clock.__setitem__(0, begun + second) or keeper.due)
        assert due == max(first, 31)
