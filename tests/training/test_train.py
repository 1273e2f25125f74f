"""Training: bit for bit the same however often it is stopped, and each step the SGD that the recipe states."""

import copy
import math
import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from benchmark.datasets import crops, sets
from benchmark.datasets.batches import Batches
from benchmark.errors import Failure, UsageError
from benchmark.recipe import Recipe
from benchmark.spaces import costs, networks
from benchmark.spaces.space import load_space
from benchmark.training import checkpoint, devices, train
from benchmark.training.checkpoint import Checkpoint
from benchmark.training.engine import Learner
from benchmark.training.schedule import learning_rate
from benchmark.training.train import Training
from tests.machine import PRECISION

SPACE = load_space()
CPU = torch.device("cpu")
LIGHT = SPACE[0]  # [1,1,8], the cheapest
# 48 images in batches of 16: three steps in each of three epochs; 20 test images: a last batch of 4.
SHORT = Recipe(epochs=3, batch_size=16, train_images=48, eval_images=20, precision=PRECISION)
STEPS = 9


def trained(dataset, recipe=SHORT, config=LIGHT, seed=0, **options):
    """The results of an undisturbed training, without its seconds."""
    results, seconds = Training(SPACE, config, seed, recipe, dataset, CPU).run(**options)
    assert seconds > 0
    return results


@pytest.fixture(scope="module")
def undisturbed(tiny_dataset):
    torch.set_num_threads(1)
    return trained(tiny_dataset)


def one_line(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


# --- the same result, whatever happens ---


def test_training_twice_gives_the_same_bits(tiny_dataset, undisturbed):
    torch.manual_seed(99)  # the global generator must not matter
    assert trained(tiny_dataset) == undisturbed


def test_results_hold_what_a_record_needs(undisturbed):
    assert set(undisturbed) == {"test_accuracy", "images", "curves"}
    assert set(undisturbed["curves"]) == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
    assert all(len(values) == 3 for values in undisturbed["curves"].values())
    assert undisturbed["images"] == 3 * 48
    # the last epoch counts, never the best
    assert undisturbed["test_accuracy"] == undisturbed["curves"]["test_accuracy"][-1]
    for name, images in (("train_accuracy", 48), ("test_accuracy", 20)):
        for value in undisturbed["curves"][name]:
            assert value * images / 100 == pytest.approx(round(value * images / 100), abs=1e-5)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_stopping_after_every_few_steps_changes_no_bit(tiny_dataset, undisturbed, tmp_path, every):
    path, starts, outcome = tmp_path / "run.pt", 0, None
    while outcome is None:
        taken = iter(range(1, 100))
        outcome = Training(SPACE, LIGHT, 0, SHORT, tiny_dataset, CPU).run(path, stop=lambda: next(taken) == every)  # noqa: B023
        assert path.exists()
        starts += 1
        assert starts <= STEPS + 1
    assert starts == STEPS // every + 1  # it went on each time, and did not start afresh
    assert outcome[0] == undisturbed


@pytest.mark.parametrize("fields", [{"precision": "fp32"}, {"memory_layout": "contiguous"}, {"momentum": 0.0}], ids=str)
def test_stopping_changes_no_bit_under_other_numerics(tiny_dataset, tmp_path, fields):
    recipe = replace(SHORT, epochs=2, **fields)
    path, outcome = tmp_path / "run.pt", None
    for _ in range(4):
        taken = iter(range(1, 100))
        outcome = Training(SPACE, LIGHT, 0, recipe, tiny_dataset, CPU).run(path, stop=lambda: next(taken) == 2)  # noqa: B023
    assert outcome is not None
    assert outcome[0] == trained(tiny_dataset, recipe)


@pytest.mark.parametrize("last", [1, 3, 7])
def test_a_kill_between_checkpoints_changes_no_bit(tiny_dataset, undisturbed, tmp_path, monkeypatch, last):
    path = tmp_path / "run.pt"
    count = iter(range(1, 100))

    def die(fraction, facts):
        if next(count) == last + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", -1.0)  # a checkpoint after each step, but for the last one
    with pytest.raises(KeyboardInterrupt):
        trained(tiny_dataset, checkpoint=path, progress=die)
    first = []
    assert (
        trained(tiny_dataset, checkpoint=path, progress=lambda fraction, facts: first.append(fraction)) == undisturbed
    )
    assert first[0] == (last + 1) / STEPS  # the first step that the killed process had not saved


def test_checkpoints_are_written_after_each_epoch_but_the_last_and_between_only_when_due(
    tiny_dataset, tmp_path, monkeypatch
):
    kept = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, state: kept.append(state["step"]))
    trained(tiny_dataset, checkpoint=tmp_path / "run.pt")  # it takes less than half a minute
    per_epoch = STEPS // SHORT.epochs
    assert kept == list(range(per_epoch, STEPS, per_epoch))


def test_seconds_add_up_over_interruptions(tiny_dataset, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    assert Training(SPACE, LIGHT, 0, SHORT, tiny_dataset, CPU).run(path, stop=lambda: True) is None
    load = Checkpoint.load
    monkeypatch.setattr(Checkpoint, "load", lambda self: load(self) | {"seconds": 1000.0})
    assert Training(SPACE, LIGHT, 0, SHORT, tiny_dataset, CPU).run(path)[1] > 1000


def test_neither_neighbours_nor_threads_of_the_caller_matter(tiny_dataset, undisturbed):
    torch.set_num_threads(2)
    trained(tiny_dataset, seed=5)
    assert trained(tiny_dataset) == undisturbed


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"config": SPACE[1]},
        {"recipe": replace(SHORT, lr=0.05)},
        {"recipe": replace(SHORT, precision="fp32")},
    ],
    ids=["seed", "config", "lr", "precision"],
)
def test_other_seeds_configurations_and_recipes_differ(tiny_dataset, undisturbed, change):
    assert trained(tiny_dataset, **change)["curves"]["train_loss"] != undisturbed["curves"]["train_loss"]


# --- checkpoints that do not fit ---


def stopped(dataset, path, recipe=SHORT, config=LIGHT, seed=0):
    """Leaves a checkpoint after four steps."""
    taken = iter(range(1, 100))
    assert Training(SPACE, config, seed, recipe, dataset, CPU).run(path, stop=lambda: next(taken) == 4) is None


@pytest.mark.parametrize("other", ["recipe", "config", "seed", "data", "torch"])
def test_the_checkpoint_of_another_training_is_ignored_with_a_line(
    tiny_dataset, undisturbed, tmp_path, capsys, monkeypatch, other
):
    path = tmp_path / "run.pt"
    if other == "recipe":
        stopped(tiny_dataset, path, recipe=replace(SHORT, lr=0.05))
    elif other == "config":
        stopped(tiny_dataset, path, config=SPACE[1])
    elif other == "seed":
        stopped(tiny_dataset, path, seed=1)
    elif other == "data":
        stopped(replace(tiny_dataset, checksum="another"), path)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(torch, "__version__", "1.0.0")
            stopped(tiny_dataset, path)
    assert capsys.readouterr().err == ""
    assert trained(tiny_dataset, checkpoint=path) == undisturbed
    line = one_line(capsys)
    assert str(path) in line
    assert "starts afresh" in line


class Malicious:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        import os

        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("junk", ["empty", "text", "cut", "flipped", "list", "pickle", "torch pickle"])
def test_junk_in_place_of_a_checkpoint_is_ignored_and_never_run(tiny_dataset, undisturbed, tmp_path, capsys, junk):
    path, marker = tmp_path / "run.pt", tmp_path / "marker"
    stopped(tiny_dataset, path)
    content = path.read_bytes()
    middle = len(content) // 2
    if junk == "list":
        torch.save([1, 2, 3], path)
    elif junk == "torch pickle":
        torch.save({"stamp": Malicious(marker), "state": {}}, path)
    else:
        flipped = content[:middle] + bytes(255 - b for b in content[middle : middle + 64]) + content[middle + 64 :]
        planted = pickle.dumps({"stamp": Malicious(marker)})
        made = {"empty": b"", "text": b"junk\n", "cut": content[:middle], "flipped": flipped, "pickle": planted}
        path.write_bytes(made[junk])
    assert trained(tiny_dataset, checkpoint=path) == undisturbed
    line = one_line(capsys)
    assert str(path) in line
    assert "starts afresh" in line
    assert not marker.exists()


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path):
    keeper = Checkpoint(tmp_path / "x.pt", {"seed": 1})
    assert keeper.load() is None
    keeper.save({"w": torch.arange(3), "step": 4})
    assert keeper.load()["w"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
    nowhere = Checkpoint(None, {})
    nowhere.save({})
    assert nowhere.load() is None
    assert not nowhere.due


# --- what a step and an evaluation do ---


def test_learning_rate_is_a_cosine_from_lr_to_zero():
    recipe = Recipe(lr=0.1)
    assert learning_rate(recipe, 0, 100) == 0.1
    assert learning_rate(recipe, 25, 100) == pytest.approx(0.08535534, abs=1e-8)
    assert learning_rate(recipe, 50, 100) == pytest.approx(0.05, abs=1e-12)
    assert learning_rate(recipe, 99, 100) == pytest.approx(2.4671982e-05, abs=1e-11)
    assert learning_rate(recipe, 0, 1) == 0.1


@pytest.mark.parametrize(
    ("space", "epochs", "rates"),
    [  # the rate from an epoch on, of the paper
        ("resnet18-cifar10", 400, {0: 0.1, 199: 0.1, 200: 0.01, 299: 0.01, 300: 0.001, 399: 0.001}),
        (
            "resnet50-cifar100",
            250,
            {0: 0.1, 59: 0.1, 60: 0.02, 119: 0.02, 120: 0.004, 159: 0.004, 160: 0.0008, 249: 0.0008},
        ),
    ],
)
def test_multi_step_rates_are_those_of_the_paper(space, epochs, rates):
    recipe = load_space(space).preset(Recipe, "paper")
    assert recipe.epochs == epochs
    for steps in (1, 7, 195):  # of an epoch
        for epoch, rate in rates.items():
            for step in (epoch * steps, (epoch + 1) * steps - 1):
                assert learning_rate(recipe, step, epochs * steps) == pytest.approx(rate), (steps, step)


def test_the_schedule_steps_once_per_batch_over_the_whole_training(tiny_dataset, monkeypatch):
    rates = []
    learn = Learner.learn

    def spy(self, x, y, path, rate):
        rates.append(rate)
        result = learn(self, x, y, path, rate)
        assert {group["lr"] for group in self.optimizer.param_groups} == {rate}
        return result

    monkeypatch.setattr(Learner, "learn", spy)
    trained(tiny_dataset)
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 9)) for step in range(9)], abs=1e-12)


def fp32_learner(dataset, affine=True, **fields):
    recipe = Recipe(batch_size=16, precision="fp32", memory_layout="contiguous", **fields)
    network = networks.ResNet(SPACE, affine=affine)
    networks.initialise(network, 0)
    return Learner(network, recipe, CPU), Batches.of(dataset.train, dataset, recipe, CPU)


@pytest.mark.parametrize("affine", [True, False])
def test_learning_is_sgd_written_out_by_hand(tiny_dataset, affine):
    learner, batches = fp32_learner(tiny_dataset, affine, momentum=0.8, weight_decay=0.01)
    mirror = copy.deepcopy(learner.network)
    velocity = None
    # Three steps on three rates and two paths: momentum carries over, and its buffer does not contain the rate.
    for step, (rate, config) in enumerate([(0.1, SPACE[0]), (0.05, SPACE[0]), (0.2, SPACE[5])]):
        x, y = batches.train(crops.augmentation(96, 0, 0), step)
        mirror.train()
        logits = mirror(x, config.path)
        gradients = torch.autograd.grad(F.cross_entropy(logits, y), [*mirror.parameters()])
        expected_loss = (logits.logsumexp(1) - logits.gather(1, y[:, None])[:, 0]).mean().item()
        with torch.no_grad():
            decayed = [g + 0.01 * p for g, p in zip(gradients, mirror.parameters(), strict=True)]
            velocity = decayed if velocity is None else [0.8 * v + d for v, d in zip(velocity, decayed, strict=True)]
            for p, v in zip(mirror.parameters(), velocity, strict=True):
                p -= rate * v
        loss, right = learner.learn(x, y, config.path, rate)
        assert float(loss) == pytest.approx(expected_loss, rel=1e-5)
        assert int(right) == int((logits.argmax(1) == y).sum())
        for (name, p), q in zip(learner.network.state_dict().items(), mirror.state_dict().values(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6, msg=f"step {step}: {name}")
        mirror.load_state_dict(learner.network.state_dict())  # or the last bits would grow from step to step


def test_a_rate_of_zero_moves_no_weight(tiny_dataset):
    learner, batches = fp32_learner(tiny_dataset)
    before = [p.clone() for p in learner.network.parameters()]
    learner.learn(*batches.train(crops.augmentation(96, 0, 0), 0), LIGHT.path, 0.0)
    assert all(torch.equal(p, q) for p, q in zip(learner.network.parameters(), before, strict=True))


def test_evaluation_weighs_every_image_alike_and_moves_nothing(tiny_dataset):
    learner, batches = fp32_learner(tiny_dataset)
    plan = crops.augmentation(96, 0, 0)
    for step in range(6):
        learner.learn(*batches.train(plan, step), LIGHT.path, 0.05)
    learner.network.eval()
    small = Batches.of(tiny_dataset.test.first(21), tiny_dataset, learner.recipe, CPU)  # 16 and 5
    with torch.no_grad():
        each = [(learner.network(x, LIGHT.path), y) for x, y in small.plain()]
    losses = [F.cross_entropy(logits, y, reduction="none") for logits, y in each]
    right = [(logits.argmax(1) == y).float() for logits, y in each]
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}

    loss, fraction = learner.evaluate(small.plain(), LIGHT.path)
    assert loss == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)
    assert fraction == pytest.approx(float(torch.cat(right).mean()), abs=1e-6)
    # The mean of the batches' means is another number here, so the test can tell.
    assert abs(float(losses[0].mean() + losses[1].mean()) / 2 - loss) > 1e-3
    assert 0 < fraction < 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.network.state_dict().items())


def test_stand_alone_networks_are_tested_with_running_statistics(tiny_dataset):
    learner, batches = fp32_learner(tiny_dataset)
    learner.learn(*batches.train(crops.augmentation(96, 0, 0), 0), LIGHT.path, 0.05)
    x, y = next(batches.plain())
    whole = learner.evaluate([(x, y)], LIGHT.path)
    one_by_one = learner.evaluate([(x[i : i + 1], y[i : i + 1]) for i in range(16)], LIGHT.path)
    assert one_by_one == pytest.approx(whole, rel=1e-4)


def test_the_last_accuracy_is_that_of_the_trained_network_on_the_test_images(tiny_dataset, monkeypatch):
    made = []
    real = train.learners
    monkeypatch.setattr(train, "learners", lambda *args: made.extend(real(*args)) or made)
    recipe = Recipe(epochs=4, batch_size=16, precision="fp32", memory_layout="contiguous", lr=0.05, eval_images=50)
    results = trained(tiny_dataset, recipe)
    (learner,) = made
    test_set = Batches.of(tiny_dataset.test.first(50), tiny_dataset, recipe, CPU)
    learner.network.eval()
    with torch.no_grad():
        right = sum(int((learner.network(x, LIGHT.path).argmax(1) == y).sum()) for x, y in test_set.plain())
    assert results["test_accuracy"] == pytest.approx(100 * right / 50)


def test_training_learns_the_patterns(tiny_dataset):
    recipe = Recipe(epochs=6, batch_size=16, lr=0.05, precision=PRECISION)
    curves = trained(tiny_dataset, recipe)["curves"]
    assert curves["train_loss"][-1] < 0.5 * curves["train_loss"][0]
    assert curves["test_accuracy"][-1] > 50  # chance: 10


def test_subset_sizes_of_the_recipe_take_effect(tiny_dataset):
    recipe = Recipe(epochs=2, batch_size=16, train_images=35, eval_images=7, precision=PRECISION)
    results = trained(tiny_dataset, recipe)
    assert results["images"] == 2 * 32  # full batches only
    # images beyond the first 35 and 7 are never looked at
    changed = replace(
        tiny_dataset,
        train=sets.Images(tiny_dataset.train.pixels.clone(), tiny_dataset.train.labels),
        test=sets.Images(tiny_dataset.test.pixels.clone(), tiny_dataset.test.labels),
    )
    changed.train.pixels[35:] = 0
    changed.test.pixels[7:] = 0
    assert trained(changed, recipe) == results
    changed.train.pixels[:35] = 0
    assert trained(changed, recipe) != results


def test_a_set_smaller_than_a_batch_is_one_batch(tiny_dataset):
    results = trained(
        tiny_dataset, Recipe(epochs=2, batch_size=64, train_images=10, eval_images=5, precision=PRECISION)
    )
    assert results["images"] == 20
    for value in results["curves"]["train_accuracy"]:
        assert value / 10 == pytest.approx(round(value / 10), abs=1e-9)


# --- failures ---


def test_a_loss_that_is_no_number_fails_naming_the_run(tiny_dataset):
    # Each step multiplies the weights of the linear layer by 1 - 100 * 1 = -99: beyond float32 after some twenty.
    recipe = Recipe(
        epochs=40, batch_size=16, train_images=16, eval_images=5, lr=100.0, weight_decay=1.0, precision=PRECISION
    )
    with pytest.raises(Failure) as caught:
        trained(tiny_dataset, recipe, seed=3)
    message = str(caught.value)
    assert "[1,1,8] seed 3" in message
    assert "--lr" in message
    assert "\n" not in message


def test_a_test_loss_that_is_no_number_fails_likewise(tiny_dataset, monkeypatch):
    # The last step of an epoch can overflow too: its training loss is taken before the step.
    monkeypatch.setattr(Learner, "evaluate", lambda self, batches, path: (float("nan"), 0.1))
    with pytest.raises(Failure, match=r"\[1,1,8\] seed 3"):
        trained(tiny_dataset, seed=3)


@pytest.mark.parametrize("name", ["", "gpu", "tpu", "CPU", "mps"])
def test_unknown_devices_are_refused_with_the_list(name):
    with pytest.raises(UsageError, match="cpu, cuda, cuda:N"):
        devices.device_named(name)


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.device_named("cpu") == devices.device_named("auto") == CPU
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UsageError, match=f"'{name}' is not there"):
            devices.device_named(name)


# --- precision, layout, progress, speed ---


def test_precision_and_layout_take_effect(tiny_dataset):
    seen = {}
    for precision in ("bf16", "fp32"):
        for layout in ("channels_last", "contiguous"):
            recipe = Recipe(batch_size=16, precision=precision, memory_layout=layout)
            network = networks.ResNet(SPACE)
            networks.initialise(network, 0)
            learner = Learner(network, recipe, CPU)
            outputs = []
            network.blocks[4].conv1.register_forward_hook(lambda module, x, y, to=outputs: to.append(y))
            batches = Batches.of(tiny_dataset.train, tiny_dataset, recipe, CPU)
            loss, _ = learner.learn(*batches.train(crops.augmentation(96, 0, 0), 0), SPACE.default.path, 0.1)
            (y,) = outputs
            assert y.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
            assert y.is_contiguous(memory_format=torch.channels_last) == (layout == "channels_last")
            assert y.is_contiguous() == (layout == "contiguous")
            weight = network.blocks[4].conv1.weight
            assert weight.is_contiguous(memory_format=torch.channels_last) == (layout == "channels_last")
            # weights, momentum and loss stay whole
            assert weight.dtype == learner.optimizer.state[weight]["momentum_buffer"].dtype == torch.float32
            assert loss.dtype == torch.float32
            seen[precision, layout] = float(loss)
    assert seen["bf16", "contiguous"] != seen["fp32", "contiguous"]
    assert list(seen.values()) == pytest.approx([seen["fp32", "contiguous"]] * 4, rel=0.02)


def test_progress_counts_steps_and_images(tiny_dataset):
    heard = []
    trained(tiny_dataset, progress=lambda fraction, facts: heard.append((fraction, facts["epoch"], facts["images"])))
    assert [fraction for fraction, _, _ in heard] == pytest.approx([(step + 1) / 9 for step in range(9)])
    assert [epoch for _, epoch, _ in heard] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [images for _, _, images in heard] == list(range(16, 145, 16))


def test_work_counts_three_passes_per_trained_image():
    recipe = Recipe(epochs=7)
    assert train.work(SPACE, SPACE.default, recipe, 100, 30) == costs.macs(SPACE, SPACE.default) * 7 * 330


def test_work_is_that_of_the_classes_of_the_data_set_that_is_trained_on():
    hundred = train.work(SPACE, SPACE.default, Recipe(epochs=1, dataset="cifar100"), 100, 30)
    ten = train.work(SPACE, SPACE.default, Recipe(epochs=1), 100, 30)
    assert hundred - ten == 90 * 64 * 330  # the classifier sees 64 channels


def test_images_of_another_size_than_the_network_takes_are_refused_before_a_step(tiny_dataset):
    assert tiny_dataset.sized_for(SPACE) is tiny_dataset
    large = replace(SPACE, sizes=(64, 32, 16), backbone=replace(SPACE.backbone, side=64))
    for refuse in (
        lambda: tiny_dataset.sized_for(large),
        lambda: next(Training(large, LIGHT, 0, SHORT, tiny_dataset, CPU).steps()),
    ):
        with pytest.raises(
            UsageError, match=r"32 x 32 pixels, .*resnet20-cifar10 takes 64 x 64: use --dataset"
        ) as error:
            refuse()
        assert "\n" not in str(error.value)


def test_numerics_name_what_the_last_bits_depend_on():
    dataset = SimpleNamespace(name="tiny", checksum="ab", decoder=None)
    found = devices.numerics(Recipe(precision="fp32"), CPU, dataset)
    assert found["torch"] == torch.__version__
    assert found["precision"] == "fp32"
    assert found["dataset"] == {"name": "tiny", "checksum": "ab"}
    assert found["device"]
    assert "triton" not in found


def test_numerics_name_the_compiler_of_compiled_blocks():
    triton = pytest.importorskip("triton", reason="comes with builds of torch for GPUs")
    dataset = SimpleNamespace(name="tiny", checksum="ab", decoder=None)
    assert devices.numerics(Recipe(), CPU, dataset, "compiled")["triton"] == triton.__version__


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE"])
def test_numerics_name_the_instructions_and_what_limits_them(monkeypatch, name):
    devices.instruction_set.cache_clear()
    monkeypatch.delenv(name, raising=False)
    free = devices.instruction_set(CPU)
    assert free.startswith(torch.backends.cpu.get_cpu_capability())
    devices.instruction_set.cache_clear()
    monkeypatch.setenv(name, "AVX2")
    assert devices.instruction_set(CPU) == f"{free} {name}=AVX2"
    devices.instruction_set.cache_clear()


def test_accuracies_are_kept_as_the_per_cent_that_they_are(undisturbed):
    # 100 * 0.4198 is 41.980000000000004 in floating point; a share of images in per cent has few decimals
    for curve in ("train_accuracy", "test_accuracy"):
        for value in undisturbed["curves"][curve]:
            assert value == round(value, 6)
