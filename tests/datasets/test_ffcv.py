"""FFCV's files and the loader that reads them: the resident batches bit for bit, or one line and no batch at all.

What writes or decodes needs FFCV. It is skipped where that is not installed, unless NASBENCH_POOLING_FFCV=required,
as where every commit is checked: there its absence fails. Damaged files are refused without it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import threading
import time
from dataclasses import asdict, replace
from itertools import islice
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import build_groundtruth
from benchmark.datasets import beton, crops, ffcv_loader, folders, loaders, named, sets
from benchmark.datasets import ffcv as command
from benchmark.datasets import ffcv_writer as writer
from benchmark.datasets.batches import served
from benchmark.datasets.beton import Statement, beton_path, statement_path
from benchmark.datasets.ffcv_loader import Beton
from benchmark.datasets.ffcv_writer import Folder, Held
from benchmark.datasets.known import cifar10
from benchmark.datasets.known.synthetic import SYNTHETIC
from benchmark.errors import Failure, UsageError
from benchmark.recipe import Recipe
from benchmark.spaces.space import load_space
from benchmark.tables.ledger import checksum
from benchmark.training.train import Training

CPU = torch.device("cpu")
SPACE = load_space()
RECIPE = Recipe(epochs=2, batch_size=16, precision="fp32")
SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def root(ffcv, tiny_dataset, tmp_path_factory):
    """A folder with both sets of the tiny data set, written as if it were `synthetic`."""
    folder = tmp_path_factory.mktemp("betons")
    for split in ("train", "test"):
        source = Held(getattr(tiny_dataset, split), tiny_dataset.checksum)
        writer.write(beton_path(folder, "synthetic", split), source, "synthetic", split)
    return folder


@pytest.fixture
def train_set(root):
    return Beton.open(beton_path(root, "synthetic", "train"))


def one_line(call, kind):
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def all_of(streamed, batch_size=16):
    return list(streamed.decoded(torch.arange(len(streamed)), batch_size))


def digest_of(batches):
    found = hashlib.sha256()
    for x, y in batches:
        found.update(x.contiguous().numpy().tobytes() + y.numpy().tobytes())
    return found.hexdigest()


# --- the contract, whatever decodes ---


def streamed(kind, images, request):
    if kind == "torchvision":
        return loaders.ImageByImage(images)
    return request.getfixturevalue("train_set").first(len(images))


@pytest.mark.parametrize("kind", ["torchvision", "ffcv"])
@pytest.mark.parametrize("count", [96, 90, 10])  # whole batches, a rest that is dropped, less than a batch
def test_every_loader_gives_the_resident_batches_bit_for_bit(tiny_dataset, request, kind, count):
    held = tiny_dataset.train.first(count)
    there = served(held, tiny_dataset, Recipe(batch_size=16), CPU)
    here = served(streamed(kind, held, request), tiny_dataset, Recipe(batch_size=16), CPU)
    assert (len(here), here.steps) == (len(there), there.steps)
    assert torch.equal(here.images.labels, held.labels)
    for seed, epoch, start in ((0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, there.steps - 1)):
        plan = crops.augmentation(count, seed, epoch)
        found, expected = list(here.epoch(plan, start)), list(there.epoch(plan, start))
        assert len(found) == len(expected) == there.steps - start
        for (x, y), (x_there, y_there) in zip(found, expected, strict=True):
            assert x.dtype == x_there.dtype
            assert x.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(x, x_there)
            assert torch.equal(y, y_there)
    for (x, y), (x_there, y_there) in zip(here.plain(), there.plain(), strict=True):
        assert torch.equal(x, x_there)
        assert torch.equal(y, y_there)


@pytest.mark.parametrize("kind", ["torchvision", "ffcv"])
def test_a_training_is_the_resident_one_also_when_stopped_on_the_way(tiny_dataset, request, tmp_path, kind):
    other = replace(
        tiny_dataset,
        train=streamed(kind, tiny_dataset.train, request),
        test=streamed(kind, tiny_dataset.train, request).first(40),
    )
    held = replace(tiny_dataset, test=tiny_dataset.train.first(40))
    recipe = replace(RECIPE, train_images=64)
    expected, _ = Training(SPACE, SPACE[0], 0, recipe, held, CPU).run()
    assert Training(SPACE, SPACE[0], 0, recipe, other, CPU).run()[0] == expected
    path, taken = tmp_path / "run.pt", iter(range(1, 100))
    assert Training(SPACE, SPACE[0], 0, recipe, other, CPU).run(path, stop=lambda: next(taken) == 6) is None
    assert Training(SPACE, SPACE[0], 0, recipe, held, CPU).run(path)[0] == expected  # and goes on under another loader


@pytest.mark.parametrize("kind", ["torchvision", "ffcv"])
def test_a_streamed_set_has_as_many_images_as_it_says(tiny_dataset, request, kind):
    some = streamed(kind, tiny_dataset.train, request).first(20)
    assert len(some) == 20
    assert some.first(None) is some
    assert "21" in one_line(lambda: some.first(21), UsageError)
    with pytest.raises(IndexError):
        list(some.decoded(torch.tensor([0, 20]), 2))


def test_a_dataloader_draws_nothing_from_torch(tiny_dataset):
    before = torch.get_rng_state()
    all_of(loaders.ImageByImage(tiny_dataset.train))
    assert torch.equal(torch.get_rng_state(), before)


def test_loaders_go_by_their_names(tiny_dataset, monkeypatch):
    monkeypatch.setattr(named, "load", lambda *words: replace(tiny_dataset, name="synthetic"))
    assert isinstance(loaders.load("synthetic").train, sets.Images)
    assert isinstance(loaders.load("synthetic", loader="torchvision").test, loaders.ImageByImage)
    assert "resident, torchvision, ffcv" in one_line(lambda: loaders.load("synthetic", loader="dali"), UsageError)


# --- not installed, or broken ---


def test_where_it_is_absent_one_line_says_what_to_install(monkeypatch, tmp_path):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ffcv" else there(name, *more))
    words = ["--loader", "ffcv", "--dataset", "synthetic", "--recipe", "smoke", "--out", str(tmp_path / "out")]
    for call in (
        beton.library.__wrapped__,
        lambda: build_groundtruth.main(words),
        lambda: command.main(["write", "synthetic", "--data", str(tmp_path)]),
    ):
        beton.library.cache_clear()
        message = one_line(call, UsageError)
        assert "apt-get install libopencv-dev libturbojpeg0-dev pkg-config g++ python3-dev && pip install" in message
        assert "nas-bench-pooling[ffcv]" in message
        assert "--loader resident or torchvision" in message
    assert list(tmp_path.iterdir()) == []  # nothing was trained some other way


def test_where_it_is_broken_another_line_says_how(monkeypatch, tmp_path):
    (tmp_path / "ffcv").mkdir()
    fault = "libopencv_core.so.406: cannot open shared object file"
    (tmp_path / "ffcv" / "__init__.py").write_text(f"raise ImportError('{fault}')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ffcv"]:
        monkeypatch.delitem(sys.modules, name)
    message = one_line(beton.library.__wrapped__, Failure)
    assert message.startswith(f"FFCV is installed but broken (ImportError: {fault}): apt-get install ")
    assert "--force-reinstall" in message


# --- files that are not what was written: refused before FFCV sees them ---


@pytest.fixture
def written(tmp_path):
    """Two files with true statements; FFCV need not understand them."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        path = beton_path(tmp_path, "synthetic", split)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(draw.bytes(5000))
        state(path, split=split)
    return tmp_path


def state(path, **fields):
    facts = {"dataset": "synthetic", "split": "train", "checksum": "c", "images": 96, "shape": SHAPE, "encoding": "raw"}
    facts |= {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} | fields
    statement_path(path).write_text(json.dumps(asdict(Statement(**facts))))


def test_true_statements_are_believed(written):
    loaded = ffcv_loader.load("synthetic", written)
    assert (loaded.name, loaded.checksum, loaded.classes) == ("synthetic", "c", 10)
    assert (loaded.mean, loaded.std) == (SYNTHETIC.mean, SYNTHETIC.std)
    assert (len(loaded.train), loaded.test.shape) == (96, SHAPE)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("truncated", "has 2,500 bytes, not 5,000"),
        ("longer", "has 5,001 bytes, not 5,000"),
        ("empty", "has 0 bytes"),
        ("first byte", "another SHA-256"),
        ("last bit", "another SHA-256"),
        ("missing", "cannot be read"),
        ("no statement", "cannot be read"),
    ],
)
def test_a_damaged_file_is_refused_by_name(written, damage, words):
    path = beton_path(written, "synthetic", "train")
    content = path.read_bytes()
    changed = {
        "truncated": content[:2500],
        "longer": content + b"\0",
        "empty": b"",
        "first byte": bytes([content[0] ^ 255]) + content[1:],
        "last bit": content[:-1] + bytes([content[-1] ^ 1]),
    }
    if damage in changed:
        path.write_bytes(changed[damage])
    else:
        (path if damage == "missing" else statement_path(path)).unlink()
    message = one_line(lambda: ffcv_loader.load("synthetic", written), UsageError)
    assert message.startswith(str(path))
    assert words in message
    assert f"python -m benchmark.datasets.ffcv write synthetic --data {written}" in message


@pytest.mark.parametrize("with_statements", [False, True])
def test_swapped_files_are_refused(written, with_statements):
    one, two = (beton_path(written, "synthetic", split) for split in ("train", "test"))
    for a, b in [(one, two), (statement_path(one), statement_path(two))][: 1 + with_statements]:
        content = a.read_bytes()
        a.write_bytes(b.read_bytes())
        b.write_bytes(content)
    message = one_line(lambda: ffcv_loader.load("synthetic", written), UsageError)
    assert ("the split test, not train" if with_statements else "another SHA-256") in message


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("dataset", "cifar10", "the data set cifar10, not synthetic"),
        ("checksum", "another", "the checksum of the content another, not c"),
        ("encoding", "jpg 90", "the encoding jpg 90, not raw"),
        ("shape", None, "--side"),
        ("format", 0, "its format is 0"),
    ],
)
def test_a_file_of_something_else_is_refused(written, field, value, words):
    state(beton_path(written, "synthetic", "test"), split="test", **{field: value})
    assert words in one_line(lambda: ffcv_loader.load("synthetic", written), UsageError)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": 1}', '{"format": 1, "more": 2}', "\x00"])
def test_a_statement_of_any_other_content_is_refused(written, text):
    path = statement_path(beton_path(written, "synthetic", "train"))
    path.write_text(text)
    assert one_line(lambda: ffcv_loader.load("synthetic", written), UsageError).startswith(str(path))


def test_a_file_of_cifar10_must_hold_the_official_images(written):
    for split in ("train", "test"):
        path = beton_path(written, "cifar10", split)
        path.write_bytes(b"x")
        state(path, dataset="cifar10", split=split)
    assert cifar10.cifar10_checksum() in one_line(lambda: ffcv_loader.load("cifar10", written), UsageError)


# --- folders ---


def picture(path, mode="RGB", size=(40, 30), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3), np.uint8)).convert(mode).save(path)


@pytest.fixture
def food(tmp_path):
    """Food-101's layout: three images in two classes, one for testing."""
    folder = tmp_path / "food-101"
    for seed, name in enumerate(("waffles/2", "apple_pie/1", "waffles/7")):
        picture(folder / "images" / f"{name}.jpg", size=(40 + seed, 30), seed=seed)
    (folder / "meta").mkdir()
    (folder / "meta" / "train.txt").write_text("waffles/2\napple_pie/1\n")
    (folder / "meta" / "test.txt").write_text("waffles/7\n")
    return folder


def write_food(food, tmp_path, *more):
    return command.main(["write", "food101", "--images", str(food), "--data", str(tmp_path / "data"), *more])


def test_food101_is_read_by_its_lists(food):
    found = folders.food101(food)
    assert found["train"][1] == found["test"][1] == ("apple_pie", "waffles")
    assert [(p.parent.name, p.name, label) for p, label in found["train"][0]] == [
        ("waffles", "2.jpg", 1),
        ("apple_pie", "1.jpg", 0),
    ]
    assert [(p.name, label) for p, label in found["test"][0]] == [("7.jpg", 1)]
    assert "train.txt cannot be read" in one_line(lambda: folders.food101(food / "images"), UsageError)


def test_imagenet_is_read_by_its_folders(tmp_path):
    for name in ("train/n02/b.JPEG", "train/n01/a.JPEG", "train/n01/c.png", "val/n01/v.JPEG", "val/n02/w.JPEG"):
        picture(tmp_path / name.replace(".JPEG", ".jpeg"))
    (tmp_path / "train" / "n01" / "notes.txt").write_text("no image")
    found = folders.imagenet(tmp_path)
    assert [(p.name, label) for p, label in found["train"][0]] == [("a.jpeg", 0), ("c.png", 0), ("b.jpeg", 1)]
    assert [(p.name, label) for p, label in found["test"][0]] == [("v.jpeg", 0), ("w.jpeg", 1)]
    picture(tmp_path / "val" / "n03" / "x.jpeg")
    assert "the class n03 is in val and not in train: take it out" in one_line(
        lambda: folders.imagenet(tmp_path), UsageError
    )
    assert "val/CLASS/" in one_line(lambda: folders.imagenet(tmp_path / "train"), UsageError)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_what_is_not_rgb_is_refused_before_anything_is_written(food, tmp_path, monkeypatch, mode):
    monkeypatch.setattr("benchmark.datasets.beton.library", lambda: None)  # nothing of it may be needed to refuse
    picture(food / "images" / "apple_pie" / "1.jpg", mode)
    message = one_line(lambda: write_food(food, tmp_path), UsageError)
    assert f"1.jpg ({mode})" in message
    assert "--to-rgb" in message
    assert not (tmp_path / "data").exists()
    paths, classes = folders.food101(food)["train"]
    converted = Folder(paths, classes, None, True).scan("looking")
    assert [pixels.shape for pixels, _ in converted] == [(30, 40, 3), (30, 40, 3)]


def test_a_file_that_is_no_image_is_named(food, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.datasets.beton.library", lambda: None)
    bad = food / "images" / "waffles" / "2.jpg"
    content = bad.read_bytes()
    bad.write_bytes(b"<html>")
    assert str(bad) in one_line(lambda: write_food(food, tmp_path), UsageError)
    bad.write_bytes(content[: len(content) // 2])  # its header is whole, which only decoding can tell
    paths, classes = folders.food101(food)["train"]
    assert f"{bad} cannot be decoded" in one_line(
        lambda: list(Folder(paths, classes, None, False).scan("")), UsageError
    )


def test_a_folder_knows_its_sizes_and_what_it_holds(food):
    paths, classes = folders.food101(food)["train"]

    def read(**options):
        folder = Folder(paths, classes, options.get("side"), False).scan("looking")
        return folder, list(folder)

    as_is, images = read()
    assert as_is.shape is None
    assert as_is.largest == 41 * 30 * 3
    assert [label for _, label in images] == [1, 0]
    expected = np.asarray(Image.open(paths[0][0]))
    assert np.array_equal(images[0][0], expected)
    squares, cut = read(side=24)
    assert squares.shape == cut[0][0].shape == (24, 24, 3)
    assert squares.checksum == as_is.checksum  # of the files, not of what became of them
    picture(paths[1][0], seed=9)
    assert read()[0].checksum != as_is.checksum


def test_flags_that_do_not_belong_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.datasets.beton.library", lambda: None)
    for words, said in (
        (["food101"], "needs --images"),
        (["synthetic", "--images", "x"], "takes no --images"),
        (["synthetic", "--side", "8"], "--side"),
        (["food101", "--images", "x", "--quality", "101"], "101"),
        (["mnist"], "mnist"),
    ):
        assert said in one_line(lambda words=words: command.main(["write", *words, "--data", "d"]), UsageError)


# --- with FFCV ---


def test_what_is_written_is_read_back_in_order(root, tiny_dataset, train_set):
    batches = all_of(train_set)
    assert [len(labels) for _, labels in batches] == [16] * 6
    assert torch.equal(torch.cat([pixels for pixels, _ in batches]), tiny_dataset.train.pixels)
    assert torch.equal(torch.cat([labels for _, labels in batches]), tiny_dataset.train.labels)
    names = {f"synthetic-{split}.beton{more}" for split in ("train", "test") for more in ("", ".json")}
    assert {path.name for path in (root / "ffcv").iterdir()} == names  # neither halves nor locks
    stated = train_set.stated
    assert (stated.images, stated.shape, stated.checksum) == (96, SHAPE, tiny_dataset.checksum)


def test_the_same_images_give_the_same_bytes_also_after_a_kill(root, tiny_dataset, tmp_path):
    (tmp_path / "synthetic-test.beton.partial").write_bytes(b"half" * 10_000_000)  # what a kill may leave
    (tmp_path / "synthetic-test.beton.lock").touch()
    again = writer.write(
        tmp_path / "synthetic-test.beton", Held(tiny_dataset.test, tiny_dataset.checksum), "synthetic", "test"
    )
    first = beton_path(root, "synthetic", "test")
    assert again.read_bytes() == first.read_bytes()
    assert statement_path(again).read_bytes() == statement_path(first).read_bytes()


@pytest.mark.parametrize("beside", [False, True])
def test_an_error_while_writing_leaves_what_was_there(ffcv, root, tmp_path, tiny_dataset, beside):
    class Broken(Held):
        def __iter__(self):
            yield from islice(super().__iter__(), 50)
            raise UsageError("image 51 cannot be decoded")

    path = tmp_path / "synthetic-train.beton"
    if beside:
        writer.write(path, Held(tiny_dataset.test, "c"), "synthetic", "train")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="image 51"):
        writer.write(path, Broken(tiny_dataset.train, "c"), "synthetic", "train")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.suffix != ".lock"} == before
    assert one_line(lambda: writer.write(path, Held(tiny_dataset.train.first(0), "c"), "d", "train"), UsageError)


def test_a_second_writer_is_told_to_wait(ffcv, tmp_path, tiny_dataset):
    path = tmp_path / "synthetic-train.beton"
    with writer.claims.claim(path.with_name(path.name + ".lock")):
        message = one_line(lambda: writer.write(path, Held(tiny_dataset.test, "c"), "synthetic", "train"), Failure)
    assert "another process is writing" in message


def test_the_command_writes_what_is_missing_or_damaged_and_keeps_the_rest(food, tmp_path, ffcv, capsys):
    write_food(food, tmp_path, "--side", "24")
    path = beton_path(tmp_path / "data", "food101", "train")
    first = path.read_bytes()
    stated = Statement.of(path)
    assert (stated.images, stated.side, stated.classes) == (2, 24, ("apple_pie", "waffles"))
    found = all_of(Beton.open(path), 2)[0]
    paths, classes = folders.food101(food)["train"]
    expected = [pixels for pixels, _ in Folder(folders.shuffled(paths), classes, 24, False).scan("")]
    assert np.array_equal(found[0].numpy(), np.stack(expected))
    assert found[1].tolist() == [label for _, label in folders.shuffled(paths)]
    path.write_bytes(first[:-1])
    capsys.readouterr()
    write_food(food, tmp_path, "--side", "24")
    said = capsys.readouterr()
    assert path.read_bytes() == first
    assert "writing it anew" in said.err
    assert "food101-test.beton: there already, verified" in said.out
    assert "remove it first" in one_line(lambda: write_food(food, tmp_path), UsageError)
    assert path.read_bytes() == first


def test_jpegs_are_decoded_too(food, tmp_path, ffcv):
    write_food(food, tmp_path, "--side", "24", "--quality", "95")
    path = beton_path(tmp_path / "data", "food101", "train")
    pixels, labels = all_of(Beton.open(path), 2)[0]
    paths, classes = folders.food101(food)["train"]
    expected = np.stack([pixels for pixels, _ in Folder(folders.shuffled(paths), classes, 24, False).scan("")])
    assert abs(pixels.numpy().astype(float) - expected).mean() < 25  # of noise, the hardest there is
    assert labels.tolist() == [label for _, label in folders.shuffled(paths)]
    assert Statement.of(path).encoding == "jpg 95"


def test_a_batch_that_is_kept_does_not_change(train_set, tiny_dataset):
    order = torch.from_numpy(np.random.default_rng(1).integers(0, 96, 200))
    kept, copies = [], []
    for pixels, labels in train_set.decoded(order, 8):  # 25 batches through a ring of 5
        kept.append((pixels, labels))
        copies.append((pixels.clone(), labels.clone()))
    assert digest_of(kept) == digest_of(copies)
    assert torch.equal(torch.cat([pixels for pixels, _ in kept]), tiny_dataset.train.pixels[order])
    assert torch.equal(torch.cat([labels for _, labels in kept]), tiny_dataset.train.labels[order])


def epoch_digest(place, pipe):
    """In a process of its own."""
    torch.set_num_threads(1)
    loaded = ffcv_loader.load("synthetic", place)
    batches = served(loaded.train, loaded, RECIPE, CPU)
    pipe.send(digest_of(batches.epoch(crops.augmentation(len(batches), 3, 1))))


def test_other_processes_see_the_same_order(root, tiny_dataset):
    context = get_context("spawn")
    pipes, processes = [], []
    for _ in range(2):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=epoch_digest, args=(root, theirs), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    found = [pipe.recv() if pipe.poll(240) else None for pipe in pipes]
    for process in processes:
        process.join(60)
    synthetic = sets.Dataset.of(SYNTHETIC, tiny_dataset.train, tiny_dataset.test, "c")
    batches = served(tiny_dataset.train, synthetic, RECIPE, CPU)
    expected, other = (digest_of(batches.epoch(crops.augmentation(len(batches), 3, epoch))) for epoch in (1, 0))
    assert found == [expected, expected]
    assert other != expected


@pytest.mark.parametrize("taken", [0, 1, 5])
@pytest.mark.parametrize("wait", [0.0, 1.0])
def test_an_epoch_that_is_left_early_leaves_no_thread(train_set, taken, wait):
    all_of(train_set)  # it has been compiled
    before = threading.enumerate()
    batches = train_set.decoded(torch.arange(96), 16)
    for _ in islice(batches, taken):
        pass
    time.sleep(wait)  # its thread then waits for room, or for somebody to hear that it is done
    batches.close()
    assert threading.enumerate() == before
    for _ in train_set.decoded(torch.arange(96), 16):
        break  # nobody closes: the generator is collected
    assert threading.enumerate() == before


def test_an_error_in_its_thread_ends_the_epoch(train_set, monkeypatch):
    whole = ffcv_loader._epoch_class().run_pipeline

    def fail(self, number, *more):
        if number == 2:
            raise ValueError("a broken image")
        return whole(self, number, *more)

    monkeypatch.setattr(ffcv_loader._epoch_class(), "run_pipeline", fail)
    before, found = threading.enumerate(), []
    message = one_line(lambda: found.extend(train_set.decoded(torch.arange(96), 16)), Failure)
    assert "ValueError: a broken image" in message
    assert str(train_set.path) in message
    assert threading.enumerate() == before


def test_a_thread_that_hangs_ends_the_epoch(train_set, monkeypatch):
    released, came_back = threading.Event(), []
    monkeypatch.setattr(ffcv_loader._epoch_class(), "run_pipeline", lambda *words: came_back.append(released.wait(60)))
    monkeypatch.setattr(ffcv_loader, "PATIENCE", 0.5)
    assert "gave no batch" in one_line(lambda: all_of(train_set), Failure)
    assert came_back == []  # the epoch did not wait for it
    released.set()


def test_a_thread_that_dies_ends_the_epoch(train_set, monkeypatch):
    monkeypatch.setattr(ffcv_loader._epoch_class(), "run", lambda self: None)
    assert "thread ended" in one_line(lambda: all_of(train_set), Failure)


def test_torch_keeps_its_threads(train_set, monkeypatch):
    monkeypatch.setattr(ffcv_loader, "available_cores", lambda: 1)  # of which FFCV would make torch's number
    torch.set_num_threads(2)
    counts = {torch.get_num_threads() for _ in train_set.decoded(torch.arange(96), 24)}  # a loader made anew
    assert counts | {torch.get_num_threads()} == {2}


def test_workers_are_no_more_than_cores(train_set, monkeypatch):
    asked = []
    loader = SimpleNamespace()
    monkeypatch.setattr(ffcv_loader, "_loader", lambda path, seen, batch, workers: asked.append(workers) or loader)
    monkeypatch.setattr(ffcv_loader, "_epoch_class", lambda: lambda *words: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(ffcv_loader, "available_cores", lambda: 3)
    for threads in (1, 2, 8):
        torch.set_num_threads(threads)
        with pytest.raises(TypeError):  # nothing to iterate over
            all_of(train_set)
    torch.set_num_threads(1)
    assert asked == [1, 2, 3]


def test_a_file_that_changed_after_it_was_verified_is_not_opened(root, tmp_path):
    path = tmp_path / "ffcv" / "synthetic-train.beton"
    path.parent.mkdir()
    for name in (path.name, statement_path(path).name):
        (path.parent / name).write_bytes((root / "ffcv" / name).read_bytes())
    opened = Beton.open(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "was changed" in one_line(lambda: all_of(opened), Failure)


def test_a_table_cell_is_the_same_with_every_loader(ffcv, tmp_path):
    synthetic = named.load("synthetic")
    for split, count in (("train", 64), ("test", 40)):
        source = Held(getattr(synthetic, split).first(count), synthetic.checksum)
        writer.write(beton_path(tmp_path, "synthetic", split), source, "synthetic", split)
    words = "--dataset synthetic --epochs 2 --train-images 64 --eval-images 40 --batch-size 16 --seeds 0 --together 1"
    found, tables = {}, {}
    for loader in ("resident", "torchvision", "ffcv"):
        out = tmp_path / loader
        places = ["--data", str(tmp_path), "--out", str(out), "--loader", loader]
        assert build_groundtruth.main([*words.split(), "--configs", "[1,1,8]", *places]) == 0
        (path,) = out.glob("ledgers/*/records/*.json")
        found[loader] = record = json.loads(path.read_text())
        assert record["provenance"].pop("loader") == loader
        assert record.pop("timings")["seconds"] > 0
        assert record["checksum"] == checksum(record)
        tables[loader] = {path.name: path.read_bytes() for path in out.glob("tables/*.csv")}
    assert found["resident"] == found["torchvision"] == found["ffcv"]
    assert tables["resident"] == tables["torchvision"] == tables["ffcv"]
    assert len(tables["resident"]) == 2
