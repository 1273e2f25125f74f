"""What methods that learn sizes share: scores by distance, resampling, the values' own steps, and what is told of a search."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import SPACE, random_images, recipe, stop_every, task, to_the_end

from benchmark.errors import Failure, UsageError
from benchmark.spaces import costs, networks
from benchmark.spaces.space import Sizes
from nas_methods import diffstride, dynopool, shape_adaptor
from nas_methods.resizing import Resized, ResizingLearner, resampled, scores, standard_strides

METHODS = {
    "diffstride": diffstride.Method(cost=0.1),
    "dynopool": dynopool.Method(size_lr=0.01),
    "shape_adaptor": shape_adaptor.Method(every=1),
}
PATHS = {str(config): [(SPACE.sizes[r],) * 2 for r in config.path[1:]] for config in SPACE}


def thin_task(seed=0, **more):
    """Two epochs of two steps of the real network."""

    def resnet(model):
        made = networks.ResNet(SPACE)
        networks.initialise(made, seed, model)
        return made

    given = {"train": random_images(8, 1), "validation": random_images(8, 2), "recipe": recipe(batch_size=4, lr=0.01)}
    return task(resnet, seed=seed, **given | more)


@pytest.fixture(scope="module")
def ranked():
    return {name: method.rank(thin_task()) for name, method in METHODS.items()}


# Scores -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[1,1,8]", "[4,3,3]", "[7,1,2]"])
def test_a_configurations_own_sizes_are_nearest_to_it_and_at_no_distance(text):
    found = dict(zip(map(str, SPACE), scores(PATHS[text], SPACE), strict=True))
    assert found.pop(text) == 0
    assert max(found.values()) < 0


def test_a_score_is_the_root_mean_square_distance_in_octaves():
    sizes = [(24, 20)] * 3 + [(16, 16)] * 3 + [(8, 8)] * 3
    found = dict(zip(map(str, SPACE), scores(sizes, SPACE), strict=True))
    squares = [3 * (math.log2(32 / 24) ** 2 + math.log2(32 / 20) ** 2), 0]
    assert found["[4,3,3]"] == pytest.approx(-math.sqrt(sum(squares) / 18), abs=1e-8)
    # A layer that pools one block earlier is an octave off at that block, in both directions.
    moved = scores(PATHS["[4,3,3]"], SPACE)[SPACE.index("[3,4,3]")]
    assert moved == pytest.approx(-math.sqrt(2 / 18), abs=1e-8)


# Sizes as an architecture -------------------------------------------------------------------------------------------


def test_sizes_of_a_configuration_are_its_network():
    network = networks.ResNet(SPACE).eval()
    networks.initialise(network, 0)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sizes = Sizes(tuple(PATHS["[5,3,2]"]))
    config = SPACE[SPACE.index("[5,3,2]")]
    with torch.no_grad():
        assert torch.equal(network(x, sizes.path), network(x, config.path))
        assert network(x, Sizes(((7, 32), *[(1, 5)] * 8)).path).shape == (2, 10)  # any others, rising too
    assert costs.path_macs(SPACE, sizes.path) == costs.macs(SPACE, config)
    assert costs.path_macs(SPACE, Sizes(((1, 1),) * 9).path) < costs.macs(SPACE, "[1,1,8]")


def test_sizes_are_read_back_from_their_text():
    sizes = Sizes(((32, 32), (24, 23), *[(7, 7)] * 7))
    assert str(sizes) == "32,24x23,7,7,7,7,7,7,7"
    assert SPACE.architecture(str(sizes)) == sizes


@pytest.mark.parametrize(
    "text", ["32,32", "32,24x23,7,7,7,7,7,7,0", "32,24x23,7,7,7,7,7,7,7,7", "32,x23,7,7,7,7,7,7,7"]
)
def test_sizes_that_name_no_network_are_refused(text):
    with pytest.raises(UsageError, match="or sizes in pixels with commas between them"):
        SPACE.architecture(text)


# Resampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (5, 16), (9, 31), (12, 12)])
def test_resampling_is_torchs_bilinear_interpolation(size):
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    points = [
        torch.linspace(0, before - 1, after, dtype=torch.float64) for before, after in zip((9, 12), size, strict=True)
    ]
    expected = F.interpolate(x, size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(resampled(x, *points), expected, rtol=0, atol=1e-12)


def test_outside_of_a_map_is_its_border():
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert resampled(x, torch.tensor([-3.0, 9.0]), torch.tensor([-0.1, 1.2])).flatten().tolist() == [0, 1, 2, 3]


# The network and its values -----------------------------------------------------------------------------------------


def draws(method, count):
    """Values far off their start, as nobody's gradient would leave them."""
    start = method.start(SPACE)
    generator = torch.Generator().manual_seed(2)
    return [3 * torch.randn(start.shape, generator=generator) + start for _ in range(count)]


@pytest.mark.parametrize("name", METHODS)
def test_sizes_are_those_at_which_the_convolutions_of_each_block_work(name):
    method, network = METHODS[name], networks.ResNet(SPACE).eval()
    for values in [method.start(SPACE), *draws(method, 4)]:
        sizes = method.settle(values, SPACE)
        again = values.clone()
        assert method.settle(again, SPACE) == sizes
        assert torch.equal(again, values)  # settled is settled
        seen = []

        def see(module, x, y, seen=seen):
            seen.append(tuple(y.shape[2:]))

        hooks = [block.conv1.register_forward_hook(see) for block in network.blocks]
        with torch.no_grad():
            logits = Resized(network, method)(torch.randn(1, 3, 32, 32), values)
        for hook in hooks:
            hook.remove()
        assert seen == sizes
        assert logits.isfinite().all()
        assert all(1 <= side <= 32 for size in sizes for side in size)


@pytest.mark.parametrize("name", METHODS)
def test_in_bf16_sizes_and_gradients_are_finite_and_transforms_exact(name):
    """The gradient of the values is that of fp32 but for the rounding of what stands between the transforms."""
    gradients = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        given = thin_task(recipe=recipe(precision=precision, memory_layout="channels_last", batch_size=4))
        learner = ResizingLearner(given.data.network(0), METHODS[name], given)
        x = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(3)).to(dtype)
        with learner.precision():
            logits = learner.network(x.contiguous(memory_format=torch.channels_last), learner.values)
        F.cross_entropy(logits, torch.arange(16) % 10).backward()
        gradients.append(learner.values.grad.flatten())
        assert gradients[-1].isfinite().all()
        assert gradients[-1].abs().max() > 0
    assert F.cosine_similarity(*gradients, dim=0) > 0.9


def test_the_standard_network_pools_by_two_twice():
    strides = standard_strides(SPACE)
    assert strides.tolist() == [[1, 1]] * 3 + [[2, 2]] + [[1, 1]] * 2 + [[2, 2]] + [[1, 1]] * 2


@pytest.mark.parametrize(("size_lr", "share"), [(0.0, 1.0), (0.05, 0.5)])
def test_values_take_a_step_of_sgd_with_momentum_and_no_decay(size_lr, share):
    given = thin_task(recipe=recipe(batch_size=4, lr=0.1, weight_decay=0.5))
    learner = ResizingLearner(given.data.network(0), dynopool.Method(size_lr=size_lr), given)
    x, y = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(4)), torch.tensor([1, 2, 3, 4])
    velocity = torch.zeros(9, 2)
    for rate in (1e-4, 5e-5):
        before = learner.values.detach().clone().requires_grad_()
        learner.network.train()
        F.cross_entropy(learner.network(x, before), y).backward()
        velocity = 0.9 * velocity + before.grad
        learner.learn(x, y, None, rate)
        expected = before.detach() - share * rate * velocity
        learner.method.settle(expected, SPACE)
        torch.testing.assert_close(learner.values.detach(), expected, rtol=0, atol=1e-6)
        assert (learner.values - before).abs().max() > 1e-5


# A search -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_sizes_of_every_epoch_are_kept_and_the_last_decide(ranked, name):
    history, method = ranked[name].history, METHODS[name]
    assert np.array(history["sizes"]).shape == (3, 9, 2)
    assert history["sizes"][0] == [list(size) for size in method.settle(method.start(SPACE), SPACE)]
    assert len(history["values"]) == 3
    assert history["values"][0] != history["values"][1] != history["values"][2]
    assert list(ranked[name].scores) == scores(history["sizes"][-1], SPACE) == history["curve"][-1]["scores"]
    assert ranked[name].pick == str(SPACE[int(np.argmax(ranked[name].scores))])
    [found] = history["finds"]
    last = SPACE.architecture(found)
    assert [list(size) for size in last.sizes] == history["sizes"][-1]
    assert history["macs"][-1] == costs.path_macs(SPACE, last.path)
    assert len(history["loss"]) == len(history["accuracy"]) == len(history["curve"]) == 2
    assert [point["images"] for point in history["curve"]] == [8, 16]
    seconds = ranked[name].provenance["timings"]
    assert seconds["curve"] == sorted(seconds["curve"])
    assert seconds["curve"][-1] <= seconds["seconds"] + 0.01
    assert ranked[name].provenance["engine"] == "eager"


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_ranks_alike_though_stopped_after_every_step(ranked, name, tmp_path):
    given = {"checkpoint": tmp_path / "search.pt", "stop": stop_every(1)}
    resumed, stops = to_the_end(lambda: METHODS[name].rank(thin_task(**given)))
    assert stops == 4
    assert resumed.scores == ranked[name].scores
    assert resumed.history == ranked[name].history


@pytest.mark.parametrize("name", METHODS)
def test_another_seed_learns_otherwise(ranked, name):
    assert METHODS[name].rank(thin_task(1)).history["values"] != ranked[name].history["values"]


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_that_leaves_the_numbers_is_told(name):
    with pytest.raises(Failure, match=r"try a lower --(size-)?lr"):
        METHODS[name].rank(thin_task(recipe=recipe(batch_size=4, lr=100.0, epochs=3)))


def test_values_that_are_no_numbers_are_told_at_once():
    given = thin_task()
    learner = ResizingLearner(given.data.network(0), METHODS["diffstride"], given)
    with torch.no_grad():
        learner.values[0, 0] = math.inf
    with pytest.raises(Failure, match="no numbers after step 0; try a lower --size-lr or --lr"):
        learner._settle()


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("diffstride", {"size_lr": -1.0}, "size_lr is -1.0: it must lie between 0"),
        ("diffstride", {"smoothness": 2.0}, "smoothness is 2.0: it must lie between 3 and 64"),
        ("dynopool", {"cost": math.nan}, "cost is nan: it must lie between 0 and 1000"),
        ("dynopool", {"aggregate": "mean"}, "aggregate is 'mean'"),
        ("shape_adaptor", {"every": 0}, "every is 0: it must be a whole number of 1 or more"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(name, given, said):
    with pytest.raises(UsageError, match=said) as caught:
        type(METHODS[name])(**given)
    assert "\n" not in str(caught.value)
