"""Budget curves by hand, and verdicts that must come out one way."""

import math

import numpy as np
import pytest
from planted import SPACE, planted_task, recipe
from scipy.stats import kendalltau

import benchmark
from benchmark.errors import UsageError
from benchmark.scoring import versus
from benchmark.scoring.kendall import kendall
from benchmark.scoring.ranking import Ranking
from benchmark.training.engine import Learner
from nas_methods import mixture, spos, supernet
from nas_methods.supernet import search

TABLE = benchmark.load_table("published")
MEANS = np.array(TABLE.means)


def ranking(scores, seed=0, history=(), clock=(), method="planted", **options):
    provenance = {"seed": seed, "recipe_label": "paper", "timings": {"seconds": 9.0, "curve": list(clock)}}
    history = {"curve": list(history)}
    return Ranking(SPACE.name, tuple(scores), None, "cifar10", method, options, provenance, history)


def blurred(noise, seed):
    """The truth with normal noise of so many points: a ranking that is right as far as that allows."""
    return ranking(MEANS + noise * np.random.default_rng(seed).standard_normal(36), seed)


def test_a_curve_is_scored_point_by_point():
    best, order = MEANS.argmax(), np.random.default_rng(3).permutation(36).astype(float)
    seen = [
        {"epoch": 1, "images": 100, "scores": [0.5] * 36},
        {"epoch": 2, "images": 200, "scores": order.tolist()},
        {"epoch": 3, "images": 300, "scores": MEANS.tolist()},
    ]
    flat, middle, end = versus.curve(ranking(MEANS, history=seen, clock=[1.5, 3.0, 4.5]), TABLE)
    assert [(p.epoch, p.images, p.seconds) for p in (flat, middle, end)] == [
        (1, 100, 1.5),
        (2, 200, 3.0),
        (3, 300, 4.5),
    ]
    assert flat.tau is None
    assert flat.regret == pytest.approx(MEANS[best] - MEANS.mean())  # any of the 36, drawn evenly
    assert middle.tau == pytest.approx(kendalltau(order, MEANS).statistic)
    assert middle.regret == pytest.approx(MEANS[best] - MEANS[order.argmax()])
    assert (end.tau, end.regret, end.top[2].precision) == (pytest.approx(1), 0, 1)
    assert [p.seconds for p in versus.curve(ranking(MEANS, history=seen), TABLE)] == [None] * 3
    assert versus.curve(ranking(MEANS), TABLE) == []


def test_a_search_keeps_a_curve_and_is_not_moved_by_it():
    method = mixture.Method(M=2)
    bare = search(method, planted_task())
    assert bare.history["curve"] == []
    looked = search(method, planted_task(recipe=recipe(curve_images=240)))
    assert looked.scores == bare.scores
    assert {k: v for k, v in looked.history.items() if k != "curve"} == {
        k: v for k, v in bare.history.items() if k != "curve"
    }
    seen = looked.history["curve"]
    assert [then["epoch"] for then in seen] == [1, 2, 3, 4]
    assert [then["images"] for then in seen] == [96, 192, 288, 384]
    # every network here classifies exactly its path's share of the 240 validation images, trained or not
    assert all(then["scores"] == [round(s, 6) for s in looked.scores] for then in seen)
    clock = looked.provenance["timings"]["curve"]
    assert len(clock) == 4
    assert clock == sorted(clock)
    assert clock[0] > 0
    assert clock[-1] <= looked.provenance["timings"]["seconds"]


def test_looking_is_not_counted_as_time(monkeypatch):
    now = [0.0]

    def taking(seconds, call):
        def slow(*given):
            now[0] += seconds
            return call(*given)

        return slow

    monkeypatch.setattr("nas_methods.supernet.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Learner, "learn", taking(1, Learner.learn))
    monkeypatch.setattr(supernet, "glance", taking(1000, supernet.glance))
    found = search(spos.Method(), planted_task(recipe=recipe(curve_images=240)))
    assert found.provenance["timings"] == {"seconds": 12.0, "curve": [6.0, 12.0]}  # 6 steps an epoch


def test_weighted_tau_is_that_of_the_copies_without_pairs_of_one_configuration():
    draw = np.random.default_rng(5)
    scores, truth = draw.permutation(36).astype(float), draw.integers(0, 20, 36).astype(float)
    copies = draw.multinomial(36, np.full(36, 1 / 36), size=3)
    for weights, found in zip(copies, kendall(np.tile(truth, (3, 1)), scores, copies), strict=True):
        chosen = np.repeat(np.arange(36), weights)
        agree = untied_a = untied_b = 0.0
        for k, i in enumerate(chosen):
            for j in chosen[k + 1 :]:
                if i == j:
                    continue
                a, b = np.sign(scores[i] - scores[j]), np.sign(truth[i] - truth[j])
                agree, untied_a, untied_b = agree + a * b, untied_a + a * a, untied_b + b * b
        assert found == pytest.approx(agree / math.sqrt(untied_a * untied_b))
    ones = np.ones((1, 36))
    assert kendall(truth[None], scores, ones)[0] == pytest.approx(kendalltau(scores, truth).statistic)


def test_verdicts():
    sharp = [blurred(0.2, seed) for seed in range(3)]
    blunt = [blurred(2.0, seed) for seed in range(3)]
    found = versus.verdict(sharp, blunt, TABLE)
    assert found.word == "better"
    taus = [[kendalltau(r.scores, MEANS).statistic for r in group] for group in (sharp, blunt)]
    assert found.difference == pytest.approx(np.mean(taus[0]) - np.mean(taus[1]))
    assert found.interval[0] < found.difference < found.interval[1]
    back = versus.verdict(blunt, sharp, TABLE)
    assert back.word == "worse"
    assert back.difference == -found.difference
    assert versus.verdict(sharp, [blurred(0.2, 7)], TABLE).word == "unresolved"
    assert versus.verdict(sharp, sharp[:1], TABLE) == versus.verdict(sharp, sharp[:1], TABLE)
    assert "better (+" in str(found)


def test_a_verdict_of_a_method_against_itself_is_zero():
    one = [blurred(1.0, 1)]
    found = versus.verdict(one, one, TABLE)
    assert (found.difference, found.interval, found.word) == (0.0, (0.0, 0.0), "unresolved")


def test_pairing_narrows_the_interval():
    """Two rankings with the same mistakes and one more: what they share must cancel."""
    base = MEANS + 1.5 * np.random.default_rng(0).standard_normal(36)
    near = base + 0.1 * np.random.default_rng(1).standard_normal(36)
    far = MEANS + 1.5 * np.random.default_rng(9).standard_normal(36)
    width = [np.ptp(versus.verdict([ranking(base)], [ranking(x)], TABLE).interval) for x in (near, far)]
    assert width[0] < width[1] / 3


def test_many_verdicts_are_adjusted_for_how_many_they_are():
    """Methods that are equal by construction: 45 pairs, of which some say better or worse by luck alone."""
    rng = np.random.default_rng(2)
    equal = {f"m{i}": [ranking(rng.permutation(36).astype(float))] for i in range(10)}
    found = versus.verdicts(equal, TABLE)
    assert list(found) == [(f"m{i}", f"m{j}") for i in range(10) for j in range(i + 1, 10)]
    alone = [v for v in found.values() if v.word != "unresolved"]
    assert alone  # so that there is something to adjust
    assert all(v.adjusted_word == "unresolved" for v in found.values())
    assert all(v.adjusted >= v.p for v in found.values())
    said = versus.in_words(found.values())
    assert said.startswith(f"Of 45 verdicts {len(alone)} say better or worse, each at 95 % on its own")
    assert "Adjusted for how many they are (Holm, 1979), 0 do" in said


def test_what_is_clear_stands_among_many():
    """Draws grow with the pairs: with 2,000 the least p, 0.001, could not be told from luck among 66."""
    rng = np.random.default_rng(2)
    several = {f"m{i}": [ranking(rng.permutation(36).astype(float))] for i in range(11)} | {"true": [ranking(MEANS)]}
    found = versus.verdicts(several, TABLE)
    assert {v.adjusted_word for (_, other), v in found.items() if other == "true"} == {"worse"}
    assert min(v.p for v in found.values()) < 0.05 / len(found)


def test_one_of_many_verdicts_is_the_verdict_on_its_own():
    sharp, blunt = [blurred(0.2, s) for s in range(3)], [blurred(2.0, s) for s in range(2)]
    found = versus.verdicts({"a": sharp, "b": blunt, "c": [blurred(1.0, 9)]}, TABLE)
    alone = versus.verdict(sharp, blunt, TABLE)
    assert (found["a", "b"].difference, found["a", "b"].interval) == (alone.difference, alone.interval)
    assert (alone.adjusted, alone.adjusted_word) == (None, "better")
    assert versus.verdicts({"a": sharp}, TABLE) == {}
    assert versus.in_words([]).startswith("Of 0 verdicts 0 ")


def test_p_is_the_share_of_draws_on_the_other_side():
    one = [blurred(1.0, 1)]
    assert versus.verdict(one, one, TABLE).p == 1.0
    assert versus.verdict([ranking(MEANS)], [ranking(-MEANS)], TABLE).p == pytest.approx(2 / 2001)
    # the interval and p are two readings of the same draws: 0 lies at the interval's edge where p is 5 %
    for seed in range(6):
        found = versus.verdict(one, [blurred(1.5, seed)], TABLE)
        assert (found.p < 0.05) == (found.word != "unresolved") or abs(found.p - 0.05) < 0.003


def test_holm_by_hand():
    """0.01, 0.04, 0.03, 0.005 times 3, 1, 2, 4, then no smaller than those before: 0.04 gets the 0.06 of 0.03."""
    assert versus.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert versus.holm([0.6, 0.7]) == [1.0, 1.0]
    assert versus.holm([]) == []
    assert versus.holm([0.05]) == [0.05]


def test_entrants_are_named_by_what_differs():
    scores = list(range(36))
    given = [ranking(scores, M=1, decay=0.9), ranking(scores, M=4, decay=0.9), ranking(scores, 1, M=4, decay=0.9)]
    given += [ranking(scores, method="other", M=1)]
    assert {k: len(v) for k, v in versus.entrants(given, TABLE).items()} == {
        "planted M=1": 1,
        "planted M=4": 2,
        "other": 1,
    }
    rows = versus.curves({"a": [ranking(scores, 5, [{"epoch": 1, "images": 7, "scores": scores}])]}, TABLE)
    assert rows[["method", "seed", "epoch", "images"]].values.tolist() == [["a", 5, 1, 7]]
    assert rows["tau"][0] == pytest.approx(kendalltau(scores, MEANS).statistic)


def test_refusals():
    other = Ranking("resnet18-cifar10", tuple(range(56)))
    for call in (lambda: versus.curve(other, TABLE), lambda: versus.verdict([blurred(1, 0)], [other], TABLE)):
        with pytest.raises(UsageError, match="resnet18-cifar10"):
            call()
    with pytest.raises(UsageError, match="a ranking of each"):
        versus.verdict([], [blurred(1, 0)], TABLE)
