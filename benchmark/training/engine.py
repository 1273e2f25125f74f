"""The step engines: how one training step and one test run on a device.

    eager      operation by operation
    graph      CUDA graphs: each step is recorded once per path and replayed, so that a small network is not kept
               waiting by Python; the same kernels as eager, so the same bits
    compiled   the same graphs of blocks that torch.compile has fused, one per (channels, resolution)

All behind `learn(x, y, path, rate)`, `evaluate(batches, path)` and, for steps of a method's own, `run(name, body,
*inputs)`. The name of the engine is part of a result's provenance. Batches are made outside of the graphs: a gather per
step costs Python about 0.1 ms, which the device does not wait for, since nothing is read back before the epoch ends.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.cli import say
from benchmark.errors import UsageError, choices
from benchmark.recipe import Recipe
from benchmark.running.worker import Spoiled
from benchmark.spaces import networks
from benchmark.spaces.space import PoolingSpace, require_trainable

ENGINES = ("compiled", "graph", "eager")  # each falls back on the next
WARM_UP = 3  # steps on a path before it is recorded: libraries set themselves up, blocks are compiled
PROBE_STEPS = WARM_UP + 2
PROBE_MARGIN = 0.02  # relative: how far the losses of compiled bf16 steps may lie from eager ones

News = TypeVar("News")
Result = TypeVar("Result")
Outputs = tuple[Tensor, Tensor]
Way = Sequence[int] | Tensor  # through a network: a path; through one that mixes resolutions, their weights
Body = Callable[[], Outputs]


class Unrecordable(RuntimeError):
    """A recording broke off: the allocator of this process cannot be relied upon any more."""


class Learner:
    """A network with its SGD momentum: what a training step moves and a checkpoint keeps. Runs eagerly."""

    engine = "eager"

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        layout = torch.channels_last if recipe.memory_layout == "channels_last" else torch.contiguous_format
        self.network = network.to(device).to(memory_format=layout)
        self.recipe = recipe
        self.device = device
        on_gpu = device.type == "cuda"
        if on_gpu:  # the same bits again, on any stream, and fp32 that means fp32
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=on_gpu or None,
        )
        # On a GPU the rate is a number on the device: a graph could not be told another one.
        self.rate: float | Tensor = torch.zeros((), device=device) if on_gpu else 0.0
        if recipe.momentum and (on_gpu or self.engine != "eager"):
            # From zeros the first step is the same, and a graph cannot tell it from others; nor can fused SGD, where
            # one path has momentum from steps before and another, of unshared weights, has none yet.
            for p in network.parameters():
                self.optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)

    def precision(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def learn(self, x: Tensor, y: Tensor, path: Way, rate: float) -> Outputs:
        """One SGD step on a batch. Returns (mean cross-entropy, number right), before the step, on the device."""
        self.take_rate(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.network.train()
        return self.run("step", self._step, x, y, path)

    def take_rate(self, rate: float) -> None:
        """Sets `rate`, the learning rate of the steps that follow."""
        if isinstance(self.rate, Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

    def run(self, name: str, body: Callable[..., Outputs], *inputs: Tensor | Sequence[int]) -> Outputs:
        """body(*inputs), two tensors on the device. An engine that records replays what it kept under this name.

        So all that may differ between two calls of one name must be in the inputs, in `rate`, or in tensors of the
        learner that stay where they are (weights and momentum). Inputs that are not tensors tell recordings apart.
        """
        return body(*inputs)

    def _step(self, x: Tensor, y: Tensor, path: Way) -> Outputs:
        with self.precision():
            logits = self.network(x, path)
        loss = F.cross_entropy(logits, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (logits.detach().argmax(1) == y).sum()

    @torch.no_grad()  # not inference mode, in which a compiled block is another one than where it is recorded
    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]], path: Sequence[int]) -> tuple[float, float]:
        """(mean cross-entropy, fraction right) over all images of the batches, weighted by their sizes."""
        self.network.eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)  # read once: reading waits for the device
        count = 0
        for x, y in batches:
            totals += torch.stack([value.double() for value in self.run("test", self._test, x, y, path)])
            count += len(y)
        loss, right = totals.tolist()
        return loss / count, right / count

    def _test(self, x: Tensor, y: Tensor, path: Sequence[int]) -> Outputs:
        with self.precision():
            logits = self.network(x, path)
        return F.cross_entropy(logits, y, reduction="sum"), (logits.argmax(1) == y).sum()

    @contextmanager
    def calibrated(self, path: Sequence[int], batches: Iterable[Tensor]) -> Iterator[None]:
        """A block in which a supernet's batch norms use, for one path, their mean statistics over the batches."""
        with self.as_written():
            try:
                with self.precision():
                    networks.calibrate(self.network, path, batches)
                yield
            finally:
                networks.forget_statistics(self.network)

    def as_written(self) -> AbstractContextManager[Any]:
        """A block in which the network runs operation by operation, whatever the engine."""
        return nullcontext()

    def state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


@dataclass
class Recording:
    """A recorded step: what to fill before a replay and what holds its results after."""

    inputs: list[Tensor]
    replay: Callable[[], None]
    outputs: Outputs


class GraphLearner(Learner):
    """Records each step as a CUDA graph once it has been taken a few times on a path, and replays it from then on.

    Those first steps are steps like any other, so nothing has to be put back; and a path that hardly ever comes up,
    one of 19,683, is never recorded.

    pool  memory that several learners may share if their graphs never run at the same time; None: an own one

    All that happens to a learner must happen on one stream, which must not be the default one: see `own_stream`.
    """

    engine = "graph"

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device, pool: Any = None) -> None:
        super().__init__(network, recipe, device)
        self.pool = self._new_pool() if pool is None else pool
        self._taken: Counter[tuple[Any, ...]] = Counter()
        self._recordings: dict[tuple[Any, ...], Recording] = {}
        self._places: dict[tuple[Any, ...], Tensor] = {}
        self._written = False

    def run(self, name: str, body: Callable[..., Outputs], *inputs: Tensor | Sequence[int]) -> Outputs:
        if self._written:  # statistics that come and go have no fixed place that a graph could read
            return body(*inputs)
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        if name == "test" and len(tensors[0]) != self.recipe.batch_size:  # a last one: too rare for blocks of its own
            with torch.compiler.set_stance("force_eager"):
                return body(*inputs)
        key = (name, *(tuple(value.shape if isinstance(value, Tensor) else value) for value in inputs))
        self._taken[key] += 1
        if self._taken[key] <= WARM_UP:
            return body(*inputs)
        if key not in self._recordings:
            self._recordings[key] = self._recorded(body, inputs)
        recording = self._recordings[key]
        for place, value in zip(recording.inputs, tensors, strict=True):
            place.copy_(value)
        recording.replay()
        one, other = recording.outputs
        return one.clone(), other.clone()  # the next replay writes over the originals

    def _recorded(self, body: Callable[..., Outputs], inputs: Sequence[Tensor | Sequence[int]]) -> Recording:
        fixed = [self._place(k, value) if isinstance(value, Tensor) else value for k, value in enumerate(inputs)]
        replay, outputs = self._record(lambda: body(*fixed))
        self.optimizer.zero_grad(set_to_none=True)  # gradients live in the pool, where the next graph writes
        return Recording([value for value in fixed if isinstance(value, Tensor)], replay, outputs)

    def _place(self, position: int, like: Tensor) -> Tensor:
        """Where recordings read their input at a position. One place for all of a shape, since no two are replayed at
        once: a batch of 256 images of 224 pixels is 77 MB, and a space has up to 560 paths.
        """
        key = (position, like.shape, like.stride(), like.dtype)
        if key not in self._places:
            self._places[key] = torch.zeros_like(like)
        return self._places[key]

    @contextmanager
    def as_written(self) -> Iterator[None]:
        self._written = True
        try:
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            self._written = False

    def restore(self, state: dict[str, Any]) -> None:
        self._recordings.clear()  # they write to the momentum of before, which loading replaces
        super().restore(state)

    def _new_pool(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def _record(self, body: Body) -> tuple[Callable[[], None], Outputs]:
        """(what replays the body, where its results will be). Runs nothing."""
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=stream, capture_error_mode="thread_local"):
                outputs = body()
        except Exception as error:  # the end of a broken recording raises too, and hides what broke it
            root: BaseException = error
            while root.__context__ is not None:
                root = root.__context__
            why = f"{type(root).__name__}: {root}"
            raise Unrecordable(f"a step cannot be recorded ({why}): --engine eager goes without") from error
        return graph.replay, outputs


class CompiledLearner(GraphLearner):
    """Graphs of compiled blocks. A block is compiled once per process, (channels, resolution) and batch size."""

    engine = "compiled"

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device, pool: Any = None) -> None:
        super().__init__(network, recipe, device, pool)
        networks.compile_blocks(self.network)


def learners(made: Sequence[nn.Module], recipe: Recipe, device: torch.device, engine: str) -> list[Learner]:
    """A learner for each network. They share memory for their graphs: one must be idle while another works.

    engine: one of ENGINES that works here, as `working_engine` tells.
    """
    if engine == "eager":
        return [Learner(network, recipe, device) for network in made]
    kind = CompiledLearner if engine == "compiled" else GraphLearner
    first = kind(made[0], recipe, device)
    return [first, *(kind(network, recipe, device, first.pool) for network in made[1:])]


def require_engine(engine: str, device: torch.device) -> None:
    """Raises UsageError for an engine that is unknown or that the device has not."""
    if engine != "auto" and engine not in ENGINES:
        raise UsageError(f"unknown engine '{engine}': {choices(engine, ['auto', *ENGINES])}")
    if device.type != "cuda" and engine not in ("auto", "eager"):
        raise UsageError(f"engine '{engine}' needs a GPU: use --engine eager on {device}")


@lru_cache
def working_engine(engine: str, space: PoolingSpace, recipe: Recipe, device: torch.device, affine: bool = True) -> str:
    """The engine to use: `auto` means the fastest. One that fails its probe gives way to the next, with a line.

    After a recording that broke off no other can be made in this process (torch up to 2.11 leaves its allocator in the
    midst of it), so that one gives way to eager steps.
    """
    require_engine(engine, device)
    if device.type != "cuda":
        return "eager"
    candidates = ENGINES if engine == "auto" else ENGINES[ENGINES.index(engine) :]
    for candidate in candidates[:-1]:
        try:
            probe(candidate, space, recipe, device, affine)
        except Exception as error:  # compilers and drivers raise anything
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            say(f"the {candidate} engine does not work here ({why}): falling back")
            if isinstance(error, Unrecordable):
                break
        else:
            return candidate
    return candidates[-1]


def probe(engine: str, space: PoolingSpace, recipe: Recipe, device: torch.device, affine: bool = True) -> None:
    """Trains and tests a few steps under an engine and eagerly, from the same weights. Raises where they differ.

    affine: as in stand-alone networks; supernets have other blocks to compile.

    Graphs must give the same bits, compiled blocks the same losses within PROBE_MARGIN.
    """
    torch.set_num_threads(recipe.threads)  # as in trainings: torch compiles blocks anew for another number
    batch, path = recipe.batch_size, space.default.path
    draw = torch.Generator().manual_seed(0)
    space = space.at(recipe.side)
    side = require_trainable(space).side
    x = torch.randn(batch, 3, side, side, generator=draw)
    y = torch.randint(0, space.classes, (batch,), generator=draw).to(device)
    x = x.to(device, torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
    if recipe.memory_layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    losses = []
    for name in (engine, "eager"):
        network = networks.ResNet(space, affine=affine)
        networks.initialise(network, 0)
        (learner,) = learners([network], recipe, device, name)
        with own_stream(device):
            steps = [float(learner.learn(x, y, path, 0.01)[0]) for _ in range(PROBE_STEPS)]
            tests = [learner.evaluate([(x, y)] * PROBE_STEPS, path)[0]]
            losses.append(torch.tensor(steps + tests, dtype=torch.float64))
    found, expected = losses
    margin = PROBE_MARGIN if engine == "compiled" else 0.0
    if not (found - expected).abs().le(margin * expected.abs()).all():
        raise RuntimeError(f"its losses are {found.tolist()}, eager ones {expected.tolist()}")


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """A block whose work on a GPU is queued on a stream that no other such block has; nothing on a CPU."""
    if device.type != "cuda":
        yield
        return
    stream = _take_stream(device)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        _idle_streams(device).append(stream)


@lru_cache
def _idle_streams(device: torch.device) -> list[Any]:
    # Taken again rather than made anew: torch hands out its 32 in turn, and each keeps its libraries' workspaces.
    return []


def _take_stream(device: torch.device) -> Any:
    idle = _idle_streams(device)
    stream = idle.pop() if idle else torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream


def taking_turns(steps: Generator[News, None, Result], device: torch.device) -> Generator[News, None, Result]:
    """The same steps, on a GPU all queued on one stream of their own: those of several runs overlap there."""
    if device.type != "cuda":
        return (yield from steps)
    stream = _take_stream(device)
    try:
        while True:
            with torch.cuda.stream(stream):
                try:
                    news = next(steps)
                except StopIteration as end:
                    return end.value
            yield news
    finally:
        _idle_streams(device).append(stream)


def room_for_another(device: torch.device, under_way: int) -> bool:
    """Whether the GPU has twice the memory left that one of the runs under way takes; ask when all have their graphs."""
    if device.type != "cuda" or not under_way:
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return free > 2 * torch.cuda.memory_reserved(device) / under_way


@contextmanager
def owning_up(device: torch.device, name: str) -> Iterator[None]:
    """Raises Spoiled, with the item's name, for an error after which this process can compute nothing more."""
    try:
        yield
    except RuntimeError as error:
        if still_computes(device, error):
            raise
        raise Spoiled(f"{name}: {error}") from error


def still_computes(device: torch.device, error: BaseException) -> bool:
    """Whether this process can use the device after an error: a fault inside a kernel ends every later call on a GPU."""
    if isinstance(error, Unrecordable):
        return False
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except RuntimeError:
            return False
    return True
