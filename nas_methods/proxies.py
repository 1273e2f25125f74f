"""Zero-cost proxies: scores of a network that nobody has trained, from a batch or a few. Formulas only.

Everything here is a function of (network, path, batch, seed): nothing is left behind in the network, and no value depends
on which others were asked for. Batch norm is in train mode and keeps no statistics. A `Look` is one batch, its forward and
backward passes made once, when first asked for. "Weights" are those of convolutions and linear layers, as in the sources'
code; batch norm's and biases are left aside. The signs are such that higher is better by the sources.

What a ReLU has let through is found where it is called, by `torch.overrides`: this ResNet calls the function, in place,
and has no module to hook.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmark.errors import Failure
from benchmark.streams import stream

VERSION = 1

RIDGE = 1.0  # on nwot's kernel, whose entries count units: as if one more unit told all images apart
K = 1e-5  # of jacob_cov and epe_nas, as their sources have it
TANGENTS = 16  # images of a batch for ntk, which takes a backward pass for each, and for the receptive field
NOISE = 0.01  # of zen: alpha, the size of the perturbation
EFFECTIVE = 1 - 0.9545  # of the largest gradient: what lies above belongs to the effective receptive field
MANY_CLASSES = 100  # from more on epe_nas compares classes instead of adding them

_RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}

Network = Callable[[Tensor, Sequence[int]], Tensor]


class Seen(TorchFunctionMode):
    """While it is on, keeps what every ReLU gives and the variance of what every batch norm gets.

    relus      outputs, in order, each a tensor of the graph; ReLUs are made out of place, to the same values
    variances  (channels,) of each batch norm's input over batch and positions
    """

    def __init__(self, norms: bool = True) -> None:
        """norms: whether batch norm does anything; without, it hands its input on."""
        super().__init__()
        self.norms, self.relus, self.variances = norms, list[Tensor](), list[Tensor]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RELUS:
            self.relus.append(torch.relu(args[0]))
            return self.relus[-1]
        if func is F.batch_norm:
            if not self.norms:
                return args[0]
            self.variances.append(args[0].detach().var((0, 2, 3), correction=0))
        return func(*args, **(kwargs or {}))


def prepared(network: nn.Module) -> nn.Module:
    """The network in train mode, float32, its batch norms without memory: passes leave nothing behind."""
    network.train().to(torch.float32, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
    return network


def weights(network: nn.Module) -> list[nn.Parameter]:
    """Of convolutions and linear layers, in order of registration."""
    return [parameter for parameter in network.parameters() if parameter.dim() > 1]


@dataclass(frozen=True)
class Look:
    """One batch through a network along a path. Passes are made when first asked for, and shared.

    x, y  images (N, 3, S, S), float32, and labels (N,)
    seed  of the search, and `batch` the batch's number: they decide what is drawn at random
    """

    network: nn.Module
    path: tuple[int, ...]
    x: Tensor
    y: Tensor
    seed: int
    batch: int = 0

    @cached_property
    def _forward(self) -> tuple[Tensor, Tensor, Seen, list[tuple[Tensor, Tensor]]]:
        """(input, logits, what was seen, (input, output) of each block)."""
        x = self.x.detach().clone().requires_grad_()
        blocks: list[tuple[Tensor, Tensor]] = []
        modules = getattr(self.network, "blocks", None)
        modules = modules if isinstance(modules, nn.ModuleList) else nn.ModuleList()
        hooks = [block.register_forward_hook(lambda _, given, out: blocks.append((given[0], out))) for block in modules]
        try:
            with Seen() as seen:
                logits = self.network(x, self.path)
        finally:
            for hook in hooks:
                hook.remove()
        return x, logits, seen, blocks

    @property
    def logits(self) -> Tensor:
        """(N, classes)."""
        return self._forward[1]

    @property
    def activations(self) -> list[Tensor]:
        """What every ReLU gives, in order: (N, channels, side, side)."""
        return self._forward[2].relus

    @property
    def blocks(self) -> list[tuple[Tensor, Tensor]]:
        """(input, output) of every block."""
        return self._forward[3]

    @cached_property
    def codes(self) -> list[Tensor]:
        """Which units are on, of every ReLU: bool (N, units)."""
        return [(out.detach() > 0).flatten(1) for out in self.activations]

    @cached_property
    def _backward(self) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients of the mean cross-entropy by weights and by activations; zeros where it does not depend on one."""
        inputs = [*weights(self.network), *self.activations]
        found = torch.autograd.grad(F.cross_entropy(self.logits, self.y), inputs, retain_graph=True, allow_unused=True)
        full = [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True)]
        count = len(inputs) - len(self.activations)
        return full[:count], full[count:]

    @property
    def gradients(self) -> list[Tensor]:
        """Of the mean cross-entropy, by weight."""
        return self._backward[0]

    @property
    def activation_gradients(self) -> list[Tensor]:
        """Of the mean cross-entropy, by ReLU."""
        return self._backward[1]

    @cached_property
    def jacobian(self) -> Tensor:
        """Gradients of each image's summed logits by its pixels, float64: (N, 3 S S).

        Batch norm in train mode ties the images together, so this is the gradient of the batch's sum, as in the sources.
        """
        x, logits, _, _ = self._forward
        (found,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
        return found.flatten(1).double()

    def noise(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers for one purpose, the same whatever else was drawn."""
        values = torch.from_numpy(self._draw(purpose).standard_normal(tuple(shape), np.float32)).to(self.x.device)
        return values.contiguous(memory_format=torch.channels_last)

    def signs(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """1 and -1 with even chances, likewise."""
        bits = torch.from_numpy(self._draw(purpose).integers(0, 2, tuple(shape), np.int8))
        return (2 * bits - 1).to(self.x.device, torch.float32)

    def _draw(self, purpose: str) -> np.random.Generator:
        return stream("zero_cost", purpose, self.seed, self.batch)

    def first(self, count: int) -> Look:
        """The first images of the batch, alone."""
        return Look(self.network, self.path, self.x[:count], self.y[:count], self.seed, self.batch)


# --- of one batch ---


def grad_norm(look: Look) -> float:
    """Sum over weights of the Euclidean norm of the loss gradient (Abdelfattah et al., 2021)."""
    return sum(float(g.double().norm()) for g in look.gradients)


def snip(look: Look) -> float:
    """Sum of abs(w dL/dw) (Lee et al., 2019; as a score: Abdelfattah et al., 2021)."""
    pairs = zip(weights(look.network), look.gradients, strict=True)
    return sum(float((w.detach() * g).double().abs().sum()) for w, g in pairs)


def plain(look: Look) -> float:
    """Sum of w dL/dw (Abdelfattah et al., 2021; NAS-Bench-Suite-Zero: Krishnakumar et al., 2022).

    A weight before a batch norm can be scaled without any effect, so its sum is 0: what is left is the classifier's.
    """
    pairs = zip(weights(look.network), look.gradients, strict=True)
    return sum(float((w.detach() * g).double().sum()) for w, g in pairs)


def grasp(look: Look) -> float:
    """- sum of w (H g), g the loss gradient by weights and H its Hessian (Wang et al., 2020). No temperature.

    Code bases differ in the sign; this is the paper's score of a weight, - w (H g), summed. For weights before a batch norm
    H w = - g, so their part is the squared norm of their gradient.
    """
    ws = weights(look.network)
    loss = F.cross_entropy(look.logits, look.y)
    gradients = torch.autograd.grad(loss, ws, create_graph=True, allow_unused=True)
    dot = sum(((g * g.detach()).sum() for g in gradients if g is not None), torch.zeros((), device=look.x.device))
    products = torch.autograd.grad(dot, ws, retain_graph=True, allow_unused=True)
    return -sum(float((w.detach() * p).double().sum()) for w, p in zip(ws, products, strict=True) if p is not None)


def fisher(look: Look) -> float:
    """Sum over channels of half the mean over images of (sum over positions of activation x its gradient)^2.

    Turner et al., 2020 (as a score: Abdelfattah et al., 2021), on what every ReLU gives.
    """
    total = 0.0
    for out, g in zip(look.activations, look.activation_gradients, strict=True):
        by_channel = (out.detach() * g).double().flatten(2).sum(2)
        total += float(by_channel.square().mean(0).sum()) / 2
    return total


def jacob_cov(look: Look) -> float:
    """- sum over eigenvalues v of the Jacobian's correlations of log(v + k) + 1 / (v + k), k = 1e-5 (Mellor et al., 2020)."""
    values = torch.linalg.eigvalsh(torch.corrcoef(look.jacobian)) + K
    return -float((values.log() + 1 / values).sum())


def epe_nas(look: Look) -> float:
    """Sum over classes of abs(sum of log(abs(correlations of the class's Jacobians) + k)) (Lopes et al., 2021).

    With more than 100 classes each class's sum is a mean, and the score the mean difference between two classes.
    """
    sums = []
    for label in sorted(set(look.y.tolist())):
        rows = look.jacobian[look.y == label]
        logs = (torch.corrcoef(rows).reshape(len(rows), -1).abs() + K).log()
        sums.append(float(logs.mean() if _many(look) else logs.sum()))
    if not _many(look):
        return math.fsum(map(abs, sums))
    pairs = [abs(a - b) for i, a in enumerate(sums) for b in sums[i + 1 :]]
    return math.fsum(pairs) / len(sums)


def _many(look: Look) -> bool:
    return look.logits.shape[1] > MANY_CLASSES


def nwot(look: Look) -> float:
    """log abs det of K, K[i, j] the number of units whose ReLU codes are alike for images i and j (Mellor et al., 2021).

    In train mode: statistics of a network that saw nothing would leave most codes alike. The ridge of 1 keeps K regular
    where two images have the same codes.
    """
    count = len(look.x)
    kernel = RIDGE * torch.eye(count, dtype=torch.float64, device=look.x.device)
    for code in look.codes:
        on = code.float()
        kernel += (on @ on.T + (1 - on) @ (1 - on).T).double()  # counts below 2**24: exact
    sign, value = torch.linalg.slogdet(kernel)
    return float(value) if sign > 0 else math.nan


def swap(look: Look) -> float:
    """Number of distinct patterns of units, a pattern being where a unit is on among the images (Peng et al., 2024)."""
    patterns = np.concatenate([np.packbits(code.T.cpu().numpy(), axis=1) for code in look.codes])
    return float(len(np.unique(np.ascontiguousarray(patterns).view(f"V{patterns.shape[1]}"))))


def regions(look: Look) -> float:
    """Number of linear regions that the images lie in: of distinct codes of an image (TE-NAS: Chen et al., 2021).

    At most as many as images, which real images reach: it then ranks nothing.
    """
    codes = np.packbits(torch.cat(look.codes, dim=1).cpu().numpy(), axis=1)
    return float(len({code.tobytes() for code in codes}))


def ntk(look: Look) -> float:
    """- condition number of the tangent kernel of the first batch's first 16 images (TE-NAS: Chen et al., 2021).

    Kernel: products of the gradients of each image's summed logits by all weights. Negated, for high ones train badly.
    """
    few = look.first(TANGENTS)
    rows = []
    for logit in few.logits.sum(1):
        found = torch.autograd.grad(logit, weights(few.network), retain_graph=True, allow_unused=True)
        rows.append(torch.cat([g.flatten().double() for g in found if g is not None]))
    tangents = torch.stack(rows)
    values = torch.linalg.eigvalsh(tangents @ tangents.T)
    return -float(values[-1] / values[0]) if values[0] > 0 else math.nan


def effective_receptive_field(look: Look) -> float:
    """Share of the input that moves the centre of the last map, untrained (after Luo et al., 2016), in [0, 1].

    A pixel counts where the mean over 16 images of its gradient's size is above 4.55 % of the largest one's.
    """
    x, _, seen, _ = look.first(TANGENTS)._forward
    last = seen.relus[-1]
    centre = last.shape[-1] // 2
    (g,) = torch.autograd.grad(last[:, :, centre, centre].sum(), x)
    size = g.abs().sum(1).mean(0)
    return float((size > EFFECTIVE * size.max()).double().mean())


def az_expressivity(look: Look) -> float:
    """AZ-NAS (Lee and Ham, 2024), first of four: entropies of the spectra of all blocks' features, added up."""
    return math.fsum(_entropies(look))


def az_progressivity(look: Look) -> float:
    """AZ-NAS, second of four: the smallest rise of that entropy from one block to the next."""
    found = _entropies(look)
    return min(b - a for a, b in pairwise(found))


def az_trainability(look: Look) -> float:
    """AZ-NAS, third of four: mean over blocks of 2 - s - 1/s, s the largest singular value of a block's Jacobian.

    That Jacobian, channels by channels, is estimated from random signs v at the block's output: the mean over images and
    positions of (J^T v) v^T, with J^T v added up over the input positions that one output position has.
    """
    parts = []
    for number, (given, out) in enumerate(look.blocks):
        signs = look.signs(f"block {number}", out.shape)
        (back,) = torch.autograd.grad(out, given, signs, retain_graph=True)
        ratio = back.shape[-1] // out.shape[-1]
        back = F.avg_pool2d(back, ratio) * ratio**2
        a, b = (g.transpose(0, 1).flatten(1).double() for g in (back, signs))
        s = float(torch.linalg.matrix_norm(a @ b.T / a.shape[1], 2))
        parts.append(2 - s - 1 / s if s > 0 else math.nan)
    return math.fsum(parts) / len(parts)


def _entropies(look: Look) -> list[float]:
    """Of the normalised eigenvalues of the features' covariance, over images and positions, by block."""
    found = []
    for _, out in look.blocks:
        features = out.detach().transpose(0, 1).flatten(1).double()
        values = torch.linalg.eigvalsh(torch.cov(features)).clamp(min=0)
        shares = values / values.sum()
        found.append(-float(torch.special.xlogy(shares, shares).sum()))
    return found


# --- without images ---


def l2_norm(look: Look) -> float:
    """Sum of the Euclidean norms of the weights (Abdelfattah et al., 2021). Pooling changes none: no ranking."""
    return sum(float(w.detach().double().norm()) for w in weights(look.network))


def synflow(look: Look) -> float:
    """Sum of w dR/dw, R the summed output for an image of ones, weights abs(w), batch norm off (Tanaka et al., 2020).

    In float64: in float32 it overflows for deep networks. The image stays constant but for what zero padding does at the
    edges, and max-pools keep constants: configurations differ through padding alone.
    """
    network = copy.deepcopy(look.network).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    ones = torch.ones_like(look.x[:1], dtype=torch.float64)
    with Seen(norms=False):
        output = network(ones, look.path).sum()
    ws = weights(network)
    return sum(float((w.detach() * g).sum()) for w, g in zip(ws, torch.autograd.grad(output, ws), strict=True))


@torch.no_grad()
def zen(look: Look) -> float:
    """log of the mean change of the last map when noise x gets 0.01 more of it, plus log of each batch norm's scale.

    Zen-score (Lin et al., 2021): log E ||f(x) - f(x + 0.01 e)|| + sum over batch norms of log sqrt(mean variance), on
    N images of noise. Unlike there, skip connections stay, and weights are those of a training's start.
    """
    x = look.noise("zen", look.x.shape)
    moved = x + NOISE * look.noise("zen moved", look.x.shape)
    with Seen() as here:
        look.network(x, look.path)
    with Seen() as there:
        look.network(moved, look.path)
    change = (here.relus[-1] - there.relus[-1]).double().flatten(1).norm(dim=1).mean()
    return float(change.log()) + sum(float(v.double().mean().log()) / 2 for v in here.variances)


@torch.no_grad()
def meco(look: Look) -> float:
    """Sum over ReLUs of the smallest eigenvalue of the correlations between channels, for one image of noise.

    MeCo (Jiang et al., 2023). A channel that is constant correlates with none, as there, which makes it 0.
    """
    with Seen() as seen:
        look.network(look.noise("meco", look.x[:1].shape), look.path)
    total = 0.0
    for out in seen.relus:
        maps = out[0].flatten(1).double()
        if bool((maps.std(1) > 0).all()):
            total += float(torch.linalg.eigvalsh(torch.corrcoef(maps))[0])
    return total


# --- of several batches ---


def zico(batches: Sequence[Sequence[Tensor]]) -> float:
    """Sum over layers of log of the sum over weights of mean abs(g) / std abs(g), over batches (Li et al., 2023).

    batches: of each, the loss gradient by weight, two batches or more. Weights whose gradient has no spread are dropped;
    layers in which none has any, too.
    """
    total = 0.0
    for layer in zip(*batches, strict=True):
        sizes = torch.stack([g.double().abs() for g in layer])
        spread = sizes.std(0, correction=0)
        kept = spread > 0
        if bool(kept.any()):
            total += math.log(float((sizes.mean(0)[kept] / spread[kept]).sum()))
    return total


OF_A_BATCH: Mapping[str, Callable[[Look], float]] = {
    f.__name__: f
    for f in (
        grad_norm,
        snip,
        plain,
        grasp,
        fisher,
        jacob_cov,
        epe_nas,
        nwot,
        swap,
        regions,
        effective_receptive_field,
        az_expressivity,
        az_progressivity,
        az_trainability,
    )
}
# Those that see no image, and ntk, which would take longer than all others: once, with the first batch.
ONCE: Mapping[str, Callable[[Look], float]] = {f.__name__: f for f in (l2_norm, meco, ntk, synflow, zen)}
AZ_PARTS = ("az_expressivity", "az_progressivity", "az_trainability")  # the fourth is MACs
PROXIES = tuple(
    sorted({*OF_A_BATCH, *ONCE, "zico", "az_nas"} - set(AZ_PARTS))  # what a user may ask for
)


def parts_of(proxies: Iterable[str]) -> tuple[str, ...]:
    """What must be measured of each network for these proxies."""
    return tuple(part for name in proxies for part in (AZ_PARTS if name == "az_nas" else (name,)))


def measure(
    network: nn.Module, path: Sequence[int], batches: Sequence[tuple[Tensor, Tensor]], names: Iterable[str], seed: int
) -> dict[str, list[float]]:
    """Values of these parts of proxies along a path: of each batch, or one for all of them.

    network: as `prepared` gives it. Raises Failure for a value that is not finite, and where the network lacks what a
    proxy looks at.
    """
    names = list(names)
    found: dict[str, list[float]] = {name: [] for name in names}
    gradients = []
    try:
        for number, (x, y) in enumerate(batches):
            look = Look(network, tuple(path), x, y, seed, number)
            for name in names:
                if name in OF_A_BATCH:
                    found[name].append(OF_A_BATCH[name](look))
                elif name in ONCE and number == 0:
                    found[name].append(ONCE[name](look))
            if "zico" in names:
                gradients.append(look.gradients)
        if "zico" in names:
            found["zico"].append(zico(gradients))
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise Failure(f"{', '.join(names)}: this network has not what is looked at ({error})") from error
    for name, values in found.items():
        if not all(map(math.isfinite, values)):
            raise Failure(f"{name} is {values}, which is not finite")
    return found


def az_nas(parts: Sequence[Sequence[float]]) -> list[float]:
    """AZ-NAS' score of each configuration: sum over its four parts of log(rank / C), the best of C having rank C.

    parts: (4, C). Equal values share the lowest of their ranks. Lee and Ham, 2024.
    """
    total = np.zeros(len(parts[0]))
    for values in parts:
        ordered = np.sort(np.asarray(values, np.float64))
        total += np.log((np.searchsorted(ordered, values, side="left") + 1) / len(values))
    return total.tolist()


def vote(scores: Mapping[str, Sequence[float]]) -> list[float]:
    """Mean rank of each configuration over those proxies that rank at all, ties shared: what `all` ranks by."""
    ranks = []
    for values in scores.values():
        v = np.asarray(values, np.float64)
        if np.ptp(v) > 0:
            ranks.append((v[None] < v[:, None]).sum(1) + (v[None] == v[:, None]).sum(1) / 2)
    return np.mean(ranks, axis=0).tolist()
