"""The networks by name: parameters as published, variables as in the paper, and files of one's own."""

import pytest
import torch
from torch import nn

from benchmark.channels import ChannelGraph
from benchmark.channels.darts import DARTS, CellNetwork, set_drop_path
from benchmark.channels.networks import NETWORKS, make
from benchmark.errors import UsageError

IMAGES = torch.zeros(2, 3, 32, 32)


def counted(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("resnet20", 10, 272_474),
        ("resnet34", 10, 21_282_122),
        ("resnet34", 100, 21_328_292),
        ("se_resnet18", 10, 11_260_354),
        ("vgg16_bn", 10, 14_728_266),
        ("mobilenet_v2", 10, 2_296_922),
        ("shufflenet_v2_x1_0", 10, 1_263_854),
        ("darts7", 10, 222_650),
        ("darts7", 100, 245_780),
        ("darts14", 10, 3_926_842),
        ("darts14", 100, 3_996_052),
    ],
)
def test_parameters_as_published(name, classes, parameters):
    assert counted(make(name, classes)) == parameters


@pytest.mark.parametrize(
    ("name", "classes", "width", "parameters"),
    [
        ("resnet34", 10, 32, 301_482),
        ("resnet34", 10, 256, 19_098_890),
        ("resnet34", 100, 32, 304_452),
        ("resnet34", 100, 256, 19_122_020),
        ("darts7", 10, 32, 126_922),
        ("darts7", 100, 32, 138_532),
        ("darts7", 100, 256, 6_956_644),
    ],
)
def test_parameters_where_all_widths_are_one(name, classes, width, parameters):
    graph = ChannelGraph.of(make(name, classes), IMAGES)
    widths = {variable.name: width for variable in graph.variables}
    assert graph.parameters(widths) == parameters
    if width == 32:
        assert counted(graph.rebuild(widths)) == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_graph_at_32_pixels(name):
    graph = ChannelGraph.of(make(name, 7), IMAGES)
    widths = {variable.name: 2 * variable.floor for variable in graph.variables}
    network = graph.rebuild(widths)
    assert counted(network) == graph.parameters(widths)
    assert network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_cells_have_the_widths_of_the_release():
    network = make("darts7", 10)
    assert sum(parameter.dim() == 4 for parameter in network.parameters()) == 127
    graph = ChannelGraph.of(network, IMAGES)
    assert len(graph.variables) == 48
    after_reduction = [v for v in graph.variables if v.floor == 2]
    assert [v.producers[0] for v in after_reduction] == [f"cells.{n}.pre0.even+cells.{n}.pre0.odd" for n in (3, 5)]
    normal = {v.name.removeprefix("cells.0."): v for v in graph.variables if v.name.startswith("cells.0.")}
    # C0 to C3 of the specification's table, conv 2 and 6 of an operation being its pointwise ones
    names = {key: (v.producers, v.consumers) for key, v in normal.items()}
    op = "cells.0.ops."
    assert names["pre0.1"] == (
        ("cells.0.pre0.1", f"{op}4.6", f"{op}7.2"),
        (f"{op}0.2", f"{op}2.2"),
    )
    assert names["pre1.1"][1] == (f"{op}1.2", f"{op}3.2", f"{op}4.2")
    assert names["ops.0.6"] == ((f"{op}0.6", f"{op}1.6"), (f"{op}7.2",))
    assert names["ops.2.6"] == ((f"{op}2.6", f"{op}3.6"), ())
    assert names["ops.0.2"] == ((f"{op}0.2",), (f"{op}0.6",))
    reduction = [v for v in graph.variables if v.name.startswith("cells.2.")]
    assert [v.producers for v in reduction] == [("cells.2.pre0.1", "cells.2.pre1.1")]
    plus = ChannelGraph.of(make("darts_plus7", 10), IMAGES)
    c0, c1 = (v for v in plus.variables if v.name.startswith("cells.2."))
    shared = "cells.2.ops.1.even+cells.2.ops.1.odd"
    assert set(c0.producers) == {"cells.2.pre0.1", shared, "cells.2.ops.3.2", "cells.2.ops.5.2"}
    assert (c1.producers, c1.consumers) == (("cells.2.pre1.1",), (shared,))


@pytest.mark.parametrize(("cells", "reductions"), [(7, [2, 4]), (14, [4, 9]), (20, [6, 13])])
def test_reductions_stand_after_a_third_and_two_thirds(cells, reductions):
    sides = []
    network = CellNetwork(DARTS, cells, 10, width=4)
    for cell in network.cells:
        cell.register_forward_hook(lambda module, given, made: sides.append(made.shape[-1]))
    with torch.no_grad():
        network.eval()(IMAGES)
    changes = [n for n, (a, b) in enumerate(zip([32, *sides], sides, strict=False)) if a != b]
    assert (changes, sides[-1]) == (reductions, 8)


def test_cells_for_imagenet():
    assert counted(CellNetwork(DARTS, 14, 1000, 48, imagenet=True)) == 4_718_752
    network = CellNetwork(DARTS, 7, 10, 8, imagenet=True, auxiliary=True)
    graph = ChannelGraph.of(network, torch.zeros(2, 3, 224, 224))
    built = graph.rebuild({variable.name: 6 for variable in graph.variables})
    assert [x.shape for x in built(torch.randn(2, 3, 224, 224))] == [(2, 10), (2, 10)]


def test_the_auxiliary_head_is_there_while_it_trains():
    network = CellNetwork(DARTS, 7, 10, 4, auxiliary=True)
    logits, beside = network(torch.randn(2, 3, 32, 32))
    assert logits.shape == beside.shape == (2, 10)
    assert network.eval()(IMAGES).shape == (2, 10)
    assert "auxiliary.features.2" in {v.name for v in ChannelGraph.of(network, IMAGES).variables}


def test_paths_are_dropped_image_by_image_and_only_in_training():
    network = CellNetwork(DARTS, 7, 10, 4)
    x = torch.randn(1, 3, 32, 32).repeat(8, 1, 1, 1)
    torch.manual_seed(0)
    set_drop_path(network, 0.5)
    assert len({tuple(row.tolist()) for row in network(x)}) > 1
    assert len({tuple(row.round(decimals=4).tolist()) for row in network.eval()(x)}) == 1
    set_drop_path(network, 0.0)
    assert len({tuple(row.round(decimals=4).tolist()) for row in network.train()(x)}) == 1


def test_a_network_of_ones_own(tmp_path):
    path = tmp_path / "my_net.py"
    path.write_text(
        "from torch import nn\n"
        "def make(classes):\n"
        "    body = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*body, nn.Linear(6, classes))\n"
        "def nothing():\n    return 3\n"
        "def broken(classes):\n    raise ValueError('a\\nb')\n"
    )
    network = make(f"{path}:make", 4)
    assert isinstance(network, nn.Sequential)
    assert make(str(path), 4)(IMAGES).shape == (2, 4)
    assert [v.name for v in ChannelGraph.of(network, IMAGES).variables] == ["0"]
    for name, said in (
        ("nothing", "must return a torch.nn.Module, not a int"),
        ("broken", "ValueError: a b"),
        ("absent", "absent"),
    ):
        with pytest.raises(UsageError, match=said):
            make(f"{path}:{name}", 4)
    with pytest.raises(UsageError, match="no file"):
        make(f"{tmp_path / 'none.py'}:make", 4)


def test_unknown_names():
    with pytest.raises(UsageError, match="unknown network 'resnet_34': did you mean resnet34"):
        make("resnet_34", 10)
    with pytest.raises(UsageError, match="unknown stem 'mnist'"):
        make("resnet34", 10, "mnist")
    with pytest.raises(UsageError, match="stem cifar only"):
        make("resnet20", 10, "imagenet")
