"""The speed measurements' own arithmetic: lines, ratios, counts, and what is said of a side that cannot run. Nothing is timed."""

import hashlib
import itertools
import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.errors import UsageError
from benchmark.recipe import Recipe
from benchmark.spaces import costs, networks
from benchmark.training import train
from speed import figures, floor, measure, sides
from speed.measure import SPACE, line, numbers_at_once, plan, requirements, summary, take_turns, time_weighted
from speed.sides import CPU, NotMeasured, Side, Task, Window

CONFIGS = SPACE.select(["[1,1,8]", "[4,3,3]", "[8,1,1]"])
SECONDS = {"ours": (1e-4, 1e-12), "plain": (2e-4, 5e-12), "compiled": (4e-4, 3e-12)}  # a and b of a planted line
RATES = {"bf16_flops_per_second": 4e12, "fp32_flops_per_second": 3e11, "copy_bytes_per_second": 2e10}


def planted_seconds(side, config):
    a, b = SECONDS[side]
    return a + b * costs.macs(SPACE, config)


def planted_side(name):
    """Measures what lies on its line; a second process gives half as much again, the batch size nothing."""

    def measure(task, environment):
        if task.config is None:
            return {"images_per_second": {"ours": 300_000.0, "plain": 6_000.0}[name], "cores_used": 2.0}
        pace = 1 / planted_seconds(name, task.config) * {1: 2 / 3, 2: 1.0, 3: 1.0}[task.processes]
        facts = {"images_per_second": pace, "cores_used": 2.0, "first_step_seconds": 0.5, "peak_memory_bytes": 1e9}
        return facts | ({"evaluation_images_per_second": 3 * pace} if name == "ours" else {})

    return Side(measure, "fp32")


def planted_result(rounds=3, beside=0, without=()):
    """What `measure` would write had it measured the planted lines on two cores."""
    names = [name for name in sides.SIDES if name not in without]
    turns = plan(CONFIGS, None, 2, 1.0, rounds, names, alone=not beside)
    found, absent = take_turns(turns, {}, {name: planted_side(name) for name in names})
    assert absent == {}
    result = {
        "quick": False,
        "beside": beside,
        "hardware": {"cpu": "planted", "cores": 2},
        "torch": "2",
        "images": "random",
        "recipe": {"batch_size": 256},
        "not_measured": dict.fromkeys(without, "no C++ compiler"),
        "floor": None if beside else RATES,
        **summary(found, CONFIGS, 2, names, None if beside else RATES),
        "measurements": found,
    }
    return result | {"requirements": requirements(result)}


# --- lines and ratios ---


def test_line_recovers_planted_coefficients():
    macs = [2e7, 4e7, 15e7]
    assert line(macs, [3e-4 + 2e-12 * m for m in macs]) == pytest.approx((3e-4, 2e-12))


def test_time_weighted_ratio_of_planted_seconds():
    """The sums over all 36, written out; the mean of the three ratios would be another number."""
    seconds = {side: {str(c): planted_seconds(side, c) for c in CONFIGS} for side in SECONDS}
    ratio, mean = time_weighted(seconds)
    totals = {side: sum(planted_seconds(side, c) for c in SPACE) for side in SECONDS}
    assert ratio == pytest.approx({s: totals[s] / totals["ours"] for s in ("plain", "compiled")})
    assert mean == pytest.approx({side: total / 36 for side, total in totals.items()})
    plain_mean_of_ratios = sum(seconds["plain"][str(c)] / seconds["ours"][str(c)] for c in CONFIGS) / 3
    assert abs(ratio["plain"] - plain_mean_of_ratios) > 0.05


def test_summary_finds_what_was_planted_in_every_round():
    result = planted_result()
    training = result["training"]
    totals = {side: sum(planted_seconds(side, c) for c in SPACE) for side in SECONDS}
    for side in ("plain", "compiled"):
        expected = totals[side] / totals["ours"]
        assert training["ratio"][side] == pytest.approx(expected)
        assert training["by_round"][side] == pytest.approx([expected] * training["n"][side])
    assert training["n"] == {"ours": 3, "plain": 3, "compiled": 1}
    # 108 runs x 100 epochs x (50,000 trained and 10,000 tested images, a third each)
    expected = 108 * 100 * (50_000 + 10_000 / 3) * totals["plain"] / 36
    assert result["whole_table_seconds"]["plain"] == pytest.approx(expected)
    assert result["share_of_cores_ours"] == 1.0
    assert result["data path"]["ratio"] == {"plain": 50.0}


def test_fractions_of_the_machine_are_of_its_own_rates():
    row = planted_result()["training"]["by_config"]["[4,3,3]"]
    pace = row["images_per_second"]["ours"]
    assert row["tflops"]["ours"] == pytest.approx(6 * 40.813184e6 * pace / 1e12)
    assert row["fraction_of_matrix_peak"]["ours"] == pytest.approx(6 * 40.813184e6 * pace / 4e12)  # ours is bf16
    assert row["fraction_of_matrix_peak"]["plain"] == pytest.approx(
        6 * 40.813184e6 * row["images_per_second"]["plain"] / 3e11
    )
    assert row["unfused_traffic_over_copy"] == pytest.approx(row["unfused_bytes_per_image"] * pace / 2e10)


def test_growth_is_read_from_where_it_was_measured():
    growth = planted_result()["growth"]
    full = 1 / planted_seconds("ours", SPACE.default)
    assert growth["config"] == "[4,3,3]"
    assert growth["processes"] == pytest.approx({"1": full * 2 / 3, "2": full, "3": full})
    assert list(growth["batch_size"]) == ["64", "128", "256", "512"]


def test_numbers_at_once_reach_one_beyond_the_cores():
    assert numbers_at_once(1) == [1, 2]
    assert numbers_at_once(2) == [1, 2, 3]
    assert numbers_at_once(6) == [1, 2, 4, 6, 7]
    assert numbers_at_once(16) == [1, 2, 4, 8, 16, 17]


# --- the plan ---


def test_the_plan_measures_nothing_twice_and_lets_everyone_go_first():
    turns = plan(CONFIGS, None, 2, 1.0, 2, ["ours", "plain", "compiled"], alone=True)
    for turn in turns:
        assert len(turn) == len(set(turn))
    assert [turn[0][0] for turn in turns] == ["ours", "plain"]
    assert {task for side, task in turns[0] if side == "compiled"} == {Task(c, None, 2, 1.0) for c in CONFIGS}
    assert "compiled" not in {side for side, _ in turns[1]}  # once is enough
    assert all(task.processes == 2 and task.batch_size == 256 for _, task in turns[1])  # and so is growth


def test_beside_neighbours_training_alone_is_measured():
    turns = plan(CONFIGS, None, 2, 1.0, 1, ["ours", "plain"], alone=False)
    assert turns == [[(side, Task(c, None, 2, 1.0)) for c in CONFIGS for side in ("ours", "plain")]]


# --- windows ---


def test_a_window_counts_what_follows_the_warm_up():
    window = Window(0.0)
    assert [window.event() for _ in range(3)] == [False, False, True]
    assert window.count == 1


def test_a_worker_goes_on_for_one_event_while_others_are_in_their_windows():
    class Alone:
        def wait(self, patience):
            waits.append(patience)

    waits = []
    window = Window(0.0, Alone())
    assert [window.event() for _ in range(4)] == [False, False, False, True]
    assert window.count == 1  # the one beyond does not count
    assert len(waits) == 1


# --- sides that cannot run ---


def test_a_side_that_cannot_run_is_reported_and_not_tried_again(capsys):
    tried = []

    def fails(task, environment):
        tried.append(task)
        raise NotMeasured("no C++ compiler")

    names = ["ours", "plain", "compiled"]
    broken = {name: planted_side(name) for name in names} | {"compiled": Side(fails, "fp32")}
    turns = plan(CONFIGS, None, 2, 1.0, 2, names, alone=True)
    found, absent = take_turns(turns, {}, broken)
    assert absent == {"compiled": "no C++ compiler"}
    assert len(tried) == 1
    assert {f["side"] for f in found} == {"ours", "plain"}
    assert "compiled: not measured: no C++ compiler" in capsys.readouterr().err


@pytest.mark.parametrize("without", [("compiled",), ("plain",), ("plain", "compiled")])
def test_the_table_names_the_sides_that_are_missing(without, tmp_path, capsys):
    result = planted_result(without=without)
    measure.print_table(result, tmp_path / "x.json")
    printed = capsys.readouterr().out
    for side in without:
        assert f"{side}: not measured: no C++ compiler" in printed
    assert ("plain, time-weighted over the 36" in printed) == ("plain" not in without)
    json.dumps(result, allow_nan=False)


def test_the_reason_is_short_and_names_no_path():
    compiler = "Traceback ...\n  File '/home/me/x.py'\ntorch._inductor.exc.InductorError: InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, '/opt/none')"
    assert sides.reason(compiler) == "no C++ compiler"
    header = (
        "Traceback ...\nFileNotFoundError: /home/me\n\nThe above\n\ntorch._inductor.exc.CppCompileError: C++ /tmp/a.cpp"
    )
    assert sides.reason(header) == "CppCompileError"
    assert sides.reason("BrokenProcessPool: a process ended") == "BrokenProcessPool"


def test_a_loop_that_fails_says_so_instead_of_raising(tmp_path):
    """No CIFAR-10 where the task says: the error comes back as text, which can always travel."""
    result = sides.user_side(Task(SPACE.default, str(tmp_path), 1, 0.0), compiled=False)
    assert isinstance(result, str)
    assert sides.reason(result) == "UsageError"


def test_the_user_has_the_environment_that_was_given(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # as the commands of this suite set it
    with sides.exact_environment({"HOME": "/nowhere"}):
        assert dict(sides.os.environ) == {"HOME": "/nowhere"}
    assert sides.os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_sides_are_chosen_by_name_and_left_out_aloud():
    assert measure.chosen_sides(None, quick=False) == (["ours", "plain", "compiled"], {})
    kept, absent = measure.chosen_sides(None, quick=True)
    assert (kept, list(absent)) == (["ours", "plain"], ["compiled"])
    assert measure.chosen_sides(["compiled"], quick=True)[0] == ["ours", "compiled"]
    with pytest.raises(UsageError, match=r"fast.*ours, plain, compiled"):
        measure.chosen_sides(["fast"], quick=False)


# --- requirements ---


def test_requirements_are_judged_by_the_kind_of_run():
    quiet = {r["what"]: r for r in planted_result()["requirements"]}
    assert [r["at_least"] for r in quiet.values()] == [2.5, 1.0, 15.0, 250_000.0]
    assert all(r["met"] for r in quiet.values())
    assert [r["value"] for r in quiet.values()][1:] == pytest.approx([3.0, 50.0, 300_000.0])
    (contended,) = planted_result(beside=1)["requirements"]
    assert (contended["at_least"], contended["met"]) == (5.0, False)  # the planted ratio is below
    assert planted_result(beside=2)["requirements"] == []
    missing = planted_result(without=("plain",))["requirements"]
    assert [r["met"] for r in missing] == [None, True, None, True]


# --- the count of a step's traffic ---


def test_bytes_of_a_step_against_a_hand_count():
    """[1,1,8]: the stem at 32x32, block 1 at 16x16, blocks 2 to 9 at 8x8; 16, 32 and 64 channels."""
    stem, first, narrow, middle, wide = 16 * 1024, 16 * 256, 16 * 64, 32 * 64, 64 * 64
    plain_block = (
        3 * 2 + 8 + 5 + 3 * 2 + 8 + 3 + 3 + 5
    )  # conv, norm, ReLU, conv, norm, addition, joined gradients, ReLU
    expected = 2 * (3 * 1024 + stem) + (8 + 5) * stem  # the images need no gradient
    expected += 2 * (stem + first) + plain_block * first  # pooled 32 -> 16, then block 1
    expected += 2 * (first + narrow) + 2 * plain_block * narrow  # pooled 16 -> 8, then blocks 2 and 3
    # blocks 4 and 7 widen: conv1 and the projection read the narrower input, whose gradients are joined; one norm more
    for before, after in ((narrow, middle), (middle, wide)):
        expected += 2 * 3 * (before + after) + (8 + 5 + 8 + 8) * after + 3 * 2 * after + (3 + 5) * after + 3 * before
        expected += 2 * plain_block * after
    indices = 2 * 8 * (first + narrow)  # bytes; everything else is numbers of two bytes
    assert floor.step_bytes(SPACE, CONFIGS[0]) == 2 * expected + indices


# numbers moved per number of an operation's first tensor; convolutions, additions and pools are counted below
PASSES = {"native_batch_norm": 3, "native_batch_norm_backward": 5, "relu_": 2, "threshold_backward": 3}


class Traffic(TorchDispatchMode):
    """Adds up what the operations of a real step must move, from the tensors that they are really given."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        images = [t.numel() for t in tensors if t.dim() == 4 and t.dtype == torch.bfloat16]
        if name in PASSES:
            self.bytes += 2 * PASSES[name] * images[0]
        elif name in ("add", "add_") and len(images) == 2:
            self.bytes += 2 * 3 * images[0]
        elif name == "convolution":
            self.bytes += 2 * (images[0] + out.numel())
        elif name == "convolution_backward":
            grad, x, _weight = images
            self.bytes += 2 * (grad + x) * sum(args[-1][:2])  # once for each gradient that is asked for
        elif name == "max_pool2d_with_indices":
            self.bytes += 2 * (images[0] + out[0].numel()) + 8 * out[1].numel()
        elif name == "max_pool2d_with_indices_backward":
            self.bytes += 2 * (images[0] + images[1]) + 8 * images[0]
        return out


@pytest.mark.parametrize("name", ["[1,1,8]", "[4,3,3]", "[8,1,1]"])
def test_bytes_of_a_step_against_the_tensors_of_a_real_one(name):
    config = SPACE[SPACE.index(name)]
    network = networks.ResNet(SPACE)
    networks.initialise(network, 0)
    learner = train.Learner(network, Recipe(batch_size=2), CPU)
    x = torch.rand(2, 3, 32, 32).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with Traffic() as traffic:
        learner.learn(x, torch.tensor([0, 1]), config.path, 0.1)
    assert traffic.bytes == 2 * floor.step_bytes(SPACE, config)


# --- figures ---


@pytest.mark.parametrize(
    ("beside", "names"), [(0, ["batch-sizes", "configurations", "processes"]), (1, ["configurations"])]
)
def test_figures_are_written_from_the_file_alone(beside, names, tmp_path):
    pytest.importorskip("matplotlib")
    assert figures.lacking() is None
    path = tmp_path / "planted.json"
    path.write_text(json.dumps(planted_result(beside=beside)), encoding="utf-8")
    drawn = figures.draw(path)
    assert sorted(p.name for p in drawn) == [f"planted-{name}.png" for name in names]
    digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in drawn]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in drawn)
    assert [hashlib.sha256(p.read_bytes()).hexdigest() for p in figures.draw(path)] == digests
    assert all(a != b for a, b in itertools.combinations(digests, 2))
