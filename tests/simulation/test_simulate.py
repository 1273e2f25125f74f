"""Search in simulated time: planted tables order optimisers as planted, and every number can be had from the trace."""

import csv
import json
import statistics
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
import pytest

from benchmark import load_space, load_table, simulate
from benchmark.errors import Failure, UsageError
from benchmark.simulation import anytime
from benchmark.simulation.asking import SearchTask, Trial, neighbours
from benchmark.simulation.known import OPTIMIZERS, all_named, named
from benchmark.simulation.optimizers import successive_halving
from benchmark.simulation.problem import Problem, problem_of
from benchmark.simulation.replay import replay
from benchmark.spaces.space import Config, PoolingSpace
from benchmark.streams import stream
from benchmark.tables.table import GroundTruth, Origin, Row
from tests.kept import OURS, RESULTS

SPACE = load_space("resnet50-cifar100")  # 560 configurations
SMALL = load_space("resnet20-cifar10")
EPOCHS = 9


def planted(final, early):
    """A table of 560 with three seeds and curves: `final` (560,) per cent, `early` (560,) what the first epochs show."""
    draw = np.random.default_rng(3)
    values, curves = {}, {}
    for config, end, begin in zip(SPACE, final, early, strict=True):
        for seed in range(3):
            last = float(end + draw.normal(0, 0.1))
            path = [*(float(begin - 20 + 2 * epoch) for epoch in range(EPOCHS - 1)), last]
            values.setdefault(config, {})[seed] = last
            curves[config, seed] = {
                key: tuple(path) for key in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
            }
    rows = [Row.of(config, by_seed) for config, by_seed in values.items()]
    return GroundTruth.from_rows("planted", SPACE, rows, Origin("cifar100"), curves)


HILL = np.array([80 - 0.8 * sum(abs(a - b) for a, b in zip(c.layers, (9, 2, 3, 3), strict=True)) for c in SPACE])
SCATTER = np.random.default_rng(4).permutation(HILL)


def regret_at(table, trainings, **more):
    """Mean regret by optimiser after so many trainings' time, over 60 searches."""
    result = simulate.simulate(table, all_named(["all"]), clock="trainings", trainings=trainings, runs=60, **more)
    return {name: float(curve.mean[-1]) for name, curve in anytime.curves(result.traces, result.times).items()}


def test_on_a_hill_who_walks_finds_more_than_who_draws():
    found = regret_at(planted(HILL, HILL), 60)
    assert found["local_search"] < 0.7 * found["random_search"]
    assert found["evolution"] < 0.7 * found["random_search"]


def test_where_neighbours_tell_nothing_nobody_beats_chance_by_walking():
    table = planted(SCATTER, SCATTER)
    found = regret_at(table, 40)
    expected = float(anytime.random_line(problem_of(table, "trainings"))[39])
    for name in ("random_search", "local_search", "evolution"):
        assert found[name] == pytest.approx(expected, abs=0.35), name


def test_halving_wins_where_early_epochs_tell_and_loses_where_they_lie():
    honest, lying = (regret_at(planted(SCATTER, early), 30) for early in (SCATTER, -SCATTER + 150))
    assert honest["successive_halving"] < 0.7 * honest["random_search"]
    assert lying["successive_halving"] > 1.5 * lying["random_search"]


def test_the_line_of_random_search_is_what_random_search_does():
    problem = problem_of(planted(SCATTER, SCATTER), "trainings")
    traces = [replay(problem, "random_search", named("random_search"), seed, 40.0) for seed in range(300)]
    line = anytime.random_line(problem)
    for k in (1, 5, 40):
        at = anytime.regrets(traces, np.array([float(k)]))[:, 0]
        assert at.mean() == pytest.approx(line[k - 1], abs=4 * at.std() / 300**0.5), k
    assert line[-1] == pytest.approx(
        np.mean([j.max() - j[s[:, -1].argmax()] for s, j in zip(problem.seen, problem.judged, strict=True)])
    )


def test_the_line_of_random_search_knows_ties():
    """By all orders in which four may be drawn; three are seen alike, and judged far apart."""
    space = PoolingSpace("four", (2, 1), 5, Config((1, 4)), "synthetic")
    seen, judged = np.array([5.0, 5.0, 5.0, 1.0]), np.array([1.0, 2.0, 9.0, 4.0])
    problem = Problem(space, 1, (), seen[None, :, None], judged[None], np.ones((1, 4, 1)), "trainings", ())
    leaders = [[max(drawn[:k], key=lambda c: seen[c]) for k in range(1, 5)] for drawn in permutations(range(4))]
    assert anytime.random_line(problem) == pytest.approx(np.mean(9 - judged[leaders], axis=0))


def test_random_draws_meet_the_best_of_36_after_18_and_a_half():
    draws = [1 + stream("test", seed).permutation(36).tolist().index(0) for seed in range(4000)]
    assert anytime.draws_to_best(36) == 18.5
    assert statistics.mean(draws) == pytest.approx(18.5, abs=0.6)


# --- by hand, from files alone ---


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """(traces, JSON, curves) as `simulate` writes them for the table that has records."""
    out = tmp_path_factory.mktemp("simulated")
    table = load_table(RESULTS / "tables" / f"{OURS}.csv")
    result = simulate.simulate(table, all_named(["all"]), runs=10, workers=2, trainings=12)
    paths = {path.name.removeprefix(f"{OURS}-seconds"): path for path in result.write(out)}
    again = simulate.simulate(table, all_named(["all"]), runs=10, workers=2, trainings=12).write(out / "again")
    assert [path.read_bytes() for path in paths.values()] == [path.read_bytes() for path in again]
    with paths[".traces.csv"].open(newline="") as lines:
        traces = list(csv.DictReader(lines))
    with paths[".csv"].open(newline="") as lines:
        return traces, json.loads(paths[".json"].read_text()), list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def accuracies():
    with (RESULTS / "tables" / f"{OURS}.csv").open(newline="") as lines:
        return {row["config"]: {s: float(row[f"seed{s}"]) for s in "012"} for row in csv.DictReader(lines)}


def by_search(traces):
    found = {}
    for row in traces:
        found.setdefault((row["optimizer"], row["search"]), []).append(row)
    return found


def test_regret_is_that_of_the_incumbent_by_the_seeds_it_has_not_seen(ours, accuracies):
    for rows in by_search(ours[0]).values():
        unseen = {c: statistics.mean(v for s, v in by.items() if s != rows[0]["sees"]) for c, by in accuracies.items()}
        best = (0, 0.0)
        for row in rows:
            if (int(row["epochs"]), float(row["seen"])) > best:
                best, held = (int(row["epochs"]), float(row["seen"])), row["config"]
            assert row["incumbent"] == held
            assert float(row["regret"]) == pytest.approx(max(unseen.values()) - unseen[held], abs=1e-6)
            if row["epochs"] == "10":
                assert float(row["seen"]) == accuracies[row["config"]][row["sees"]]


def test_every_training_costs_its_recorded_seconds_and_workers_do_one_thing_at_a_time(ours):
    seconds = {}
    for path in (RESULTS / "ledgers" / OURS / "records").glob("*.json"):
        record = json.loads(path.read_text())
        seconds[record["config"], str(record["seed"])] = record["timings"]["seconds"]
    for rows in by_search(ours[0]).values():
        reached, free = {}, {"0": 0.0, "1": 0.0}
        assert [float(row["ended"]) for row in rows] == sorted(float(row["ended"]) for row in rows)
        for row in rows:
            share = (int(row["epochs"]) - reached.get(row["config"], 0)) / 10
            took = float(row["ended"]) - float(row["began"])
            assert took == pytest.approx(share * seconds[row["config"], row["sees"]], rel=1e-5)
            assert float(row["began"]) >= free[row["worker"]]
            free[row["worker"]] = float(row["ended"])
            reached[row["config"]] = int(row["epochs"])
        assert float(rows[-1]["ended"]) <= ours[1]["budget"] * (1 + 1e-6)
    assert ours[1]["mean_training"] == pytest.approx(
        statistics.mean(value for (_, seed), value in seconds.items() if seed in "012")
    )


def test_curves_are_those_of_the_traces(ours, accuracies):
    traces, made, curves = ours
    searches = by_search(traces)
    for row in curves[::17]:
        regrets = []
        for (name, _), events in searches.items():
            if name == row["optimizer"]:
                done = [event for event in events if float(event["ended"]) <= float(row["time"])]
                unseen = [
                    statistics.mean(v for s, v in by.items() if s != events[0]["sees"]) for by in accuracies.values()
                ]
                regrets.append(float(done[-1]["regret"]) if done else max(unseen) - statistics.mean(unseen))
        assert float(row["mean"]) == pytest.approx(statistics.mean(regrets), abs=1e-6)
        assert float(row["standard_error"]) == pytest.approx(statistics.stdev(regrets) / 10**0.5, abs=1e-6)
        assert float(row["q50"]) == pytest.approx(statistics.median(regrets), abs=1e-6)
    for place in range(len(made["times"])):
        ranks = [curve["mean_rank"][place] for curve in made["optimizers"].values()]
        assert sum(ranks) == pytest.approx(1 + 2 + 3 + 4)


def test_several_workers_are_faster_and_one_and_many_see_the_same_numbers():
    table = planted(HILL, HILL)
    one, four = (regret_at(table, 10, workers=k)["random_search"] for k in (1, 4))
    assert four < one
    problem = problem_of(table, "trainings")
    alone, beside = (replay(problem, "random_search", named("random_search"), 5, 40.0, k) for k in (1, 4))
    assert [e.config for e in alone.events] == [e.config for e in beside.events][: len(alone.events)]


def test_a_seed_decides():
    problem = problem_of(planted(SCATTER, SCATTER), "trainings")
    for name in OPTIMIZERS:
        one, again, other = (replay(problem, name, named(name), seed, 30.0) for seed in (1, 1, 4))  # both see seed 1
        assert one == again
        assert one.events != other.events


# --- the optimisers ---


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("workers", [1, 5])
def test_nobody_trains_twice_and_everybody_ends(name, workers):
    problem = problem_of(load_table(RESULTS / "tables" / f"{OURS}.csv"), "macs")
    trace = replay(problem, name, named(name), 3, 1e18, workers)
    asked = [(event.config, event.epochs) for event in trace.events]
    assert len(set(asked)) == len(asked)
    assert {config for config, _ in asked} == set(range(36))


def test_local_search_goes_up_and_starts_anew_only_on_a_peak():
    problem = problem_of(planted(HILL, HILL), "trainings")
    trace = replay(problem, "local_search", named("local_search"), 0, 560.0)
    values = problem.seen[trace.training, :, -1]
    here, told, starts = trace.events[0].config, {trace.events[0].config}, 1
    for event in trace.events[1:]:
        while (best := max(set(neighbours(SPACE, here)) & told, key=values.__getitem__, default=here)) != here:
            if values[best] <= values[here]:
                break
            here = best
        if event.config not in neighbours(SPACE, here):
            assert set(neighbours(SPACE, here)) <= told  # all around were looked at, and none is better
            here, starts = event.config, starts + 1
        told.add(event.config)
    assert starts > 1


def test_neighbours_differ_by_one_pooling_moved_by_one_place():
    assert [str(SMALL[i]) for i in neighbours(SMALL, SMALL.index("[4,3,3]"))] == [
        "[3,4,3]",
        "[4,2,4]",
        "[4,4,2]",
        "[5,2,3]",
    ]
    assert [str(SMALL[i]) for i in neighbours(SMALL, SMALL.index("[1,1,8]"))] == ["[1,2,7]"]
    for config in range(len(SPACE)):
        assert all(config in neighbours(SPACE, other) for other in neighbours(SPACE, config))


@pytest.mark.parametrize(
    ("eta", "least", "epochs", "rungs"),
    [(3, 1, 10, [1, 3, 10]), (3, 1, 9, [1, 3, 9]), (2, 1, 8, [1, 2, 4, 8]), (3, 3, 10, [3, 10]), (3, 1, 1, [1]), (4, 1, 3, [3]), (3, 1, 100, [1, 3, 11, 33, 100])],
)  # fmt: skip
def test_rungs_of_successive_halving(eta, least, epochs, rungs):
    assert successive_halving.Optimizer(eta, least).rungs(epochs) == rungs


def test_successive_halving_promotes_the_best_third():
    search = successive_halving.Optimizer().begin(SearchTask(SPACE, 9, stream("test")))
    first = [search.ask() for _ in range(9)]
    assert {trial.epochs for trial in first} == {1}
    assert search.ask() is None  # until all of the rung are told
    for value, trial in enumerate(first):
        search.tell(trial, float(value))
    second = [search.ask() for _ in range(3)]
    assert second == [Trial(trial.config, 3) for trial in reversed(first[-3:])]
    for value, trial in enumerate(second):
        search.tell(trial, float(value))
    assert search.ask() == Trial(second[-1].config, 9)


@dataclass(frozen=True)
class Stubborn:
    """Asks for one configuration for ever; or for one that is not there."""

    config: int

    def begin(self, task):
        return self

    def ask(self):
        return Trial(self.config, 1)

    def tell(self, trial, accuracy):
        pass


def test_who_asks_only_for_what_is_known_is_answered_for_nothing_and_comes_to_an_end():
    problem = problem_of(load_table("published"), "trainings")
    trace = replay(problem, "stubborn", Stubborn(0), 0, 100.0)
    assert {event.ended for event in trace.events} == {1.0}
    with pytest.raises(Failure, match="configuration 36 after 1 epochs"):
        replay(problem, "stubborn", Stubborn(36), 0, 100.0)


# --- what is said, and what is refused ---


def test_means_alone_are_seen_and_judge_and_that_is_said():
    problem = problem_of(load_table("published"))
    assert problem.epochs == 1
    assert problem.clock == "macs"
    assert "luck of a seed counts as merit" in " ".join(problem.said)
    assert np.array_equal(problem.seen[0, :, 0], problem.judged[0])


def test_seeds_that_only_some_have_count_as_means():
    rows = [Row.of(config, {0 if i % 2 else 1: 50.0 + i}) for i, config in enumerate(SMALL)]
    problem = problem_of(GroundTruth.from_rows("odd", SMALL, rows, Origin("cifar10")))
    assert problem.seeds == ()
    assert "has no seed of every configuration" in problem.said[1]
    assert problem.judged.tolist() == [[50.0 + i for i in range(36)]]


def test_what_is_seen_never_judges_where_there_are_seeds():
    problem = problem_of(load_table(RESULTS / "tables" / f"{OURS}.csv"))
    table = load_table(OURS)
    assert problem.clock == "seconds"
    assert "AMD EPYC" in problem.said[2]
    for place, seed in enumerate((0, 1, 2)):
        for config, row in enumerate(table.rows):
            others = [row.values[other] for other in (0, 1, 2) if other != seed]
            assert problem.judged[place, config] == pytest.approx(statistics.mean(others))
            assert tuple(problem.seen[place, config]) == table.curves[row.config, seed]["test_accuracy"]
    assert all((np.diff(problem.cost, axis=2) > 0).ravel())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--optimizer", "evolutoin"], "did you mean evolution"),
        (["--optimizer", "evolution:size=3"], "no option 'size': its options are population, sample"),
        (["--optimizer", "random_search:size=3"], "it has none"),
        (["--optimizer", "evolution:population=x"], "no whole number"),
        (["--optimizer", "evolution:population=2"], "sample must be from 1"),
        (["--optimizer", "successive_halving:eta=1"], "eta must be 2 or more"),
        (["--runs", "3"], "give 10 or more"),
        (["--budget", "0"], "above 0"),
        (["--budget", "nan"], "above 0"),
        (["--clock", "seconds"], "no records of table published"),
        (["--clock", "sundial"], "sundial"),
        (["--ledger", "/nowhere"], "no records"),
        (["--table", OURS, "--ledger", str(RESULTS / "ledgers" / "resnet20-cifar10-paper-epochs10-precisionfp32-36f9bd502d44")], "which is not table"),
    ],
)  # fmt: skip
def test_bad_input_is_said_in_one_line(words, said):
    with pytest.raises(UsageError, match=said) as caught:
        simulate.main(words)
    assert "\n" not in str(caught.value)


def test_the_command_prints_what_was_asked_for(capsys, tmp_path):
    assert simulate.main(["--runs", "10", "--budget", "5", "--optimizer", "random_search", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "18.5 trainings" in printed.out
    assert "36 configurations are few" in printed.out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"published-macs{end}" for end in (".csv", ".json", ".traces.csv")
    ]
    simulate.main(["--runs", "10", "--budget", "5", "--optimizer", "random_search", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert made == json.loads((tmp_path / "published-macs.json").read_text())
    assert len(made["optimizers"]["random_search"]["mean"]) == len(made["times"]) == 100
    assert all(a >= b for a, b in pairwise(made["random_search_expected_regret"]))


def test_one_optimiser_alone_has_no_rank():
    problem = Problem(
        SMALL,
        1,
        (),
        np.zeros((1, 36, 1)) + np.arange(36)[None, :, None],
        np.arange(36.0)[None],
        np.ones((1, 36, 1)),
        "trainings",
        (),
    )
    traces = {"random_search": [replay(problem, "random_search", named("random_search"), s, 36.0) for s in range(10)]}
    curve = anytime.curves(traces, np.array([0.5, 36.0]))["random_search"]
    assert curve.rank is None
    assert curve.mean.tolist() == [17.5, 0.0]  # blind at first, then all are known
    assert curve.found.tolist() == [0.0, 1.0]
