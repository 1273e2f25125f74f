"""Zero-cost proxies: each against its formula worked out in another way on a tiny network; every known trap as a test."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import LEVELS, SHARES, SPACE, recipe, stop_every, task, to_the_end
from scipy.stats import kendalltau
from torch import nn

from benchmark.datasets.sets import Images
from benchmark.errors import Failure, UsageError
from benchmark.scoring.ranking import NoRanking
from benchmark.spaces import costs, networks, space
from benchmark.spaces.space import Backbone, Config, PoolingSpace, load_space
from nas_methods import proxies, zero_cost
from nas_methods.proxies import Look

TOY = PoolingSpace("toy", (8, 4), 4, Config((2, 2)), "synthetic", Backbone("basic", (4, 4, 6, 6), "cifar", 8))


class Tiny(nn.Module):
    """conv, batch norm, ReLU in place, conv, ReLU in place, mean, linear: written as the suite's ResNet is."""

    def __init__(self, classes=3):
        super().__init__()
        torch.manual_seed(4)
        self.conv1, self.norm, self.conv2 = (
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 5, 3, bias=False),
        )
        self.classifier = nn.Linear(5, classes)
        self.double()

    def forward(self, x, path):
        y = F.relu(self.norm(self.conv1(x)), inplace=True)
        y = F.relu(self.conv2(y), inplace=True)
        return self.classifier(y.mean((2, 3)))

    def by_hand(self, x):
        """(logits, outputs of both ReLUs), with batch norm written out and nothing in place."""
        y = F.conv2d(x, self.conv1.weight)
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, correction=0)
        a = torch.clamp((y - mean) / (var + self.norm.eps).sqrt(), min=0)
        b = torch.clamp(F.conv2d(a, self.conv2.weight), min=0)
        return b.mean((2, 3)) @ self.classifier.weight.T + self.classifier.bias, [a, b]


@pytest.fixture
def look():
    torch.manual_seed(5)
    network = Tiny().train()
    network.norm.track_running_stats = False
    return Look(network, (0,), torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 0]), seed=0)


def loss_gradients(look, ws=None):
    """By weights, from the network written out."""
    logits, _ = look.network.by_hand(look.x)
    loss = -logits.log_softmax(1)[range(6), look.y].mean()
    return torch.autograd.grad(loss, ws or proxies.weights(look.network))


def test_what_the_network_shows_is_what_it_does(look):
    """Its ReLUs are functions, in place: a hook on a module would find none."""
    logits, outs = look.network.by_hand(look.x)
    assert torch.allclose(look.logits, logits)
    assert [tuple(a.shape) for a in look.activations] == [(6, 4, 6, 6), (6, 5, 4, 4)]
    assert all(torch.allclose(a, b) for a, b in zip(look.activations, outs, strict=True))
    assert not any(isinstance(module, nn.ReLU) for module in look.network.modules())


def test_norms_of_gradients_and_sums_of_products(look):
    ws, gs = [w.detach().numpy() for w in proxies.weights(look.network)], [g.numpy() for g in loss_gradients(look)]
    assert len(ws) == 3  # neither batch norm's nor biases
    assert proxies.grad_norm(look) == pytest.approx(sum(np.sqrt((g**2).sum()) for g in gs))
    assert proxies.snip(look) == pytest.approx(sum(np.abs(w * g).sum() for w, g in zip(ws, gs, strict=True)))
    assert proxies.plain(look) == pytest.approx(sum((w * g).sum() for w, g in zip(ws, gs, strict=True)))
    assert proxies.l2_norm(look) == pytest.approx(sum(np.sqrt((w**2).sum()) for w in ws))


def test_plain_is_the_classifiers_alone_where_a_batch_norm_follows(look):
    first = proxies.weights(look.network)[0]
    assert float((first.detach() * loss_gradients(look)[0]).sum()) == pytest.approx(0, abs=1e-6)


def hessian_gradient(look):
    """H g by central differences of the gradient, weight by weight tensor."""
    ws = proxies.weights(look.network)
    gs, sides = loss_gradients(look), []
    for sign in (1, -1):
        moved = copy.deepcopy(look.network)
        with torch.no_grad():
            for w, g in zip(proxies.weights(moved), gs, strict=True):
                w += sign * 1e-5 * g
        sides.append(loss_gradients(replace(look, network=moved)))
    return [w.detach() for w in ws], gs, [(a - b) / 2e-5 for a, b in zip(*sides, strict=True)]


def test_grasp_is_minus_w_times_hessian_times_gradient(look):
    ws, gs, products = hessian_gradient(look)
    parts = [-float((w * p).sum()) for w, p in zip(ws, products, strict=True)]
    assert proxies.grasp(look) == pytest.approx(sum(parts), rel=1e-4)
    # One sign: what a batch norm follows can be scaled at will, so H w = - g there, and its part is a squared norm.
    assert parts[0] != pytest.approx(0, abs=1e-6)
    first = proxies.weights(look.network)[0]
    only = torch.autograd.grad(sum((g * g.detach()).sum() for g in gradients_with_graph(look)[:1]), first)[0]
    assert -float((ws[0] * only).sum()) == pytest.approx(float(gs[0].square().sum()), rel=1e-3)


def gradients_with_graph(look):
    logits, _ = look.network.by_hand(look.x)
    return torch.autograd.grad(F.cross_entropy(logits, look.y), proxies.weights(look.network), create_graph=True)


def test_fisher_adds_up_channels_squared_before_the_mean_over_images(look):
    logits, outs = look.network.by_hand(look.x)
    gs = torch.autograd.grad(F.cross_entropy(logits, look.y), outs)
    total = 0.0
    for a, g in zip(outs, gs, strict=True):
        for channel in range(a.shape[1]):
            total += 0.5 * np.mean([float((a[n, channel].detach() * g[n, channel]).sum()) ** 2 for n in range(6)])
    assert proxies.fisher(look) == pytest.approx(total)


def jacobians(look):
    x = look.x.clone().requires_grad_()
    return torch.autograd.grad(look.network.by_hand(x)[0].sum(), x)[0].reshape(6, -1).numpy()


def test_jacob_cov_by_the_eigenvalues_of_correlations(look):
    values = np.linalg.eigvals(np.corrcoef(jacobians(look)))  # the source's; real but for rounding
    assert proxies.jacob_cov(look) == pytest.approx(
        float(-(np.log(values.real + 1e-5) + 1 / (values.real + 1e-5)).sum())
    )


def test_epe_nas_by_class(look):
    rows, labels = jacobians(look), look.y.numpy()
    sums = []
    for label in range(3):
        own = np.atleast_2d(np.corrcoef(rows[labels == label]))
        sums.append(sum(math.log(abs(own[i, j]) + 1e-5) for i in range(len(own)) for j in range(len(own))))
    assert proxies.epe_nas(look) == pytest.approx(sum(map(abs, sums)))


def test_epe_nas_compares_classes_where_there_are_many(look):
    torch.manual_seed(6)
    network = Tiny(classes=101).train()
    many = replace(look, network=network)
    rows, labels = jacobians(many), look.y.numpy()
    means = [np.log(np.abs(np.corrcoef(rows[labels == label])) + 1e-5).mean() for label in range(3)]
    pairs = abs(means[0] - means[1]) + abs(means[0] - means[2]) + abs(means[1] - means[2])
    assert proxies.epe_nas(many) == pytest.approx(pairs / 3)


def codes_by_hand(look):
    _, outs = look.network.by_hand(look.x)
    return np.concatenate([(a.detach().numpy() > 0).reshape(6, -1) for a in outs], axis=1)


def test_nwot_counts_the_units_that_agree(look):
    codes = codes_by_hand(look)
    kernel = [[(codes[i] == codes[j]).sum() + (i == j) for j in range(6)] for i in range(6)]
    sign, value = np.linalg.slogdet(np.array(kernel, float))
    assert sign == 1
    assert proxies.nwot(look) == pytest.approx(value)


def test_nwot_of_two_images_alike_is_low_but_finite(look):
    twice = replace(look, x=torch.cat([look.x[:5], look.x[:1]]))
    assert math.isfinite(proxies.nwot(twice))
    assert proxies.nwot(twice) < proxies.nwot(look)


def test_swap_counts_patterns_of_units_and_regions_those_of_images(look):
    codes = codes_by_hand(look)
    assert proxies.swap(look) == len({tuple(unit) for unit in codes.T})
    assert proxies.regions(look) == len({tuple(image) for image in codes}) == 6  # saturated: as many as images
    assert proxies.regions(replace(look, x=torch.cat([look.x[:5], look.x[:1]]))) == 5
    assert proxies.swap(look.first(2)) <= 4  # so many patterns have two images


def test_ntk_is_the_condition_of_products_of_gradients(look):
    rows = []
    for n in range(6):
        logits, _ = look.network.by_hand(look.x)
        found = torch.autograd.grad(logits[n].sum(), proxies.weights(look.network))
        rows.append(np.concatenate([g.numpy().ravel() for g in found]))
    singular = np.linalg.svd(np.array(rows), compute_uv=False)
    assert proxies.ntk(look) == pytest.approx(-float(singular[0] ** 2 / singular[-1] ** 2))


def test_batch_norm_ties_images_together(look):
    """So codes and gradients are of the batch, not of an image: the batch decides, its size too."""
    other = replace(look, x=torch.cat([look.x[:1], 3 * look.x[1:]]))
    assert not torch.allclose(look.logits[0], other.logits[0])
    assert not torch.allclose(look.first(3).logits, look.logits[:3])
    evaluated = copy.deepcopy(look.network)
    evaluated.norm.track_running_stats = True
    assert not torch.allclose(replace(look, network=evaluated.eval()).logits, look.logits)  # a bug of old NASWOT
    assert not proxies.prepared(nn.Sequential(nn.BatchNorm2d(2)).eval())[0].track_running_stats
    assert proxies.prepared(nn.BatchNorm2d(2).eval()).training


def test_zico_by_mean_and_spread_over_batches():
    draw = np.random.default_rng(1)
    batches = [[torch.from_numpy(draw.normal(size=shape)) for shape in ((2, 3), (4,))] for _ in range(3)]
    for batch in batches:
        batch[0][0, 0] = 0.25  # no spread: dropped
    batches[1][0][0, 0] = -0.25  # nor has its size
    total = 0.0
    for layer in range(2):
        sizes = np.abs([batch[layer].numpy().ravel() for batch in batches])
        ratios = [sizes[:, w].mean() / sizes[:, w].std() for w in range(sizes.shape[1]) if sizes[:, w].std() > 0]
        total += math.log(sum(ratios))
    assert proxies.zico(batches) == pytest.approx(total)
    same = [torch.ones(3)]
    assert proxies.zico([same, same]) == 0  # a layer without any spread says nothing


def test_zen_is_the_change_of_the_last_map_and_the_scale_of_batch_norms(look):
    network = copy.deepcopy(look.network).float()
    single = replace(look, network=network)
    x = single.noise("zen", look.x.shape)
    moved = x + 0.01 * single.noise("zen moved", look.x.shape)
    before, after = (network.by_hand(given)[1][-1].detach().numpy() for given in (x, moved))
    change = np.mean([np.sqrt(((before[n] - after[n]) ** 2).sum()) for n in range(6)])
    variance = F.conv2d(x, network.conv1.weight).detach().numpy().var(axis=(0, 2, 3)).mean()
    assert proxies.zen(single) == pytest.approx(math.log(change) + 0.5 * math.log(variance), rel=1e-4)


def test_meco_adds_up_smallest_eigenvalues_and_a_dead_channel_makes_a_layer_0(look):
    network = copy.deepcopy(look.network).float()
    single = replace(look, network=network)
    _, outs = network.by_hand(single.noise("meco", (1, 3, 8, 8)))
    smallest = [np.linalg.eigvalsh(np.corrcoef(a[0].detach().numpy().reshape(len(a[0]), -1)))[0] for a in outs]
    assert proxies.meco(single) == pytest.approx(sum(smallest), abs=1e-5)
    with torch.no_grad():
        network.conv2.weight[2] = -network.conv2.weight[2].abs()  # of what is never negative
    assert proxies.meco(single) == pytest.approx(smallest[0], abs=1e-5)


class Chain(nn.Module):
    """Linear layers and nothing else but a batch norm, if any."""

    def __init__(self, depth, scale=1.0, norm=False):
        super().__init__()
        torch.manual_seed(7)
        self.layers = nn.ModuleList(nn.Conv2d(3, 3, 1, bias=False) for _ in range(depth))
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.mul_(scale)

    def forward(self, x, path):
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def synflow_of(network, side=2):
    return proxies.synflow(Look(network, (0,), torch.randn(3, 3, side, side), torch.zeros(3), 0))


def test_synflow_of_a_chain_is_its_depth_times_the_sum_of_its_paths():
    network = Chain(4)
    product = np.eye(3)
    for layer in network.layers:
        product = np.abs(layer.weight.detach().double().numpy()[:, :, 0, 0]) @ product
    before = copy.deepcopy(network.state_dict())
    assert synflow_of(network) == pytest.approx(4 * product.sum() * 4)  # of 2 x 2 positions
    assert all(
        torch.equal(before[name], value) for name, value in network.state_dict().items()
    )  # signs are still there


def test_synflow_holds_what_float32_does_not_and_batch_norm_is_off():
    huge = Chain(12, scale=1e4)
    assert math.isfinite(synflow_of(huge))
    with torch.no_grad():
        x = torch.ones(1, 3, 2, 2)
        for layer in huge.layers:
            x = F.conv2d(x, layer.weight.abs())
    assert not torch.isfinite(x.sum())
    assert synflow_of(Chain(4, norm=True)) == pytest.approx(synflow_of(Chain(4)))


def test_synflow_tells_configurations_apart_by_their_padding_alone(monkeypatch):
    network = networks.ResNet(TOY, classes=10)
    networks.initialise(network, 0)

    def scores():
        return [
            proxies.synflow(Look(network, config.path, torch.ones(1, 3, 8, 8), torch.zeros(1), 0)) for config in TOY
        ]

    assert len(set(scores())) == 3
    really = F.conv2d

    def replicated(x, weight, bias=None, stride=1, padding=0, *more):
        p = padding[0] if isinstance(padding, tuple) else padding
        return really(F.pad(x, (p, p, p, p), mode="replicate"), weight, bias, stride, 0, *more)

    monkeypatch.setattr(F, "conv2d", replicated)
    same = scores()
    assert same == pytest.approx([same[0]] * 3, rel=1e-12)


def test_az_nas_sees_entropies_of_spectra(look):
    torch.manual_seed(8)
    network = networks.ResNet(TOY, classes=10)
    networks.initialise(network, 0)
    wide = Look(proxies.prepared(network), TOY.default.path, torch.randn(4, 3, 8, 8), torch.zeros(4).long(), 3)
    entropies = []
    for _, out in wide.blocks:
        features = np.moveaxis(out.detach().double().numpy(), 1, 0).reshape(out.shape[1], -1)
        values = np.linalg.eigvalsh(np.cov(features))
        shares = values[values > 0] / values[values > 0].sum()
        entropies.append(-(shares * np.log(shares)).sum())
    assert len(entropies) == 3
    assert proxies.az_expressivity(wide) == pytest.approx(sum(entropies))
    assert proxies.az_progressivity(wide) == pytest.approx(min(np.diff(entropies)))


class Turned(nn.Module):
    """Blocks that turn and stretch: the Jacobian of each is known."""

    def __init__(self, stretch):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1, bias=False) for _ in stretch)
        turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0]
        with torch.no_grad():
            for block, s in zip(self.blocks, stretch, strict=True):
                block.weight.copy_(s * turn[:, :, None, None])

    def forward(self, x, path):
        x = torch.cat([x, x[:, :1]], dim=1)
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))


def test_az_trainability_is_best_where_blocks_keep_lengths():
    def of(*stretch):
        return proxies.az_trainability(
            Look(Turned(stretch), (0,), torch.randn(16, 3, 32, 32), torch.zeros(16).long(), 0)
        )

    assert of(1.0, 1.0) == pytest.approx(0, abs=0.01)
    assert of(2.0) == pytest.approx(2 - 2 - 0.5, abs=0.05)
    assert of(0.5, 2.0) == pytest.approx(-0.5, abs=0.05)


def test_az_nas_adds_logs_of_ranks():
    parts = [[3.0, 1.0, 2.0], [1.0, 1.0, 5.0], [0.0, 1.0, 2.0], [9.0, 8.0, 7.0]]
    ranks = [[3, 1, 2], [1, 1, 3], [1, 2, 3], [3, 2, 1]]
    assert proxies.az_nas(parts) == pytest.approx([sum(math.log(r[i] / 3) for r in ranks) for i in range(3)])


def test_the_vote_is_the_mean_rank_of_those_that_rank():
    found = proxies.vote({"a": [3.0, 1.0, 2.0], "constant": [1.0, 1.0, 1.0], "b": [5.0, 5.0, 9.0]})
    assert (np.argsort(found).tolist(), found[2] - found[0]) == ([1, 0, 2], pytest.approx((2 - 3 + 3 - 1.5) / 2))


class Window(nn.Module):
    """One 3x3 convolution of ones: nine pixels move the centre."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x, path):
        return F.relu(self.conv(x), inplace=True).mean((2, 3))


def test_the_receptive_field_of_one_convolution_is_nine_pixels():
    window = Look(Window(), (0,), torch.rand(4, 3, 8, 8), torch.zeros(4).long(), 0)
    assert proxies.effective_receptive_field(window) == 9 / 64


# --- all of them together ---


@pytest.fixture
def toy(monkeypatch):
    """A space of three configurations, which no line of the suite knows."""
    monkeypatch.setitem(space.SPACES, "toy", TOY)
    return TOY


def toy_task(seed=0, broken=(), side=8, **more):
    sized = TOY.at(side)

    def network(model):
        made = networks.ResNet(sized, classes=10)
        networks.initialise(made, seed, model)
        if broken:
            forward = made.forward
            made.forward = lambda x, path: (
                forward(x, path) * (math.nan if Config(tuple(np.bincount(path))) in broken else 1)
            )
        return made

    draw = np.random.default_rng(9)
    images = Images(
        torch.from_numpy(draw.integers(0, 256, (24, side, side, 3), dtype=np.uint8)),
        torch.from_numpy(draw.integers(0, 10, 24)),
    )
    return replace(task(network, images, images, seed, **more), space=sized)


ALL = zero_cost.Method("all", batches=2, images=6)


def test_all_and_each_alone_give_the_same_bits_in_any_order(toy):
    """Neither another proxy nor another configuration before changes a value, and nothing is left in the network."""
    together = ALL.rank(toy_task())
    # Six images of 8 x 8 saturate three: that is no ranking, and never an error of the others.
    assert set(together.history["constant"]) == {"l2_norm", "regions", "swap", "effective_receptive_field"}
    for name in proxies.PROXIES:
        alone = zero_cost.Method(name, 2, 6)
        if name in together.history["constant"]:
            with pytest.raises(NoRanking, match=f"the same {name}"):
                alone.rank(toy_task())
        else:
            assert list(alone.rank(toy_task()).scores) == together.history["proxies"][name], name
    network = proxies.prepared(toy_task().data.network(0, affine=True))
    before = copy.deepcopy(network.state_dict())
    drawn = list(ALL._batches(toy_task()))
    parts = proxies.parts_of(proxies.PROXIES)
    for config in reversed(TOY.configs):
        found = proxies.measure(network, config.path, drawn, reversed(parts), 0)
        assert found == {part: together.history["values"][part][TOY.index(config)] for part in parts}
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_seed_decides_and_precision_does_not(toy):
    one, again, other = (ALL.rank(toy_task(seed)) for seed in (0, 0, 1))
    assert one.history == again.history
    assert one.scores == again.scores
    seeded = [name for name in proxies.PROXIES if one.history["proxies"][name] != other.history["proxies"][name]]
    assert set(proxies.PROXIES) - set(seeded) <= {"regions", "swap", "effective_receptive_field", "az_nas"}
    half = ALL.rank(toy_task(recipe=recipe(precision="bf16", memory_layout="channels_last")))
    assert half.history == one.history
    assert half.provenance["precision"] == "fp32"


def test_what_is_kept_is_not_measured_again_and_a_stop_loses_nothing(toy, tmp_path, monkeypatch):
    whole = ALL.rank(toy_task())
    checkpoint = tmp_path / "search.pt"
    asked = stop_every(1)
    resumed, stops = to_the_end(lambda: ALL.rank(toy_task(checkpoint=checkpoint, stop=asked)))
    assert stops == 2
    assert resumed.history == whole.history
    monkeypatch.setattr(proxies, "measure", lambda *given: pytest.fail("this is there already"))
    again = zero_cost.Method("snip", 2, 6).rank(toy_task(checkpoint=checkpoint))
    assert list(again.scores) == whole.history["proxies"]["snip"]
    monkeypatch.undo()
    monkeypatch.setitem(space.SPACES, "toy", TOY)
    (kept,) = (tmp_path / "proxies").glob("*.json")
    kept.write_text(kept.read_text()[:-50])  # cut short
    assert ALL.rank(toy_task(checkpoint=checkpoint)).history == whole.history


@pytest.mark.parametrize("other", [{"side": 16}, {"recipe": recipe(threads=2)}])
def test_what_is_kept_of_other_images_or_threads_is_not_taken(toy, tmp_path, other, monkeypatch):
    """Configurations are called alike at every side, and sums in two threads round otherwise."""
    method = zero_cost.Method("snip", 2, 6)
    method.rank(toy_task(checkpoint=tmp_path / "one.pt"))
    asked = []
    really = proxies.measure
    monkeypatch.setattr(proxies, "measure", lambda *given: asked.append(given[1]) or really(*given))
    found = method.rank(toy_task(checkpoint=tmp_path / "other.pt", **other))
    assert len(asked) == len(TOY)
    assert found.history == method.rank(toy_task(**other)).history


def test_a_value_that_is_not_finite_names_proxy_configuration_and_seed(toy):
    with pytest.raises(Failure, match=r"^\[2,2\], seed 3: snip is \[nan"):
        zero_cost.Method("snip", 2, 6).rank(toy_task(3, broken=[Config((2, 2))]))


def test_a_network_without_what_is_looked_at_is_said():
    with pytest.raises(Failure, match="effective_receptive_field: this network has not"):
        proxies.measure(
            Chain(2), (0,), [(torch.ones(2, 3, 2, 2), torch.zeros(2).long())], ["effective_receptive_field"], 0
        )


def test_az_nas_takes_macs_as_its_fourth(toy):
    ranking = zero_cost.Method("az_nas", 2, 6).rank(toy_task())
    parts = [[np.mean(v) for v in ranking.history["values"][part]] for part in proxies.AZ_PARTS]
    macs = [costs.macs(TOY, config) for config in TOY]
    ranks = [
        [sum(v <= w for v in part) if part.count(w) == 1 else sum(v < w for v in part) + 1 for w in part]
        for part in [*parts, macs]
    ]
    assert ranking.scores == pytest.approx([sum(math.log(r[i] / 3) for r in ranks) for i in range(3)])


class Graded(nn.Module):
    """The gradient of its weight grows with the path's share, whatever the weights are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10, 3) / 100)

    def forward(self, x, path):
        return SHARES[tuple(path)] * 1e-3 * (x.mean((2, 3)) @ self.weight.T)


@pytest.mark.parametrize("name", ["grad_norm", "snip"])
def test_a_planted_ranking_is_found(name):
    ranking = zero_cost.Method(name).rank(task(lambda model: Graded()))
    assert kendalltau(ranking.scores, LEVELS).statistic > 0.99
    assert ranking.pick == str(SPACE[int(LEVELS.argmax())])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"proxy": "nope"}, "choose from all, az_nas"),
        ({"proxy": "zico", "batches": 1}, "zico needs a whole number of 2"),
        ({"batches": 0}, "batches is 0"),
        ({"images": 1}, "images is 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        zero_cost.Method(**given)


def test_every_proxy_is_offered_and_says_its_source():
    hint = zero_cost.Method.__dataclass_fields__["proxy"].type
    assert all(f'"{name}"' in hint or f"'{name}'" in hint for name in proxies.PROXIES)
    for f in {**proxies.OF_A_BATCH, **proxies.ONCE, "zico": proxies.zico, "az_nas": proxies.az_nas}.values():
        assert any(str(year) in f.__doc__ for year in range(2016, 2026)) or f.__doc__.startswith("AZ-NAS"), f.__name__
    assert load_space().name == SPACE.name
