"""How the paper trains DARTS cells from scratch: cutout, auxiliary head, dropped paths, a clipped gradient."""

import pytest
import torch
import torch.nn.functional as F

from benchmark.channels.darts import DARTS, CellNetwork, set_drop_path
from benchmark.channels.graph import ChannelGraph, initialise
from benchmark.channels.judge import EvaluationRecipe, require_cells, with_auxiliary
from benchmark.channels.learning import Regularised, Stepped, Steps, cut_out
from benchmark.channels.search import Subject
from benchmark.errors import UsageError

IMAGES = torch.zeros(2, 3, 32, 32)


def recipe(**fields):
    return EvaluationRecipe(precision="fp32", memory_layout="contiguous", epochs=4, batch_size=2, **fields)


def network(auxiliary=False, seed=0):
    made = CellNetwork(DARTS, 4, 10, width=4, stem=6)
    initialise(made, seed)
    return with_auxiliary(made, 10, seed) if auxiliary else made


def test_the_preset_is_the_papers_and_other_recipes_keep_their_hashes():
    cells = EvaluationRecipe.preset("cells")
    said = {name: getattr(cells, name) for name in ("epochs", "lr", "momentum", "every", "factor", "weight_decay", "batch_size", "cutout", "auxiliary", "drop_path", "clip")}  # fmt: skip
    assert said == {"epochs": 250, "lr": 0.1, "momentum": 0.9, "every": 25, "factor": 0.5, "weight_decay": 3e-4, "batch_size": 96, "cutout": 16, "auxiliary": 0.4, "drop_path": 0.2, "clip": 5.0}  # fmt: skip
    assert cells.label == "cells"
    # as they were before there were such fields
    assert EvaluationRecipe.preset("paper").hash == "2e72f8bc2ef2"
    assert EvaluationRecipe.preset("smoke", epochs=3, every=2).hash == "8cc95e0e0d6e"
    assert EvaluationRecipe.preset("paper").label == "paper"
    assert "cutout" not in EvaluationRecipe.preset("paper").to_dict()


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"cutout": -1}, "cutout is -1"), ({"auxiliary": -0.1}, "auxiliary is -0.1"), ({"drop_path": 1.0}, "drop_path is 1.0: it must lie between 0 and 0.99"), ({"clip": float("nan")}, "clip is nan"), ({"smoothing": 1.0}, "smoothing is 1.0: it must lie between 0 and 0.99"), ({"jitter": 1.5}, "jitter is 1.5: it must lie between 0 and 1")],
)  # fmt: skip
def test_recipes_that_make_no_sense(fields, said):
    with pytest.raises(UsageError, match=said):
        recipe(**fields)


def test_only_cells_have_an_auxiliary_head_and_it_has_to_fit():
    require_cells(EvaluationRecipe.preset("cells"), Subject("darts7", "cifar", 10, 32))
    require_cells(recipe(cutout=8, clip=1.0), Subject("resnet20", "cifar", 10, 32))
    with pytest.raises(UsageError, match=r"auxiliary is 0\.4, but 'resnet20' has no DARTS cells: leave it at 0"):
        require_cells(recipe(auxiliary=0.4), Subject("resnet20", "cifar", 10, 32))
    with pytest.raises(UsageError, match="does not fit images of 64 pixels"):
        require_cells(recipe(auxiliary=0.4), Subject("darts7", "cifar", 10, 64))


def test_a_square_is_cut_out_of_each_image():
    torch.manual_seed(0)
    x = cut_out(torch.ones(4000, 3, 32, 32), 16)
    assert ((x == 0) | (x == 1)).all()
    assert (x == x[:, :1]).all()  # of all channels alike
    rows = (x[:, 0] == 0).any(2).sum(1)
    columns = (x[:, 0] == 0).any(1).sum(1)
    assert (rows * columns == (x[:, 0] == 0).sum((1, 2))).all()  # a rectangle
    assert (rows.min(), rows.max()) == (8, 16)  # cut at the edges, whole in the middle
    # a middle at place m of 32 keeps min(m, 8) + min(32 - m, 8) rows: 14 on average
    assert rows.double().mean() == pytest.approx(14, abs=0.2)
    assert columns.double().mean() == pytest.approx(14, abs=0.2)
    assert torch.corrcoef(torch.stack([rows, columns]).double())[0, 1].abs() < 0.06


def test_the_head_reads_what_the_next_cell_reads_at_any_widths_and_moves_no_other_weight():
    graph = ChannelGraph.of(network(), IMAGES)
    widths = {v.name: v.floor * (3 + place % 5) for place, v in enumerate(graph.variables)}
    plain, headed = (graph.rebuild(widths, 7) for _ in range(2))
    with_auxiliary(headed, 10, 7)
    kept = plain.state_dict()
    assert all(torch.equal(headed.state_dict()[name], value) for name, value in kept.items())
    logits, beside = headed(torch.randn(2, 3, 32, 32))
    assert logits.shape == beside.shape == (2, 10)
    assert headed.eval()(IMAGES).shape == (2, 10)  # at the test there is none


def stepped(more, steps=1, **fields):
    """A learner after some steps on one batch, and what the steps said."""
    learner = Stepped(
        _Pathless(network(bool(more.auxiliary))), recipe(**fields), torch.device("cpu"), 3, Steps(100, 0.5, 2), more
    )
    torch.manual_seed(1)
    x, y = torch.randn(2, 3, 32, 32), torch.tensor([1, 2])
    return learner, [learner.learn(x, y, (), 0.1) for _ in range(steps)], (x, y)


class _Pathless(torch.nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x, path):
        return self.body(x)


def test_the_head_adds_its_share_to_the_gradient_and_nothing_to_the_loss_that_is_said():
    learner, ((loss, _),), (x, y) = stepped(Regularised(auxiliary=0.4), momentum=0.0, weight_decay=0.0)
    reference = network(True).train()
    logits, beside = reference(x)
    assert loss == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-6)
    (F.cross_entropy(logits, y) + 0.4 * F.cross_entropy(beside, y)).backward()
    for (name, before), after in zip(reference.named_parameters(), learner.network.body.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), before.detach() - 0.1 * before.grad, msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_labels_are_smoothed_for_both_heads_and_not_in_the_loss_that_is_said(smoothing):
    """A share of each label goes to all classes alike (Szegedy et al., 2016, section 7), worked out from probabilities."""
    more = Regularised(auxiliary=0.4, smoothing=smoothing)
    learner, ((loss, _),), (x, y) = stepped(more, momentum=0.0, weight_decay=0.0)
    reference = network(True).train()

    def smoothed(logits):
        wanted = (1 - smoothing) * F.one_hot(y, 10) + smoothing / 10
        by_hand = -(wanted * logits.log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(by_hand, F.cross_entropy(logits, y, label_smoothing=smoothing))
        return by_hand

    logits, beside = reference(x)
    assert loss == pytest.approx(F.cross_entropy(logits, y).item(), rel=1e-6)
    (smoothed(logits) + 0.4 * smoothed(beside)).backward()
    for (name, before), after in zip(reference.named_parameters(), learner.network.body.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), before.detach() - 0.1 * before.grad, msg=name)


def test_the_preset_for_imagenet_is_the_papers():
    """Appendix A.4 and the release: as cells, without cutout and dropped paths, with label smoothing and colour jitter."""
    imagenet = EvaluationRecipe.preset("imagenet", dataset="imagenet")
    said = {name: getattr(imagenet, name) for name in ("epochs", "lr", "momentum", "every", "factor", "weight_decay", "batch_size", "cutout", "auxiliary", "drop_path", "clip", "smoothing", "jitter")}  # fmt: skip
    assert said == {"epochs": 200, "lr": 0.1, "momentum": 0.9, "every": 25, "factor": 0.5, "weight_decay": 3e-5, "batch_size": 128, "cutout": 0, "auxiliary": 0.4, "drop_path": 0.0, "clip": 5.0, "smoothing": 0.1, "jitter": 0.4}  # fmt: skip
    assert imagenet.label == "imagenet"
    assert EvaluationRecipe.preset("cells").hash == "c7d1867bda63"


def test_a_long_gradient_is_cut_and_a_short_one_is_not():
    def moved(clip):
        learner, _, _ = stepped(Regularised(clip=clip), momentum=0.0, weight_decay=0.0)
        pairs = zip(network().parameters(), learner.network.body.parameters(), strict=True)
        return torch.cat([(after - before).flatten() for before, after in pairs]).detach()

    free = moved(0.0)
    assert torch.equal(moved(1e6), free)
    torch.testing.assert_close(moved(0.01), free * (0.001 / free.norm()), rtol=1e-3, atol=1e-7)


def test_paths_are_dropped_more_and_more():
    """Two steps an epoch, of four: 0 in the first, then 0.05, 0.1, 0.15 of 0.2."""
    learner, _, (x, y) = stepped(Regularised(drop_path=0.2), 0)
    seen = []
    for _ in range(8):
        learner.learn(x, y, (), 0.1)
        seen.append(learner.network.body.cells[0].drop.p)
    assert seen == pytest.approx([0, 0, 0.05, 0.05, 0.1, 0.1, 0.15, 0.15])


def test_a_dropped_path_is_no_identity_and_the_others_are_scaled_up():
    torch.manual_seed(0)
    cell = network().train().cells[0]
    set_drop_path(cell, 0.5)
    x = torch.ones(4000, 2, 1, 1)
    kept = cell.drop(x)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert (kept == kept[:, :1]).all()  # image by image
    assert (kept > 0).double().mean() == pytest.approx(0.5, abs=0.03)
    cell.ops = torch.nn.ModuleList([torch.nn.Identity()])
    cell.nodes = [0]
    assert torch.equal(cell._made([x], 0), x)


def test_a_training_that_was_stopped_draws_the_same_squares_and_paths():
    more = Regularised(16, 0.4, 0.2, 5.0)
    whole, said, (x, y) = stepped(more, 6)
    first, _, _ = stepped(more, 3)
    second, _, _ = stepped(more, 0)
    second.restore(first.state())
    torch.manual_seed(99)
    assert [second.learn(x, y, (), 0.1) for _ in range(3)] == said[3:]
    for one, other in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert stepped(more, 1)[1] != [(loss, right) for loss, right in stepped(Regularised(auxiliary=0.4), 1)[1]]
