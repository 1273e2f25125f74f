"""What only a GPU can show: `make gpu-check` runs these. Elsewhere they are skipped."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from benchmark.datasets import named
from benchmark.recipe import Recipe
from benchmark.spaces import networks
from benchmark.spaces.space import load_space
from benchmark.training import engine
from benchmark.training.train import Training
from nas_methods.darts import Method as Darts
from nas_methods.mixture import Method as Mixture
from nas_methods.spos import Method as Spos
from tests import planted

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("default"),  # compilers warn of much that is none of ours
]

SPACE = load_space()
GPU = torch.device("cuda:0")
SHORT = Recipe(epochs=6, batch_size=16, train_images=48, eval_images=32)
CONFIGS = [SPACE[0], SPACE.default]
ENGINES = ("eager", "graph", "compiled")


def trained(dataset, name, config=SPACE.default, seed=0, recipe=SHORT, **more):
    with engine.own_stream(GPU):
        outcome = Training(SPACE, config, seed, recipe, dataset, GPU, name).run(**more)
    return outcome and outcome[0]


@pytest.mark.parametrize("name", ENGINES[:2])
def test_the_engines_pass_their_probe(name):
    engine.probe(name, SPACE, Recipe(batch_size=64), GPU)


def test_compiled_blocks_pass_their_probe():
    engine.probe("compiled", SPACE, Recipe(batch_size=64), GPU)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_graphs_have_the_bits_of_eager_steps(tiny_dataset, config, precision):
    recipe = replace(SHORT, precision=precision)
    eager = trained(tiny_dataset, "eager", config, recipe=recipe)
    assert trained(tiny_dataset, "eager", config, recipe=recipe) == eager
    assert trained(tiny_dataset, "graph", config, recipe=recipe) == eager


@pytest.mark.parametrize("name", ENGINES)
def test_runs_that_take_turns_have_the_bits_of_runs_alone(tiny_dataset, name):
    wanted = [(SPACE[0], 0), (SPACE.default, 0), (SPACE[0], 1), (SPACE.default, 1)]
    alone = [trained(tiny_dataset, name, config, seed) for config, seed in wanted]
    runs = [
        engine.taking_turns(Training(SPACE, config, seed, SHORT, tiny_dataset, GPU, name).steps(), GPU)
        for config, seed in wanted
    ]
    found = {}
    while len(found) < len(runs):
        for position, steps in enumerate(runs):
            if position not in found:
                try:
                    next(steps)
                except StopIteration as end:
                    found[position] = end.value[0]
    assert [found[position] for position in range(len(runs))] == alone


@pytest.mark.parametrize("name", ["graph", "compiled"])
@pytest.mark.parametrize("every", [5, 8])
def test_stopping_and_resuming_changes_no_bit(tiny_dataset, tmp_path, name, every):
    undisturbed = trained(tiny_dataset, name)
    path, outcome = tmp_path / "run.pt", None
    for _ in range(9):  # 18 steps
        taken = iter(range(1, 100))
        outcome = trained(tiny_dataset, name, checkpoint=path, stop=lambda: next(taken) == every)  # noqa: B023
        if outcome:
            break
    assert outcome == undisturbed


def test_another_process_with_an_empty_cache_compiles_the_same_bits(tmp_path, environment):
    program = (
        "import json, torch; from benchmark.datasets import named; from benchmark.training import engine; from benchmark.recipe import Recipe;"
        "from benchmark.spaces.space import load_space; from benchmark.training.train import Training;"
        "g = torch.device('cuda:0'); s = load_space();"
        "r = Recipe(dataset='synthetic', epochs=2, batch_size=32, train_images=96, eval_images=64);"
        "d = named.load('synthetic'); c = engine.own_stream(g); c.__enter__();"
        "print(json.dumps(Training(s, s[0], 0, r, d, g, 'compiled').run()[0]))"
    )
    own = environment | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=own, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    recipe = Recipe(dataset="synthetic", epochs=2, batch_size=32, train_images=96, eval_images=64)
    here = trained(named.load("synthetic"), "compiled", SPACE[0], recipe=recipe)
    assert json.loads(done.stdout.splitlines()[-1]) == json.loads(json.dumps(here))


def relative(found, expected):
    return float((found.detach().double() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize(("before", "after", "side"), [(16, 16, 32), (16, 32, 16), (64, 64, 8)])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_block_against_float64(before, after, side, compiled):
    """bf16, fresh random inputs, outputs and all gradients; NaN or an element never written would show."""
    torch.manual_seed(before + after + side)
    block = networks.BasicBlock(before, after, after, (side,), affine=True).to(GPU, memory_format=torch.channels_last)
    with torch.no_grad():  # far from where a rounding turns a ReLU on or off, whose gradient has no small error
        block.norm1.bias.fill_(4.0)
        block.norm2.bias.fill_(4.0)
    exact = copy.deepcopy(block).double()
    if compiled:
        networks.compile_blocks(block)
    x = torch.randn(64, before, side, side, device=GPU).contiguous(memory_format=torch.channels_last)
    upstream = torch.randn(64, after, side, side, device=GPU)
    results = []
    for each, dtype in ((block, torch.bfloat16), (exact, torch.float64)):
        # Both start from the numbers that bf16 can hold, so that what is compared is the arithmetic.
        start = x.to(torch.bfloat16).to(dtype).requires_grad_()
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = each(start, 0)
        out.backward(upstream.to(torch.bfloat16).to(out.dtype))
        results.append([out, start.grad, *(p.grad for p in each.parameters() if p.dim() > 1)])
    errors = [relative(found, expected) for found, expected in zip(*results, strict=True)]
    assert errors[0] < 1e-2  # two convolutions with batch norms; 1.7e-3 each
    assert all(error < 3e-2 for error in errors), errors


@pytest.mark.parametrize("shape", [(64, 16, 32, 3), (64, 32, 16, 3), (64, 64, 8, 3), (64, 16, 16, 1)])
def test_a_convolution_against_float64(shape):
    batch, channels, side, kernel = shape
    torch.manual_seed(sum(shape))
    x = torch.randn(batch, channels, side, side, device=GPU, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, kernel, kernel, device=GPU, dtype=torch.bfloat16) * 0.1
    exact = F.conv2d(x.double(), w.double(), padding=kernel // 2)
    assert relative(F.conv2d(x, w, padding=kernel // 2), exact) < 5e-3


@pytest.mark.parametrize("name", ["graph", "compiled"])
@pytest.mark.parametrize("method", [Spos(), Mixture(M=2)], ids=["spos", "mixture"])
def test_a_search_from_graphs(method, name):
    with engine.own_stream(GPU):
        recipe = planted.recipe(epochs=20, lr=0.01)
        eager = method.rank(planted.task(planted.small, recipe=recipe, device=GPU))
        found = method.rank(planted.task(planted.small, recipe=recipe, device=GPU, engine=name))
    assert found.scores == eager.scores  # the planted network has no blocks to compile
    assert found.history == eager.history


@pytest.mark.parametrize("name", ["eager", "graph", "compiled"])
def test_paths_with_weights_of_their_own(name):
    """Each path brings weights that have no momentum yet to those that have."""

    def network(model):
        made = networks.ResNet(SPACE, affine=False, shared=False)
        networks.initialise(made, 0, model)
        return made

    recipe = planted.recipe(epochs=2, lr=0.01, precision="bf16", memory_layout="channels_last")
    with engine.own_stream(GPU):
        one, two = (
            Spos(sharing="unshared").rank(planted.task(network, recipe=recipe, device=GPU, engine=each))
            for each in (name, "eager")
        )
    if name != "compiled":
        assert one.scores == two.scores
    assert one.history["reward"] == pytest.approx(two.history["reward"], abs=0.2)


@pytest.mark.parametrize("options", [{}, {"optimizer": "gaea", "alpha_lr": 1.0}, {"second_order": True}])
def test_darts_on_the_real_network(options):
    def network(model):
        made = networks.ResNet(SPACE, affine=False)
        networks.initialise(made, 0, model)
        return made

    def rank(name):
        recipe = planted.recipe(epochs=2, precision="bf16", memory_layout="channels_last")
        return Darts(**options).rank(planted.task(network, recipe=recipe, device=GPU, engine=name))

    with engine.own_stream(GPU):
        eager, graph, compiled, again = (rank(name) for name in ("eager", "graph", "compiled", "compiled"))
        found = Darts(**options).rank(planted.planted_task(device=GPU, engine="graph"))
    assert graph.scores == eager.scores
    assert graph.history == eager.history
    assert again.scores == compiled.scores
    assert compiled.provenance["engine"] == ("graph" if "second_order" in options else "compiled")
    losses = [ranking.history["validation_loss"] for ranking in (compiled, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert found.pick == "".join(map(str, planted.GAINS.argmax(axis=1)))


def test_the_gpu_and_the_cpu_train_alike(tiny_dataset):
    """Three steps in fp32 from the same weights: the same losses but for rounding."""
    recipe = Recipe(epochs=1, batch_size=16, train_images=48, eval_images=20, precision="fp32", lr=0.01)
    for config in CONFIGS:
        cpu, _ = Training(SPACE, config, 0, recipe, tiny_dataset, torch.device("cpu")).run()
        gpu = trained(tiny_dataset, "eager", config, recipe=recipe)
        assert gpu["curves"]["train_loss"] == pytest.approx(cpu["curves"]["train_loss"], rel=2e-3)


@pytest.mark.parametrize("together", ["1", "3"])
def test_the_builder_fills_slots_and_survives_a_kill(tmp_path, environment, together):
    words = [sys.executable, "-m", "benchmark.build_groundtruth", "--recipe", "smoke", "--dataset", "synthetic"]
    words += ["--configs", "1-4", "--seeds", "0", "--device", "cuda", "--engine", "graph", "--together", together]
    first, second = tmp_path / "a", tmp_path / "b"
    how = {"env": environment, "capture_output": True, "text": True, "timeout": 240, "check": False}
    done = subprocess.run([*words, "--out", str(first)], **how)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = subprocess.Popen([*words, "--out", str(second)], env=environment, stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 120
    while not [*second.glob("ledgers/*/work/*.pt"), *second.glob("ledgers/*/records/*.json")]:
        assert killed.poll() is None
        assert time.monotonic() < patience
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    done = subprocess.run([*words, "--out", str(second)], **how)
    assert done.returncode == 0, done.stderr[-2000:]
    sums = [
        {path.name: json.loads(path.read_text())["checksum"] for path in out.glob("ledgers/*/records/*.json")}
        for out in (first, second)
    ]
    assert len(sums[0]) == 4
    assert sums[0] == sums[1]
