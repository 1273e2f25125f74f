"""Tables and spaces in other libraries' hands, with the real libraries: what they see is what the table says."""

import importlib
import statistics
import sys

import numpy as np
import pytest

from benchmark import load_space, load_table, simulate
from benchmark.errors import UsageError
from benchmark.spaces.space import SPACES
from tests.conftest import REPOSITORY
from tests.kept import OURS, RESULTS

TABLE = RESULTS / "tables" / f"{OURS}.csv"
EXAMPLES = REPOSITORY / "examples"

pytestmark = pytest.mark.filterwarnings("ignore:BruteForceSampler is experimental")


@pytest.fixture
def optuna():
    library = pytest.importorskip("optuna")
    library.logging.set_verbosity(library.logging.WARNING)
    return library


@pytest.fixture
def problem(optuna):
    from benchmark.adapters.optuna import TableProblem

    return TableProblem.of(load_table(TABLE), training=1)


@pytest.fixture
def run_example(monkeypatch, tmp_path, capsys):
    """run_example(name): what it prints; whatever the library writes lands in an empty folder."""

    def run(name):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("SYNETUNE_FOLDER", str(tmp_path))
        source = (EXAMPLES / name).read_text(encoding="utf-8")
        assert len(source.splitlines()) < 30
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return run


def test_optuna_sees_the_table_and_every_sampler_may_try(optuna, problem):
    table = load_table(TABLE)
    (distribution,) = problem.search_space.values()
    assert list(distribution.choices) == [str(config) for config in table.space]
    for config in ("[4,3,3]", "[7,1,2]"):
        assert problem.evaluate({"config": config}) == table.query(config, seed=1, epoch=None, split="test")
    for sampler in (
        optuna.samplers.RandomSampler(seed=1),
        optuna.samplers.TPESampler(seed=1),
        optuna.samplers.BruteForceSampler(seed=1),
    ):
        study = optuna.create_study(directions=problem.directions, sampler=sampler, pruner=optuna.pruners.NopPruner())
        study.optimize(problem, n_trials=36)
        assert study.best_value == max(trial.value for trial in study.trials)
    assert len({trial.params["config"] for trial in study.trials}) == 36  # of the last, which repeats nothing
    assert study.best_params["config"] == str(max(table.rows, key=lambda row: row.values[1]).config)
    for trial in study.trials:
        row = table.row(trial.params["config"])
        assert trial.user_attrs["judged"] == pytest.approx(statistics.mean([row.values[0], row.values[2]]))


def test_pruners_see_epochs_and_what_they_stop_costs_less(optuna, problem):
    table = load_table(TABLE)
    study = optuna.create_study(
        directions=problem.directions,
        sampler=optuna.samplers.BruteForceSampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
    )
    study.optimize(problem, n_trials=36)
    states = {state: study.get_trials(states=[state]) for state in optuna.trial.TrialState}
    pruned, whole = states[optuna.trial.TrialState.PRUNED], states[optuna.trial.TrialState.COMPLETE]
    assert len(pruned) > 5
    assert len(whole) >= 4
    for trial in study.trials:
        curve = table.curves[table.row(trial.params["config"]).config, 1]["test_accuracy"]
        assert trial.intermediate_values == {epoch + 1: curve[epoch] for epoch in range(len(trial.intermediate_values))}
        full = problem.problem.cost[1, table.space.index(trial.params["config"]), -1]
        assert trial.user_attrs["clock"] == pytest.approx(full * len(trial.intermediate_values) / 10)
    assert all(len(trial.intermediate_values) < 10 for trial in pruned)


def test_optunas_samplers_search_in_simulated_time(optuna):
    from benchmark.adapters.optuna import Sampler

    optimizers = {
        "tpe": Sampler(lambda seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=3)),
        "all": Sampler(lambda seed: optuna.samplers.BruteForceSampler(seed=seed)),
    }
    one, again = (simulate.simulate(load_table("published"), optimizers, runs=10, trainings=8, workers=2) for _ in "12")
    assert one.to_dict() == again.to_dict()
    brute = one.traces["all"][0].events
    assert len({event.config for event in brute}) == len(brute) > 8


def test_a_training_that_is_not_there_is_refused(optuna):
    from benchmark.adapters.optuna import TableProblem

    with pytest.raises(UsageError, match="training is 3: it must be from 0 to 2"):
        TableProblem.of(load_table(TABLE), training=3)


def test_the_example_of_optuna_runs(optuna, run_example):
    printed = run_example("optuna_study.py")
    assert "% by the seeds not seen" in printed
    assert "clock" in printed


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_syne_tune_sees_the_table_with_seeds_and_epochs():
    pytest.importorskip("syne_tune.blackbox_repository.blackbox_tabular")
    from benchmark.adapters.syne_tune import blackbox

    table = load_table(TABLE)
    box = blackbox(table)
    assert box.objectives_evaluations.shape == (36, 3, 10, 2)
    for config, seed, epoch in (("[4,3,3]", 0, 5), ("[1,1,8]", 2, 10)):
        found = box({"config": config}, fidelity={"epoch": epoch}, seed=seed)
        assert found["test_accuracy"] == table.query(config, seed=seed, epoch=epoch, split="test")
        assert found["elapsed_time"] > 0
    assert (np.diff(box.objectives_evaluations[..., 1], axis=2) > 0).all()  # cumulative
    assert blackbox(load_table("published")).objectives_evaluations.shape == (36, 1, 1, 2)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning", "ignore::RuntimeWarning"
)
def test_the_example_of_syne_tune_runs(run_example):
    pytest.importorskip("syne_tune.blackbox_repository.blackbox_tabular")
    said = run_example("syne_tune_simulation.py").splitlines()[-1]
    config = said.partition(":")[0]
    mean = load_table(TABLE).query(config, seed=None, epoch=None, split="test")
    assert f"{mean:.2f} %, the mean over seeds" in said


@pytest.mark.parametrize("name", SPACES)
def test_every_space_goes_to_configspace_and_comes_back(name):
    pytest.importorskip("ConfigSpace")
    from benchmark.adapters.configspace import configuration_space

    space = load_space(name)
    made = configuration_space(space, seed=1)
    assert made.name == name
    assert made.get_default_configuration()["config"] == str(space.default)
    assert list(made["config"].choices) == [str(config) for config in space]
    assert all(space.index(found["config"]) >= 0 for found in made.sample_configuration(20))


@pytest.mark.parametrize(
    ("library", "adapter"), [("optuna", "optuna"), ("syne_tune", "syne_tune"), ("ConfigSpace", "configspace")]
)
def test_a_library_that_is_not_there_is_said_in_one_line(monkeypatch, library, adapter):
    for module in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"benchmark.adapters.{adapter}", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'nas-bench-pooling\["):
        importlib.import_module(f"benchmark.adapters.{adapter}")
