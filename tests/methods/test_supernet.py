"""The one loop of the sampling methods: worked out by hand, resumed at any point, fed from the right half."""

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import SPACE, Small, coded_images, codes_of, random_images, recipe, small, stop_every, task, to_the_end
from torch import nn

from benchmark.datasets import crops
from benchmark.errors import Failure
from benchmark.spaces import networks
from benchmark.streams import stream
from benchmark.training import checkpoint, engine
from nas_methods import Stopped, mixture, spos, supernet
from nas_methods.supernet import Sampler, search

STEPS = 96 // 16  # of an epoch of planted.task


def facts(ranking):
    """All of a ranking but its timings."""
    return ranking.scores, ranking.pick, dict(ranking.history)


@dataclass(frozen=True)
class Fixed(Sampler):
    """Draws configurations in turn and one model always; notes the rewards in its state."""

    of: int = 1
    model: int = 0

    @property
    def models(self):
        return self.of

    def start(self, task):
        return {"rewards": np.zeros(0), "drawn": np.zeros(0, dtype=np.int64)}

    def pick(self, state, step):
        return step.iteration % len(SPACE), self.model

    def update(self, state, picked, reward):
        return {"rewards": np.append(state["rewards"], reward), "drawn": np.append(state["drawn"], picked[0])}


def final_state(method, given):
    """The ranking, and the method's state after the last iteration."""
    seen = []

    class Watched(type(method)):
        def assign(self, state, step, configurations):
            seen.append(state)
            return super().assign(state, step, configurations)

    ranking = search(Watched(**vars(method)), given)
    return ranking, seen[0]


def test_mixture_of_one_is_spos_bit_for_bit():
    for seed in (0, 3):
        one, other = (search(method, task(seed=seed)) for method in (mixture.Method(M=1), spos.Method()))
        assert one.scores == other.scores
        assert one.pick == other.pick
        assert one.history["reward"] == other.history["reward"]
        linear = search(mixture.Method(M=1, temperature="linear"), task(seed=seed))
        assert linear.scores == other.scores
    # and it is no coincidence that holds for any two methods
    assert search(mixture.Method(M=2), task()).scores != search(spos.Method(), task()).scores


def test_mixture_of_one_is_spos_on_the_real_network():
    def network(model):
        made = networks.ResNet(SPACE, affine=False)
        networks.initialise(made, 0, model)
        return made

    shared = {"train": random_images(32, 1), "validation": random_images(16, 2)}
    rankings = [
        search(method, task(network, **shared, recipe=recipe(epochs=1, bn="batch")))
        for method in (mixture.Method(M=1), spos.Method())
    ]
    assert rankings[0].scores == rankings[1].scores
    assert rankings[0].history["reward"] == rankings[1].history["reward"]


@pytest.mark.parametrize("method", [spos.Method(), mixture.Method(M=2), mixture.Method(M=3, proxy=5)], ids=repr)
def test_a_seed_fixes_the_result_and_another_gives_another(method):
    first, again, other = (search(method, task(seed=seed)) for seed in (1, 1, 2))
    assert facts(first) == facts(again)
    assert first.scores != other.scores
    assert first.history["reward"] != other.history["reward"]


def test_streams_are_separate():
    """A method that consumes its model stream differently still draws the same configurations and sees the same data."""

    def run(greedy):
        seen, drawn = [], []

        class Recording(Small):
            def forward(self, x, path):
                seen.append(x.detach().clone())
                return super().forward(x, path)

        class Greedy(mixture.Method):
            def pick(self, state, step):
                if greedy:
                    step.model.random(1000)
                return super().pick(state, step)

            def update(self, state, picked, reward):
                drawn.append(picked)
                return super().update(state, picked, reward)

        search(Greedy(M=4), task(Recording))
        return seen, drawn

    (seen, drawn), (other_seen, other_drawn) = run(False), run(True)
    assert [c for c, _ in drawn] == [c for c, _ in other_drawn]
    assert [m for _, m in drawn] != [m for _, m in other_drawn]
    assert all(torch.equal(a, b) for a, b in zip(seen, other_seen, strict=True))


@pytest.mark.parametrize("k", [1, 5, 17])
@pytest.mark.parametrize(
    "method",
    [spos.Method(), mixture.Method(M=2, temperature="linear"), mixture.Method(M=2, proxy=7)],
    ids=["spos", "mixture", "proxy"],
)
def test_stopped_at_every_kth_chance_and_resumed_the_result_is_the_same(tmp_path, method, k):
    undisturbed = search(method, task())
    checkpoint, stop = tmp_path / "search.pt", stop_every(k)
    resumed, stops = to_the_end(lambda: search(method, task(checkpoint=checkpoint, stop=stop)))
    iterations = 2 * STEPS * method.models
    evaluations = getattr(method, "proxy", 0) or len(SPACE)
    assert stops == (iterations + evaluations) // k  # k = 1 stops inside the final evaluation too, each time
    assert facts(resumed) == facts(undisturbed)


def test_killed_without_notice_it_goes_on_from_the_last_checkpoint(tmp_path, monkeypatch):
    undisturbed = search(mixture.Method(M=2), task())
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", -1.0)  # one checkpoint after every iteration
    rest = []

    def run(die_after):
        count = 0

        def progress(fraction, said):
            nonlocal count
            count += 1
            if count == die_after:
                raise KeyboardInterrupt

        try:
            return search(mixture.Method(M=2), task(checkpoint=tmp_path / "search.pt", progress=progress))
        finally:
            rest.append(count)

    for die_after in (9, 9, 30):  # twice while training, then in the final evaluation
        with pytest.raises(KeyboardInterrupt):
            run(die_after)
    assert facts(run(0)) == facts(undisturbed)
    assert sum(rest) == 24 + 36 + 3  # only the three steps that the kills cost were done twice


def test_a_checkpoint_of_another_search_is_not_resumed(tmp_path, capsys):
    checkpoint = tmp_path / "search.pt"
    expected = search(spos.Method(), task(seed=1))
    for method, seed, more in (
        (spos.Method(), 0, {}),
        (mixture.Method(M=1), 1, {}),
        (spos.Method(), 1, {"recipe": recipe(lr=0.05)}),
    ):
        with pytest.raises(Stopped):
            search(method, task(seed=seed, checkpoint=checkpoint, stop=stop_every(7), **more))
        capsys.readouterr()
        assert facts(search(spos.Method(), task(seed=1, checkpoint=checkpoint))) == facts(expected)
        assert "starts afresh" in capsys.readouterr().err
    checkpoint.write_bytes(b"\x00 no checkpoint")
    assert facts(search(spos.Method(), task(seed=1, checkpoint=checkpoint))) == facts(expected)
    assert "starts afresh" in capsys.readouterr().err


def test_learning_rates_of_all_models_step_together(monkeypatch):
    rates, of_model = [], []

    class Spy(engine.Learner):
        def learn(self, x, y, path, rate):
            result = super().learn(x, y, path, rate)
            [group] = self.optimizer.param_groups
            rates.append(group["lr"])
            of_model.append(id(self))
            assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-3)
            return result

    monkeypatch.setattr(engine, "Learner", Spy)
    search(mixture.Method(M=3), task())
    total = 2 * 3 * STEPS  # E x M epochs
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * t / total)) for t in range(total)], rel=1e-12)
    assert rates[0] == 0.1
    assert len(set(of_model)) == 3


def test_only_the_drawn_model_learns():
    made = []

    def network(model):
        made.append(Small(model))
        return made[-1]

    scores = search(Fixed(of=3, model=2), task(network)).scores
    fresh = [Small(model) for model in range(3)]
    assert len(made) == 3
    same = [
        all(torch.equal(a, b) for a, b in zip(m.parameters(), f.parameters(), strict=True))
        for m, f in zip(made, fresh, strict=True)
    ]
    assert same == [True, True, False]
    # Model 0, which `assign` names by default, was never trained: it scores as it came.
    untrained = engine.Learner(fresh[0], recipe(), torch.device("cpu"))
    assert scores[5] == supernet.evaluate_configuration(untrained, task(), 5, unused_epoch=6)


def normalised(x, eps=1e-5):
    """Batch norm without scale and shift, by the statistics of x."""
    return (x - x.mean((0, 2, 3), keepdim=True)) / torch.sqrt(x.var((0, 2, 3), keepdim=True, unbiased=False) + eps)


def small_by_hand(weights, x, path):
    """`planted.Small` as a function of its weights."""
    x = F.relu(normalised(F.conv2d(F.avg_pool2d(x, 4), weights["conv.weight"])))
    for layer, r in enumerate(path[1:]):
        x = x + torch.tanh(weights["gains"][layer, r] * x)
    return F.linear(F.relu(normalised(x)).mean((2, 3)), weights["classifier.weight"], weights["classifier.bias"])


def test_first_iterations_by_hand():
    """Two SGD steps and their rewards: the accuracy after the step, on a validation batch, by its own statistics."""
    given = task(seed=4)
    _, state = final_state(Fixed(), given)

    weights = {name: p.detach().clone().requires_grad_() for name, p in Small(0).named_parameters()}
    momentum = {name: torch.zeros_like(p) for name, p in weights.items()}
    plan = crops.augmentation(96, 4, 0)
    order = torch.from_numpy(stream("validation", 4, 0).permutation(64))
    for iteration in range(2):
        path = SPACE[iteration].path
        x, y = given.data.train.train(plan, iteration)
        gradients = torch.autograd.grad(F.cross_entropy(small_by_hand(weights, x, path), y), weights.values())
        rate = 0.05 * (1 + math.cos(math.pi * iteration / (2 * STEPS)))
        with torch.no_grad():
            for (name, p), gradient in zip(weights.items(), gradients, strict=True):
                momentum[name] = 0.9 * momentum[name] + gradient + 1e-3 * p
                p -= rate * momentum[name]
            x, y = given.data.validation.chosen(order[16 * iteration : 16 * iteration + 16])
            reward = (small_by_hand(weights, x, path).argmax(1) == y).float().mean().item()
        assert state["rewards"][iteration] == reward
    assert set(state["rewards"] * 16 % 1) == {0}  # fractions of a batch of 16


def test_reward_of_the_real_network_uses_the_statistics_of_the_validation_batch():
    """The logits behind the first reward equal those of a network in training mode, after the step."""
    made, logits = [], []

    def network(model):
        made.append(networks.ResNet(SPACE, affine=False))
        networks.initialise(made[0], 7, model)
        made[0].register_forward_hook(lambda module, given, out: logits.append(out.detach().clone()))
        return made[0]

    given = task(network, seed=7, stop=lambda: True)
    with pytest.raises(Stopped):
        search(Fixed(), given)
    order = torch.from_numpy(stream("validation", 7, 0).permutation(64))
    x, _ = given.data.validation.chosen(order[:16])
    twin = networks.ResNet(SPACE, affine=False)
    twin.load_state_dict(made[0].state_dict())
    twin.train()
    with torch.no_grad():
        expected = twin(x, SPACE[0].path)
    assert len(logits) == 2  # one forward pass to learn, one for the reward
    assert torch.allclose(logits[1], expected, atol=1e-5)


def by_hand_score(network, given, index, bn):
    """Accuracy on the whole validation half, with hooks in the place of batch norm's own memory."""
    path, norms = SPACE[index].path, [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    network.train()  # stateless, so nothing is remembered
    hooks = []
    if bn == "calibrated":
        sums = {norm: [0, 0] for norm in norms}

        def note(norm, given, out):
            [x] = given
            sums[norm][0] = sums[norm][0] + x.mean((0, 2, 3))
            sums[norm][1] = sums[norm][1] + x.var((0, 2, 3), unbiased=True)

        notes = [norm.register_forward_hook(note) for norm in norms]
        plan = crops.augmentation(96, given.seed, given.recipe.epochs)  # an epoch that was not trained
        for k in range(2):  # 32 calibration images in batches of 16
            network(given.data.train.train(plan, k)[0], path)
        for hook in notes:
            hook.remove()

        def replace(norm, given, out):
            [x] = given
            mean, variance = (total.view(1, -1, 1, 1) / 2 for total in sums[norm])
            return (x - mean) / torch.sqrt(variance + norm.eps)

        hooks = [norm.register_forward_hook(replace) for norm in norms]
    right = sum(int((network(x, path).argmax(1) == y).sum()) for x, y in given.data.validation.plain())
    for hook in hooks:
        hook.remove()
    return right / len(given.data.validation)


@pytest.mark.parametrize("bn", ["calibrated", "batch"])
def test_final_scores_by_hand(bn):
    """For every configuration; 57 validation images, so that the last batch is a short one."""
    made = []

    def network(model):
        made.append(Small(model))
        return made[-1]

    given = task(network, validation=random_images(57, 5), recipe=recipe(bn=bn))
    scores = search(spos.Method(), given).scores
    with torch.no_grad():
        expected = [by_hand_score(made[0], given, index, bn) for index in range(len(SPACE))]
    assert scores == pytest.approx(expected, abs=1e-12)
    assert len(set(scores)) > 3
    assert all(m.running_mean is None for m in made[0].modules() if isinstance(m, nn.BatchNorm2d))


def test_the_real_network_is_calibrated_by_hand_alike():
    network = networks.ResNet(SPACE, affine=False)
    networks.initialise(network, 0)
    given = task(recipe=recipe(epochs=1))
    learner = engine.Learner(network, recipe(), torch.device("cpu"))
    found = supernet.evaluate_configuration(learner, given, 0, unused_epoch=1)
    with torch.no_grad():
        assert found == by_hand_score(network, given, 0, "calibrated")


def test_calibration_changes_scores():
    """Else the two tests above could agree by not looking at the option."""
    scores = [search(spos.Method(), task(recipe=recipe(bn=bn))).scores for bn in ("calibrated", "batch")]
    assert scores[0] != scores[1]
    more = search(spos.Method(), task(recipe=recipe(calibration_images=96))).scores
    assert more != scores[0]


def test_halves_are_never_mixed():
    """Weights learn and batch norms calibrate on one half, rewards and scores come from the other, all of it."""
    seen = []

    class Recording(Small):
        def forward(self, x, path):
            code = codes_of(x)
            purpose = "learn" if torch.is_grad_enabled() else "calibrate" if self.training else "evaluate"
            seen.append((purpose, (256 * code[:, 0] + code[:, 1]).tolist()))
            return super().forward(x, path)

    def numbered(first, count):
        numbers = np.arange(first, first + count)
        return coded_images(np.stack([numbers // 256, numbers % 256, 0 * numbers], axis=1), numbers % 10)

    search(spos.Method(), task(Recording, numbered(0, 96), numbered(1024, 64)))
    learned = [ids for purpose, ids in seen if purpose == "learn"]
    calibrated = [ids for purpose, ids in seen if purpose == "calibrate"]
    evaluated = [ids for purpose, ids in seen if purpose == "evaluate"]
    for epoch in (learned[:STEPS], learned[STEPS:]):
        assert sorted(chain(*epoch)) == list(range(96))  # every image once
    assert learned[:STEPS] != learned[STEPS:]
    assert len(calibrated) == 36 * 2
    assert set(chain(*calibrated)) <= set(range(96))
    rewards, scores = evaluated[: 2 * STEPS], evaluated[2 * STEPS :]
    for round_ in (rewards[0:4], rewards[4:8], rewards[8:12]):
        assert sorted(chain(*round_)) == list(range(1024, 1088))
    assert sorted(rewards[0:4]) != sorted(rewards[4:8])  # other batches in every round
    assert scores == 36 * [list(range(first, first + 16)) for first in range(1024, 1088, 16)]


def test_proxy_evaluates_the_best_and_ranks_the_rest_below(monkeypatch):
    full = np.array(search(mixture.Method(M=2), task()).scores)
    evaluated, really = [], supernet.evaluate_configuration

    def note(learner, given, index, unused_epoch):
        evaluated.append(index)
        return really(learner, given, index, unused_epoch)

    monkeypatch.setattr(supernet, "evaluate_configuration", note)
    for k in (1, 5, 36):
        evaluated.clear()
        ranking, state = final_state(mixture.Method(M=2, proxy=k), task())
        models = ranking.history["models"]
        remembered = state["rewards"][np.arange(36), models]
        best = sorted(range(36), key=lambda c: (-remembered[c], c))  # ties: the lowest number
        assert sorted(evaluated) == sorted(best[:k])
        scores = np.array(ranking.scores)
        assert scores[best[:k]].tolist() == full[best[:k]].tolist()
        if k < 36:
            assert scores[best[k:]].max() < 0 <= scores[best[:k]].min()
        # among themselves the rest keep the order of what was remembered
        assert scores[best[k:]].tolist() == sorted(scores[best[k:]], reverse=True)
        assert ranking.pick == str(SPACE[int(scores.argmax())])


def test_what_a_ranking_says_of_its_search():
    ranking = search(mixture.Method(M=2), task())
    assert ranking.space == SPACE.name
    assert ranking.history["images"] == 2 * 2 * 96
    assert len(ranking.history["reward"]) == 4  # one mean per epoch, E x M of them
    _, state = final_state(Fixed(), task())
    means = state["rewards"].reshape(2, STEPS).mean(axis=1)
    assert search(Fixed(), task()).history["reward"] == pytest.approx(means.tolist())
    assert [seen["epoch"] for seen in ranking.history["watched"]] == [1, 2, 3, 4]
    for seen in ranking.history["watched"]:
        assert np.sum(seen["p(m|c)"], axis=1) == pytest.approx(1, abs=1e-4)
    last = np.array(ranking.history["watched"][-1]["p(m|c)"])
    chosen = last[np.arange(36), ranking.history["models"]]
    assert (chosen >= last.max(axis=1) - 1e-5).all()


def test_at_most_100_snapshots_are_kept_and_the_last_is_among_them():
    tiny = {"train": random_images(16, 1), "validation": random_images(16, 2)}
    ranking = search(mixture.Method(M=5), task(**tiny, recipe=recipe(epochs=21, bn="batch")))
    epochs = [seen["epoch"] for seen in ranking.history["watched"]]
    assert len(epochs) <= 100
    assert epochs[0] == 1
    assert epochs[-1] == 105


def test_progress_rises_to_one():
    said = []
    search(spos.Method(), task(progress=lambda fraction, facts: said.append((fraction, facts["images"]))))
    assert len(said) == 2 * STEPS + 36
    assert said == sorted(said)
    assert said[-1] == (pytest.approx(1.0), 192)


def test_halves_smaller_than_a_batch_are_one_short_batch():
    tiny = {"train": random_images(10, 1), "validation": random_images(12, 2)}
    ranking, state = final_state(Fixed(), task(**tiny))
    assert len(state["rewards"]) == 2
    assert set(np.round(state["rewards"] * 12, 9) % 1) == {0}
    assert ranking.history["images"] == 2 * 10


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_failure_with_a_way_out(bad):
    class Broken(Small):
        def forward(self, x, path):
            logits = super().forward(x, path)
            return logits * bad if path == SPACE[2].path else logits

    with pytest.raises(Failure, match=r"iteration 3; try a lower --lr"):
        search(Fixed(), task(Broken))


def test_a_rate_that_explodes_is_noticed():
    with pytest.raises(Failure, match="lower --lr"):
        search(spos.Method(), task(recipe=recipe(lr=100.0, weight_decay=1.0, momentum=0.99, epochs=8)))


def test_models_are_asked_for_by_number():
    asked = []

    def network(model):
        asked.append(model)
        return small(model)

    search(mixture.Method(M=3), task(network, recipe=recipe(epochs=1)))
    assert asked == [0, 1, 2]


def test_the_work_foretold_grows_with_models_epochs_and_images():
    """Four forward passes per trained image (three for the step, one for the reward), then the final evaluation."""

    def work(method=spos.Method(), **changes):  # noqa: B008
        return method.work(task(recipe=recipe(**changes)))

    one_epoch = work(epochs=2) - work(epochs=1)
    assert work(mixture.Method(M=3), epochs=1) == pytest.approx(work(epochs=3))
    evaluation = work(epochs=1) - one_epoch
    assert one_epoch / evaluation == pytest.approx(4 * 96 / (36 * (64 + 32)))


# --- what a method returns by mistake ---


@dataclass(frozen=True)
class Mistaken(Fixed):
    """Picks or assigns what it is told to from iteration 2 on."""

    picked: object = None
    assigned: object = None

    def pick(self, state, step):
        return super().pick(state, step) if step.iteration < 2 or self.picked is None else self.picked

    def assign(self, state, step, configurations):
        return super().assign(state, step, configurations) if self.assigned is None else self.assigned


@pytest.mark.parametrize(
    ("picked", "said"),
    [
        ((40, 0), "pick returned 40: give an index from 0 to 35"),
        ((-1, 0), "pick returned -1: give an index from 0 to 35"),
        ((np.int64(36), 0), "pick returned 36: give an index from 0 to 35"),
        ((SPACE[3], 0), "pick returned [1,4,5]: give an index from 0 to 35"),
        ((3.0, 0), "pick returned 3.0: give an index from 0 to 35"),
        ((3, 2), "pick returned model 2: give a number from 0 to 1"),
        ((3, -1), "pick returned model -1: give a number from 0 to 1"),
        (3, "pick returned 3: give (index, number of the model)"),
        ((3,), "pick returned (3,): give (index, number of the model)"),
    ],
)
def test_a_pick_that_is_none_is_told_before_anything_is_trained_on_it(picked, said):
    done = []
    with pytest.raises(Failure) as caught:
        search(Mistaken(of=2, picked=picked), task(progress=lambda fraction, facts: done.append(fraction)))
    assert str(caught.value) == said
    assert len(done) == 2


@pytest.mark.parametrize("picked", [(np.int64(35), np.int32(1)), np.array([35, 1]), [35, 1]], ids=repr)
def test_whole_numbers_of_any_kind_are_picks(picked):
    taken = search(Mistaken(of=2, picked=picked), task())
    assert facts(taken) == facts(search(Mistaken(of=2, picked=(35, 1)), task()))


def test_a_method_that_draws_more_than_configurations_is_held_to_how_many_it_draws():
    class Beyond(spos.Method):
        def pick(self, state, step):
            return 19683, 0

    with pytest.raises(Failure, match="pick returned 19683: give an index from 0 to 19682"):
        search(Beyond(paths=19683), task())
    with pytest.raises(Failure, match="pick returned 19683: give an index from 0 to 35"):
        search(Beyond(), task())


@pytest.mark.parametrize("assigned", [[2] * 36, [-1] * 36, [0] * 35, [0.5] * 36, 0], ids=repr)
def test_models_that_there_are_not_are_no_assignment(assigned):
    with pytest.raises(Failure, match="give 36 numbers from 0 to 1"):
        search(Mistaken(of=2, assigned=np.array(assigned)), task())
