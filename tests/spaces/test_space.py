"""Spaces: their sizes, order, numbers and defaults are the paper's; what is no configuration is refused in words."""

import itertools
import math
import re

import numpy as np
import pytest

from benchmark import datasheets
from benchmark.errors import UsageError
from benchmark.recipe import Recipe, SearchRecipe
from benchmark.spaces import costs
from benchmark.spaces.space import SPACES, Backbone, Config, PoolingSpace, load_space, require_trainable

# name: sizes of the feature maps, L, number of configurations, default, its number (the specification's table)
TABLE = {
    "resnet20-cifar10": ((32, 16, 8), 10, 36, (4, 3, 3), 24),
    "resnet18-cifar10": ((32, 16, 8, 4), 9, 56, (3, 2, 2, 2), 42),
    "resnet50-cifar100": ((32, 16, 8, 4), 17, 560, (4, 4, 6, 3), 310),
    "resnet50-food101": ((56, 28, 14, 7), 16, 455, (3, 4, 6, 3), 205),
    "resnet18-imagenet": ((56, 28, 14, 7), 8, 35, (2, 2, 2, 2), 21),
}


def refusal(call, *args):
    with pytest.raises(UsageError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_there_are_five_spaces():
    assert set(SPACES) == set(TABLE)
    assert load_space() is load_space("resnet20-cifar10")


@pytest.mark.parametrize("name", TABLE)
def test_size_order_numbers_and_default(name):
    sizes, depth, count, default, number = TABLE[name]
    space = load_space(name)
    assert (space.name, space.sizes, space.depth, space.poolings) == (name, sizes, depth, len(sizes) - 1)
    assert len(space) == len(space.configs) == count == math.comb(depth - 1, len(sizes) - 1)
    # Every tuple of positive numbers with the right sum, counted out the long way round and sorted.
    expected = [t for t in itertools.product(range(1, depth + 1), repeat=len(sizes)) if sum(t) == depth]
    assert [config.layers for config in space] == sorted(expected)
    assert list(space) == sorted(space)
    assert [space.index(config) for config in space] == list(range(count))
    assert [space.number(config) for config in space] == list(range(1, count + 1))
    assert space.default == Config(default)
    assert space.number(space.default) == number
    assert space[number - 1] == space.default


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "[1,1,8]"), (2, "[1,2,7]"), (8, "[1,8,1]"), (9, "[2,1,7]"), (32, "[6,2,2]"), (34, "[7,1,2]"), (36, "[8,1,1]")],
)
def test_numbers_of_table_6(number, text):
    assert load_space().number(text) == number
    assert str(load_space()[number - 1]) == text


@pytest.mark.parametrize("name", TABLE)
def test_text_is_parsed_back(name):
    for config in load_space(name):
        assert Config.parse(str(config)) == config
    assert str(load_space(name).default) == "[" + ",".join(map(str, TABLE[name][3])) + "]"


@pytest.mark.parametrize(
    "value", ["[4,3,3]", " [ 4 , 3,3 ] ", (4, 3, 3), [4, 3, 3], iter([4, 3, 3]), Config((4, 3, 3))]
)
def test_parse_takes_text_sequences_and_configs(value):
    assert Config.parse(value) == Config((4, 3, 3))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "4,3,3", "[4,3,3", "4,3,3]", "[4,3,3]]", "[4,3,3],[4,3,3]", "(4,3,3)", "[4,3,3]\0", "null"),
        *("[4;3;3]", "[4 3 3]", "[4,,3]", "[4,3,3,]", "[,4,3,3]"),
        *("[4.0,3,3]", "[4e0,3,3]", "[+4,3,3]", "[-4,3,3]", "[0x4,3,3]", "[1_0,3,3]", "[9999999999,3,3]", "[4,3,x]"),
        *("[٤,3,3]", "[４,3,3]", "[²,3,3]"),
    ],
)
def test_text_that_is_no_configuration_is_refused(text):
    assert "is no configuration" in refusal(Config.parse, text)


@pytest.mark.parametrize(
    "value",
    [(), (0, 5, 5), (4, -3, 3), (4, 3, 3.0), (True, 5, 4), ("4", "3", "3"), (4, 3, None), None, 4, 4.5, ((4, 3, 3),)],
)
def test_values_that_are_no_configuration_are_refused(value):
    assert "is no configuration" in refusal(Config.parse, value)


def test_what_a_configuration_is_called_names_it_however_deep_the_network():
    deep = Config((530, 15_096))
    assert Config.parse(str(deep)) == deep


def test_a_config_is_one_value_however_it_was_given():
    assert Config([4, 3, 3]) == Config((4, 3, 3))
    assert hash(Config([4, 3, 3])) == hash(Config((4, 3, 3)))


@pytest.mark.parametrize("text", ["[4,3,4]", "[10]", "[9,1]", "[4,3,2,1]", "[1,1,1]"])
def test_configurations_of_other_spaces_are_refused(text):
    space = load_space()
    assert Config.parse(text) not in space
    for ask in (space.index, space.number):
        message = refusal(ask, text)
        assert text in message
        assert "sum to 10" in message
        assert "[4,3,3]" in message


def test_a_path_is_a_configuration_or_stands_for_itself():
    space = load_space()
    for config in space:
        assert space.along(config.path) == config
        assert space.architecture("".join(map(str, config.path[1:]))) == space.architecture(str(config)) == config
    others = [path for rest in itertools.product(range(3), repeat=9) if space.along(path := (0, *rest)) not in space]
    assert len(others) == 3**9 - 36
    for path in others[::500]:
        outside = space.architecture(text := "".join(map(str, path[1:])))
        assert (outside.path, str(outside)) == (path, text)
        assert "is no configuration" in refusal(space.number, outside)
    assert str(space.along((0, 0, 1, 2, 2, 2, 0, 2, 2, 0))) == "012220220"  # Figure 4, blocks 1 to 9


@pytest.mark.parametrize("text", ["", "01222022", "0122202200", "012220223", "012220 220", "٠12220220", "a wide one"])
def test_text_that_names_no_architecture_is_refused(text):
    assert "names neither" in refusal(load_space().architecture, text)


def test_path_gives_each_layer_its_resolution():
    assert Config((4, 3, 3)).path == (0, 0, 0, 0, 1, 1, 1, 2, 2, 2)
    assert Config((1, 1, 8)).path == (0, 1, 2, 2, 2, 2, 2, 2, 2, 2)
    for config in load_space("resnet18-cifar10"):
        assert len(config.path) == 9
        assert tuple(config.path.count(r) for r in range(4)) == config.layers
        assert list(config.path) == sorted(config.path)


def test_configs_are_frozen():
    with pytest.raises(AttributeError):
        Config((4, 3, 3)).layers = (1, 1, 8)


def test_select_takes_numbers_ranges_and_configurations():
    space = load_space()
    assert space.select(["1-36"]) == space.configs
    assert space.select(["24"]) == (space.default,)
    # canonical order, each once, whatever the order and overlap of the texts
    assert space.select(["[8,1,1]", "3", "1-2", " 2 ", "2-2"]) == (space[0], space[1], space[2], space[35])


@pytest.mark.parametrize("text", ["0", "37", "0-3", "30-37", "5-3", "1000000", "-1", "1-", "-", "1-2-3", "٣", "a", ""])
def test_select_names_the_text_that_it_cannot_read(text):
    assert f"'{text}'" in refusal(load_space().select, ["1", text])


def test_select_refuses_configurations_of_other_spaces():
    assert "[1,1,9]" in refusal(load_space().select, ["1", "[1,1,9]"])


@pytest.mark.parametrize("name", ["", "resnet20", "ResNet20-CIFAR10", None, ["resnet20-cifar10"]])
def test_unknown_spaces_are_refused_with_the_list(name):
    message = refusal(load_space, name)
    assert all(known in message for known in TABLE)


def test_a_space_without_a_backbone_can_be_enumerated_alone():
    for name in TABLE:
        assert require_trainable(load_space(name)) is load_space(name).backbone
    message = refusal(require_trainable, PoolingSpace("odd", (2, 1), 2, Config((1, 1)), "synthetic"))
    assert "odd can be enumerated but not trained" in message
    assert "resnet20-cifar10" in message


def test_a_backbone_of_an_unknown_kind_is_refused_with_the_list():
    assert "block 'wide': choose from basic, bottleneck" in refusal(Backbone, "wide", (4, 8), "cifar", 32)
    assert "stem 'patches': choose from cifar, imagenet" in refusal(Backbone, "basic", (4, 8), "patches", 224)


def test_blocks_follow_each_other():
    """Of bottlenecks the width is that of the middle; a stem that is searched takes the place of the first block."""
    assert Backbone("basic", (4, 4, 8), "cifar", 32).blocks == ((4, 4, 4), (4, 8, 8))
    assert Backbone("bottleneck", (4, 4, 8), "cifar", 32).blocks == ((4, 4, 16), (16, 8, 32))
    fixed = Backbone("bottleneck", (4, 4, 8), "imagenet", 64)
    assert fixed.blocks == ((4, 4, 16), (16, 4, 16), (16, 8, 32))
    assert fixed.features == 32


def test_a_backbone_has_a_width_for_each_layer():
    message = refusal(
        PoolingSpace, "odd", (32, 16), 3, Config((2, 1)), "synthetic", Backbone("basic", (4, 8), "cifar", 32)
    )
    assert message == "odd has 3 searched layers, but its backbone 2 widths"


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        ({"sizes": 32}, "odd has the sizes 32: give the side at each resolution"),
        ({"sizes": (32, 20)}, "each a whole fraction of the one before"),
        ({"depth": "4"}, "odd has the depth '4'"),
        ({"default": "[2,2]"}, "odd has the default [2,2]: give a Config"),
        ({"default": Config((2, 3))}, "2 numbers of 1 or more that sum to its depth, 4"),
        ({"default": Config((2, 1, 1))}, "odd has the default [2,1,1]: give a Config of 2 numbers"),
        ({"sizes": (16, 8)}, "odd has maps of 16 pixels first, but the stem of its backbone gives 32"),
        ({"training": {"papers": {"epochs": 3}}}, "unknown recipe 'papers': did you mean paper?"),
        ({"search": {"paper": {"epoch": 3}}}, "no field 'epoch': did you mean epochs?"),
        ({"training": {"paper": {"bn": "batch"}}}, "no field 'bn'"),
    ],
)
def test_an_entry_with_a_slip_is_refused_where_it_is_made(slip, said):
    backbone = Backbone("basic", (4, 4, 8, 16), "cifar", 32)
    entry = {"name": "odd", "sizes": (32, 16), "depth": 4, "default": Config((2, 2)), "dataset": "synthetic"}
    assert len(PoolingSpace(**entry, backbone=backbone)) == 3
    assert said in refusal(lambda: PoolingSpace(**entry | {"backbone": backbone} | slip))


def test_a_backbone_has_whole_numbers():
    assert "has the widths 5" in refusal(Backbone, "basic", 5, "cifar", 32)
    assert "has the widths (4, 0)" in refusal(Backbone, "basic", (4, 0), "cifar", 32)
    assert "images of side '32'" in refusal(Backbone, "basic", (4, 8), "cifar", "32")


@pytest.mark.parametrize("path", [5, None, "0000111222", (0, 1), (1, *9 * (2,)), (0, *9 * (3,)), [0, *9 * ["a"]]])
def test_what_is_no_path_is_refused(path):
    assert "is no path of resnet20-cifar10: give 10 resolutions from 0 to 2" in refusal(load_space().along, path)


@pytest.mark.parametrize("given", [5, "paper", None, Recipe])
def test_what_is_no_recipe_has_no_label(given):
    assert "is no recipe: write space.label(" in refusal(load_space().label, given)


@pytest.mark.parametrize("given", [5, "paper", int, Recipe()])
def test_what_is_no_kind_of_recipe_has_no_presets(given):
    assert "is no kind of recipe: write Recipe or SearchRecipe" in refusal(load_space().presets, given)
    assert "is no kind of recipe: write Recipe or SearchRecipe" in refusal(load_space().preset, given, "paper")


def test_classes_are_those_of_the_data_set():
    assert load_space().classes == 10
    assert "unknown data set 'nothing'" in refusal(
        lambda: PoolingSpace("odd", (2, 1), 2, Config((1, 1)), "nothing").classes
    )


@pytest.mark.parametrize("kind", [Recipe, SearchRecipe])
@pytest.mark.parametrize("preset", ["paper", "smoke"])
def test_presets_of_the_first_space_are_the_general_ones(kind, preset):
    recipe = load_space().preset(kind, preset, epochs=7)
    assert recipe == kind.preset(preset, epochs=7)
    assert load_space().label(recipe) == recipe.label
    assert "unknown recipe 'fast'" in refusal(load_space().preset, kind, "fast")


def test_a_space_has_presets_of_its_own():
    space = PoolingSpace(
        "own",
        (2, 1),
        2,
        Config((1, 1)),
        "synthetic",
        None,
        {"paper": {"epochs": 400}},
        {"paper": {"weight_decay": 0.1}},
    )
    assert space.preset(Recipe, "paper") == Recipe(dataset="synthetic", epochs=400)
    assert space.preset(Recipe, "paper", epochs=3, dataset="cifar10") == Recipe(epochs=3)
    assert space.preset(SearchRecipe, "paper") == SearchRecipe(dataset="synthetic", weight_decay=0.1)
    assert space.preset(Recipe, "smoke") == Recipe.preset("smoke", dataset="synthetic")
    assert space.label(Recipe(dataset="synthetic", epochs=400, lr=0.5)) == "paper-lr0.5"
    assert space.label(Recipe(dataset="synthetic", epochs=100)) == "paper-epochs100"
    assert {space: 1}[space] == 1  # what works for a space is remembered by it


# Recipes `paper` of the specification: epochs, lr, milestones, gamma, weight decay; of searches: epochs, weight decay.
PAPER = {
    "resnet20-cifar10": ((100, 0.1, "", 0.1, 1e-3), (100, 1e-3)),
    "resnet18-cifar10": ((400, 0.1, "0.5,0.75", 0.1, 5e-3), (100, 1e-3)),
    "resnet50-cifar100": ((250, 0.1, "0.24,0.48,0.64", 0.2, 5e-4), (75, 1e-3)),
    "resnet50-food101": ((90, 0.1, "", 0.1, 1e-3), (75, 1e-3)),
    "resnet18-imagenet": ((100, 0.1, "", 0.1, 1e-4), (50, 1e-3)),
}


@pytest.mark.parametrize("name", [name for name in PAPER if load_space(name).dataset in datasheets.names()])
def test_paper_recipes_are_those_of_the_specification(name):
    space, (training, search) = load_space(name), PAPER[name]
    recipe = space.preset(Recipe, "paper")
    assert (recipe.epochs, recipe.lr, recipe.milestones, recipe.gamma, recipe.weight_decay) == training
    assert (recipe.batch_size, recipe.momentum, recipe.dataset) == (256, 0.9, space.dataset)
    recipe = space.preset(SearchRecipe, "paper")
    assert (recipe.epochs, recipe.weight_decay, recipe.milestones, recipe.batch_size) == (*search, "", 256)
    assert space.label(recipe) == "paper"
    for kind in (Recipe, SearchRecipe):
        small = space.at(space.preset(kind, "smoke").side)
        assert all(size >= 1 for size in small.sizes)


def test_smaller_images_have_smaller_maps_and_the_same_configurations():
    space = load_space("resnet50-food101")
    small = space.at(64)
    assert (small.sizes, small.backbone.side, small.name) == ((16, 8, 4, 2), 64, space.name)
    assert small.configs == space.configs
    assert space.at(None) is space.at(224) is space
    assert "side is 48: images of resnet50-food101 have a multiple of 32 pixels" in refusal(space.at, 48)
    assert load_space("resnet18-cifar10").at(8).sizes == (8, 4, 2, 1)
    assert "multiple of 4" in refusal(load_space().at, 30)


def test_of_a_large_space_a_few_are_enough_to_see_it_work():
    for name in ("resnet20-cifar10", "resnet18-cifar10", "resnet18-imagenet"):
        assert load_space(name).few == load_space(name).configs
    for name in ("resnet50-cifar100", "resnet50-food101"):
        space = load_space(name)
        assert 8 <= len(space.few) <= 9
        assert {space[0], space.default, space[-1]} <= set(space.few)
        assert list(space.few) == sorted(space.few)


def test_whether_a_space_holds_something_is_answered_however_it_is_written():
    space = load_space()
    for one in (space.default, "[4,3,3]", " [4, 3, 3]", (4, 3, 3), [4, 3, 3], np.array([4, 3, 3])):
        assert one in space
    for other in ("[9,9,9]", "[4,3", (4, 3), [], {}, None, 3, "", space.along((0, 1, 0, 1, 0, 1, 0, 1, 0, 1)), space):
        assert other not in space


@pytest.mark.parametrize("name", list(SPACES)[1:])
def test_smoke_is_two_minutes_of_one_core(name):
    """By MACs, three a trained image: a core that was measured does 20 billion a second on such small maps."""
    two_minutes = 120 * 20e9
    space = load_space(name)
    recipe, search = space.preset(Recipe, "smoke"), space.preset(SearchRecipe, "smoke")

    def mean(configs, side):
        return sum(costs.macs(space.at(side), config) for config in configs) / len(configs)

    images = recipe.epochs * (3 * recipe.train_images + recipe.eval_images)
    assert 3 * len(space.few) * images * mean(space.few, recipe.side) < two_minutes  # three seeds
    trained = 4 * search.epochs * search.train_images * 4  # by a mixture of four, with a reward for each image
    scored = len(space) * (search.eval_images + search.calibration_images)
    assert (trained + scored) * mean(space.configs, search.side) < two_minutes
    by_chance = len(space) * search.eval_images / space.classes
    assert by_chance > 8  # right answers: with none at all, scores would be equal, which is no ranking


@pytest.mark.parametrize(
    ("call", "works"),
    [
        (lambda space: space.select(5), "space.select(['1-36'])"),
        (lambda space: space.select(None), "space.select(['1-36'])"),
        (lambda space: space.select("12"), "space.select(['1-36'])"),  # and not configurations 1 and 2
        (lambda space: space.select([1, 2]), "space.select(['7', '[4,3,3]'])"),
        (lambda space: space.architecture(5), "space.architecture('[4,3,3]')"),
        (lambda space: space.architecture(None), "space.architecture('[4,3,3]')"),
        (lambda space: space["[4,3,3]"], "space.index('[4,3,3]')"),
        (lambda space: space[space.default], "space.index('[4,3,3]')"),
        (lambda space: space.at("16"), "a multiple of 4 pixels"),
        (lambda space: space.at(-4), "a multiple of 4 pixels"),
        (lambda space: Config(5), "Config((4, 3, 3))"),
        (lambda space: Config("[4,3,3]"), "Config((4, 3, 3))"),
    ],
)
def test_what_is_of_the_wrong_kind_is_told_the_call_that_works(call, works):
    with pytest.raises(UsageError, match=re.escape(works)) as caught:
        call(load_space())
    assert "\n" not in str(caught.value)
