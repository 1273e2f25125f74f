"""Verification: a true ledger holds, an altered one does not; bits where the numerics are the same, else seed noise."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from benchmark.errors import Failure, UsageError
from benchmark.recipe import CURVES, Recipe
from benchmark.running import claims
from benchmark.scoring.noise import Pooled
from benchmark.spaces.space import load_space
from benchmark.tables.ledger import Ledger, Run, checksum
from benchmark.tables.table import GroundTruth, Origin, Row
from benchmark.verify import Claim, Kept, _keep, _verdicts, main
from tests.machine import PRECISION

MODULE = "benchmark.verify"
SPACE = load_space()
# Two of the cheapest configurations, two seeds each; forty steps a run, so that one can be killed under way.
SMALL = {
    "dataset": "synthetic",
    "epochs": 20,
    "train_images": 32,
    "eval_images": 32,
    "batch_size": 16,
    "precision": PRECISION,
}
RECIPE = Recipe(**SMALL)
NAME = Ledger.under("", SPACE, RECIPE).name
FIRST, SECOND = SPACE.configs[:2]
ONE = ("--together", "1")  # one worker: torch takes longer to load than these runs to train
PATIENCE = 600  # seconds after which something that must happen counts as not happening


@pytest.fixture(scope="module")
def built(tmp_path_factory, environment):
    """An output folder with a ledger of four runs and its table."""
    out = tmp_path_factory.mktemp("built")
    flags = [word for key, value in SMALL.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    words = ["-m", "benchmark.build_groundtruth", *flags, "--configs", "1-2", "--seeds", "0", "1"]
    done = subprocess.run(
        [sys.executable, *words, "--out", str(out), *ONE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def out(built, tmp_path):
    """A copy of it."""
    return shutil.copytree(built, tmp_path / "out")


def alter(out, stem, change):
    """Changes a record and has it state the right checksum: only a training can tell."""
    path = out / "ledgers" / NAME / "records" / f"{stem}.json"
    record = json.loads(path.read_text())
    change(record)
    record["checksum"] = checksum(record)
    path.write_text(json.dumps(record))


def report(out, sample, seed=0):
    return json.loads((out / "verify" / f"{NAME}-sample{sample}-seed{seed}.json").read_text())


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- on the numerics that made the records ---


def test_a_true_ledger_is_equal_bit_for_bit_and_left_alone(out, run_python):
    before = contents(out)
    done = run_python("-m", MODULE, NAME, "--sample", "2", "--out", out, *ONE)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.endswith(": equal bit for bit") for line in lines)
    assert last.startswith("2 of 2 cells hold; report: ")
    after = contents(out)
    kept = out / "verify" / f"{NAME}-sample2-seed0.json"
    assert set(after) - set(before) == {kept}
    assert all(after[path] == content for path, content in before.items())
    assert not (out / "verify" / NAME).exists()
    found = report(out, 2)
    assert found["holds"] is True
    assert (found["sample"], found["of"]) == (2, 4)
    assert [cell["kept"] for cell in found["cells"]] == [cell["again"] for cell in found["cells"]]


def test_a_table_holds_too_though_its_losses_are_rounded(out, tmp_path, run_python):
    table = out / "tables" / f"{NAME}.csv"
    done = run_python("-m", MODULE, table, "--sample", "1", "--seed", "7", "--out", tmp_path / "new", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == report(tmp_path / "new", 1, 7)
    assert [cell["why"] for cell in printed["cells"]] == ["equal bit for bit"]


def test_one_altered_bit_of_one_loss_is_found(out, run_python):
    def change(record):
        losses = record["curves"]["train_loss"]
        losses[6] = math.nextafter(losses[6], math.inf)

    alter(out, "002-seed1", change)
    done = run_python("-m", MODULE, out / "ledgers" / NAME, "--sample", "4", "--out", out, *ONE)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert sum(line.endswith(": equal bit for bit") for line in lines) == 3
    assert lines[-1].startswith("3 of 4 cells hold")
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: 1 of 4 cells do not hold: {SECOND} seed 1: ")
    assert "not equal on the same numerics: train_loss of epoch 7 is " in error
    assert report(out, 4)["holds"] is False


def test_a_record_that_belies_its_checksum_fails_before_any_training(out, run_python):
    path = out / "ledgers" / NAME / "records" / "001-seed1.json"
    path.write_text(path.read_text().replace('"images": 640', '"images": 641'))
    done = run_python("-m", MODULE, NAME, "--sample", "1", "--out", out)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}: its content does not match its checksum; ")
    assert done.stderr.count("\n") == 1
    assert "benchmark.build_groundtruth" in done.stderr
    assert done.stdout == ""
    assert not (out / "verify").exists()


# --- stopped and killed ---


def test_a_killed_verification_goes_on_and_a_stopped_one_decides_nothing(out, environment, run_python):
    words = ["-m", MODULE, NAME, "--sample", "2", "--out", str(out), *ONE]
    stopped = run_python(*words, "--stop-after", "0.1s")
    assert stopped.returncode == 1
    error = stopped.stderr.splitlines()[-1]
    assert "2 of 2 cells are not trained yet, so nothing is decided; go on with: python -m benchmark.verify" in error
    assert stopped.stdout == ""

    process = subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    work = out / "verify" / NAME / "work"
    until = time.monotonic() + PATIENCE
    while not list(work.glob("00*.lock")) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    done = run_python(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("2 of 2 cells hold")
    assert not work.exists()


def test_cells_trained_by_an_earlier_start_count_only_if_the_same_code_and_numerics_made_them(out, run_python):
    claim = Claim.found(NAME, out)
    first, second = claim.sample(2, 0)
    work = Ledger(out / "verify" / NAME, SPACE, RECIPE)
    work.prepare()
    source = Ledger.under(out, SPACE, RECIPE)
    shutil.copy(source.record_path(first), work.record_path(first))
    stale = json.loads(source.record_path(second).read_text())
    stale["provenance"]["version"] = "0.0.1"
    stale["checksum"] = checksum(stale)
    work.record_path(second).write_text(json.dumps(stale))
    done = run_python("-m", MODULE, NAME, "--sample", "2", "--out", out, *ONE)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 cells are trained again already" in done.stderr
    assert [record["provenance"]["version"] == "0.0.1" for record in report(out, 2)["records"]] == [False, False]


def test_two_verifications_of_one_thing_do_not_meet(out):
    work = out / "verify" / NAME / "work"
    work.mkdir(parents=True)
    with claims.claim(work / "verify.lock") as mine:
        assert mine
        with pytest.raises(Failure, match="another process verifies"):
            main([NAME, "--sample", "1", "--out", str(out), "--device", "cpu"])


def test_a_smaller_sample_leaves_what_a_larger_one_has_begun(out):
    claim = Claim.found(NAME, out)
    cells = claim.sample(3, 0)
    source, work = Ledger.under(out, SPACE, RECIPE), Ledger(out / "verify" / NAME, SPACE, RECIPE)
    work.prepare()
    for run in cells[:2]:
        shutil.copy(source.record_path(run), work.record_path(run))
    (asked,) = claim.sample(1, 0)
    others = [run for run in cells if run != asked]
    work.checkpoint_path(others[-1]).write_bytes(b"half-way")
    assert main([NAME, "--sample", "1", "--out", str(out), "--device", "cpu", *ONE]) == 0
    assert work.recorded() == [run for run in cells[:2] if run != asked]
    assert work.checkpoint_path(others[-1]).read_bytes() == b"half-way"


def test_no_report_takes_the_place_of_another(out):
    words = [NAME, "--sample", "1", "--out", str(out), "--device", "cpu", *ONE]
    claim = Claim.found(NAME, out)
    (run,) = claim.sample(1, 0)
    stem = Ledger.under(out, SPACE, RECIPE).stem(run)
    whole = (out / "ledgers" / NAME / "records" / f"{stem}.json").read_bytes()
    alter(out, stem, lambda record: record["curves"]["test_loss"].__setitem__(0, 9.0))
    with pytest.raises(Failure, match="do not hold"):
        main(words)
    (out / "ledgers" / NAME / "records" / f"{stem}.json").write_bytes(whole)
    assert main(words) == 0
    kept = [json.loads((out / "verify" / f"{NAME}-sample1-seed0{end}.json").read_text()) for end in ("", "-2")]
    assert [each["holds"] for each in kept] == [False, True]


def test_a_report_written_before_a_kill_is_not_written_twice(tmp_path):
    path = tmp_path / "report.json"
    for content, place in ((1, path), (1, path), (2, tmp_path / "report-2.json"), (2, tmp_path / "report-2.json")):
        assert _keep(path, {"cell": content}) == place
    assert len(list(tmp_path.iterdir())) == 2


def test_the_place_where_it_works_cannot_be_what_it_verifies(out):
    place = shutil.copytree(out / "ledgers" / NAME, out / "verify" / NAME)
    before = contents(place)
    with pytest.raises(UsageError, match="use another --out"):
        main([str(place), "--sample", "1", "--out", str(out), "--device", "cpu"])
    assert contents(place) == before


# --- on other numerics ---


def test_other_numerics_are_held_against_seed_noise(out, run_python):
    def elsewhere(record):
        record["provenance"]["torch"] = "2.0.0"

    for stem in ("001-seed0", "001-seed1", "002-seed0", "002-seed1"):
        alter(out, stem, elsewhere)
    done = run_python("-m", MODULE, NAME, "--sample", "1", "--out", out, *ONE)
    assert done.returncode == 0, done.stderr
    line, _ = done.stdout.splitlines()
    assert "+0.00 points, z +0.00, margin " in line
    assert "within the noise of seeds; other numerics (torch 2.0.0, here " in line


HERE = {"device": "chip", "torch": "2.9"}


def claim_of(kept, noise=None, **more):
    """A claim of one accuracy per run, made on `HERE` unless said otherwise."""
    cells = {run: Kept(accuracy, {}, HERE | more) for run, accuracy in kept.items()}
    return Claim("planted", "ledger planted", SPACE, RECIPE, "c", cells, noise, None)


def judged(claim, again):
    records = {run: {"test_accuracy": accuracy, "curves": {}} for run, accuracy in again.items()}
    return list(_verdicts(claim, records, HERE))


def test_margin_of_seed_noise_by_hand():
    """s = 0.3, 4 degrees of freedom: t(0.975) = 2.776445 times 0.3 sqrt(2); with two cells t(0.9875) = 3.495406."""
    noise, spread = Pooled(0.3, 4), 0.3 * math.sqrt(2)
    run, other = Run(0, FIRST), Run(0, SECOND)
    (verdict,) = judged(claim_of({run: 90.0}, noise, torch="2.8"), {run: 91.0})
    assert verdict.margin == pytest.approx(2.776445 * spread)
    assert verdict.z == pytest.approx(1 / spread)
    assert verdict.holds
    (verdict,) = judged(claim_of({run: 90.0}, noise, torch="2.8"), {run: 88.8})
    assert not verdict.holds
    assert "-1.20 points, z -2.83, margin 1.18: beyond the noise of seeds" in str(verdict)
    both = judged(claim_of({run: 90.0, other: 80.0}, noise, torch="2.8"), {run: 88.8, other: 80.0})
    assert [verdict.holds for verdict in both] == [True, True]
    assert both[0].margin == pytest.approx(3.495406 * spread)
    # on the same numerics nothing is forgiven
    (verdict,) = judged(claim_of({run: 90.0}, noise), {run: 90.01})
    assert (verdict.holds, verdict.margin) == (False, None)
    assert "not equal on the same numerics" in str(verdict)


def table_with(provenance, **more):
    rows = [Row.of(FIRST, {0: 80.0, 1: 80.5}), Row.of(SECOND, {0: 82.0})]
    stated = {"recipe": RECIPE.to_dict(), "recipe_hash": RECIPE.hash, "checksum": "c", "provenance": provenance}
    return GroundTruth.from_rows("t", SPACE, rows, Origin("synthetic", **stated | more))


def test_a_table_made_on_several_machines_is_held_against_seed_noise():
    one = Claim.of_table(table_with({"device": ["chip"], "torch": ["2.9"], "git_commit": ["a", "b"], "runs": 3}))
    several = Claim.of_table(table_with({"device": ["chip", "other"], "torch": ["2.9"], "runs": 3}))
    run = Run(0, FIRST)
    for claim, bits in ((one, True), (several, False)):
        (verdict,) = judged(claim, {run: 80.0})
        assert verdict.holds
        assert (verdict.margin is None) is bits
    assert one.noise == Pooled(pytest.approx(0.5 / math.sqrt(2)), 1)


def test_what_neither_bits_nor_noise_can_decide_is_refused_before_training(out):
    for stem in ("001-seed1", "002-seed1"):
        (out / "ledgers" / NAME / "records" / f"{stem}.json").unlink()
    for stem in ("001-seed0", "002-seed0"):
        alter(out, stem, lambda record: record["provenance"].update(torch="2.0.0"))
    with pytest.raises(
        UsageError, match=r"other numerics \(torch 2.0.0, here .*\), and .* has no configuration with two"
    ):
        main([NAME, "--sample", "1", "--out", str(out), "--device", "cpu"])
    assert not (out / "verify").exists()


def test_cells_that_do_not_fit_memory_are_refused_before_training(out, monkeypatch):
    monkeypatch.setattr("benchmark.training.memory.available_bytes", lambda device: 1e8)
    with pytest.raises(UsageError, match=r"at batch \d+ takes about .*cpu has 100 MB left: use another --device$"):
        main([NAME, "--sample", "1", "--out", str(out), "--device", "cpu"])
    assert not list((out / "verify").rglob("*-sample*.json"))


# --- the sample ---


def test_the_sample_is_a_function_of_the_seed_and_grows_with_the_ledger():
    runs = {Run(seed, config): 80.0 for seed in range(3) for config in SPACE}
    claim = claim_of(runs)
    assert claim.sample(5, 0) == claim.sample(5, 0) == sorted(claim.sample(5, 0))
    assert set(claim.sample(5, 0)) < set(claim.sample(9, 0))
    assert len({tuple(claim.sample(5, seed)) for seed in range(20)}) == 20
    # every cell has its chance: each of 108 drawn in 1,000 samples of 9, 83 times or so
    drawn = [run for seed in range(1000) for run in claim.sample(9, seed)]
    counts = [drawn.count(run) for run in runs]
    assert min(counts) > 40
    assert max(counts) < 130
    # with fewer cells those that are left keep their order
    fewer = {run: 80.0 for run in runs if run not in claim.sample(3, 0)}
    assert claim_of(fewer).sample(2, 0) == sorted(set(claim.sample(5, 0)) - set(claim.sample(3, 0)))
    with pytest.raises(UsageError, match="--sample 109: planted has 108 cells"):
        claim.sample(109, 0)


# --- wrong usage ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["published", "--sample", "1"], "table published states no recipe"),
        (["nowhere", "--sample", "1"], f"no table 'nowhere'.*; ledgers in .*: {NAME}"),
        ([NAME], "--sample"),
        ([NAME, "--sample", "0"], "'0' is not a whole number from 1 to 999999"),
        ([NAME, "--sample", "5"], "--sample 5: .*give 1 to 4"),
        ([NAME, "--sample", "1", "--device", "tpu"], "unknown device 'tpu'"),
        ([NAME, "--sample", "1", "--bogus"], "'--bogus'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line(built, words, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        main([*words, "--out", str(built)])
    assert "\n" not in str(caught.value)
    assert not (built / "verify").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda said: said.update(recipe_hash="0" * 12), "was altered"),
        (lambda said: said["recipe"].update(lr=0.2), "was altered"),
        (lambda said: said["recipe"].update(warmup=3), "no recipe of the fields"),
        (lambda said: said["recipe"].update(precision="fp8"), "precision is 'fp8'"),
        (lambda said: said.pop("space"), "states no recipe of a ledger"),
    ],
)
def test_a_ledger_whose_recipe_cannot_be_believed(out, change, expected):
    path = out / "ledgers" / NAME / "recipe.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(UsageError, match=expected) as caught:
        Ledger.at(path.parent)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_ledger_or_an_empty_one(tmp_path):
    with pytest.raises(UsageError, match=r"is no ledger: recipe\.json cannot be read"):
        Ledger.at(tmp_path)
    ledger = Ledger.under(tmp_path, SPACE, RECIPE)
    ledger.prepare()
    assert Ledger.at(ledger.folder) == ledger
    with pytest.raises(UsageError, match="has no records"):
        main([NAME, "--sample", "1", "--out", str(tmp_path)])


@pytest.mark.parametrize("by_path", [False, True])
def test_a_ledger_that_lost_its_recipe_is_not_mistaken_for_a_table_of_its_name(out, by_path):
    (out / "ledgers" / NAME / "recipe.json").unlink()
    claim = str(out / "ledgers" / NAME) if by_path else NAME
    with pytest.raises(UsageError, match=r"is no ledger: recipe\.json cannot be read .*writes it anew"):
        main([claim, "--sample", "1", "--out", str(out)])


def test_data_of_another_version_is_refused(out, monkeypatch):
    from benchmark.datasets import named

    monkeypatch.setattr(named, "load", lambda *_, **__: SimpleNamespace(checksum="other", name="synthetic"))
    with pytest.raises(UsageError, match="made on another version of synthetic"):
        main([NAME, "--sample", "1", "--out", str(out), "--device", "cpu"])


def test_curves_of_a_record_are_all_compared():
    """Whatever curve and epoch: an altered one is named."""
    from benchmark.verify import _first_difference

    curves = {name: [float(i), i + 0.1234567] for i, name in enumerate(CURVES)}
    record = {"test_accuracy": 3.1234567, "curves": curves}
    assert _first_difference(Kept(3.1234567, curves, {}), record, None) is None
    rounded = {name: [round(x, 5) if name.endswith("loss") else x for x in curve] for name, curve in curves.items()}
    assert _first_difference(Kept(3.1234567, rounded, {}), record, 5) is None
    for name in CURVES:
        for epoch in (0, 1):
            altered = {key: list(curve) for key, curve in curves.items()}
            altered[name][epoch] += 1e-9
            assert f"{name} of epoch {epoch + 1} is" in _first_difference(Kept(3.1234567, altered, {}), record, None)
