"""Scores: equal to scipy's and to what hands can work out; signed; refused where they would mean nothing."""

import json
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas
import pytest
from scipy.stats import false_discovery_control, kendalltau, spearmanr, t, ttest_ind

import benchmark
from benchmark import Ranking, load_space, load_table, score
from benchmark.errors import UsageError
from benchmark.scoring.kendall import kendall
from benchmark.scoring.noise import estimates, redraw
from benchmark.scoring.scores import top_of, tops_of
from benchmark.spaces.costs import macs, parameters
from benchmark.spaces.space import SPACES
from benchmark.tables.table import GroundTruth, Origin, Row

SPACE = load_space()
PUBLISHED = load_table("published")
MEANS = np.array(PUBLISHED.means)
MACS = [macs(SPACE, config) for config in SPACE]


def table_of(rows, name="t", dataset="cifar10", space=SPACE, checksum=None):
    return GroundTruth.from_rows(name, space, rows, Origin(dataset, checksum))


def seeded(spread=0.1, n=3, means=MEANS):
    generator = np.random.default_rng(5)
    return table_of(
        [
            Row.of(c, dict(enumerate(np.round(m + spread * generator.standard_normal(n), 2).tolist())))
            for c, m in zip(SPACE, means, strict=True)
        ]
    )


def refusal(*args, **kwargs) -> str:
    with pytest.raises(UsageError) as caught:
        score(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def vectors(size):
    generator = np.random.default_rng(size)
    for values in (2, 5, 1000):
        yield generator.integers(values, size=size).astype(float), generator.integers(values, size=size).astype(float)


@pytest.mark.parametrize("size", [3, 36, 455])
def test_vectorised_tau_is_scipys(size):
    for a, b in vectors(size):
        many = np.stack([a, b, np.arange(size), -a])
        found = kendall(many, b)
        assert found == pytest.approx([kendalltau(row, b).statistic for row in many], abs=1e-12, nan_ok=True)
        assert kendall(many, many[::-1]) == pytest.approx(
            [kendalltau(x, y).statistic for x, y in zip(many, many[::-1], strict=True)], abs=1e-12, nan_ok=True
        )


def test_headline_is_scipys():
    for a, _ in vectors(36):
        result = score(a, PUBLISHED, draws=10)
        assert result.tau == pytest.approx(kendalltau(a, MEANS).statistic, abs=1e-12)
        assert result.method.spearman == pytest.approx(spearmanr(a, MEANS).statistic, abs=1e-12)


def test_baselines_of_the_published_table():
    result = score([-abs(config.layers[2] - 2) for config in SPACE], PUBLISHED)
    assert result.tau == pytest.approx(0.59, abs=0.005)
    assert result.macs.tau == pytest.approx(0.498, abs=0.0005)
    assert result.macs.picks[0].config == "[8,1,1]"
    assert result.macs.regret == pytest.approx(92.01 - 89.99)
    low, high = result.macs.interval
    assert low < 0.498 < high
    assert result.macs.tau_given_macs is None
    assert "no ranking" in refusal([parameters(SPACE)] * 36, PUBLISHED)


def test_ceilings_of_the_published_table():
    ceiling = score(MACS, PUBLISHED).ceiling
    for found, (mean, low, high) in (
        (ceiling.perfect, (0.956, 0.93, 0.977)),
        (ceiling.independent, (0.937, 0.91, 0.965)),
    ):
        assert found.mean == pytest.approx(mean, abs=0.003)
        assert found.low == pytest.approx(low, abs=0.006)
        assert found.high == pytest.approx(high, abs=0.006)


@pytest.mark.parametrize("table", [PUBLISHED, seeded()], ids=["means", "seeds"])
def test_a_perfect_ranking_and_its_reverse(table):
    perfect = score(list(table.means), table, draws=200)
    assert perfect.tau == pytest.approx(1)
    assert perfect.method.spearman == pytest.approx(1)
    assert perfect.method.tau_significant == pytest.approx(1)
    assert perfect.method.regret == 0
    assert perfect.method.picks[0].rank == 1
    assert [(top.precision, top.regret) for top in perfect.method.top] == [(1, 0)] * 3
    reverse = score([-m for m in table.means], table, draws=200)
    assert reverse.tau == pytest.approx(-1)
    assert reverse.method.tau_significant == pytest.approx(-1)
    assert reverse.interval[1] < 0
    assert reverse.method.picks[0].rank == 36
    assert reverse.macs == perfect.macs
    assert reverse.ceiling == perfect.ceiling


def test_planted_top_k():
    means = np.array([5.0, 4.0, 4.0, 3.0, 2.0, 1.0])
    assert [top_of(k, means, means).precision for k in range(1, 7)] == [1] * 6
    # The true top 2 holds all three of 5, 4, 4; two predicted places, one of them in it.
    top = top_of(2, np.array([0.0, 9.0, 0.0, 8.0, 0.0, 0.0]), means)
    assert (top.precision, top.best, top.regret) == (0.5, 4.0, 1.0)
    # One sure place (4) and one place for two tied ones (5 or 1): best is 5 or 4, evenly; precision 1 or 1/2.
    top = top_of(2, np.array([8.0, 9.0, 0.0, 0.0, 0.0, 8.0]), means)
    assert (top.precision, top.best, top.regret) == (0.75, 4.5, 0.5)
    # All tied but the last: two places for five; pairs enumerated by hand.
    top = top_of(2, np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]), means)
    pairs = list(combinations(means[:5], 2))
    assert top.best == pytest.approx(sum(map(max, pairs)) / len(pairs))
    assert top.precision == pytest.approx(sum(int(a >= 4) + int(b >= 4) for a, b in pairs) / len(pairs) / 2)


def test_top_k_does_not_depend_on_numbering():
    generator = np.random.default_rng(1)
    scores, order = generator.integers(4, size=36).astype(float), generator.permutation(36)
    for k in (1, 3, 5):
        one, other = top_of(k, scores, MEANS), top_of(k, scores[order], MEANS[order])
        assert one.precision == pytest.approx(other.precision)
        assert one.best == pytest.approx(other.best)
        assert 0 <= one.precision <= 1


def test_significant_pairs_by_hand():
    """Two to four seeds each: 36 configurations, of which only the first stands apart from the rest."""
    generator = np.random.default_rng(0)
    table = table_of(
        [
            Row.of(c, dict(enumerate((50 + 40 * (i == 0) + generator.standard_normal(2 + i % 3)).tolist())))
            for i, c in enumerate(SPACE)
        ]
    )
    values = [np.array(list(row.values.values())) for row in table.rows]
    residuals = np.concatenate([own - own.mean() for own in values])
    freedom = len(residuals) - 36
    std = math.sqrt((residuals**2).sum() / freedom)
    p = np.array([2 * t.sf(abs(a.mean() - b.mean()) / std / math.sqrt(1 / len(a) + 1 / len(b)), freedom)
                  for a, b in combinations(values, 2)])  # fmt: skip
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= 0.05 * np.arange(1, 631) / 630)  # Benjamini and Hochberg's rule
    expected = p <= (ordered[below[-1]] if len(below) else -1)
    right, wrong = [1.0] + [0.0] * 35, [-1.0] + [0.0] * 35
    result = score(right, table, draws=10)
    assert result.significant == expected.sum() > 20
    assert f"{expected.sum()} of 630 pairs" in result.text()
    assert result.method.tau_significant > 0.9
    assert score(wrong, table, draws=10).method.tau_significant < -0.9


def test_two_seeds_each_resolve_what_their_own_stds_could_not():
    """Of two seeds an own std has one degree of freedom, so that of two such Welch's t-test has two at most."""
    draw = np.random.default_rng(5)
    table = table_of(
        [
            Row.of(c, dict(enumerate((m + 0.3 * draw.standard_normal(2)).tolist())))
            for c, m in zip(SPACE, MEANS, strict=True)
        ]
    )
    own = [ttest_ind(list(a.values.values()), list(b.values.values()), equal_var=False).pvalue
           for a, b in combinations(table.rows, 2)]  # fmt: skip
    by_own = (false_discovery_control(own) <= 0.05).sum()
    assert score(MACS, table, draws=10).significant > 400 > 100 > by_own


def test_partial_tau_by_hand():
    scores = [float(c.layers[0]) for c in SPACE]
    sa, sm, am = (kendalltau(x, y).statistic for x, y in ((scores, MEANS), (scores, MACS), (MEANS, MACS)))
    expected = (sa - sm * am) / math.sqrt((1 - sm**2) * (1 - am**2))
    assert score(scores, PUBLISHED, draws=10).method.tau_given_macs == pytest.approx(expected)


def test_interval_redraws_the_seeds_that_are_there():
    table = seeded(n=2)
    drawn = redraw(table.rows, estimates(table.rows), 500, np.random.default_rng(0))
    for row, column in zip(table.rows, drawn.T, strict=True):
        # Two values drawn with replacement give a mean that varies by half of what it should, s**2 / n: stretched.
        a, b = row.values.values()
        middle, half = (a + b) / 2, abs(a - b) / 2 * 2**0.5
        assert set(column) == set(np.round([middle - half, middle, middle + half], 9))
        assert column.var() == pytest.approx(row.std**2 / 2, rel=0.15)


def test_interval_without_noise_is_a_point():
    table = table_of([Row(c, m, 0.0, 3) for c, m in zip(SPACE, PUBLISHED.means, strict=True)])
    result = score(MACS, table, draws=50)
    assert result.interval == pytest.approx((result.tau, result.tau))
    assert result.ceiling.perfect.low == pytest.approx(1)
    assert result.significant == sum(a != b for a, b in combinations(table.means, 2))


def test_more_noise_lowers_the_ceiling():
    quiet, loud = (score(MACS, seeded(spread), draws=200).ceiling for spread in (0.05, 1.0))
    assert quiet.perfect.mean > loud.perfect.mean
    assert loud.perfect.mean > loud.independent.mean


def test_one_seed_somewhere_means_no_interval_and_says_why():
    rows = list(seeded().rows)
    rows[3] = Row.of(rows[3].config, {0: 90.0})
    result = score(MACS, table_of(rows))
    assert (result.ceiling, result.interval, result.significant, result.macs.interval) == (None,) * 4
    assert result.tau == pytest.approx(kendalltau(MACS, [row.mean for row in rows]).statistic)
    assert "1 of 36 configurations have one seed only" in str(result)
    assert "1 to 3 seeds" in str(result)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["ceiling"] is None


def method(seed, noise=0.5, **more):
    given = {"method": "mixture", "dataset": "cifar10", "options": {"M": 4}, "provenance": {"seed": seed}} | more
    return Ranking(SPACE.name, tuple(np.random.default_rng(seed).normal(MEANS, noise)), **given)


def test_several_seeds_of_a_method():
    rankings = [method(seed) for seed in range(4)]
    alone = [score(ranking, PUBLISHED) for ranking in rankings]
    result = score(rankings, PUBLISHED)
    assert result.method.taus == tuple(one.tau for one in alone)
    assert result.tau == pytest.approx(np.mean(result.method.taus))
    assert [pick.config for pick in result.method.picks] == [one.method.picks[0].config for one in alone]
    assert result.regret == pytest.approx(np.mean([one.regret for one in alone]))
    assert result.method.top[1].precision == pytest.approx(np.mean([one.method.top[1].precision for one in alone]))
    assert result.macs == alone[0].macs
    # The seeds of the method are drawn too: the interval is wider than if they were the same ranking.
    same = [method(0, provenance={"seed": seed}) for seed in range(4)]
    repeated = score(same, PUBLISHED).interval
    spread = score([method(s, noise=0.2 + s) for s in range(4)], PUBLISHED).interval
    assert spread[1] - spread[0] > repeated[1] - repeated[0]
    assert score([rankings[0]], PUBLISHED) == alone[0]


def test_the_same_call_gives_the_same_numbers():
    assert score(method(1), PUBLISHED) == score(method(1), PUBLISHED)


def test_forms_of_a_ranking():
    scores = np.random.default_rng(3).normal(size=36)
    expected = score(scores, PUBLISHED, draws=10)
    by_config = pandas.Series(scores, index=[str(c) for c in SPACE])
    for form in (
        scores.tolist(),
        tuple(scores),
        dict(zip(SPACE, scores, strict=True)),
        dict(reversed(by_config.to_dict().items())),
        pandas.Series(scores),
        by_config,
        by_config.sort_values(),
        Ranking(SPACE.name, tuple(scores)),
    ):
        assert score(form, PUBLISHED, draws=10) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0] * 36, "no ranking"),
        ([1.0, 2.0], "needs 36 scores"),
        ([*range(35), math.nan], "finite"),
        ([*range(35), None], "give 36 numbers"),
        ([*range(35), "x"], "give 36 numbers"),
        (np.ones((36, 1)), "canonical order"),
        (None, "canonical order"),
        (7, "canonical order"),
        ({"[4,3,3]": 1.0}, "35 of 36"),
        (pandas.Series(range(36)).sort_values(ascending=False), "write it as"),
        ([], "needs 36 scores"),
        (method(0, dataset="synthetic"), "made on synthetic"),
        ([method(0), method(0)], "same seed"),
        ([method(0), method(1, options={"M": 2})], "one by one"),
        ([method(0), method(1, method="spos")], "one by one"),
        ([method(0), 3.0], "mixed"),
        ([method(0), method(1, provenance={"recipe_label": "smoke"})], "recipes"),
        (Ranking("resnet18-cifar10", tuple(range(56))), "resnet18-cifar10"),
    ],
)
def test_what_is_no_ranking_of_this_table(given, said):
    assert said in refusal(given, PUBLISHED)


def test_tables_that_cannot_judge():
    assert "35 of 36" in refusal(MACS, table_of(PUBLISHED.rows[1:]))
    assert "cannot judge" in refusal(MACS, table_of([Row(c, 10.0, 0.0, 3) for c in SPACE]))
    for draws in (0, 1, True, 2.5):
        assert "draws" in refusal(MACS, PUBLISHED, draws=draws)
    assert "benchmark.score(scores, 'published')" in refusal(MACS, 7)


def test_a_ranking_that_saw_no_data_fits_every_table():
    table = table_of(PUBLISHED.rows, dataset="synthetic")
    assert score(method(0, dataset=None), table, draws=10).dataset == "synthetic"


@pytest.mark.parametrize("pick", ["012220220", "222222222", "000000000"])
def test_a_pick_outside_the_space(pick):
    scores = [0.0, 1.0, 1.0, *[0.5] * 33]
    result = score(Ranking(SPACE.name, tuple(scores), pick, "cifar10", "mixing"), PUBLISHED, draws=10)
    [found] = result.method.picks
    assert (found.config, found.accuracy, found.rank, found.regret) == (pick, None, None, None)
    assert result.regret is None
    assert "outside the space" in str(result)
    # Projected on the configuration scored highest, of ties the first: number 2 of Table 6.
    inside = found.projected
    assert (inside.config, inside.accuracy, inside.rank, inside.projected) == ("[1,2,7]", 87.69, 35, None)
    assert inside.regret == pytest.approx(92.01 - 87.69)
    assert "[1,2,7]: 87.69, 4.32" in str(result)


def test_a_pick_inside_the_space_is_not_projected():
    result = score(method(0), PUBLISHED, draws=10)
    assert result.method.picks[0].projected is None
    assert "projected" not in str(result)


def test_rank_of_a_tied_pick():
    result = score(method(0, pick="[6,3,1]"), PUBLISHED, draws=10)  # ties with [5,2,3] at 90.96
    assert result.method.picks[0].rank == 1 + sum(m > 90.96 for m in MEANS)
    assert result.regret == pytest.approx(92.01 - 90.96)


def test_text_shows_recipes_and_the_baseline():
    ranking = method(0, provenance={"seed": 0, "recipe_label": "smoke", "recipe_hash": "0123456789ab"})
    text = str(score([ranking], PUBLISHED))
    for words in (
        "mixture M=4",
        "published",
        "cifar10",
        "3 seeds",
        "smoke (0123456789ab)",
        "not stated",
        "0.498",
        "0.956",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["smoke-epochs3"] * 3, "no result: the recipe smoke"),
        (["paper-epochs30"], "one seed: no claim"),
        (["paper-epochs30"] * 3, None),
        ([None], None),  # it trained nothing: another seed would say the same
    ],
)
def test_what_the_protocol_lets_no_claim_rest_on_is_said(labels, said):
    rankings = [
        method(
            seed, provenance={"seed": seed} | ({"recipe_label": label, "recipe_hash": "0123456789ab"} if label else {})
        )
        for seed, label in enumerate(labels)
    ]
    text = score(rankings, seeded()).text()
    for doubt in ("no result: the recipe smoke", "one seed: no claim"):
        assert (doubt in text) == (doubt == said)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 7.0])
def test_device_seconds_are_said_where_something_was_trained_however_short(seconds):
    timings = {"timings": {"seconds": seconds}}
    assert "device seconds" not in str(score(method(0, provenance={"seed": 0} | timings), PUBLISHED, draws=10))
    trained = method(0, provenance={"seed": 0, "device": "a chip"} | timings)
    assert f"device seconds: {seconds:.0f} (a chip)" in str(score(trained, PUBLISHED, draws=10))


def test_a_tie_for_the_highest_score_is_said_to_people():
    tied, plain = ([min(mean, limit) for mean in MEANS] for limit in (91.0, 100.0))
    count = sum(mean >= 91.0 for mean in MEANS)
    assert count > 1
    result = score(tied, PUBLISHED, draws=10)
    assert f"ties: configurations with the highest score: {count};" in str(result)
    assert result.method.picks[0].config == next(str(c) for c, mean in zip(SPACE, MEANS, strict=True) if mean >= 91.0)
    assert "ties:" not in str(score(plain, PUBLISHED, draws=10))
    both = [Ranking(SPACE.name, tuple(scores), provenance={"seed": seed}) for seed, scores in enumerate((tied, plain))]
    assert f"highest score: {count}; 1;" in str(score(both, PUBLISHED, draws=10))


def test_dictionary_is_json():
    result = score([method(0), method(1, pick="012220220")], PUBLISHED, draws=20)
    found = result.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["method"]["tau"] == result.tau
    assert found["method"]["regret"] is None


def test_a_space_whose_macs_are_not_counted(monkeypatch):
    space = replace(load_space("resnet18-imagenet"), backbone=None)
    monkeypatch.setitem(SPACES, space.name, space)
    rows = [Row(c, 60 + i / 10, 0.2, 3) for i, c in enumerate(space)]
    table = table_of(rows, space=space, dataset="imagenet")
    result = score(list(range(35)), table, draws=50)
    assert result.macs is None
    assert result.method.tau_given_macs is None
    assert result.tau == pytest.approx(1)
    assert str(result)


def test_public_name():
    assert benchmark.score is score


def test_a_ranking_made_on_another_version_of_the_data_is_refused():
    table = table_of([Row(c, m, 0.1, 3) for c, m in zip(SPACE, PUBLISHED.means, strict=True)], checksum="new")
    told = {"dataset": {"name": "cifar10", "checksum": "old"}}
    scores = tuple(float(i) for i in range(36))
    with pytest.raises(UsageError, match="another version of cifar10"):
        score(Ranking(SPACE.name, scores, dataset="cifar10", provenance=told), table)


def test_a_space_of_three_configurations_has_no_top_five():
    scores, means = np.array([1.0, 3.0, 2.0]), np.array([80.0, 81.0, 82.0])
    assert [(top.k, top.best) for top in tops_of(scores, means)] == [(1, 81.0), (3, 82.0)]
