"""What is kept under results/: scores are those of the rankings beside them, and rankings those that their code gives."""

import csv
import hashlib
import itertools
import json
import math
import re
import shutil
import statistics
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

import nas_methods
from benchmark import load_space, load_table
from benchmark.scoring.correlations import correlations
from benchmark.scoring.interference import interference, read_interference
from benchmark.scoring.ranking import read_ranking
from benchmark.scoring.scores import score
from benchmark.scoring.sides import std_spread
from benchmark.scoring.versus import entrants, verdict, verdicts
from benchmark.simulate import simulate
from benchmark.simulation.known import all_named
from benchmark.spaces import costs
from nas_methods import Task, proxies, resizing
from tests.kept import COMPARISONS, LEDGERS, OURS, PAGE, PARTIAL, RANKINGS, RESULTS, SCORES, TABLES, UNSCORED, VERIFIED

WARMED = ("bse-a17b756f2e76", "mcts-acb1907af568")  # variants of one seed, of which the page tells apart
RESIZED = ("shape_adaptor-9c5b2f6704c8", "dynopool-70ab2cefcd62")  # rank by sizes that they learn: told apart, too
# the page tells of these one by one
SEARCHED = [path for path in SCORES if not path.name.startswith(("zero_cost-", *RESIZED, *WARMED))]
SIMULATED = sorted((RESULTS / "simulation").glob("*.json"))
INTERFERENCE = sorted((RESULTS / "interference").glob("*.json"))
UNTRAINED = [path for path in RANKINGS if read_ranking(path).dataset is None]


def ranked(path):
    """The rankings that a score file names: those of all its seeds."""
    stem, _, _ = path.stem.rpartition("-vs-")
    base, _, seeds = stem.partition("-seed")
    return [read_ranking(RESULTS / "rankings" / f"{base}-seed{seed}.json") for seed in seeds.split("-")]


def test_the_pages_name_all_that_git_tracks():
    """Else a result might be kept that no test reads; own runs, which lie beside, are not tracked."""
    ask = ["git", "ls-files", "results"]
    listed = subprocess.run(ask, cwd=RESULTS.parent, capture_output=True, text=True) if shutil.which("git") else None
    if listed is None or listed.returncode or not listed.stdout:
        pytest.skip("this is no checkout, or git is not installed")
    tracked = {RESULTS.parent / name for name in listed.stdout.splitlines()}
    read = {*RANKINGS, *UNSCORED, *SCORES, *COMPARISONS, *VERIFIED}
    read |= {RESULTS / "tables" / f"{name}.json" for name in (*TABLES, *PARTIAL)} | {
        path / "recipe.json" for path in LEDGERS
    }
    read |= {*INTERFERENCE, *SIMULATED, *(RESULTS / "interference" / "rankings").glob("*.json")}
    elsewhere = {"records", "speed", "splits"}
    widths = RESULTS / "channels"  # read by tests/test_results_channels.py
    kept = {path for path in tracked if path.suffix == ".json" and widths not in path.parents}
    assert {path for path in kept if path.parent.name not in elsewhere} == read


@pytest.mark.parametrize("path", SCORES, ids=lambda path: path.stem)
def test_a_kept_score_is_the_score_of_the_rankings_beside_it(path):
    kept = json.loads(path.read_text())
    place = RESULTS / "tables" / f"{kept['table']}.csv"
    table = load_table(place if place.with_suffix(".json").exists() else kept["table"])
    assert kept["table_sha256"] == table.sha256
    assert json.loads(json.dumps(score(ranked(path), table).to_dict())) == kept


@pytest.mark.parametrize("path", UNTRAINED, ids=lambda path: path.stem)
def test_a_baseline_ranks_again_as_it_is_kept(path):
    kept = read_ranking(path)
    task = Task(load_space(kept.space), None, kept.provenance["seed"], "cpu", None)
    assert nas_methods.load(kept.method)(**kept.options).rank(task).scores == kept.scores


def test_every_ranking_is_scored_and_kept_by_committed_code():
    named = {ranking.method for path in SCORES for ranking in ranked(path)}
    rankings = [read_ranking(path) for path in RANKINGS]
    assert named == {ranking.method for ranking in rankings} >= {"macs", "last_stage", "random_order"}
    assert not any(ranking.provenance["git_dirty"] for ranking in rankings)


# --- tables against ledgers, by nothing of the suite's ---


def cells(path):
    """(config, seed) -> number, of the columns seed0, seed1, ... of a table."""
    with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            for column, text in row.items():
                if column.startswith("seed") and text:
                    yield (row["config"], int(column.removeprefix("seed"))), float(text)


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.name)
def test_every_number_of_a_table_has_its_record_and_every_record_its_number(ledger):
    records = [json.loads(path.read_text()) for path in (ledger / "records").glob("*.json")]
    accuracies = {(record["config"], record["seed"]): record["test_accuracy"] for record in records}
    table = RESULTS / "tables" / f"{ledger.name}.csv"
    assert dict(cells(table)) == accuracies
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["number"]) for row in rows] == sorted({record["number"] for record in records})
    for row in rows:
        values = [accuracy for (config, _), accuracy in accuracies.items() if config == row["config"]]
        assert int(row["n"]) == len(values)
        assert float(row["mean"]) == pytest.approx(statistics.mean(values), abs=1e-9)
        assert (
            row["std"] == ""
            if len(values) == 1
            else float(row["std"]) == pytest.approx(statistics.stdev(values), abs=1e-9)
        )
    with table.with_suffix(".curves.csv").open(newline="") as lines:
        curves = {}
        for row in csv.DictReader(lines):
            curves.setdefault((row["config"], int(row["seed"])), []).append(float(row["test_accuracy"]))
    assert curves == {(r["config"], r["seed"]): r["curves"]["test_accuracy"] for r in records}


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.name)
def test_a_record_is_whole_made_by_committed_code_and_its_accuracy_is_that_of_the_last_epoch(ledger):
    recipe = json.loads((ledger / "recipe.json").read_text())["recipe"]
    for path in (ledger / "records").glob("*.json"):
        record = json.loads(path.read_text())
        body = {key: value for key, value in record.items() if key not in ("timings", "checksum")}
        body["provenance"].pop("loader", None)  # batches are the same, whoever hands them out
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        assert record["checksum"] == digest, path.name
        assert path.stem == f"{record['number']:03d}-seed{record['seed']}"
        assert record["test_accuracy"] == record["curves"]["test_accuracy"][-1]
        assert {len(curve) for curve in record["curves"].values()} == {record["recipe"]["epochs"]}
        assert record["recipe_hash"] == ledger.name.rpartition("-")[2]
        assert not record["provenance"]["git_dirty"]
        assert record["provenance"]["dataset"]["name"] == record["recipe"]["dataset"]
        assert record["recipe"]["dataset"] == load_space(record["space"]).dataset
        assert record["recipe"] == recipe


@pytest.mark.parametrize("path", SCORES, ids=lambda path: path.stem)
def test_the_page_says_of_a_ranking_what_its_score_says(path):
    kept = json.loads(path.read_text())
    result, picks = kept["method"], kept["method"]["picks"]
    low, high = result["interval"]
    said = f"| {result['tau']:.3f} ({low:.3f} to {high:.3f}) |"
    if result["method"] != "macs":  # what is given cannot be taken out of itself
        said += f" {result['tau_given_macs']:.3f} |"
        if result["method"] != "random_order":
            insides = [pick["projected"] or pick for pick in picks]
            wheres = [
                pick["config"] if inside is pick else f"{pick['config']}, projected {inside['config']}"
                for pick, inside in zip(picks, insides, strict=True)
            ]
            cells = (
                wheres,
                [f"{inside['accuracy']:.2f}" for inside in insides],
                [str(inside["rank"]) for inside in insides],
            )
            said += "".join(f" {', '.join(cell if len({*wheres}) > 1 else cell[:1])} |" for cell in cells)
            seeds = f" to {len(picks) - 1}" if len(picks) > 1 else ""
            said += f" `{re.sub(r'(-[0-9]+)+$', '', path.name.partition('-vs-')[0])}`{seeds} |"
    assert said in (RESULTS / "README.md").read_text()


def test_the_halves_of_every_search_are_kept():
    split = json.loads((RESULTS / "splits" / "cifar10-seed0.json").read_text())
    train, validation = (np.array(split[half], dtype="<i8") for half in ("train", "validation"))
    assert len(train) == len(validation) == 25_000
    assert set(train.tolist()) | set(validation.tolist()) == set(range(50_000))
    digest = hashlib.sha256(train.tobytes() + validation.tobytes()).hexdigest()
    for ranking in map(read_ranking, RANKINGS):
        if ranking.dataset is not None:
            assert ranking.provenance["split"] == {"seed": 0, "sha256": digest}
            assert ranking.provenance["dataset"]["checksum"] == split["dataset_checksum"]


def kept_rankings(method):
    """With the method's own options."""
    found = [path for path in RANKINGS if path.name.startswith(f"{method}-")]
    return [read_ranking(path) for path in found if not path.name.startswith(WARMED)]


def test_the_page_says_what_a_warm_up_did():
    published = load_table("published")
    warmed = [score(read_ranking(RESULTS / "rankings" / f"{name}-seed0.json"), published).tau for name in WARMED]
    without = [score(kept_ranking(name), published).tau for name in ("bse", "mcts")]
    told = [f"{one:.3f}" for pair in zip(warmed, without, strict=True) for one in pair]
    page = PAGE.replace("\n", " ")
    assert "BSE {} where the same seed has {} without, MCTS {} for {}.".format(*told) in page
    assert max(warmed) < score(kept_ranking("macs"), published).tau


def test_the_page_says_how_far_learned_sizes_moved_and_what_that_is_worth():
    kept, space = kept_ranking("shape_adaptor"), load_space("resnet20-cifar10")
    first, last = kept.history["sizes"][0], kept.history["sizes"][-1]
    sides = [[rows for rows, columns in sizes if rows == columns] for sizes in (first, last)]
    assert [len(own) for own in sides] == [9, 9]
    between = ["32, 22, 15, 10, 7", "32, 23, 16, 11, 7"]
    assert [", ".join(map(str, dict.fromkeys(own))) for own in sides] == between
    before, after = (macs / 1e6 for macs in kept.history["macs"])
    assert (kept.scores, "[5,2,3]") == (tuple(resizing.scores(last, space)), str(kept.pick))
    told = []
    for table in (load_table("published"), load_table(OURS)):
        accuracies = [table.query(config, seed=None, epoch=None, split="test") for config in space]
        told.append([kendalltau(resizing.scores(sizes, space), accuracies).statistic for sizes in (first, last)])
    (start, end), (ours_start, ours_end) = told
    page = " ".join(PAGE.split())
    assert f"from {between[0]} to {between[1]}, towards" in page
    assert f"from {before:.1f} to {after:.1f} million MACs" in page
    assert f"give tau {start:.3f} against `published` and {ours_start:.3f} against ours" in page
    assert f"the three pixels make {end:.3f} and {ours_end:.3f} of it" in page
    assert f"It took {kept.provenance['timings']['seconds']:,.0f} seconds" in page


def test_the_page_says_how_learned_ratios_shrink_the_maps_and_what_that_costs():
    kept, space = kept_ranking("dynopool"), load_space("resnet20-cifar10")
    sizes = kept.history["sizes"]
    ends = [", ".join(f"{rows}x{columns}" for rows, columns in own[2::3]) for own in (sizes[0], sizes[-1])]
    before, after = (macs / 1e6 for macs in kept.history["macs"])
    assert (kept.scores, "[4,1,5]") == (tuple(resizing.scores(sizes[-1], space)), str(kept.pick))
    shrunk = [sum(rows * columns for rows, columns in own) for own in (sizes[0], sizes[10], sizes[-1])]
    assert shrunk[1] < shrunk[0] * 0.7  # "shrink in the first ten epochs"
    assert abs(shrunk[2] - shrunk[1]) < (shrunk[0] - shrunk[1]) / 3  # "hardly move after that"
    told = []
    for name in ("published", OURS):
        accuracies = [load_table(name).query(config, seed=None, epoch=None, split="test") for config in space]
        told.append([kendalltau(resizing.scores(own, space), accuracies).statistic for own in (sizes[0], sizes[-1])])
    (start, end), (ours_start, ours_end) = told
    page = " ".join(PAGE.split())
    words = [" and ".join(own.rsplit(", ", 1)) for own in ends]
    assert (
        f"from {words[0]}, where each stage ends, to {words[1]}, and from {before:.1f} to {after:.1f} million MACs"
        in page
    )
    assert f"give tau {start:.3f} against `published` and {ours_start:.3f} against ours" in page
    assert f"learning takes them to {end:.3f} and {ours_end:.3f}" in page
    accuracies = [100 * kept_ranking(name).history["accuracy"][-1] for name in ("dynopool", "shape_adaptor")]
    assert (
        "classifies {:.2f} % of the searcher's own held-out half, ShapeAdaptor's larger one {:.2f} %".format(
            *accuracies
        )
        in page
    )
    assert f"It took {kept.provenance['timings']['seconds']:,.0f} seconds" in page


def kept_ranking(method):
    """That of seed 0, of which the page tells more."""
    return kept_rankings(method)[0]


def published_accuracies():
    space, table = load_space("resnet20-cifar10"), load_table("published")
    return np.array([table.query(config, seed=None, epoch=None, split="test") for config in space])


def tau(a, b):
    return round(kendalltau(a, b).statistic, 2)


def test_the_page_says_how_the_supernets_of_the_mixture_rank():
    accuracies, within, without = published_accuracies(), [], []
    for number, kept in enumerate(kept_rankings("mixture")):
        models, scores = np.array(kept.history["models"]), np.array(kept.scores)
        groups = [np.flatnonzero(models == model) for model in range(4)]
        assert {len(own) for own in groups} <= {8, 9, 10}
        within += [kendalltau(scores[own], accuracies[own]).statistic for own in groups]
        levels, truth = ([values[own].mean() for own in groups] for values in (scores, accuracies))
        without.append(tau(scores - np.array(levels)[models], accuracies))
        assert (tau(levels, truth) == 1) == (number > 0)
        if number == 0:
            assert np.argmax(truth) == 0
            assert [round(levels[g], 3) for g in (0, 1)] == [0.810, 0.837]
            assert [round(truth[g], 2) for g in (0, 1)] == [90.88, 90.77]
            assert [len(groups[g]) for g in (0, 1)] == [9, 9]
    assert [round(number, 2) for number in (min(within), max(within), np.mean(within))] == [-0.16, 0.93, 0.37]
    assert without == [0.26, 0.27, 0.18]


def test_the_page_says_how_good_the_picks_of_the_mixture_are():
    means = {}
    for path in SEARCHED:
        kept = json.loads(path.read_text())
        if kept["table"] == "published":
            picks = [pick["projected"] or pick for pick in kept["method"]["picks"]]
            means[kept["method"]["method"]] = statistics.mean(pick["accuracy"] for pick in picks)
    assert round(means["mixture"], 2) == 91.16
    assert max(means, key=means.get) == "mixture"


def test_the_page_says_where_bse_stops_exploring():
    space, kept, accuracies = load_space("resnet20-cifar10"), kept_ranking("bse"), published_accuracies()
    draws = np.array([epoch["p(c)"] for epoch in kept.history["watched"]])
    most = np.argsort(-draws[-1])[:4]
    assert [str(space[i]) for i in most] == ["[3,4,3]", "[4,2,4]", "[4,3,3]", "[4,1,5]"]
    assert (draws[-1][most] * 100).round().tolist() == [48, 33, 12, 7]
    assert (round(np.sort(draws[19])[-4:].sum(), 2), round(draws[-1][most].sum(), 3)) == (0.93, 0.999)
    assert [int((accuracies > accuracies[i]).sum()) + 1 for i in most] == [9, 18, 15, 27]
    assert (tau(draws.sum(0), kept.scores), tau(draws.sum(0), accuracies)) == (0.56, 0.21)
    last = [np.array(other.history["watched"][-1]["p(c)"]) for other in kept_rankings("bse")]
    assert [round(np.sort(draw)[-4:].sum(), 3) for draw in last[1:]] == [0.999, 0.902]
    assert all({*np.argsort(-draw)[:4]} != {*most} for draw in last[1:])


@pytest.mark.parametrize(
    ("one", "other", "table"),
    [
        ("spos", "macs", "published"),
        ("spos", "mixture", "published"),
        ("mixture", "macs", "published"),
        ("mixture", "bse", "published"),
        ("spos", "bse", "published"),
        ("spos", "mcts", "published"),
        ("bse", "short_training", "published"),
        ("short_training", "macs", "published"),
        ("conet", "macs", "published"),
        ("conet", "random_order", "published"),
        ("darts", "mcts", "published"),
        ("shape_adaptor", "macs", "published"),
        ("shape_adaptor", "spos", "published"),
        ("shape_adaptor", "macs", OURS),
        ("dynopool", "macs", "published"),
        ("dynopool", "spos", "published"),
        ("spos", "macs", OURS),
        ("mixture", "macs", OURS),
        ("spos", "mixture", OURS),
        ("bse", "macs", OURS),
        ("short_training", "macs", OURS),
        ("conet", "random_order", OURS),
    ],
)
def test_the_page_says_which_of_two_is_better(one, other, table):
    said = str(verdict(kept_rankings(one), kept_rankings(other), load_table(table)))
    names = {"macs": "counting MACs", "mixture": "the mixture"}
    page = (RESULTS / "README.md").read_text().replace("\n", " ")
    assert f"`{one}` against {names.get(other, f'`{other}`')} {said}" in page


@pytest.mark.parametrize(
    ("table", "pairs"),
    [
        (
            "published",
            [
                ("mixture-1c767d4492c7", "bse-de45df8af4d9"),
                ("spos-3ce1627bba71", "bse-de45df8af4d9"),
                ("spos-3ce1627bba71", "mcts-7a01f2af34a5"),
                ("conet-9cfa00f5e41b", "macs-5b81d8d97230"),
                ("dynopool-70ab2cefcd62", "macs-5b81d8d97230"),
            ],
        ),
        (OURS, [(f"zero_cost-{proxy}", "macs-5b81d8d97230") for proxy in ("37ae9164e9ab", "d7bd5acb2100")]),
    ],
)
def test_adjusted_among_all_that_are_kept_no_verdict_that_the_page_names_is_left(table, pairs):
    groups = {}
    for path in RANKINGS:
        groups.setdefault(path.name.partition("-seed")[0], []).append(read_ranking(path))
    found = verdicts(groups, load_table(table))
    left = found["dynopool-70ab2cefcd62", "spos-3ce1627bba71"]
    assert (left.word, left.adjusted_word) == ("worse", "worse")  # "only the second is left, against both tables"
    for one, other in pairs:
        between = found.get((one, other)) or found[other, one]
        assert (between.word != "unresolved", between.adjusted_word) == (True, "unresolved")
    assert "**Adjusted, every verdict above is unresolved.**" in PAGE


def test_the_page_says_how_rankings_do_against_our_own_table():
    taus = {}
    for path in SEARCHED:
        kept = json.loads(path.read_text())
        taus.setdefault(kept["table"], {})[kept["method"]["method"]] = kept["method"]["tau"]
    assert set(taus) == {"published", OURS}
    assert taus["published"].keys() == taus[OURS].keys()
    gains = {method: round(taus[OURS][method] - taus["published"][method], 2) for method in taus[OURS]}
    assert sorted(gains, key=gains.get)[-2:] == ["short_training", "bse"]
    assert (gains["bse"], gains["short_training"]) == (0.17, 0.14)
    above = {name: {method for method in of if of[method] > of["macs"]} for name, of in taus.items()}
    assert above == {"published": set(), OURS: {"spos", "mixture"}}
    below = {name: {method for method in of if of[method] < -0.05} for name, of in taus.items()}
    assert below == {"published": {"mcts", "darts"}, OURS: {"mcts", "darts", "conet"}}
    searched = set(taus[OURS]) - {"macs", "last_stage", "random_order"}
    assert max(taus["published"][method] for method in searched) == taus["published"]["spos"]

    page = (RESULTS / "README.md").read_text().replace("\n", " ")
    each, here, mixed = (
        json.loads((RESULTS / "scores" / f"{search}-seed0-1-2-vs-{table}.json").read_text())["method"]["taus"]
        for search, table in (
            ("spos-3ce1627bba71", "published"),
            ("spos-3ce1627bba71", OURS),
            ("mixture-1c767d4492c7", OURS),
        )
    )
    assert sum(one > taus[OURS]["macs"] for one in mixed) == 2
    assert each[0] > taus["published"]["macs"] > max(each[1:])
    assert min(here) > taus[OURS]["macs"]
    of = taus["published"]
    assert sorted(searched, key=of.get)[-2:] == ["mixture", "spos"]
    assert f"the {max(each) - min(each):.3f} between the best and the worst of them" in page
    assert f"the {of['spos'] - of['mixture']:.3f} between SPOS and the mixture" in page
    late = json.loads((RESULTS / "comparisons" / f"published-vs-{OURS}.json").read_text())["b"]["late"]["value"]
    assert all(taus[OURS][method] < late for method in searched)  # "None reaches what the layers ... tell"


def test_last_stage_scores_eight_configurations_alike():
    scores = kept_ranking("last_stage").scores
    assert scores.count(max(scores)) == 8
    assert scores.index(max(scores)) == load_space("resnet20-cifar10").index(kept_ranking("last_stage").pick)


def test_every_kept_ranking_states_its_checksum():
    for path in RANKINGS:
        assert "checksum" in json.loads(path.read_text()), path.name


@pytest.mark.parametrize("method", ["spos", "mixture", "mcts", "bse", "short_training", "conet"])
def test_the_page_says_how_far_seeds_of_a_search_lie_apart(method):
    page = " ".join((RESULTS / "README.md").read_text().split())
    rankings = kept_rankings(method)
    assert [ranking.provenance["seed"] for ranking in rankings] == [0, 1, 2]
    a, b, c = (kendalltau(ranking.scores, published_accuracies()).statistic for ranking in rankings)
    assert f"score {a:.3f}, {b:.3f} and {c:.3f}" in page
    between = [kendalltau(x.scores, y.scores).statistic for x, y in itertools.combinations(rankings, 2)]
    assert f"{min(between):.2f} to {max(between):.2f}" in page


def test_the_page_says_what_is_left_where_macs_are_given():
    page = " ".join((RESULTS / "README.md").read_text().split())
    given = {}
    for path in SEARCHED:
        kept = json.loads(path.read_text())
        given.setdefault(kept["table"], {})[kept["method"]["method"]] = kept["method"]["tau_given_macs"]
    of = given[OURS]
    first = sorted((method for method in of if of[method] is not None), key=of.get, reverse=True)[:4]
    assert first == ["bse", "spos", "short_training", "mixture"]
    said = f"`bse` {of['bse']:.3f}, `spos` {of['spos']:.3f}, `short_training` {of['short_training']:.3f} and "
    assert f"{said}the mixture {of['mixture']:.3f}" in page
    assert all(each["mcts"] > 0 > max(each["conet"], each["darts"]) for each in given.values())


def test_the_page_says_what_darts_finds():
    space, kept, accuracies = load_space("resnet20-cifar10"), kept_ranking("darts"), published_accuracies()
    assert kept.pick == "012210200"
    assert sum(ours == theirs for ours, theirs in zip(kept.pick, "012220220", strict=True)) == 7
    likely = np.array(kept.history["weights"]).argmax(axis=2)  # (epochs, blocks)
    assert len(likely) == 30
    assert "".join(map(str, likely[-1])) == kept.pick
    moved = (likely[4:] != likely[-1]).any(axis=0)  # after epoch 5
    assert (np.flatnonzero(moved) + 1).tolist() == [1, 8]
    assert tau(kept.scores, [costs.macs(space, config) for config in space]) == -0.42
    first, *rest = (tau(point["scores"], accuracies) for point in kept.history["curve"])
    assert (first, min(rest), max(rest)) == (-0.48, -0.38, -0.25)
    assert round(kept.provenance["timings"]["seconds"]) == 8091
    assert "AMX" in (RESULTS / "README.md").read_text()
    assert "amx" in kept.provenance["instructions"]


def test_the_page_says_what_two_epochs_tell_alone():
    macs, shorts, ranks = ([k.scores for k in kept_rankings(method)] for method in ("macs", "short_training", "conet"))
    assert [tau(short, macs[0]) for short in shorts] == [-0.05, -0.21, -0.09]
    assert [tau(short, rank) for short, rank in zip(shorts, ranks, strict=True)] == [-0.61, -0.51, -0.38]
    assert [rank.count(0.0) for rank in ranks] == [27, 19, 18]
    slopes = [kept.history["slope"] for kept in kept_rankings("conet")]
    assert [slope.count(0.0) for slope in slopes] == [35, 34, 33]
    assert [tau(slope, published_accuracies()) for slope in slopes] == [-0.17, -0.13, -0.12]
    assert {
        kept.provenance["recipe"]["epochs"] for name in ("short_training", "conet") for kept in kept_rankings(name)
    } == {2}


def test_the_page_says_why_mcts_ranks_backwards():
    space, kept = load_space("resnet20-cifar10"), kept_ranking("mcts")
    visits = kept.history["watched"][-1]["visits"][-len(space) :]  # the last of the tree's nodes are its leaves
    by_name = dict(zip(map(str, space), visits, strict=True))
    assert (sum(visits), by_name["[1,1,8]"], by_name["[1,7,2]"], by_name["[7,1,2]"]) == (2910, 766, 8, 8)
    assert (tau(visits, kept.scores), tau(visits, published_accuracies())) == (0.51, -0.42)


# --- our own table ---


def test_the_page_says_what_a_search_of_another_space_picks():
    [kept] = map(read_ranking, UNSCORED)
    assert (kept.method, kept.space, kept.options["M"], kept.options["proxy"]) == ("mixture", "resnet18-cifar10", 2, 8)
    assert f"scores and picks {kept.pick} (`" in PAGE
    assert len(kept.scores) == len(load_space(kept.space)) == 56
    assert not kept.provenance["git_dirty"]
    assert (kept.provenance["recipe"]["side"], kept.provenance["recipe"]["epochs"]) == (16, 2)


FIRST_LOOKS = [ledger for ledger in LEDGERS if not ledger.name.startswith("resnet20-cifar10-")]


@pytest.mark.parametrize("ledger", FIRST_LOOKS, ids=lambda path: path.name)
def test_the_page_says_what_other_spaces_came_to(ledger):
    found = sorted(cells(RESULTS / "tables" / f"{ledger.name}.csv"))
    rows = [f"| {config} | {accuracy:.2f} |" for (config, seed), accuracy in found]
    assert [seed for (_, seed), _ in found] == [0, 0, 0]
    assert "\n".join([f"| `{ledger.name}` {rows[0]}", *(f"| {row}" for row in rows[1:])]) in PAGE


def test_our_table_is_found_by_its_name_and_no_table_is_without_a_ledger():
    assert load_table(OURS).complete
    assert all((RESULTS / "tables" / f"{name}.json").is_file() for name in TABLES)


def given_what_both_share(one, other):
    """Partial tau of two rankings, given a third to which they have these taus and nothing else in common, were all
    three normal: their correlations are sin(pi tau / 2), and multiply."""
    shared = 2 / math.pi * math.asin(math.sin(math.pi * one / 2) * math.sin(math.pi * other / 2))
    return (shared - one * other) / math.sqrt((1 - one**2) * (1 - other**2))


def test_the_page_says_of_our_table_what_the_comparison_says():
    found = json.loads((RESULTS / "comparisons" / f"published-vs-{OURS}.json").read_text())
    page = " ".join((RESULTS / "README.md").read_text().split())
    a, b = found["a"], found["b"]

    def told(number):
        value = number["value"] if "value" in number else number["mean"]
        low, high = number.get("interval") or (number["low"], number["high"])
        return f"{value:.3f} ({low:.3f} to {high:.3f})"

    for row in ("late", "late_given_macs", "macs"):
        assert f"| {told(a[row])} | {told(b[row])} |" in page, row
    assert f"| {told(a['ceiling']['perfect'])} | {told(b['ceiling']['perfect'])} |" in page
    assert f"| pairs resolved, of 630 | {len(a['resolved'])} | {len(b['resolved'])} |" in page
    for number in (found["tau"], found["tau_given_macs"], found["one_truth"]):
        assert told(number) in page
    one, other = (side["macs"]["value"] for side in (a, b))
    assert f"share nothing but MACs would show about {given_what_both_share(one, other):.2f}" in page
    space = load_space("resnet20-cifar10")
    late = kendalltau([c.layers[0] for c in space], [costs.macs(space, c) for c in space]).statistic
    for side in (a, b):
        assert f"tau given MACs would be about {given_what_both_share(late, side['macs']['value']):.2f}" in page
    beyond = a["late_given_macs"]["value"] - given_what_both_share(late, one)
    assert f"`published` by {beyond:.2f}" in page

    chances = [dict(zip(side["leaders"]["configs"], side["leaders"]["chances"], strict=True)) for side in (a, b)]
    best, here = (side["leaders"]["configs"][0] for side in (a, b))
    lines = {line["config"]: line for line in found["lines"]}
    assert lines[best]["b"]["rank"] == 2
    said = f"| {best} {chances[0][best]:.2f} | {here} {chances[1][here]:.2f}; {best}, second, {chances[1][best]:.2f} |"
    assert said in page
    unresolved = [
        [
            other
            for other in lines
            if other != best and not {f"{best} > {other}", f"{other} > {best}"} & {*side["resolved"]}
        ]
        for side in (a, b)
    ]
    assert unresolved[0] == [a["leaders"]["configs"][1]] == ["[6,2,2]"]
    said = f"by {a['leaders']['gaps'][0]:.2f} points, which {a['leaders']['seeds'][0]} seeds of each would resolve"
    assert said in page
    assert f"a chance of {chances[0][best]:.2f} if the noise is what the stds say" in page
    assert f"In ours it is second, {b['leaders']['gaps'][0]:.2f} points behind the first" in page
    assert f"and unresolved from {len(unresolved[1])} others" in page
    assert f"takes {min(b['leaders']['seeds'])} seeds or more each" in page
    latest = lines["[8,1,1]"]
    assert f"is number {latest['a']['rank']} there and {latest['b']['rank']} here" in page

    against = [[json.loads(config) for config in pair.split(" > ")] for pair in found["contradictions"]]
    assert f"Of the {found['resolved']} pairs that both resolve {found['agree']} are ordered alike" in page
    half = sum(preferred[1] > other[1] for preferred, other in against)
    assert f"In {half} of the {len(against)} others the published table prefers the configuration with more" in page
    assert f"the {len(against)} are {len({str(config) for pair in against for config in pair})} configurations" in page
    own, other = b["settling"]["own"], b["settling"]["other"]
    told_of = "{:.2f} after 4 of 10 epochs, {:.2f} after 5, {:.2f} after 7 and {:.2f} after 9"
    assert told_of.format(*(own[epoch - 1] for epoch in (4, 5, 7, 9))) in page
    assert (
        "with the published end {:.2f}, {:.2f}, {:.2f} and {:.2f}".format(*(other[e - 1] for e in (4, 5, 7, 9))) in page
    )


def test_the_page_says_how_many_runs_there_are_and_by_what_commands():
    found = json.loads((RESULTS / "comparisons" / f"published-vs-{OURS}.json").read_text())
    page = " ".join((RESULTS / "README.md").read_text().split())
    records = [json.loads(path.read_text()) for path in (RESULTS / "ledgers" / OURS / "records").glob("*.json")]
    runs = {(record["number"], record["seed"]) for record in records}
    commands = {(number, seed) for number in range(1, 37) for seed in (0, 1, 2)}
    commands |= {(number, seed) for number in (1, 2, 9) for seed in (2, 3, 4, 5)}
    assert runs == commands
    assert f"holds {len(runs)} runs: all 108 of seeds 0, 1 and 2" in page
    assert f"and {sum(seed > 2 for _, seed in runs)} of further seeds" in page
    counts = [line["b"]["n"] for line in found["lines"]]
    assert (min(counts), max(counts)) == (3, 6)
    assert "all 36 configurations, 3 to 6 seeds" in page
    assert f"{found['b']['pooled']['std']:.2f} points here, {found['a']['pooled']['std']:.2f} published" in page
    low, high = found["std_ratio"]["interval"]
    assert f"a seed matters {found['std_ratio']['value']:.2f} times as much ({low:.2f} to {high:.2f})" in page
    assert f"its seeds scatter {found['std_ratio']['value']:.2f} times as much" in page


def test_the_page_says_whether_noise_may_be_pooled():
    found = json.loads((RESULTS / "comparisons" / f"published-vs-{OURS}.json").read_text())
    page = " ".join((RESULTS / "README.md").read_text().split())
    ours, theirs = (found[side]["std_spread"] for side in "ba")
    assert 0.05 < ours < 0.95
    assert f"closer together than ours in {100 * ours:.0f} % of all tables" in page
    assert theirs < 0.0005
    assert f"in {100 * theirs:.1f} % of 10,000 simulated tables" in page
    rows = load_table("published").rows
    assert (min(row.std for row in rows), max(row.std for row in rows)) == (0.06, 0.18)
    as_of = {n: std_spread([replace(row, n=n) for row in rows], np.random.default_rng(0), 100_000) for n in (3, 4, 7)}
    assert as_of[3] < 1e-4
    assert as_of[4] < 0.01
    assert 0.3 < as_of[7] < 0.7


def test_the_page_of_the_numerics_says_on_how_many_pairs_both_agree():
    (path,) = (path for path in COMPARISONS if path.parent.name == "numerics")
    found = json.loads(path.read_text())
    assert found["agree"] == found["resolved"]
    page = " ".join((RESULTS / "numerics" / "README.md").read_text().split())
    assert f"all {found['agree']} that both resolve" in page
    said = f"tau between both is {found['tau']['value']:.2f} ({found['tau']['interval'][0]:.2f} to"
    assert said in page
    assert f"two draws of one truth would give {found['one_truth']['mean']:.2f} (" in page
    one, other = (dict(cells(RESULTS / "tables" / f"{found[side]['name']}.csv")) for side in "ab")
    shared = sorted(set(one) & set(other))
    means = [
        [statistics.mean(of[cell] for cell in shared if cell[0] == config) for config in sorted({c for c, _ in shared})]
        for of in (one, other)
    ]
    assert f"With the {len(shared)} pairs alone it was {kendalltau(*means).statistic:.2f} (" in page


def test_the_page_says_what_made_our_table_and_how_long_it_took():
    page = " ".join((RESULTS / "README.md").read_text().split())
    records = [json.loads(path.read_text()) for path in (RESULTS / "ledgers" / OURS / "records").glob("*.json")]
    devices = [record["provenance"]["device"] for record in records]
    made = {name: sum(name in device for device in devices) for name in ("AMD EPYC", "Intel")}
    assert sum(made.values()) == len(devices)
    assert f"AMD EPYC {made['AMD EPYC']} runs, Intel Xeon with AMX {made['Intel']}" in page
    hours = [sum(record["timings"]["seconds"] for record in records if record["seed"] == s) / 3600 for s in (0, 1, 2)]
    low, high = min(hours), max(hours)
    assert f"took {low:.1f} to {high:.1f} hours here" in page
    assert f"{100 * round(low * 30 / 100)} to {10 * round(high * 30 / 10)} core-hours" in page


@pytest.mark.parametrize("path", VERIFIED, ids=lambda path: path.stem)
def test_cells_trained_again_by_later_code_are_equal_bit_for_bit_or_within_noise_elsewhere(path):
    page = (RESULTS / "README.md").read_text()
    report = json.loads(path.read_text())
    flags = f"--sample {report['sample']}" + (f" --seed {report['seed']}" if report["seed"] else "") + " --together 1`"
    assert f"{flags}, when it held {report['of']}" in page
    assert report["provenance"]["device"] == "AMD EPYC"
    cells = {(cell["config"], cell["seed"]) for cell in report["cells"]}
    assert cells == {(again["config"], again["seed"]) for again in report["records"]}
    assert len(report["records"]) == report["sample"]
    for again in report["records"]:
        kept = json.loads(
            (RESULTS / "ledgers" / OURS / "records" / f"{again['number']:03d}-seed{again['seed']}.json").read_text()
        )
        if again["provenance"]["device"] == kept["provenance"]["device"]:
            assert again["curves"] == kept["curves"]
        else:
            (cell,) = report["cells"]
            delta = again["test_accuracy"] - kept["test_accuracy"]
            assert abs(delta) <= cell["margin"]
            said = (
                f"{cell['config']} seed {cell['seed']}, is one, and on an {report['provenance']['device']} came out at"
            )
            said += f" {cell['again']:.2f} for {cell['kept']:.2f}, z {cell['z']:+.2f},"
            assert said in " ".join(page.split())
            assert f"whose margin is {cell['margin']:.2f}" in " ".join(page.split())
        assert again["provenance"]["git_commit"] == report["provenance"]["git_commit"]
        assert again["provenance"]["git_commit"] != kept["provenance"]["git_commit"]
        assert again["timings"]["finished"] > kept["timings"]["finished"]
        assert not again["provenance"]["git_dirty"]


def test_the_page_says_which_cells_were_trained_again():
    again = [{(c["config"], c["seed"]) for c in json.loads(path.read_text())["cells"]} for path in VERIFIED]
    assert again == [
        {("[2,4,4]", 0)},
        {("[3,2,5]", 0), ("[4,2,4]", 0), ("[1,2,7]", 5)},
        {("[3,5,2]", 0), ("[3,1,6]", 1), ("[2,2,6]", 2), ("[2,1,7]", 4)},
    ]


# --- zero-cost proxies ---


def zero_cost(table):
    """By proxy: (its score, its rankings)."""
    found = {}
    for path in SCORES:
        if path.name.startswith("zero_cost-") and path.name.endswith(f"-vs-{table}.json"):
            rankings = ranked(path)
            found[rankings[0].options["proxy"]] = (json.loads(path.read_text())["method"], rankings)
    return found


def test_every_proxy_that_ranks_is_kept_with_three_seeds_and_three_batches():
    for table in ("published", OURS):
        kept = zero_cost(table)
        assert set(kept) == {"all", *proxies.PROXIES} - {"l2_norm", "regions"}
        for _, rankings in kept.values():
            assert [ranking.provenance["seed"] for ranking in rankings] == [0, 1, 2]
            assert {(ranking.options["batches"], ranking.options["images"]) for ranking in rankings} == {(3, 32)}
    together = kept["all"][1]
    assert all(ranking.history["constant"] == ["l2_norm", "regions"] for ranking in together)
    for name, (_, alone) in kept.items():
        if name != "all":
            assert [list(r.scores) for r in alone] == [r.history["proxies"][name] for r in together]
    page = " ".join(PAGE.split())
    assert f"took {', '.join(str(round(r.provenance['timings']['seconds'])) for r in together)} seconds" in page


@pytest.mark.parametrize("table", ["published", OURS])
def test_the_page_says_of_every_proxy_what_it_is_beside_macs(table):
    macs = kept_rankings("macs")
    words = {}
    for name, (kept, rankings) in zero_cost(table).items():
        found = verdict(rankings, macs, load_table(table))
        words[name] = (found.word, found.difference > 0)
        low, high = kept["interval"]
        row = rf"^\| `{name}` \| {kept['tau']:.3f} \({low:.3f} to {high:.3f}\) \|.* \| {re.escape(str(found))} \|$"
        assert re.search(row, PAGE, re.MULTILINE), name
    assert {name for name, (_, above) in words.items() if above} == {
        "swap",
        "nwot",
    }  # "no other lies above counting MACs"
    better = {name for name, (word, _) in words.items() if word == "better"}
    assert better == (set() if table == "published" else {"swap", "nwot"})


def test_the_page_says_what_proxies_count():
    page = " ".join(PAGE.split())
    path = RESULTS / "correlations" / "zero_cost.csv"
    rankings = [ranking for _, group in zero_cost("published").values() for ranking in group]
    found = correlations(entrants(rankings, load_table("published")), [load_table("published"), load_table(OURS)])
    assert path.read_text() == found.csv()
    rows = {row[""]: row for row in csv.DictReader(path.read_text().splitlines())}

    def of(name, other):
        return round(float(rows[f"zero_cost proxy={name}"][other]), 2)

    late = "layers before the first pooling"
    for name in ("swap", "nwot"):
        assert f"`{name}` {of(name, 'MACs'):.2f} and {of(name, late):.2f}" in page
    ntk = [zero_cost(table)["ntk"][0] for table in ("published", OURS)]
    said = f"{ntk[0]['tau']:.3f} and {ntk[1]['tau']:.3f}, but given MACs"
    assert f"{said} {ntk[0]['tau_given_macs']:.3f} and {ntk[1]['tau_given_macs']:.3f}" in page
    assert f"(tau {of('ntk', 'MACs'):.2f})" in page
    near = {name for name in {"all", *proxies.PROXIES} - {"l2_norm", "regions"} if abs(of(name, "MACs")) > 0.75}
    assert near == {
        "swap",
        "nwot",
        "meco",
        "synflow",
        "fisher",
        "effective_receptive_field",
        "snip",
        "grad_norm",
        "all",
    }
    given = zero_cost(OURS)
    assert f"Given MACs {given['swap'][0]['tau_given_macs']:.3f} and {given['nwot'][0]['tau_given_macs']:.3f}" in page


@pytest.mark.parametrize("path", SIMULATED, ids=lambda path: path.stem)
def test_kept_searches_in_simulated_time_are_those_of_their_command(path, tmp_path):
    kept = json.loads(path.read_text())
    name = {load_table(name).sha256: name for name in ("published", OURS)}[kept["table_sha256"]]
    again = simulate(load_table(name), all_named(["all"]), runs=kept["runs"])
    files = {file.name: file.read_bytes() for file in again.write(tmp_path)}
    for end in (".json", ".csv"):
        assert files[f"{path.stem}{end}"] == path.with_suffix(end).read_bytes()
    assert f"--table {name}" in PAGE
    assert f"{kept['runs']} searches of each optimiser" in PAGE


@pytest.mark.parametrize("path", INTERFERENCE, ids=lambda path: path.stem)
def test_kept_interference_is_that_of_the_trainings_beside_it(path):
    kept = read_interference(path)
    rankings = [read_ranking(one) for one in (path.parent / "rankings").glob("*.json")]

    def trained(configs, epochs):
        fitting = [r for r in rankings if r.options["configs"] == configs]
        found = {r.provenance["seed"]: r for r in fitting if r.provenance["recipe"]["epochs"] == epochs}
        return {seed: found[seed] for seed in kept.seeds}

    alone = [trained([config], kept.epochs[0]) for config in kept.configs] if kept.alone else []
    assert interference(alone, trained(list(kept.configs), kept.epochs[1])) == kept


def test_the_page_says_which_proxies_their_seeds_decide():
    page = " ".join(PAGE.split())
    for name in ("plain", "zico", "epe_nas", "jacob_cov"):
        taus = [kendalltau(r.scores, published_accuracies()).statistic for r in zero_cost("published")[name][1]]
        assert f"`{name}` {taus[0]:.3f}, {taus[1]:.3f} and {taus[2]:.3f}" in page
    flows = [kendalltau(r.scores, published_accuracies()).statistic for r in zero_cost("published")["synflow"][1]]
    assert max(flows) - min(flows) < 1e-9
