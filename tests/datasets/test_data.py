"""Data: crops, flips, order and split from seeds alone; faults in the files are named before anything is unpickled."""

import argparse
import hashlib
import json
import os
import pickle
import shutil
import socket
import tarfile
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from benchmark import cli
from benchmark.datasets import cifar, crops, named, sets
from benchmark.datasets.batches import Batches
from benchmark.datasets.halves import split_in_half, split_of, split_within_classes, store_split
from benchmark.datasets.known import cifar10, cifar100
from benchmark.errors import Failure, UsageError
from benchmark.recipe import Recipe

CPU = torch.device("cpu")
PLAIN = Recipe(batch_size=16, precision="fp32", memory_layout="contiguous")


def random_images(count, seed=0):
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return sets.Images(torch.from_numpy(pixels), torch.from_numpy(draw.integers(0, 10, count)))


def naive_crop(image, top, left, mirrored):
    """One image (32, 32, 3), pixel by pixel."""
    out = np.zeros_like(image)
    for row in range(32):
        for column in range(32):
            y, x = row + top - 4, column + left - 4
            if 0 <= y < 32 and 0 <= x < 32:
                out[row, 31 - column if mirrored else column] = image[y, x]
    return out


def one_line(call, kind):
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- augmentation ---


def test_crop_and_flip_is_the_naive_loop():
    pixels = random_images(13).pixels
    top = torch.tensor([0, 0, 8, 8, 4, 4, 1, 2, 3, 5, 6, 7, 0])
    left = torch.tensor([0, 8, 0, 8, 4, 4, 7, 1, 2, 3, 5, 6, 4])
    mirrored = torch.tensor([0, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 1])
    chosen = torch.tensor([3, 3, 12, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10])
    found = crops.crop_and_flip(crops.crop_windows(pixels), chosen, top, left, mirrored)
    assert found.dtype == torch.uint8
    for i in range(13):
        expected = naive_crop(pixels[chosen[i]].numpy(), int(top[i]), int(left[i]), bool(mirrored[i]))
        assert np.array_equal(found[i].numpy(), expected), i


def test_images_that_are_no_squares_are_cropped_too():
    pixels = torch.arange(6 * 10 * 3, dtype=torch.uint8).view(1, 6, 10, 3)
    padded = np.pad(pixels[0].numpy(), ((4, 4), (4, 4), (0, 0)))
    for top, left, mirrored in ((0, 0, 0), (8, 3, 1), (2, 8, 0)):
        corner = (torch.tensor([value]) for value in (0, top, left, mirrored))
        found = crops.crop_and_flip(crops.crop_windows(pixels), *corner)[0].numpy()
        expected = padded[top : top + 6, left : left + 10]
        assert np.array_equal(found, expected[:, ::-1] if mirrored else expected)


def test_crop_and_flip_leaves_its_input_alone():
    pixels = random_images(4).pixels
    before = pixels.clone()
    indices = (torch.tensor([n] * 4) for n in (2, 0, 8, 1))
    crops.crop_and_flip(crops.crop_windows(pixels), *indices).zero_()
    assert torch.equal(pixels, before)


def test_augmentation_is_a_pure_function_of_seed_and_epoch():
    np.random.seed(1)  # the global generators must not matter
    torch.manual_seed(1)
    first = crops.augmentation(500, 3, 7)
    np.random.seed(2)
    torch.manual_seed(2)
    again = crops.augmentation(500, 3, 7)
    for name in ("order", "top", "left", "mirrored"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
        for seed, epoch in ((3, 8), (4, 7), (7, 3), (37, 0)):
            assert not torch.equal(getattr(first, name), getattr(crops.augmentation(500, seed, epoch), name)), name


def test_order_is_a_permutation():
    for epoch in range(3):
        order = crops.augmentation(1000, 0, epoch).order
        assert sorted(order.tolist()) == list(range(1000))
        assert order.tolist() != list(range(1000))


def test_corners_and_flips_are_uniform_and_independent():
    plan = crops.augmentation(50_000, 0, 0)
    assert set(plan.top.tolist()) == set(plan.left.tolist()) == set(range(9))
    assert set(plan.mirrored.tolist()) == {0, 1}
    cells = (plan.top * 9 + plan.left) * 2 + plan.mirrored
    counts = np.bincount(cells.numpy(), minlength=162)
    expected = 50_000 / 162
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 100 < chi_square < 233  # 161 degrees of freedom: 99.98 % of uniform draws lie below, none near 0


def test_images_are_not_tied_to_their_augmentation_across_epochs():
    first, second = (crops.augmentation(2000, 0, epoch) for epoch in (0, 1))
    corner = [torch.empty(2000, dtype=torch.long).scatter_(0, p.order, p.top) for p in (first, second)]
    assert (corner[0] == corner[1]).float().mean() == pytest.approx(1 / 9, abs=0.03)


# --- batches ---


def test_normalisation_by_hand():
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    pixels[0, 2, 5] = torch.tensor([255, 128, 51])
    images = sets.Images(pixels, torch.tensor([7]))
    made = sets.Dataset("x", images, images, 10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "")
    x, y = next(Batches.of(images, made, PLAIN, CPU).plain())
    assert x.shape == (1, 3, 32, 32)
    assert x.dtype == torch.float32
    assert y.tolist() == [7]
    assert x[0, :, 2, 5].tolist() == pytest.approx([2.0591093, 0.0811531, -0.9422783], abs=1e-5)
    assert x[0, :, 0, 0].tolist() == pytest.approx([-1.9894737, -1.9802875, -1.7068043], abs=1e-5)


def test_training_batches_are_crops_in_the_plans_order(tiny_dataset):
    images = tiny_dataset.train
    batches = Batches.of(images, tiny_dataset, PLAIN, CPU)
    plan = crops.augmentation(96, 5, 2)
    mean, std = np.array(tiny_dataset.mean), np.array(tiny_dataset.std)
    assert batches.steps == 6
    seen = []
    for step in range(6):
        x, y = batches.train(plan, step)
        for i in range(16):
            at = 16 * step + i
            source = int(plan.order[at])
            seen.append(source)
            crop = naive_crop(
                images.pixels[source].numpy(), *(int(t[at]) for t in (plan.top, plan.left, plan.mirrored))
            )
            expected = ((crop / 255 - mean) / std).transpose(2, 0, 1)
            # the border is black before normalisation, as when an image is padded and then normalised
            np.testing.assert_allclose(x[i].numpy(), expected, atol=1e-5)
            assert y[i] == images.labels[source]
    assert sorted(seen) == list(range(96))


@pytest.mark.parametrize(("count", "steps"), [(15, 1), (16, 1), (31, 1), (32, 2), (47, 2), (96, 6)])
def test_an_epoch_has_full_batches_or_a_single_short_one(tiny_dataset, count, steps):
    batches = Batches.of(tiny_dataset.train.first(count), tiny_dataset, PLAIN, CPU)
    assert batches.steps == steps
    plan = crops.augmentation(count, 0, 0)
    assert [len(batches.train(plan, step)[1]) for step in range(steps)] == [min(16, count)] * steps


@pytest.mark.parametrize("count", [1, 15, 16, 17, 64])
def test_plain_drops_nothing_and_keeps_the_order(tiny_dataset, count):
    images = tiny_dataset.test.first(count)
    found = list(Batches.of(images, tiny_dataset, PLAIN, CPU).plain())
    assert [len(y) for _, y in found] == [16] * (count // 16) + [count % 16] * (count % 16 > 0)
    assert torch.equal(torch.cat([y for _, y in found]), images.labels)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (tiny_dataset.mean, tiny_dataset.std))
    expected = (images.pixels.permute(0, 3, 1, 2) / 255 - mean) / std
    torch.testing.assert_close(torch.cat([x for x, _ in found]), expected, rtol=1e-5, atol=1e-5)


def test_chosen_images_come_unaugmented(tiny_dataset):
    batches = Batches.of(tiny_dataset.test, tiny_dataset, PLAIN, CPU)
    whole = torch.cat([x for x, _ in batches.plain()])
    x, y = batches.chosen(torch.tensor([40, 3, 3]))
    assert torch.equal(x, whole[[40, 3, 3]])
    assert torch.equal(y, tiny_dataset.test.labels[[40, 3, 3]])


def test_precision_and_layout_of_a_batch(tiny_dataset):
    def served(**fields):
        batches = Batches.of(tiny_dataset.train, tiny_dataset, Recipe(batch_size=16, **fields), CPU)
        return batches.train(crops.augmentation(96, 0, 0), 0)[0]

    x = served(precision="bf16", memory_layout="channels_last")
    assert x.dtype == torch.bfloat16
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert not x.is_contiguous()
    exact = served(precision="fp32", memory_layout="contiguous")
    assert exact.dtype == torch.float32
    assert exact.is_contiguous()
    torch.testing.assert_close(x.float(), exact, rtol=2**-8, atol=1e-6)


def test_reduced_takes_the_first_of_each_set(tiny_dataset):
    small = tiny_dataset.reduced(Recipe(train_images=10, eval_images=5))
    assert torch.equal(small.train.pixels, tiny_dataset.train.pixels[:10])
    assert torch.equal(small.train.labels, tiny_dataset.train.labels[:10])
    assert torch.equal(small.test.labels, tiny_dataset.test.labels[:5])
    assert len(tiny_dataset.reduced(Recipe()).train) == 96
    message = one_line(lambda: tiny_dataset.reduced(Recipe(train_images=97)), UsageError)
    assert "97" in message
    assert "96" in message


def test_unknown_data_sets_are_refused_with_the_list():
    message = one_line(lambda: named.load("mnist"), UsageError)
    assert "'mnist'" in message
    assert "cifar10, cifar100, " in message


def test_synthetic_has_the_shape_of_cifar10():
    made = named.load("synthetic")
    assert (made.name, made.classes) == ("synthetic", 10)
    for images in (made.train, made.test):
        assert images.pixels.shape == (len(images), 32, 32, 3)
        assert images.pixels.dtype == torch.uint8
        assert images.labels.dtype == torch.int64
        assert images.labels.unique().tolist() == list(range(10))
    assert len(made.test) >= 512  # recipe smoke asks for so many of each
    assert not torch.equal(made.train.pixels[:100], made.test.pixels[:100])
    again = named.load("synthetic")
    assert made.checksum == again.checksum
    assert torch.equal(made.train.pixels, again.train.pixels)


# --- the split in two halves ---


@pytest.mark.parametrize("count", [2, 7, 96, 50_000])
def test_halves_are_equal_disjoint_and_cover_everything(count):
    split = split_in_half(count, 1)
    assert len(split.train) == count // 2
    assert len(split.validation) == count - count // 2
    assert sorted([*split.train.tolist(), *split.validation.tolist()]) == list(range(count))


def test_the_split_is_seeded():
    first, again, other = (split_in_half(1000, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.train, again.train)
    assert first.sha256 == again.sha256
    assert first.sha256 != other.sha256
    # two halves of independent draws share a half of their images
    assert len(set(first.train) & set(other.train)) == pytest.approx(250, abs=50)
    # not the first half, and no pattern: neighbours fall on both sides
    assert set(first.train) != set(range(500))


def test_the_split_of_cifar10_never_drifts():
    # Every search uses it. Where numpy or the code draws another one, stored results no longer belong together.
    assert split_in_half(50_000).sha256 == "70615c2e1f28141fd327629d327d37cefc1311c3bc49412981e628a89f62d484"


@pytest.mark.parametrize("sizes", [[500] * 100, [3, 5, 7, 1, 1, 1, 2] * 10])
def test_a_split_within_classes_halves_each_class(sizes):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    split, other = (split_within_classes(labels, seed) for seed in (0, 1))
    assert sorted([*split.train.tolist(), *split.validation.tolist()]) == list(range(len(labels)))
    assert 0 <= len(split.validation) - len(split.train) <= 1
    for label, size in enumerate(sizes):
        assert abs(2 * int((labels[split.train] == label).sum()) - size) <= 1
    assert (np.diff(split.train) > 0).all()
    assert (np.diff(split.validation) > 0).all()
    assert split_within_classes(labels, 0).sha256 == split.sha256 != other.sha256


def test_many_classes_are_split_each_by_itself(tiny_dataset):
    assert split_of(tiny_dataset, 3).sha256 == split_in_half(96, 3).sha256
    labels = torch.arange(96) % 51
    many = replace(tiny_dataset, classes=51, train=sets.Images(tiny_dataset.train.pixels, labels))
    assert split_of(many, 3).sha256 == split_within_classes(labels.numpy(), 3).sha256 != split_in_half(96, 3).sha256


def test_smaller_images_are_means_of_the_larger(tiny_dataset):
    images = tiny_dataset.train.first(5)
    small = images.scaled(8)
    assert small.pixels.shape == (5, 8, 8, 3)
    assert small.labels.tolist() == images.labels.tolist()
    block = images.pixels[2, 4:8, 12:16, 1].numpy().astype(float)
    assert small.pixels[2, 1, 3, 1] == round(block.mean())
    assert images.scaled(None) is images.scaled(32) is images
    for side in (64, 12):
        assert f"side is {side}" in one_line(lambda side=side: images.scaled(side), UsageError)
    recipe = Recipe(dataset="synthetic", train_images=6, eval_images=4, side=16)
    reduced = tiny_dataset.reduced(recipe)
    assert (reduced.train.pixels.shape, reduced.test.pixels.shape) == ((6, 16, 16, 3), (4, 16, 16, 3))


def test_the_split_is_stored_whole_and_verified_on_reuse(tiny_dataset, tmp_path):
    split = split_in_half(96, 4)
    path = store_split(split, tiny_dataset, tmp_path / "splits")
    stored = json.loads(path.read_text())
    assert stored["train"] == split.train.tolist()
    assert stored["validation"] == split.validation.tolist()
    assert (stored["seed"], stored["dataset"], stored["dataset_checksum"]) == (4, "tiny", "checksum of tiny")
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing half-written beside it

    before = path.stat()
    assert store_split(split, tiny_dataset, tmp_path / "splits") == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert store_split(split_in_half(96, 5), tiny_dataset, tmp_path / "splits") != path


def test_a_split_is_compared_by_what_it_holds_and_not_by_its_bytes(tiny_dataset, tmp_path):
    split = split_in_half(96, 4)
    path = store_split(split, tiny_dataset, tmp_path)
    same = (json.dumps(json.loads(path.read_text()), indent=1) + "\n").replace("\n", "\r\n").encode()
    path.write_bytes(same)  # as a clone with core.autocrlf, or an editor, may leave it
    assert store_split(split, tiny_dataset, tmp_path) == path
    assert path.read_bytes() == same


@pytest.mark.parametrize("damage", ["digit", "cut", "empty", "other data"])
def test_an_altered_split_is_refused_and_kept(tiny_dataset, tmp_path, damage):
    split = split_in_half(96, 4)
    path = store_split(split, tiny_dataset, tmp_path)
    text = path.read_text()
    first = f"[{split.train[0]}, "
    assert first in text
    altered = {"digit": text.replace(first, "[95, "), "cut": text[: len(text) // 2], "empty": "", "other data": text}
    path.write_text(altered[damage])
    dataset = replace(tiny_dataset, checksum="another") if damage == "other data" else tiny_dataset
    assert str(path) in one_line(lambda: store_split(split, dataset, tmp_path), UsageError)
    assert path.read_text() == altered[damage]


# --- the official files; small ones with checksums of their own stand in for them where that is enough ---


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A root with six small files that count as official: 20 images each, pixels and labels known."""
    draw = np.random.default_rng(0)
    root, sums = tmp_path / "data", {}
    (root / cifar10.CIFAR10_FOLDER).mkdir(parents=True)
    for number, name in enumerate(cifar10.CIFAR10_FILES):
        planes = draw.integers(0, 256, (20, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": planes, "labels": [(number + i) % 10 for i in range(20)]})
        (root / cifar10.CIFAR10_FOLDER / name).write_bytes(content)
        sums[name] = (hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setattr(cifar10, "CIFAR10_FILES", sums)
    monkeypatch.setattr(cifar, "fetch", lambda *_: pytest.fail("nothing may be downloaded here"))
    return root


def test_files_are_read_in_order_as_red_green_blue_planes(official):
    loaded = named.load("cifar10", official)
    assert loaded.train.pixels.shape == (100, 32, 32, 3)
    assert loaded.train.labels.tolist() == [(n + i) % 10 for n in range(5) for i in range(20)]
    assert loaded.test.labels.tolist() == [(5 + i) % 10 for i in range(20)]
    second = pickle.loads((official / cifar10.CIFAR10_FOLDER / "data_batch_2").read_bytes())["data"]
    for channel in range(3):
        for row, column in ((0, 0), (0, 31), (31, 0), (13, 7)):
            assert loaded.train.pixels[23, row, column, channel] == second[3, 1024 * channel + 32 * row + column]


def test_the_checksum_is_that_of_the_content(official, monkeypatch):
    before = named.load("cifar10", official).checksum
    path = official / cifar10.CIFAR10_FOLDER / "test_batch"
    content = pickle.dumps({"data": np.zeros((20, 3072), np.uint8), "labels": [0] * 20})
    path.write_bytes(content)
    changed = cifar10.CIFAR10_FILES | {"test_batch": (hashlib.sha256(content).hexdigest(), len(content))}
    monkeypatch.setattr(cifar10, "CIFAR10_FILES", changed)
    assert named.load("cifar10", official).checksum != before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing", "is missing"),
        ("truncated", "cut short"),
        ("one bit", "is not the official file"),
        ("longer", "is not the official file"),
        ("empty", "cut short: 0 of"),
        ("unreadable", "cannot be read"),
    ],
)
def test_a_bad_file_is_named_in_one_line(official, damage, words):
    path = official / cifar10.CIFAR10_FOLDER / "data_batch_3"
    content = path.read_bytes()
    path.unlink()
    if damage == "unreadable":
        path.mkdir()  # permissions would not stop a superuser
    elif damage != "missing":
        flipped = bytes([content[0] ^ 1]) + content[1:]
        changed = {"truncated": content[:-1], "one bit": flipped, "longer": content + b"\0", "empty": b""}
        path.write_bytes(changed[damage])
    message = one_line(lambda: named.load("cifar10", official), UsageError)
    assert message.startswith(f"{path} ")
    assert words in message
    assert "more)" not in message
    assert str(path.parent) in message.partition(":")[2]  # and what to do about it
    assert "--dataset synthetic" in message


def test_further_faults_are_counted(official):
    for name in ("data_batch_2", "data_batch_5", "test_batch"):
        (official / cifar10.CIFAR10_FOLDER / name).unlink()
    message = one_line(lambda: named.load("cifar10", official), UsageError)
    assert "data_batch_2 is missing (and 2 more)" in message
    assert len(cifar10.read_cifar10(official)[1]) == 3


def test_files_that_are_swapped_are_both_named(official):
    one, two = (official / cifar10.CIFAR10_FOLDER / f"data_batch_{n}" for n in (1, 2))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    assert len(cifar10.read_cifar10(official)[1]) == 2


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_nothing_is_unpickled_before_all_checksums_are_right(official, tmp_path):
    marker = tmp_path / "unpickled"
    planted = pickle.dumps({"data": Malicious(marker), "labels": []})
    # the last of the six: those before it are right, and still none may be touched
    (official / cifar10.CIFAR10_FOLDER / "test_batch").write_bytes(planted)
    one_line(lambda: named.load("cifar10", official), UsageError)
    assert not marker.exists()
    pickle.loads(planted)
    assert marker.exists()  # the trap was a trap


def test_without_download_absent_data_is_a_fault_in_words(tmp_path):
    message = one_line(lambda: named.load("cifar10", tmp_path, download=False), UsageError)
    assert "data_batch_1 is missing (and 5 more)" in message
    assert list(tmp_path.iterdir()) == []


def test_the_root_is_the_variable_else_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_POOLING_DATA", str(tmp_path / "there"))
    assert named.default_root() == tmp_path / "there"
    monkeypatch.delenv("NASBENCH_POOLING_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert named.default_root() == tmp_path / "cache" / "nas-bench-pooling"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert named.default_root() == tmp_path / "home" / ".cache" / "nas-bench-pooling"


@pytest.fixture
def fetch(monkeypatch):
    """fetch(action): torchvision's CIFAR10 becomes `action(folder)`; no test here reaches for the network."""
    import torchvision

    def replace_by(action):
        def cifar10(root, download):
            assert download
            return action(root)

        monkeypatch.setattr(torchvision.datasets, "CIFAR10", cifar10)

    return replace_by


@pytest.mark.parametrize(
    "error",
    [URLError("Name or service not known"), TimeoutError("timed out"), RuntimeError("File not found\nor corrupt")],
)
def test_without_a_network_the_message_says_how_to_place_the_files(tmp_path, fetch, error):
    def fail(folder):
        raise error

    fetch(fail)
    timeout = socket.getdefaulttimeout()
    root = tmp_path / "new" / "root"
    message = one_line(lambda: named.load("cifar10", root), Failure)
    assert str(root) in message
    assert " ".join(str(error).split()) in message
    for word in ("cifar-10-python.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar.html", "--dataset synthetic"):
        assert word in message
    assert list(root.iterdir()) == []
    assert socket.getdefaulttimeout() == timeout


def test_a_root_that_cannot_be_made_is_a_failure_in_words(tmp_path, fetch):
    fetch(lambda folder: pytest.fail("there is no place to download to"))
    (tmp_path / "file").write_text("")
    message = one_line(lambda: named.load("cifar10", tmp_path / "file" / "below"), Failure)
    assert str(tmp_path / "file" / "below") in message


@pytest.mark.parametrize("error", [URLError("connection reset"), KeyboardInterrupt()])
def test_an_interrupted_download_leaves_no_half_made_folder(tmp_path, fetch, error):
    half_made = []

    def break_off(folder):
        place = os.path.join(folder, cifar10.CIFAR10_FOLDER)
        os.mkdir(place)
        half_made.append(place)
        # Whatever happens now, a kill included: nothing stands where the next start would look for the files.
        assert not (tmp_path / cifar10.CIFAR10_FOLDER).exists()
        with open(os.path.join(place, "data_batch_1"), "wb") as file:
            file.write(b"half")
        raise error

    fetch(break_off)
    with pytest.raises((Failure, KeyboardInterrupt)):
        named.load("cifar10", tmp_path)
    assert half_made
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_checked_and_appears_whole(official, tmp_path, fetch, monkeypatch):
    monkeypatch.undo()  # the real download and checksums are wanted back, the small files not
    sums = {
        p.name: (hashlib.sha256(p.read_bytes()).hexdigest(), 0) for p in (official / cifar10.CIFAR10_FOLDER).iterdir()
    }
    monkeypatch.setattr(cifar10, "CIFAR10_FILES", {name: sums[name] for name in cifar10.CIFAR10_FILES})
    fetch(
        lambda folder: shutil.copytree(official / cifar10.CIFAR10_FOLDER, os.path.join(folder, cifar10.CIFAR10_FOLDER))
    )
    root = tmp_path / "fresh"
    assert len(named.load("cifar10", root).train) == 100
    assert [path.name for path in root.iterdir()] == [cifar10.CIFAR10_FOLDER]
    # what came down is checked like what was there before
    shutil.rmtree(root)
    monkeypatch.setattr(cifar10, "CIFAR10_FILES", cifar10.CIFAR10_FILES | {"test_batch": ("0" * 64, 1)})
    assert "test_batch is not the official file" in one_line(lambda: named.load("cifar10", root), UsageError)


def test_data_that_is_there_is_not_downloaded_again(official):
    named.load("cifar10", official)  # the fixture fails the test on any download
    (official / cifar10.CIFAR10_FOLDER / "data_batch_1").unlink()
    one_line(lambda: named.load("cifar10", official), UsageError)  # nor over what is there in part


def test_the_folder_of_the_files_itself_may_be_named(official, tmp_path):
    assert torch.equal(
        named.load("cifar10", official / cifar10.CIFAR10_FOLDER).test.pixels,
        named.load("cifar10", official).test.pixels,
    )
    (official / cifar10.CIFAR10_FOLDER).rename(tmp_path / "mine")  # whatever it is called
    assert len(named.load("cifar10", tmp_path / "mine").train) == 100
    (tmp_path / "mine" / "test_batch").write_bytes(b"")
    message = one_line(lambda: named.load("cifar10", tmp_path / "mine"), UsageError)
    assert f"{tmp_path / 'mine' / 'test_batch'} is not the official file" in message


def test_an_archive_that_lies_there_is_unpacked(official, capsys):
    expected = named.load("cifar10", official).test.pixels
    with tarfile.open(official / cifar10.CIFAR10_ARCHIVE, "w:gz") as archive:
        archive.add(official / cifar10.CIFAR10_FOLDER, cifar10.CIFAR10_FOLDER)
    shutil.rmtree(official / cifar10.CIFAR10_FOLDER)
    assert torch.equal(named.load("cifar10", official).test.pixels, expected)  # the fixture forbids a download
    assert f"unpacking {official / cifar10.CIFAR10_ARCHIVE}" in capsys.readouterr().err
    assert sorted(path.name for path in official.iterdir()) == sorted([cifar10.CIFAR10_ARCHIVE, cifar10.CIFAR10_FOLDER])


@pytest.mark.parametrize("damage", ["cut short", "no archive", "another archive"])
def test_an_archive_that_cannot_be_unpacked_is_named(official, damage):
    path = official / cifar10.CIFAR10_ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        archive.add(
            official / cifar10.CIFAR10_FOLDER, "other" if damage == "another archive" else cifar10.CIFAR10_FOLDER
        )
    shutil.rmtree(official / cifar10.CIFAR10_FOLDER)
    if damage != "another archive":
        path.write_bytes(path.read_bytes()[:5000] if damage == "cut short" else b"<html>")
    assert f"{path} cannot be unpacked" in one_line(lambda: named.load("cifar10", official), UsageError)
    assert list(official.iterdir()) == [path]


def test_home_may_be_written_short_and_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NASBENCH_POOLING_DATA", "~/data")
    assert named.default_root() == tmp_path / "data"
    assert cli.folder("~/out") == str(tmp_path / "out")
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", dict[int, str]().__getitem__)  # as for a user that a container was given
    with pytest.raises(argparse.ArgumentTypeError, match="home of nobody"):
        cli.folder("~/out")
    for given in ("~/data", ""):
        monkeypatch.setenv("NASBENCH_POOLING_DATA", given)
        assert "set NASBENCH_POOLING_DATA to a whole path" in one_line(named.default_root, UsageError)


def test_a_file_in_the_place_of_the_data_is_told_before_anything_is_downloaded(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NASBENCH_POOLING_DATA", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"NASBENCH_POOLING_DATA: '.*file' is no folder: give one, .* or give --data"):
        named.default_root()
    monkeypatch.setenv("NASBENCH_POOLING_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"the user's cache: '.*file' is no folder"):
        named.default_root()


def test_a_folder_below_one_that_is_gone_is_told_so(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(argparse.ArgumentTypeError, match="'out' would lie in a folder that is gone"):
        cli.folder("out")
    assert cli.folder(str(tmp_path)) == str(tmp_path)


# --- with the real CIFAR-10 ---


@pytest.fixture(scope="module")
def official_set(cifar10_root):
    return named.load("cifar10", cifar10_root, download=False)


@pytest.mark.real
def test_cifar10_has_its_known_images(official_set):
    assert len(official_set.train) == 50_000
    assert len(official_set.test) == 10_000
    assert official_set.train.labels.bincount().tolist() == [5000] * 10
    assert official_set.test.labels.bincount().tolist() == [1000] * 10
    assert official_set.train.labels[:5].tolist() == [6, 9, 9, 4, 1]
    assert official_set.test.labels[:5].tolist() == [3, 8, 8, 0, 6]
    # red, green, blue of the first pixel, as every viewer of CIFAR-10 shows them
    assert official_set.train.pixels[0, 0, 0].tolist() == [59, 62, 63]
    assert official_set.test.pixels[0, 0, 0].tolist() == [158, 112, 49]


@pytest.mark.real
def test_cifar10_is_normalised_by_its_own_statistics(official_set):
    values = np.arange(256) / 255
    for channel in range(3):
        share = np.bincount(official_set.train.pixels[..., channel].flatten().numpy(), minlength=256) / (50_000 * 1024)
        mean = (share * values).sum()
        assert mean == pytest.approx(official_set.mean[channel], abs=1e-4)
        assert np.sqrt((share * values**2).sum() - mean**2) == pytest.approx(official_set.std[channel], abs=1e-4)


@pytest.fixture(scope="module")
def fine_set():
    root = named.default_root()
    if cifar100.CIFAR100.read(root)[1]:
        pytest.skip(f"CIFAR-100 is not in {root}: set NASBENCH_POOLING_DATA to its folder")
    return named.load("cifar100", root, download=False)


@pytest.mark.real
def test_cifar100_has_its_known_images(fine_set):
    assert (len(fine_set.train), len(fine_set.test), fine_set.classes) == (50_000, 10_000, 100)
    assert fine_set.train.labels.bincount().tolist() == [500] * 100
    assert fine_set.test.labels.bincount().tolist() == [100] * 100
    assert fine_set.train.labels[:5].tolist() == [19, 29, 0, 11, 1]  # cattle, dinosaur, apple, boy, aquarium fish
    assert fine_set.train.pixels[0, 0, 0].tolist() == [255, 255, 255]
    assert fine_set.checksum != cifar10.cifar10_checksum()


@pytest.mark.real
def test_cifar100_is_normalised_by_its_own_statistics(fine_set):
    values = np.arange(256) / 255
    for channel in range(3):
        share = np.bincount(fine_set.train.pixels[..., channel].flatten().numpy(), minlength=256) / (50_000 * 1024)
        mean = (share * values).sum()
        assert mean == pytest.approx(fine_set.mean[channel], abs=1e-4)
        assert np.sqrt((share * values**2).sum() - mean**2) == pytest.approx(fine_set.std[channel], abs=1e-4)


def test_cifar100_has_fine_labels_in_two_files(tmp_path, monkeypatch):
    """As CIFAR-10 in all else: the reader is one."""
    folder, sums = tmp_path / "cifar-100-python", {}
    folder.mkdir()
    planes = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
    for name in ("train", "test"):
        content = pickle.dumps({"data": planes, "fine_labels": [99, 0, 1, 2, 3, 4], "coarse_labels": [0] * 6})
        (folder / name).write_bytes(content)
        sums[name] = (hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setattr(cifar100, "CIFAR100", replace(cifar100.CIFAR100, files=sums))
    found = named.load("cifar100", tmp_path, download=False)
    assert found.train.labels.tolist() == found.test.labels.tolist() == [99, 0, 1, 2, 3, 4]
    assert found.test.pixels[5, 1, 2].tolist() == planes[5, [34, 1058, 2082]].tolist()
    (folder / "test").unlink()
    message = one_line(lambda: named.load("cifar100", tmp_path), UsageError)
    assert f"{folder / 'test'} is missing: remove {folder}" in message
    assert "cifar-100-python.tar.gz" in message


@pytest.mark.real
@pytest.mark.parametrize(
    ("damage", "words"),
    [("missing", "is missing"), ("truncated", "31,035,000 of 31,035,623 bytes"), ("foreign", "not the")],
)
def test_a_damaged_copy_of_cifar10_is_refused(cifar10_root, tmp_path, damage, words):
    folder = tmp_path / cifar10.CIFAR10_FOLDER
    folder.mkdir()
    for name in cifar10.CIFAR10_FILES:
        (folder / name).symlink_to((cifar10_root / cifar10.CIFAR10_FOLDER / name).resolve())
    bad = folder / "data_batch_5"
    content = bad.read_bytes()
    bad.unlink()  # the link, not what it points to
    if damage != "missing":
        bad.write_bytes(content[:31_035_000] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    message = one_line(lambda: named.load("cifar10", tmp_path), UsageError)
    assert message.startswith(f"{bad} ")
    assert words in message
