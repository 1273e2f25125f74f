"""The numbers of the page: a table as it is explored, a leaderboard, histories, the papers' tables."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

import benchmark
from benchmark.page import explored, histories, kept, leaderboard, pairs, papers, studies
from benchmark.scoring import versus
from benchmark.scoring.ranking import Ranking, ranking_json
from benchmark.spaces import costs
from benchmark.tables.files import write_table
from benchmark.tables.published import Published, Variant
from benchmark.tables.table import GroundTruth, Origin, Row

TABLE = benchmark.load_table("published")
SPACE = TABLE.space
MEANS = np.array(TABLE.means)


def keep(out, name, scores, seed=0, history=None, pick=None, label="paper", method="planted", **options):
    provenance = {"seed": seed, "recipe_label": label, "device": "a machine", "timings": {"seconds": 7200.0}}
    made = Ranking(SPACE.name, tuple(scores), pick, "cifar10", method, options, provenance, history or {})
    (out / "rankings").mkdir(exist_ok=True)
    (out / "rankings" / f"{name}.json").write_text(ranking_json(made))


def board(out, offered=()):
    found = kept.read(out, out / "report", offered)
    return leaderboard.board_of(found.tables[0], found, leaderboard.labels_of(found.rankings))


def test_a_row_of_the_leaderboard_is_the_score_of_all_seeds(tmp_path):
    noise = np.random.default_rng(0).standard_normal((2, 36))
    for seed in range(2):
        keep(tmp_path, f"a{seed}", MEANS + noise[seed], seed, M=1)
    keep(tmp_path, "b", -MEANS, 0, pick="012220220", M=2)
    found = board(tmp_path)
    assert [row.label for row in found.standings] == ["planted M=1", leaderboard.COUNTING, "planted M=2"]
    first, _, last = found.standings
    assert first.taus == pytest.approx([kendalltau(MEANS + n, MEANS).statistic for n in noise])
    assert first.tau == pytest.approx(sum(first.taus) / 2)
    assert (first.seconds, first.seeds, first.recipe) == (7200, ("0", "1"), "paper")
    assert first.links == ("../rankings/a0.json", "../rankings/a1.json")
    assert last.picks[0].accuracy is None
    assert last.picks[0].path == (0, 0, 1, 2, 2, 2, 0, 2, 2, 0)
    assert last.picks[0].projected == str(min(TABLE.rows, key=lambda row: row.mean).config)
    counted = [costs.macs(SPACE, config) for config in SPACE]
    assert found.macs == pytest.approx(kendalltau(counted, MEANS).statistic)


def test_verdicts_of_all_are_those_of_two(tmp_path):
    noise = np.random.default_rng(0).standard_normal((4, 36))
    for name, seed in (("a", 0), ("a", 1), ("b", 0), ("c", 0)):
        keep(tmp_path, f"{name}{seed}", MEANS + noise["abc".index(name) + seed], seed, of=name)
    found = board(tmp_path).verdicts
    assert len(found) == 6  # four with counting MACs
    rankings = [benchmark.scoring.ranking.read_ranking(path) for path in sorted((tmp_path / "rankings").glob("*"))]
    alone = versus.verdict(rankings[:2], rankings[2:3], TABLE)
    [mine] = [v for v in found if (v.one, v.other) == ("planted of=a", "planted of=b")]
    assert (mine.difference, mine.interval, mine.word) == (alone.difference, alone.interval, alone.word)


def test_a_name_has_no_more_than_it_needs(tmp_path):
    keep(tmp_path, "a", MEANS, 0, M=1, same=3)
    keep(tmp_path, "b", MEANS, 0, M=2, same=3)
    keep(tmp_path, "c", MEANS, 0, M=2, same=3, label="long")
    keep(tmp_path, "d", MEANS, 0, M="x\x1b" * 200, same=3)
    rankings = kept.read(tmp_path, tmp_path / "report").rankings
    names = list(leaderboard.labels_of(rankings).values())
    assert names[:3] == ["planted M=1", "planted M=2 paper", "planted M=2 long"]
    assert len(names[3]) == leaderboard.LONGEST
    assert "\x1b" not in names[3]


def test_a_smoke_run_is_named_one_in_every_figure(tmp_path):
    keep(tmp_path, "a", MEANS, 0, label="smoke-precisionfp32", method="alone")
    keep(tmp_path, "b", MEANS, 0)
    rankings = kept.read(tmp_path, tmp_path / "report").rankings
    assert list(leaderboard.labels_of(rankings).values()) == ["alone smoke-precisionfp32", "planted"]


def test_a_method_of_another_space_has_that_in_its_name_and_lengthens_no_other(tmp_path):
    keep(tmp_path, "a", MEANS, 0, M=1)
    keep(tmp_path, "b", MEANS, 1, M=1)
    rankings = list(kept.read(tmp_path, tmp_path / "report").rankings)
    elsewhere = replace(
        rankings[0].ranking, space="resnet18-imagenet", scores=tuple(map(float, range(35))), pick=None, options={"M": 2}
    )
    rankings.append(replace(rankings[0], ranking=elsewhere))
    assert list(leaderboard.labels_of(rankings).values()) == ["planted", "planted", "planted resnet18-imagenet"]


def test_what_are_no_seeds_of_one_method_stand_apart(tmp_path):
    keep(tmp_path, "a", MEANS, 0)
    keep(tmp_path, "b", -MEANS, 0)
    found = board(tmp_path).standings
    assert [(row.label, row.tau) for row in found if row.label != leaderboard.COUNTING] == [
        ("planted, 1 of 2", pytest.approx(1)),
        ("planted, 2 of 2", pytest.approx(-1)),
    ]


def test_what_is_called_like_the_baseline_is_not_taken_for_it(tmp_path):
    made = Ranking(SPACE.name, tuple(-MEANS), None, "cifar10", leaderboard.COUNTING)
    (tmp_path / "rankings").mkdir()
    (tmp_path / "rankings" / "a.json").write_text(ranking_json(made))
    found = {row.label: row.tau for row in board(tmp_path).standings}
    assert len(found) == 2
    assert found[leaderboard.COUNTING] == pytest.approx(board(tmp_path).macs)


def test_long_names_that_are_cut_alike_stay_two_methods(tmp_path):
    for seed, end in enumerate("ab"):
        provenance = {"seed": seed}
        made = Ranking(SPACE.name, tuple(MEANS), None, "cifar10", "x" * 80 + end, {}, provenance)
        (tmp_path / "rankings").mkdir(exist_ok=True)
        (tmp_path / "rankings" / f"{end}.json").write_text(ranking_json(made))
    found = [row for row in board(tmp_path).standings if row.label != leaderboard.COUNTING]
    assert [(row.label[-8:], len(row.taus)) for row in found] == [(", 1 of 2", 1), (", 2 of 2", 1)]


def test_points_and_residuals(tmp_path):
    keep(tmp_path, "a", MEANS)
    keep(tmp_path, "b", -MEANS, of="reversed")
    points = board(tmp_path).points
    assert {point.residual for point in points if point.label == "planted"} == {0}
    best = next(point for point in points if point.label == "planted of=reversed" and point.config == "[7,1,2]")
    assert (best.rank, best.order, best.residual, best.layers) == (1, 36, -35, (7, 1, 2))


def test_budgets_are_medians_over_seeds(tmp_path):
    for seed, sign in enumerate((1, 1, -1)):
        points = [{"epoch": 1, "images": 100, "scores": list(sign * MEANS)}]
        keep(tmp_path, f"a{seed}", MEANS, seed, {"curve": points})
    [moment] = board(tmp_path).moments
    assert (moment.tau, moment.tau_low, moment.tau_high) == pytest.approx((1, -1, 1))
    assert (moment.regret, moment.regret_low, moment.seeds) == (0, 0, 3)
    assert moment.regret_high == pytest.approx(MEANS.max() - MEANS.min())
    assert moment.seconds is None


def test_what_was_not_run_has_its_command(tmp_path):
    keep(tmp_path, "a", MEANS, M=4)
    offered = [kept.Offered("planted", Variant({"M": m}), {"M": m}) for m in (4, 8)]
    [missing] = board(tmp_path, offered).not_run
    assert missing.label == "planted --M 8"
    assert missing.command == f"python -m benchmark.evaluate --method planted --M 8 --out {tmp_path}"


def test_a_table_is_explored_by_its_own_numbers(tmp_path):
    values = {config: {s: 50 + 0.5 * place + 0.1 * s for s in range(3)} for place, config in enumerate(SPACE)}
    curves = {
        (config, s): {
            "train_loss": (2.0, 1.0),
            "train_accuracy": (10.0, 20.0),
            "test_loss": (2.0, 1.5),
            "test_accuracy": (9.0, value),
        }
        for config, seeds in values.items()
        for s, value in seeds.items()
    }
    rows = [Row.of(config, seeds) for config, seeds in values.items()]
    table = GroundTruth.from_rows("own", SPACE, rows, Origin("cifar10", recipe_hash="0" * 12), curves)
    write_table(table, tmp_path / "tables")
    records = tmp_path / "ledgers" / "own" / "records"
    records.mkdir(parents=True)
    for seed, accuracy in ((0, values[SPACE[0]][0]), (1, 1.0)):  # the second is of another training
        record = {"test_accuracy": accuracy, "recipe_hash": "0" * 12, "provenance": {"device": "a machine"}}
        (records / f"001-seed{seed}.json").write_text(json.dumps(record))
    found = kept.read(tmp_path, tmp_path / "report")
    own = explored.explore(found.tables[1], tmp_path, tmp_path / "report")
    first = own.configurations[0]
    assert [training.link for training in first.trainings] == ["../ledgers/own/records/001-seed0.json", None, None]
    assert (first.rank, first.first, first.megamacs) == (36, 1, costs.macs(SPACE, SPACE[0]) / 1e6)
    assert first.worse == ()
    assert first.better is not None
    assert set(first.better) == set(range(1, 36))  # half a point is resolved at a noise of 0.1
    assert own.curves[0].test == (9.0, 50.0)
    assert own.link == "../tables/own.json"


def test_a_table_of_one_seed_resolves_nothing(tmp_path):
    rows = [Row(row.config, row.mean, None, 1) for row in TABLE.rows]
    table = GroundTruth.from_rows("lone", SPACE, rows, Origin("cifar10"))
    own = explored.explore(kept.KeptTable(table, None), tmp_path, tmp_path / "report")
    assert {(one.better, one.worse, one.std) for one in own.configurations} == {(None, None, None)}
    assert own.curves == ()


def test_broken_files_are_named_and_left_out(tmp_path):
    keep(tmp_path, "good", MEANS)
    keep(tmp_path, "odd", MEANS, history={"watched": [{"p(m|c)": "heavy"}]}, of="odd")
    keep(tmp_path, "bent", MEANS, history={"curve": [{"epoch": 1}]}, of="bent")
    (tmp_path / "rankings" / "broken.json").write_text("{")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "torn.json").write_text('{"name": 3}')
    found = kept.read(tmp_path, tmp_path / "report")
    assert len(found.rankings) == 2
    assert [any(name in line for line in found.left_out) for name in ("broken.json", "torn", "bent")] == 3 * [True]
    labels = leaderboard.labels_of(found.rankings)
    of = leaderboard.board_of(found.tables[0], found, labels)
    assert len(of.standings) == 3
    assert of.left_out == ()
    told = histories.histories_of(found.rankings, labels)
    assert told.mixing == ()
    assert [line.split(":")[0] for line in told.left_out] == ["../rankings/odd.json"]


def test_histories_by_their_shape(tmp_path):
    draw = np.random.default_rng(1)
    chances = draw.dirichlet((1, 1, 1), (20, 36))
    visits = draw.integers(1, 9, (20, 50)).cumsum(axis=0)
    watched = [{"epoch": e + 1, "p(m|c)": chances[e].tolist(), "visits": visits[e].tolist()} for e in range(20)]
    weights = draw.dirichlet((1, 1, 1), 9).tolist()
    sizes = draw.integers(1, 33, (4, 9, 2)).tolist()
    keep(tmp_path, "a", MEANS, 4, {"watched": watched, "weights": [weights], "sizes": sizes})
    rankings = kept.read(tmp_path, tmp_path / "report").rankings
    found = histories.histories_of(rankings, leaderboard.labels_of(rankings))
    [mixing], [weighing], [sizing], [drawing] = found.mixing, found.weighing, found.sizing, found.drawing
    assert np.array(sizing.learned).tolist() == sizes
    assert sizing.sizes == (32, 16, 8)
    assert mixing.epochs[0] == 1
    assert mixing.epochs[-1] == 20
    assert list(mixing.models) == sorted(mixing.models)
    place = SPACE.index(mixing.configs[7])
    assert mixing.chances[-1][7] == pytest.approx(chances[-1, place])
    assert mixing.models[7] == chances[-1, place].argmax()
    assert np.array(weighing.weights) == pytest.approx(np.array(weights))
    assert weighing.found == TABLE.best.config.path
    assert [sum(row) for row in drawing.shares] == pytest.approx([1] * histories.COLUMNS)
    whole = visits[:, -36:]
    assert drawing.shares[0] == pytest.approx(whole[0] / whole[0].sum())
    assert drawing.shares[-1] == pytest.approx((whole[19] - whole[18]) / (whole[19] - whole[18]).sum(), abs=0.02)


@pytest.mark.parametrize("sizes", [[9 * [[32, 0]]], [8 * [[32, 32]]], [], [9 * [[32, "wide"]]]])
def test_sizes_of_another_shape_are_left_out(tmp_path, sizes):
    keep(tmp_path, "a", MEANS, history={"sizes": sizes})
    rankings = kept.read(tmp_path, tmp_path / "report").rankings
    found = histories.histories_of(rankings, leaderboard.labels_of(rankings))
    assert found.sizing == ()
    assert len(found.left_out) == 1


def test_papers_tables_have_ours_beside_them(tmp_path):
    keep(tmp_path, "a", MEANS, M=4)
    printed = Published(1, 8, "a mixture", "[5,3,2]", 91.55, 0.08)
    offered = [
        kept.Offered("planted", Variant({"M": 4}, (printed,), tau=0.5), {"M": 4}),
        kept.Offered("planted", Variant({"M": 8}, tau=0.6), {"M": 8}),
    ]
    found = kept.read(tmp_path, tmp_path / "report", offered)
    tables = {table.key: table for table in papers.papers_of(found, board(tmp_path, offered), studies.Studies())}
    row = tables["mixture-table-1"].rows[-1]
    assert [cell.text for cell in row] == [
        "a mixture",
        "[5,3,2]",
        "91.55 ± 0.08",
        "–",
        "[7,1,2]",
        "92.01",
        "1.000",
        "2.0",
    ]
    assert {cell.link for cell in row[4:]} == {"../rankings/a.json"}
    assert [cell.text for cell in tables["mixture-figure-3"].rows[1]] == ["planted M = 8", "0.600", "not run"]
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_table_3_has_what_learned_sizes_come_nearest_to(tmp_path):
    keep(tmp_path, "a", MEANS, method="diffstride")
    offered = [kept.Offered(name, Variant(), {}) for name in ("diffstride", "dynopool", "shape_adaptor")]
    found = kept.read(tmp_path, tmp_path / "report", offered)
    [table] = [
        one
        for one in papers.papers_of(found, board(tmp_path, offered), studies.Studies())
        if one.key == "mixture-table-3"
    ]
    ours = {row[0].text: row[-2:] for row in table.rows}
    assert [cell.text for cell in ours["DiffStride"]] == ["90.52", "[7,1,2] 92.01"]
    assert [cell.link for cell in ours["DiffStride"]] == [None, "../rankings/a.json"]
    assert [cell.text for cell in ours["DynOPool"]] == [cell.text for cell in ours["ShapeAdaptor"]] == ["–", "not run"]
    assert "nearest to the sizes" in table.note


def test_figure_1_has_our_own_trainings_alone(tmp_path):
    values = {config: {s: 50 + place + s for s in range(2)} for place, config in enumerate(SPACE)}
    rows = [Row.of(config, seeds) for config, seeds in values.items()]
    write_table(GroundTruth.from_rows("own", SPACE, rows, Origin("cifar10")), tmp_path / "tables")
    found = kept.read(tmp_path, tmp_path / "report")
    [table] = [one for one in papers.papers_of(found, None, studies.Studies()) if one.key == "mixture-figure-1"]
    late = SPACE.index("[6,2,2]")
    assert [cell.text for cell in table.rows[1]] == [
        "[6,2,2], late pooling, alone",
        "91.83",
        f"{50.5 + late:.2f} ± 0.71",
    ]
    assert table.rows[1][2].link == "../tables/own.json"
    assert [row[1].text for row in table.rows] == ["87.45", "91.83", "86.81", "89.84"]


def test_two_tables_beside_each_other(tmp_path):
    rows = [Row(row.config, row.mean - 1, row.std, row.n) for row in TABLE.rows[:10]]
    write_table(GroundTruth.from_rows("part", SPACE, rows, Origin("cifar10")), tmp_path / "tables")
    [pair] = pairs.pairs_of(kept.read(tmp_path, tmp_path / "report").tables)
    assert (pair.a, pair.b, pair.size, pair.of) == ("published", "part", 10, 36)
    assert pair.tau.value == pytest.approx(1)
    assert all(line.a - line.b == pytest.approx(1) and line.a_rank == line.b_rank for line in pair.lines)
