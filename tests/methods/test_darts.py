"""DARTS: the mixture against the network it mixes, its gradients against finite differences, its steps by hand."""

import copy
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import planted
import pytest
import torch
import torch.nn.functional as F
from planted import GAINS, SPACE, Planted, codes_of, planted_task, random_images, recipe, stop_every, task, to_the_end
from test_evaluate import HASTY, SMALL, lasting, only, table_at
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmark import Ranking, evaluate
from benchmark.cli import given_fields
from benchmark.errors import Failure, UsageError
from benchmark.spaces import networks
from benchmark.spaces.space import Backbone, Config, PoolingSpace
from benchmark.training.engine import Learner
from nas_methods.darts import Alpha, Method, MultiResolution, mixture_gradient, mixture_macs, scores, search
from tests.flags import instead
from tests.machine import FAST

CPU = torch.device("cpu")
# The real space on a network of few channels, and a small space for float64.
THIN = replace(SPACE, backbone=replace(SPACE.backbone, widths=(2,) + 3 * (2,) + 3 * (4,) + 3 * (4,)))
WIDER = PoolingSpace(
    "wider", (16, 8, 4), 4, Config((2, 1, 1)), "cifar10", Backbone("basic", (16, 16, 32, 64), "cifar", 16)
)
TINY = PoolingSpace("tiny", (8, 4, 2), 4, Config((2, 1, 1)), "cifar10", Backbone("basic", (2, 3, 3, 4), "cifar", 8))
VARIANTS = {
    "shared": Method(),
    "unshared, same": Method(sharing="unshared"),
    "unshared, random": Method(sharing="unshared", init="random"),
    "gaea": Method(optimizer="gaea"),
    "second order": Method(second_order=True),
}


def resnet(space, shared=True, seed=0, model=0):
    made = networks.ResNet(space, affine=False, shared=shared)
    networks.initialise(made, seed, model)
    return made


def thin_task(seed=0, **more):
    """Two epochs of two steps of a real network, drawn from the seed as in a real search."""
    made = {shared: (lambda model, shared=shared: resnet(THIN, shared, seed, model)) for shared in (True, False)}
    given = {"train": random_images(8, 1), "validation": random_images(8, 2), "recipe": recipe(batch_size=4, lr=0.01)}
    return task(made[True], unshared=made[False], seed=seed, **given | more)


@pytest.fixture(scope="module")
def ranked():
    return {name: method.rank(thin_task()) for name, method in VARIANTS.items()}


def one_hot(path):
    return F.one_hot(torch.tensor(path[1:]), 3).double()


# The mixture --------------------------------------------------------------------------------------------------------

FOUND = [SPACE.architecture(text).path for text in ("012220220", "022022210", "011222110", "012220110")]  # Figure 4


@pytest.mark.parametrize("shared", [True, False])
def test_a_one_hot_mixture_is_the_pooled_network(shared):
    network = resnet(SPACE, shared).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits = []
    with torch.no_grad():
        for path in [SPACE.default.path, *FOUND[: 2 if shared else 1]]:
            logits.append(network(x, path))
            torch.testing.assert_close(MultiResolution(network)(x, one_hot(path)), logits[-1], rtol=0, atol=1e-10)
    assert all((one - other).abs().max() > 1e-3 for one, other in pairwise(logits))


def test_equation_4_of_one_block():
    network = resnet(SPACE).double()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = torch.full((9, 3), 1 / 3, dtype=torch.float64)
    weights[3] = torch.tensor([0.2, 0.5, 0.3])
    outputs = []
    network.classifier.register_forward_pre_hook(lambda module, given: outputs.append(given[0]))
    with torch.no_grad():
        MultiResolution(network)(x, weights)
        h = network.stem(x)
        for block, row in zip(network.blocks, weights.tolist(), strict=True):
            pooled = [h, F.max_pool2d(h, 2), F.max_pool2d(F.max_pool2d(h, 2), 2)]
            mixed = 0
            for r, (weight, small) in enumerate(zip(row, pooled, strict=True)):
                mixed = mixed + weight * block.at(small).repeat_interleave(2**r, 2).repeat_interleave(2**r, 3)
            assert mixed.shape[2:] == (32, 32)
            h = mixed
    torch.testing.assert_close(outputs[0], h.mean((2, 3)), rtol=0, atol=1e-10)


# Gradients ----------------------------------------------------------------------------------------------------------


def tiny(momentum=0.9, weight_decay=0.05, steps=2):
    """A learner in float64 that has taken some steps, so that SGD has momentum; batches; weights off the centre."""
    draw = torch.Generator().manual_seed(3)
    network = MultiResolution(resnet(TINY)).double()
    learner = Learner(network, recipe(momentum=momentum, weight_decay=weight_decay), CPU)
    weights = torch.softmax(torch.randn(3, 3, dtype=torch.float64, generator=draw), 1)

    def batch():
        x = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=draw)
        return x, torch.randint(0, 10, (6,), generator=draw)

    for _ in range(steps):
        learner.learn(*batch(), weights, 0.1)
    return learner, weights, batch(), batch()


def differences(f, at, step=1e-6):
    """The gradient of f by central differences."""
    found = torch.zeros_like(at)
    for index in np.ndindex(*at.shape):
        there, back = at.clone(), at.clone()
        there[index] += step
        back[index] -= step
        found[index] = (f(there) - f(back)) / (2 * step)
    return found


def loss_of(network, batch, weights):
    with torch.no_grad():
        return F.cross_entropy(network(batch[0], weights), batch[1])


def test_the_first_order_gradient_against_finite_differences():
    learner, weights, _, validation = tiny()
    loss, gradient = mixture_gradient(learner, weights, validation)
    assert loss == loss_of(learner.network, validation, weights)
    expected = differences(lambda w: loss_of(learner.network, validation, w), weights)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-8)
    assert gradient.abs().min() > 1e-5


@pytest.mark.parametrize("steps", [0, 2])
def test_the_second_order_gradient_against_finite_differences_of_the_unrolled_loss(steps):
    """The step that is looked through is torch's own, momentum and weight decay included."""
    learner, weights, training, validation = tiny(steps=steps)
    rate = 0.2

    def unrolled(w):
        after = copy.deepcopy(learner)
        after.learn(*training, w, rate)
        return loss_of(after.network, validation, w)

    loss, gradient = mixture_gradient(learner, weights, validation, (training, rate))
    torch.testing.assert_close(loss, unrolled(weights), rtol=0, atol=1e-12)
    expected = differences(unrolled, weights)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)
    first = mixture_gradient(learner, weights, validation)[1]
    assert (gradient - first).abs().max() > 100 * (gradient - expected).abs().max()


def test_at_a_rate_of_zero_both_orders_agree():
    learner, weights, training, validation = tiny()
    first = mixture_gradient(learner, weights, validation)
    second = mixture_gradient(learner, weights, validation, (training, 0.0))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-14)


def test_looking_ahead_moves_nothing():
    learner, weights, training, validation = tiny()
    before = copy.deepcopy(learner.state())
    mixture_gradient(learner, weights, validation, (training, 0.1))
    after = learner.state()
    assert all(torch.equal(before["network"][name], value) for name, value in after["network"].items())
    assert str(before["optimizer"]) == str(after["optimizer"])


@pytest.mark.parametrize("second_order", [False, True])
def test_in_bf16_the_gradient_is_that_of_fp32_but_for_rounding(second_order):
    gradients = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        learner = Learner(
            MultiResolution(resnet(WIDER)), recipe(precision=precision, memory_layout="channels_last"), CPU
        )
        draw = torch.Generator().manual_seed(4)
        x = torch.randn(16, 3, 16, 16, generator=draw).to(dtype).contiguous(memory_format=torch.channels_last)
        batch = x[:8], torch.randint(0, 10, (8,), generator=draw)
        ahead = ((x[8:], batch[1]), 0.01) if second_order else None
        gradients.append(mixture_gradient(learner, torch.full((3, 3), 1 / 3), batch, ahead)[1].flatten())
    assert F.cosine_similarity(*gradients, dim=0) > 0.9


# The mixture's optimizers -------------------------------------------------------------------------------------------

GRADIENTS = np.random.default_rng(7).standard_normal((20, 9, 3))


def test_alpha_is_uniform_at_the_start():
    for method in VARIANTS.values():
        np.testing.assert_allclose(Alpha(method, 9, 3, CPU).weights.detach().numpy(), np.full((9, 3), 1 / 3), rtol=1e-6)


def test_gaea_is_the_exponentiated_gradient_on_the_simplex():
    alpha = Alpha(Method(optimizer="gaea", alpha_lr=0.3), 9, 3, CPU)
    expected = np.full((9, 3), 1 / 3)
    for gradient in GRADIENTS:
        alpha.step(torch.from_numpy(gradient).float())
        expected = expected * np.exp(-0.3 * gradient)
        expected /= expected.sum(1, keepdims=True)
        np.testing.assert_allclose(alpha.weights.numpy(), expected, rtol=1e-4)
        # What is kept are logarithms of weights that sum to one, not numbers that a softmax has yet to normalise.
        np.testing.assert_allclose(alpha.values.exp().sum(1).numpy(), 1, rtol=1e-5)


def test_gaea_stays_on_the_simplex_however_steep_the_loss():
    alpha = Alpha(Method(optimizer="gaea", alpha_lr=1.0), 2, 3, CPU)
    for _ in range(5):
        alpha.step(torch.tensor([[1e4, 0.0, -1e4], [0.0, 0.0, 1e4]]))
    assert alpha.weights.tolist() == [[0, 0, 1], [0.5, 0.5, 0]]
    assert np.isfinite(alpha.likely()).all()  # so a configuration that is all but impossible still has a score


def test_adam_moves_alpha_through_the_softmax():
    alpha = Alpha(Method(alpha_lr=0.05), 9, 3, CPU)
    values, m, v = np.full((9, 3), -math.log(3)), np.zeros((9, 3)), np.zeros((9, 3))
    for t, gradient in enumerate(GRADIENTS, start=1):
        alpha.step(torch.from_numpy(gradient).float())
        w = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        g = w * (gradient - (w * gradient).sum(1, keepdims=True))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        values -= 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(alpha.values.detach().numpy(), values, rtol=1e-3, atol=1e-5)


# The search ---------------------------------------------------------------------------------------------------------


def text_of(path):
    return "".join(map(str, path))


@pytest.mark.parametrize("method", [Method(), Method(optimizer="gaea", alpha_lr=1.0), Method(second_order=True)])
def test_what_is_planted_is_found_outside_the_space(method):
    ranking = method.rank(planted_task())
    best = GAINS.argmax(axis=1)
    assert list(best) != sorted(best)  # it rises and falls
    assert ranking.pick == text_of(best)
    final = np.array(ranking.history["weights"][-1])
    np.testing.assert_allclose(final.sum(1), 1, atol=2e-5)
    np.testing.assert_array_equal(final.argsort(1), GAINS.argsort(1))
    expected = [sum(math.log(final[b, r]) for b, r in enumerate(config.path[1:])) for config in SPACE]
    np.testing.assert_allclose(ranking.scores, expected, atol=1e-3)
    assert len(set(ranking.scores)) > 30


def test_what_is_planted_inside_the_space_is_found_as_a_configuration(monkeypatch):
    config = SPACE[SPACE.index("[2,5,3]")]
    gains = np.ones((9, 3))
    gains[range(9), config.path[1:]] = 1.4
    monkeypatch.setattr(planted, "GAINS", gains)
    ranking = Method().rank(planted_task())
    assert ranking.pick == "[2,5,3]"
    assert ranking.scores.index(max(ranking.scores)) == SPACE.index(config)


def test_a_mixture_that_is_still_uniform_is_no_ranking():
    with pytest.raises(UsageError, match="every configuration has the same score"):
        Ranking(SPACE.name, tuple(scores(Alpha(Method(), 9, 3, CPU).likely(), SPACE)))


def test_a_score_is_the_log_likelihood_of_the_path():
    weights = np.random.default_rng(0).dirichlet((1, 1, 1), 9)
    found = dict(zip(SPACE, scores(np.log(weights), SPACE), strict=True))
    expected = weights[:3, 0].prod() * weights[3:6, 1].prod() * weights[6:, 2].prod()
    assert found[SPACE.default] == pytest.approx(math.log(expected))


def test_the_mixture_learns_on_validation_images_and_the_weights_on_training_images():
    seen = []

    class Watched(Planted):
        def stem(self, x):
            seen.append(int(codes_of(x).sum()))
            return super().stem(x)

    one = planted.planted_images(16, 1), planted.planted_images(32, 2)
    search(Method(), task(lambda model: Watched(), *one, recipe=recipe(epochs=2)))
    train, validation = (int(half.pixels[:, 0, 0].sum()) for half in one)
    assert len(seen) == 4
    assert seen[1::2] == [train, train]  # one batch is this half
    assert seen[0] + seen[2] == validation  # two are that one
    assert train not in seen[::2]


@pytest.mark.parametrize("name", VARIANTS)
def test_another_seed_ranks_otherwise(ranked, name):
    assert VARIANTS[name].rank(thin_task(1)).scores != ranked[name].scores


def test_variants_differ(ranked):
    assert len({ranking.scores for ranking in ranked.values()}) == len(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seed_ranks_alike_though_stopped_after_every_step(ranked, name, tmp_path):
    given = {"checkpoint": tmp_path / "search.pt", "stop": stop_every(1)}
    resumed, stops = to_the_end(lambda: VARIANTS[name].rank(thin_task(**given)))
    assert stops == 4
    assert resumed.scores == ranked[name].scores
    assert resumed.history == ranked[name].history


def test_scores_after_each_epoch_are_kept(ranked):
    ranking = ranked["shared"]
    assert [point["images"] for point in ranking.history["curve"]] == [8, 16]
    assert ranking.history["curve"][-1]["scores"] == list(ranking.scores)
    assert len(ranking.provenance["timings"]["curve"]) == len(ranking.history["weights"]) == 2


def test_an_endless_loss_is_told():
    class Broken(Planted):
        def head(self, x):
            return super().head(x) * math.inf

    with pytest.raises(Failure, match=r"the loss is nan in iteration 1; try a lower --lr"):
        Method().rank(task(lambda model: Broken(), planted.planted_images(96, 3), planted.planted_images(64, 4)))


# Weights ------------------------------------------------------------------------------------------------------------


def test_unshared_weights_of_the_same_initialisation_start_as_the_shared_network():
    x = random_images(4, 0).pixels.permute(0, 3, 1, 2) / 255
    weights = torch.softmax(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), 1)
    made = {name: VARIANTS[name].network(thin_task()) for name in ("shared", "unshared, same", "unshared, random")}
    with torch.no_grad():
        shared, same, random = (MultiResolution(network)(x, weights) for network in made.values())
    torch.testing.assert_close(same, shared, rtol=0, atol=0)
    assert (random - shared).abs().max() > 1e-3
    for name, equal in (("unshared, same", True), ("unshared, random", False)):
        for block in made[name].blocks:
            kernels = [branch.conv1.weight for branch in block]
            assert len({kernel.data_ptr() for kernel in kernels}) == 3  # each goes its own way from there
            assert torch.equal(kernels[0], kernels[1]) is torch.equal(kernels[1], kernels[2]) is equal


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sharing": "half"}, "sharing is 'half': choose from shared, unshared"),
        ({"sharing": "unshared", "init": "zero"}, "init is 'zero': choose from same, random"),
        ({"init": "random"}, "add --sharing unshared"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd': choose from adam, gaea"),
        ({"alpha_lr": -1.0}, "alpha_lr is -1.0"),
        ({"alpha_lr": math.nan}, "alpha_lr is nan"),
    ],
)
def test_options_out_of_range_are_named(options, said):
    with pytest.raises(UsageError, match=said):
        Method(**options)


def test_the_rate_is_stated_and_is_the_optimizers_own_by_default():
    assert (Method().alpha_lr, Method(optimizer="gaea").alpha_lr, Method(alpha_lr=0.5).alpha_lr) == (0.01, 0.1, 0.5)


# The command --------------------------------------------------------------------------------------------------------


def test_a_bare_flag_is_true():
    def given(*words):
        return given_fields(evaluate.arguments(Method).parse(["--method", "darts", *words]), Method)

    assert given("--second-order", "--optimizer", "gaea") == {"second_order": True, "optimizer": "gaea"}
    assert given("--second-order", "false") == {"second_order": False}
    assert given() == {}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill")
def test_killed_and_started_again_the_command_ranks_alike(tmp_path, environment, monkeypatch, capfd):
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    script = tmp_path / "hasty.py"
    script.write_text(HASTY)
    small = [*instead(SMALL, "--batch-size", "4", "--train-images", "12", "--eval-images", "4"), "--method", "darts"]
    words = [*small, "--table", str(table_at(tmp_path / "tables")), "--out"]
    process = subprocess.Popen([sys.executable, script, *words, str(tmp_path / "killed")], env=environment)
    try:
        while not list((tmp_path / "killed" / "rankings" / "work").glob("*.pt")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not list((tmp_path / "killed" / "rankings").glob("*.json"))
    for out in ("killed", "undisturbed"):
        assert evaluate.main([*words, str(tmp_path / out)]) == 0
    assert "starts afresh" not in capfd.readouterr().err
    killed, undisturbed = (only(tmp_path / out, "rankings/*.json") for out in ("killed", "undisturbed"))
    assert lasting(killed) == lasting(undisturbed)
    assert lasting(killed)["provenance"]["engine"] == "eager"


# Cost ---------------------------------------------------------------------------------------------------------------


class Counter(TorchDispatchMode):
    """MACs of all that runs, by torch's own formulas; its FlopCounterMode cannot follow autograd.grad."""

    macs = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        if formula := flop_registry.get(function._overloadpacket):
            self.macs += formula(*args, **kwargs or {}, out_val=out) / 2
        return out


def counted(run):
    with Counter() as counter:
        run()
    return counter.macs


@pytest.mark.parametrize("second_order", [False, True])
def test_the_work_foretold_is_that_of_the_steps(second_order):
    given = thin_task()
    network = resnet(SPACE)
    learner = Learner(MultiResolution(network), given.recipe, CPU)
    weights = torch.full((9, 3), 1 / 3)
    batch = torch.randn(2, 3, 32, 32), torch.tensor([1, 2])
    with torch.no_grad():
        forward = counted(lambda: learner.network(batch[0], weights)) / 2
    assert forward < mixture_macs(given) < 1.01 * forward
    ahead = (batch, 0.1) if second_order else None
    step = counted(lambda: mixture_gradient(learner, weights, batch, ahead)) / 2
    step += counted(lambda: learner.learn(*batch, weights, 0.1)) / 2
    foretold = Method(second_order=second_order).work(given) / (2 * 2 * 4)
    assert foretold == pytest.approx(step, rel=0.05)
