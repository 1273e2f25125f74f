"""The step engines: graphs replay what was recorded and nothing else, and blocks are compiled once per shape.

No GPU is needed: a stand-in records by keeping the step's body and replays by running it on the recording's own
inputs and outputs, which is all that a CUDA graph promises. What needs a GPU has the marker `gpu`.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmark import cli
from benchmark.datasets import crops, folders, sets
from benchmark.datasets.batches import Batches
from benchmark.datasheets import datasheet
from benchmark.errors import UsageError
from benchmark.jobs.runs import TrainRun
from benchmark.recipe import Recipe
from benchmark.spaces import networks
from benchmark.spaces.space import SPACES, load_space
from benchmark.training import engine
from benchmark.training.engine import ENGINES, GraphLearner, Learner, working_engine
from benchmark.training.train import Training
from nas_methods.darts import MultiResolution, mixture_gradient
from nas_methods.spos import Method
from tests import planted
from tests.machine import PRECISION
from tests.methods.test_darts import VARIANTS, thin_task

SPACE = load_space()
CPU = torch.device("cpu")
LIGHT = SPACE[0]
SHORT = Recipe(epochs=3, batch_size=16, train_images=48, eval_images=20, precision=PRECISION)


class StandIn(GraphLearner):
    """A GraphLearner whose graphs are Python: replaying runs the body again, into the same outputs."""

    def _new_pool(self):
        return object()

    def _record(self, body):
        outputs = []  # no results yet: recording runs nothing

        def replay():
            outputs[:] = body()

        return replay, outputs


@pytest.fixture
def graphs(monkeypatch):
    """Every learner made with engine `graph` is a stand-in; returns the list of those made."""
    made = []

    def learner(network, recipe, device, pool=None):
        made.append(StandIn(network, recipe, device, pool))
        return made[-1]

    monkeypatch.setattr(engine, "GraphLearner", learner)
    monkeypatch.setattr(engine, "WARM_UP", 1)  # or these short trainings would hardly record anything
    return made


# --- graphs ---


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("stop_after", [None, 2, 5])
def test_a_training_from_graphs_has_the_bits_of_an_eager_one(tiny_dataset, tmp_path, graphs, momentum, stop_after):
    recipe = Recipe(epochs=3, batch_size=16, train_images=48, eval_images=32, momentum=momentum, precision=PRECISION)
    eager, _ = Training(SPACE, LIGHT, 0, recipe, tiny_dataset, CPU).run()
    path = tmp_path / "run.pt"
    if stop_after:  # the warm-up of a resumed run must not move what was restored
        taken = iter(range(1, 100))
        stop = lambda: next(taken) == stop_after  # noqa: E731
        assert Training(SPACE, LIGHT, 0, recipe, tiny_dataset, CPU, "graph").run(path, stop=stop) is None
    found, _ = Training(SPACE, LIGHT, 0, recipe, tiny_dataset, CPU, "graph").run(path)
    assert found == eager
    assert all(len(learner._recordings) >= 2 for learner in graphs[-1:])


def test_each_step_is_recorded_once_per_path_and_shape(tiny_dataset, graphs):
    recipe = Recipe(
        epochs=5, batch_size=16, train_images=48, eval_images=40, precision=PRECISION
    )  # tests in batches of 16, 16 and 8:
    # the last is too small to be recorded
    Training(SPACE, LIGHT, 0, recipe, tiny_dataset, CPU, "graph").run()
    keys = [(name, shape[0]) for name, shape, *_ in graphs[0]._recordings]
    assert sorted(keys) == [("step", 16), ("test", 16)]


def test_the_checkpoint_of_another_engine_is_not_resumed(tiny_dataset, tmp_path, graphs, capsys):
    path = tmp_path / "run.pt"
    assert Training(SPACE, LIGHT, 0, SHORT, tiny_dataset, CPU).run(path, stop=lambda: True) is None
    found, _ = Training(SPACE, LIGHT, 0, SHORT, tiny_dataset, CPU, "graph").run(path)
    assert "starts afresh" in capsys.readouterr().err
    assert found == Training(SPACE, LIGHT, 0, SHORT, tiny_dataset, CPU).run()[0]


def test_a_result_outlives_the_next_replay(tiny_dataset):
    learner, batches = stand_in(tiny_dataset)
    plan = crops.augmentation(len(batches), 0, 0)
    first, _ = learner.learn(*batches.train(plan, 0), LIGHT.path, 0.05)
    before = float(first)
    learner.learn(*batches.train(plan, 1), LIGHT.path, 0.05)
    assert float(first) == before


def stand_in(dataset, kind=StandIn, affine=True):
    recipe = Recipe(batch_size=16, train_images=48)
    network = networks.ResNet(SPACE, dataset.classes, affine=affine)
    networks.initialise(network, 0)
    return kind(network, recipe, CPU), Batches.of(dataset.train.first(48), dataset, recipe, CPU)


def test_rare_paths_are_never_recorded_and_common_ones_once(tiny_dataset):
    learner, batches = stand_in(tiny_dataset)
    x, y = batches.train(crops.augmentation(len(batches), 0, 0), 0)
    for config in (SPACE[0], SPACE[1], SPACE[0], SPACE[0], SPACE[1], SPACE[0], SPACE[0]):
        learner.learn(x, y, config.path, 0.01)
    assert [path for *_, path in learner._recordings] == [SPACE[0].path]


def test_recordings_of_many_paths_read_their_batches_from_one_place(tiny_dataset, monkeypatch):
    monkeypatch.setattr(engine, "WARM_UP", 0)
    learner, batches = stand_in(tiny_dataset)
    plan = crops.augmentation(len(batches), 0, 0)
    for config in (SPACE[0], SPACE[1], SPACE[2]):
        learner.learn(*batches.train(plan, 0), config.path, 0.01)
        learner.evaluate([batches.train(plan, 1)], config.path)
    assert len(learner._recordings) == 6
    for number, shape in enumerate([(16, 3, 32, 32), (16,)]):
        assert {recording.inputs[number].shape for recording in learner._recordings.values()} == {shape}
        assert len({recording.inputs[number].data_ptr() for recording in learner._recordings.values()}) == 1
    # and yet each replay sees its own: the same as without recordings
    losses = []
    for kind in (Learner, StandIn):
        fresh, _ = stand_in(tiny_dataset, kind)
        steps = [(config.path, k) for config in (SPACE[0], SPACE[1]) for k in (0, 1, 2)]
        losses.append([float(fresh.learn(*batches.train(plan, k), path, 0.01)[0]) for path, k in steps])
    assert losses[0] == losses[1]


def test_a_search_from_graphs_has_the_bits_of_an_eager_one(graphs):
    recipe = planted.recipe(epochs=6, lr=0.01)
    eager = Method().rank(planted.task(planted.small, recipe=recipe))
    found = Method().rank(planted.task(planted.small, recipe=recipe, engine="graph"))
    assert found.scores == eager.scores
    assert found.history == eager.history
    names = {name for learner in graphs for name, *_ in learner._recordings}
    assert names == {"step", "test"}


@pytest.mark.parametrize("name", VARIANTS)
def test_darts_from_graphs_has_the_bits_of_eager_steps(name, graphs, tmp_path):
    # Rate, mixture, both batches and (second order) momentum differ at every replay.
    eager = VARIANTS[name].rank(thin_task())
    found = VARIANTS[name].rank(thin_task(engine="graph"))
    assert {key[0] for key in graphs[-1]._recordings} == {"mixture", "step"}
    assert found.provenance["engine"] == "graph"
    given = {"engine": "graph", "checkpoint": tmp_path / "search.pt", "stop": planted.stop_every(3)}
    resumed, stops = planted.to_the_end(lambda: VARIANTS[name].rank(thin_task(**given)))
    assert stops == 1
    for ranking in (found, resumed):
        assert ranking.scores == eager.scores
        assert ranking.history == eager.history


def test_what_is_compiled_is_never_differentiated_twice(monkeypatch):
    asked = []
    monkeypatch.setattr("nas_methods.darts.make_learners", lambda *given: asked.append(given[-1]) or [][0])
    for name in VARIANTS:
        with pytest.raises(IndexError):
            VARIANTS[name].rank(thin_task(engine="compiled"))
    assert dict(zip(VARIANTS, asked, strict=True)) == dict.fromkeys(VARIANTS, "compiled") | {"second order": "graph"}


def test_a_calibrated_network_is_never_tested_from_a_graph(tiny_dataset):
    # Its statistics are new tensors for each configuration: a graph would read those of the first one for ever.
    losses = []
    for kind in (Learner, StandIn):
        learner, batches = stand_in(tiny_dataset, kind, affine=False)
        plan = crops.augmentation(len(batches), 0, 0)
        found = [learner.evaluate(batches.plain(), LIGHT.path)]
        for steps in ((0, 1), (2,)):
            with learner.calibrated(LIGHT.path, (batches.train(plan, k)[0] for k in steps)):
                found.append(learner.evaluate(batches.plain(), LIGHT.path))
        found.append(learner.evaluate(batches.plain(), LIGHT.path))
        losses.append(found)
    assert losses[0] == losses[1]
    batch, first, second, again = losses[0]
    assert len({batch, first, second}) == 3
    assert again == batch


def test_learners_share_one_pool(tiny_dataset, graphs):
    made = [networks.ResNet(SPACE), networks.ResNet(SPACE)]
    first, second = engine.learners(made, SHORT, CPU, "graph")
    assert first.pool is second.pool


# --- compiled blocks ---


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, inside of its compiler
def test_blocks_are_compiled_once_per_shape_and_shared_by_networks(tiny_dataset):
    compiled = []

    def count(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    batches = Batches.of(tiny_dataset.train, tiny_dataset, SHORT, CPU)
    x, y = next(batches.plain())
    # Counted by hand. [1,1,8]: the stem, (16,16) at 16, five pairs at 8. [8,1,1]: four pairs at 32, (64,64) at 16.
    # [4,3,3]: (16,32) and (32,32) at 16. [2,6,2]: (32,64) at 16.
    expected = {"[1,1,8]": 7, "[8,1,1]": 12, "[4,3,3]": 14, "[2,6,2]": 15}
    for config, so_far in expected.items():
        for seed in (0, 1):
            network = networks.ResNet(SPACE)
            networks.initialise(network, seed)
            networks.compile_blocks(network, count)
            path = SPACE[SPACE.index(config)].path
            plain = networks.ResNet(SPACE)
            networks.initialise(plain, seed)
            losses = [float(Learner(n, SHORT, CPU).learn(x, y, path, 0.1)[0]) for n in (network, plain)]
            assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        assert len(compiled) == so_far
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("affine", [True, False])
def test_nothing_is_compiled_while_a_step_is_recorded_or_replayed(tiny_dataset, affine):
    # A compiler that starts inside of a recording breaks it off, so all must be compiled in the steps before.
    compiled = []

    def count(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    learner, batches = stand_in(tiny_dataset, affine=affine)
    networks.compile_blocks(learner.network, count)
    x, y = batches.train(crops.augmentation(len(batches), 0, 0), 0)
    for _ in range(engine.WARM_UP):
        learner.learn(x, y, LIGHT.path, 0.01)
    learner.evaluate([(x, y)] * engine.WARM_UP, LIGHT.path)
    before = len(compiled)
    assert before >= 14
    assert learner._recordings == {}
    learner.learn(x, y, LIGHT.path, 0.01)
    learner.evaluate([(x, y)], LIGHT.path)
    with learner.calibrated(LIGHT.path, [x]) if not affine else learner.as_written():
        learner.evaluate([(x, y)], LIGHT.path)
    learner.evaluate([(x[:5], y[:5])] * 5, LIGHT.path)  # a last, smaller batch
    assert len(learner._recordings) == 2
    assert len(compiled) == before
    with learner.as_written():  # what was calibrated is again what it was
        learner.learn(x, y, LIGHT.path, 0.01)
    learner._recordings.clear()
    learner.learn(x, y, LIGHT.path, 0.01)
    assert len(compiled) == before
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_mixture_of_resolutions_is_compiled_before_it_is_recorded():
    compiled = []

    def count(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    network = networks.ResNet(SPACE, affine=False)
    networks.initialise(network, 0)
    recipe = Recipe(batch_size=4, precision="fp32")
    plain = Learner(MultiResolution(copy.deepcopy(network)), recipe, CPU)
    learner = StandIn(MultiResolution(network), recipe, CPU)
    networks.compile_blocks(learner.network, count)
    draw = torch.Generator().manual_seed(0)
    batch = torch.randn(4, 3, 32, 32, generator=draw), torch.randint(0, 10, (4,), generator=draw)
    weights = torch.full((9, 3), 1 / 3)
    for step in range(engine.WARM_UP + 1):
        if step == engine.WARM_UP:
            before = len(compiled)
            assert learner._recordings == {}
        found, expected = (mixture_gradient(each, weights, batch) for each in (learner, plain))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        losses = [float(each.learn(*batch, weights, 0.01)[0]) for each in (learner, plain)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert len(learner._recordings) == 2
    assert len(compiled) == before == 16  # the stem, and five kinds of blocks at three resolutions
    torch._dynamo.reset()


# --- which engine, and where ---


def test_a_cpu_runs_eagerly_and_refuses_the_others():
    assert working_engine("auto", SPACE, SHORT, CPU) == "eager"
    assert working_engine("eager", SPACE, SHORT, CPU) == "eager"
    for name in ("graph", "compiled"):
        with pytest.raises(UsageError, match=f"engine '{name}' needs a GPU"):
            working_engine(name, SPACE, SHORT, CPU)
    with pytest.raises(UsageError, match="unknown engine 'fast'"):
        engine.require_engine("fast", CPU)
    assert {"auto", *ENGINES} == set(cli.ENGINES)


@pytest.mark.parametrize(("broken", "expected"), [([], "compiled"), (["compiled"], "graph"), (ENGINES, "eager")])
def test_an_engine_that_fails_its_probe_gives_way_with_a_line(monkeypatch, capsys, broken, expected):
    def probe(name, *rest):
        if name in broken:
            raise RuntimeError(f"no {name}\nat all")

    monkeypatch.setattr(engine, "probe", probe)
    working_engine.cache_clear()
    assert working_engine("auto", SPACE, SHORT, torch.device("cuda:0")) == expected
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(set(broken) - {"eager"})
    assert all("does not work here" in line for line in lines)
    working_engine.cache_clear()


def test_after_a_recording_that_broke_off_none_is_tried_again(monkeypatch, capsys):
    tried = []

    def probe(name, *rest):
        tried.append(name)
        raise engine.Unrecordable("a step cannot be recorded")

    monkeypatch.setattr(engine, "probe", probe)
    working_engine.cache_clear()
    assert working_engine("auto", SPACE, SHORT, torch.device("cuda:0")) == "eager"
    assert tried == ["compiled"]
    assert len(capsys.readouterr().err.splitlines()) == 1
    working_engine.cache_clear()


@pytest.mark.parametrize("fault", [None, "weights", "forgetful"])
def test_the_probe_tells_an_engine_that_computes_something_else(monkeypatch, fault):
    class Wrong(StandIn):
        def run(self, name, body, x, y, path):
            if fault == "weights" and name == "step":  # a recording that does not see the batches after the first
                x, y = self.seen = getattr(self, "seen", (x.clone(), y.clone()))
                x = x + 0.01
            if fault == "forgetful" and name == "test":
                return torch.zeros(()), torch.zeros((), dtype=torch.long)
            return super().run(name, body, x, y, path)

    monkeypatch.setattr(engine, "GraphLearner", Wrong)
    small = Recipe(batch_size=8)
    if fault is None:
        engine.probe("graph", SPACE, small, CPU)
    else:
        with pytest.raises(RuntimeError, match="its losses are"):
            engine.probe("graph", SPACE, small, CPU)


@pytest.mark.skipif(torch.__version__ < "2.11", reason="fake tensors of older torch (2.6 tried) ask for a real GPU")
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_along_the_gpu_path_all_tensors_are_on_the_gpu(monkeypatch, name, affine):
    """Fake tensors: torch checks every operation's devices, shapes and types as on a GPU, and computes nothing."""
    gpu, taken = torch.device("cuda:0"), {}
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)  # fake parameters cannot be swapped
    monkeypatch.setattr(torch, "_fused_sgd_", lambda *lists, **rest: taken.update(rest, lists=lists))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: None)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    space = load_space(name)
    side, crop = space.backbone.side, datasheet(space.dataset).crop
    stored = folders.STORED if crop else side
    recipe = Recipe(dataset=space.dataset, batch_size=4)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with gpu:
            network = networks.ResNet(space, affine=affine)
        # Fused SGD takes no mixture of momenta that are there and that are not, which unshared paths would give.
        there = Learner(network, recipe, gpu).optimizer.state.values()
        assert [state["momentum_buffer"].shape for state in there] == [p.shape for p in network.parameters()]
        learner = StandIn(network, recipe, gpu)
        images = sets.Images(torch.zeros(12, stored, stored, 3, dtype=torch.uint8), torch.zeros(12, dtype=torch.long))
        dataset = sets.Dataset("fake", images, images, space.classes, (0.5,) * 3, (0.5,) * 3, "", crop).to(gpu)
        batches = Batches.of(dataset.train, dataset, recipe, gpu)
        drawn = crops.ResizedCrops if crop else crops.Augmentation
        plan = drawn(*(torch.zeros(12, dtype=torch.long) for _ in range(6 if crop else 4))).to(gpu)
        x, y = batches.train(plan, 1)
        assert (x.device, y.device, x.dtype) == (gpu, gpu, torch.bfloat16)
        assert x.shape == (4, 3, side, side)
        assert x.is_contiguous(memory_format=torch.channels_last)
        for config in {space[0], space.default, space[len(space) - 1]}:
            loss, right = Learner._test(learner, x, y, config.path)
            assert (loss.device, right.device) == (gpu, gpu)
        for p in network.parameters():
            p.grad = torch.zeros_like(p)
        monkeypatch.setattr(learner, "_step", lambda *_: learner.optimizer.step())
        learner.learn(x, y, space.default.path, 0.1)
        weights, gradients, momenta = taken["lists"][:3]
        assert len(weights) == len(gradients) == len(momenta) == len(list(network.parameters()))
        assert {t.device for t in (*weights, *gradients, *momenta)} == {gpu}
        assert taken["is_first_step"] is False  # a graph could not tell it from the others
        assert taken["lr"] is learner.rate


def test_another_run_begins_once_those_under_way_have_their_graphs(monkeypatch):
    asked = []
    monkeypatch.setattr(engine, "room_for_another", lambda device, count: asked.append(count) or True)
    run = TrainRun(None, None, "cpu", "graph", "resident", 4, 4, {})
    assert run.room()
    run.under_way.update(one=engine.WARM_UP + 1, two=engine.WARM_UP)
    assert not run.room()
    run.under_way["two"] += 1
    assert run.room()
    assert asked == [0, 2]


# --- taking turns ---


def test_steps_that_take_turns_on_a_cpu_are_the_steps_themselves():
    def steps():
        yield 1
        yield 2
        return 3

    def kept():
        answer = yield from engine.taking_turns(steps(), CPU)
        yield "answer", answer

    assert list(kept()) == [1, 2, ("answer", 3)]


def test_runs_that_take_turns_in_one_process_have_the_bits_of_runs_alone(tiny_dataset):
    wanted = [(SPACE[0], 0), (SPACE[1], 0), (SPACE[0], 1)]
    alone = [Training(SPACE, config, seed, SHORT, tiny_dataset, CPU).run()[0] for config, seed in wanted]
    waiting = [Training(SPACE, config, seed, SHORT, tiny_dataset, CPU).steps() for config, seed in wanted]
    found: dict[int, object] = {}
    while len(found) < len(waiting):
        for position, steps in enumerate(waiting):
            if position not in found:
                try:
                    next(steps)
                except StopIteration as end:
                    found[position] = end.value[0]
    assert [found[position] for position in range(3)] == alone
