"""Folders of images: which files there are, the odd ones among them, and crops of squares by (seed, epoch)."""

import importlib.util
import io
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark import datasheets
from benchmark.datasets import crops, folders, loaders, named, sets
from benchmark.datasets import ffcv as writer
from benchmark.datasets.batches import Batches, StreamedBatches, served
from benchmark.datasets.halves import split_of
from benchmark.errors import UsageError
from benchmark.recipe import Recipe
from benchmark.spaces.space import load_space
from benchmark.training.devices import numerics
from benchmark.training.train import Training

CPU = torch.device("cpu")
RECIPE = Recipe(dataset="food101", epochs=1, batch_size=8, precision="fp32", memory_layout="contiguous", side=32)


def one_line(call):
    with pytest.raises(UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).parents[2] / "examples" / "image_folders.py"
    spec = importlib.util.spec_from_file_location("image_folders", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory, example):
    """Both layouts, 24 + 12 images each."""
    root = tmp_path_factory.mktemp("data")
    for layout in ("food101", "imagenet"):
        example.write(root, layout, 24, 12)
    return root


BOTH = pytest.mark.parametrize("name", ["food101", "imagenet"])


# --- crops ---


def test_boxes_are_torchvisions_in_distribution_and_in_range():
    count, stored = 20_000, 256
    plan = crops.resized_crops(count, stored, 0, 0)
    assert sorted(plan.order.tolist()) == list(range(count))
    for corner, length in ((plan.top, plan.height), (plan.left, plan.width)):
        assert 0 <= corner.min() <= (corner + length).max() <= stored
        assert length.min() > 0
    areas = (plan.height * plan.width).double().numpy() / stored**2
    ratios = np.log((plan.width / plan.height).double().numpy())
    assert 0.078 < areas.min() < 0.082
    assert abs(ratios).max() < math.log(4 / 3) + 0.01
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.zeros(3, stored, stored)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(1200)])
    from scipy.stats import ks_2samp

    for mine, other in (
        (areas, theirs[:, 2] * theirs[:, 3] / stored**2),
        (ratios, np.log(theirs[:, 3] / theirs[:, 2])),
        (plan.top.numpy(), theirs[:, 0]),
        (plan.left.numpy(), theirs[:, 1]),
    ):
        assert ks_2samp(mine, other).pvalue > 1e-3


def test_where_no_box_fits_in_ten_tries_it_is_the_whole_square(monkeypatch):
    monkeypatch.setattr(crops, "AREA", (2.0, 3.0))  # larger than the image
    plan = crops.resized_crops(50, 256, 0, 0)
    assert set(plan.height.tolist()) == set(plan.width.tolist()) == {256}
    assert not plan.top.any()
    assert not plan.left.any()


def test_resized_crops_are_a_function_of_seed_and_epoch():
    first, again = (crops.resized_crops(500, 256, 3, 7) for _ in range(2))
    assert first.colours is None  # they are drawn only where they are changed
    for name, tensor in vars(first).items():
        if name == "colours":
            continue
        assert torch.equal(tensor, getattr(again, name)), name
        for other in ((4, 7), (3, 8)):
            assert not torch.equal(tensor, getattr(crops.resized_crops(500, 256, *other), name)), name


@pytest.mark.parametrize("side", [224, 64])
def test_resampling_is_torchvisions(side):
    from torchvision.transforms.functional import resized_crop

    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 256, 256, 3), np.uint8))
    plan = crops.resized_crops(12, 256, 0, 0)
    boxes = (plan.top, plan.left, plan.height, plan.width)
    mirrored = torch.arange(12) % 2
    found = crops.resample(pixels, boxes, mirrored, side)
    planes = pixels.permute(0, 3, 1, 2).float()
    for number, (top, left, height, width) in enumerate(zip(*(box.tolist() for box in boxes), strict=True)):
        expected = resized_crop(planes[number], top, left, height, width, [side, side], antialias=False)
        expected = expected.flip(2) if mirrored[number] else expected
        torch.testing.assert_close(found[number].permute(2, 0, 1), expected, rtol=0, atol=0.02)


def test_the_middle_is_cut_out_and_scaled_where_it_must_be():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8))
    assert torch.equal(crops.middle(pixels, 224), pixels[:, 16:240, 16:240])
    small = crops.middle(pixels, 32)
    assert small.shape == (3, 32, 32, 3)
    block = pixels[1, 16 + 7 * 5 + 3, 16 + 7 * 2 + 3].float()  # the middle one of the 7 x 7 that a pixel stands for
    torch.testing.assert_close(small[1, 5, 2], block)


# --- listings ---


@BOTH
def test_what_the_example_writes_is_read(data, name, capsys):
    found = named.load(name, data)
    assert (len(found.train), len(found.test), found.crop) == (24, 12, 224)
    assert found.classes == datasheets.datasheet(name).classes
    assert "is not the whole of" in capsys.readouterr().err
    again = named.load(name, data)
    assert again.checksum == found.checksum
    assert capsys.readouterr().err == ""  # they are looked at once
    below = data / datasheets.datasheet(name).place
    assert named.load(name, below).checksum == found.checksum  # the folder itself may be named
    labels = found.train.labels.tolist()
    assert labels != sorted(labels)  # the first few are of several classes
    assert len(set(labels[:12])) > 3


@pytest.mark.parametrize("classes", [25, 30])
def test_the_example_writes_as_many_classes_as_are_asked_for_by_its_seed(example, tmp_path, classes):
    def written(name, seed):
        folder = example.write(tmp_path / name, "imagenet", 60, 20, classes, seed)
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.JPEG")}

    one, again, other = written("one", 1), written("again", 1), written("other", 2)
    assert one == again != other
    train, _ = folders.imagenet(tmp_path / "one" / "imagenet")["train"]
    assert 15 < len({label for _, label in train}) <= classes
    assert 20 <= max(label for _, label in train) < classes
    assert len(folders.imagenet(tmp_path / "one" / "imagenet")["test"][1]) == classes


def test_a_folder_that_is_missing_or_flat_is_named(tmp_path, data):
    assert f"Food-101 is not in {tmp_path / 'food-101'}" in one_line(lambda: named.load("food101", tmp_path))
    (tmp_path / "imagenet" / "train" / "n1").mkdir(parents=True)
    (tmp_path / "imagenet" / "val").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "imagenet" / "val" / "a.JPEG", "JPEG")
    assert "val is flat" in one_line(lambda: named.load("imagenet", tmp_path))


def test_the_command_says_what_is_at_hand(data, tmp_path, capsys):
    assert named.main(["--data", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["cifar10", "cifar100", "food101", "imagenet"]
    assert f"food101: Food-101 is in {data}: 24 + 12 images" in lines
    assert "data_batch_1 is missing" in lines[0]
    assert named.main(["imagenet", "--data", str(data)]) == 0
    assert f"ImageNet is in {data}: 24 + 12 images, checked" in capsys.readouterr().out


# --- odd files ---


def odd(path, kind):
    """Writes an image of a kind that real archives hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8))
    if kind == "rotated":
        exif = Image.Exif()
        exif[274] = 6
        image.save(path, "JPEG", exif=exif)
    elif kind == "png":
        image.save(path, "PNG")
    elif kind == "palette":
        image.convert("P").save(path, "PNG", transparency=b"\x00\x80")
    elif kind == "alpha":
        image.convert("RGBA").save(path, "PNG")
    elif kind == "deep":
        Image.fromarray(np.random.default_rng(1).integers(0, 65536, (60, 80), np.uint16)).save(path, "PNG")
    elif kind == "animated":
        image.save(path, "WEBP", save_all=True, append_images=[Image.new("RGB", image.size)], lossless=True)
    else:
        image.convert({"cmyk": "CMYK", "grey": "L"}.get(kind, "RGB")).save(path, "JPEG")


KINDS = {
    "cmyk": "are CMYK",
    "grey": "are L",
    "palette": "are P",
    "alpha": "are RGBA",
    "deep": "are I;16",
    "rotated": "have a rotation in EXIF, which is ignored",
    "animated": None,
    "png": None,
    "upper": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_odd_images_are_converted_as_torchvision_does_and_counted(tmp_path, kind, capsys):
    from torchvision.datasets.folder import default_loader

    folder = tmp_path / "imagenet"
    name = "ein Bild mit\nÜmlaut." + {"upper": "JPG", "animated": "WebP"}.get(kind, "JPEG")
    for split in ("train", "val"):
        odd(folder / split / "n 01" / name, kind)
    found = named.load("imagenet", tmp_path)
    (pixels, labels), *_ = found.train.decoded(torch.tensor([0]), 4)
    assert (pixels.shape, labels.tolist()) == ((1, 256, 256, 3), [0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = default_loader(str(folder / "train" / "n 01" / name))
    assert np.array_equal(pixels[0].numpy(), folders.square(theirs, 256))
    said = capsys.readouterr().err
    assert ("2 images" in said) == (KINDS[kind] is not None)
    assert KINDS[kind] is None or KINDS[kind] in said


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "listed but missing"])
def test_what_cannot_be_decoded_is_named_before_any_training(example, tmp_path, damage):
    folder = example.write(tmp_path, "food101", 6, 3)
    first, second, *_ = (folder / "meta" / "train.txt").read_text().split()
    bad = folder / "images" / f"{first}.jpg"
    content = bad.read_bytes()
    bad.unlink()
    if damage != "listed but missing":
        bad.write_bytes({"cut": content[: len(content) // 2], "text": b"<html>", "empty": b""}[damage])
    message = one_line(lambda: named.load("food101", tmp_path))
    assert f"{bad} cannot be decoded" in message
    assert ("it is missing" in message) == (damage == "listed but missing")
    (folder / "images" / f"{second}.jpg").write_bytes(b"")
    assert "(and 1 more of 9)" in one_line(lambda: named.load("food101", tmp_path))
    (folder / "meta" / "test.txt").unlink()
    assert "test.txt cannot be read" in one_line(lambda: named.load("food101", tmp_path))


@pytest.mark.parametrize("kind", ["folder", "loop", "device of no bytes", "pipe"])
def test_what_is_named_like_an_image_and_is_none_is_told(example, tmp_path, kind):
    folder = example.write(tmp_path, "imagenet", 4, 2)
    bad = next((folder / "train").iterdir()) / "x.jpg"
    if kind == "folder":
        bad.mkdir()
    elif kind == "pipe":
        os.mkfifo(bad)
    else:
        bad.symlink_to(bad if kind == "loop" else "/dev/null")
    assert f"{bad} cannot be decoded" in one_line(lambda: named.load("imagenet", tmp_path))


def test_a_class_of_one_split_alone_is_named(example, tmp_path):
    folder = example.write(tmp_path, "imagenet", 4, 2)
    (folder / "val" / "n7").mkdir()
    assert "the class n7 is in val and not in train: " in one_line(lambda: named.load("imagenet", tmp_path))
    for name in ("n5", "n6"):
        (folder / "train" / name).mkdir()
    assert "the class n5 is in train and not in val (and 2 more): " in one_line(
        lambda: named.load("imagenet", tmp_path)
    )
    for name in ("n5", "n6", "n7"):
        for split in ("train", "val"):
            (folder / split / name).mkdir(exist_ok=True)
    assert len(named.load("imagenet", tmp_path).train) == 4


def test_what_systems_leave_beside_images_is_passed_over(example, tmp_path):
    folder = example.write(tmp_path, "imagenet", 4, 2)
    one = next((folder / "train").iterdir())
    for path in (one / "Thumbs.db", folder / "train" / "Thumbs.db", folder / "train" / "desktop.ini", one / "._1.JPEG"):
        path.write_bytes(b"\xd0\xcf")
    assert len(named.load("imagenet", tmp_path).train) == 4


def test_a_loop_of_folders_is_no_class(example, tmp_path):
    folder = example.write(tmp_path, "imagenet", 4, 2)
    (folder / "train" / "n9").symlink_to(folder / "train" / "n9")
    assert len(named.load("imagenet", tmp_path).train) == 4


def test_classes_without_images_are_counted(example, tmp_path, capsys):
    folder = example.write(tmp_path, "imagenet", 30, 30)
    for split in ("train", "val"):
        for name in ("n7", "n8"):
            (folder / split / name).mkdir()
    Image.new("RGB", (8, 8)).save(folder / "train" / "n8" / "a.png")
    named.load("imagenet", tmp_path)
    said = capsys.readouterr().err
    assert f"{folder}: 1 of 12 classes have no train images, the first is n7" in said
    assert f"{folder}: 2 of 12 classes have no test images, the first is n7" in said


@pytest.mark.parametrize("line", ["apple_pie", "/etc/passwd", "../apple_pie/1", "a/b/c", "a/b\0c"])
def test_a_list_that_names_no_image_of_a_class_is_refused(example, tmp_path, line):
    folder = example.write(tmp_path, "food101", 4, 2)
    with open(folder / "meta" / "train.txt", "a") as file:
        file.write(f"{line}\n")
    message = one_line(lambda: named.load("food101", tmp_path))
    assert "train.txt lists" in message
    assert "not CLASS/ID" in message


def test_a_folder_that_cannot_be_listed_is_named(example, tmp_path, monkeypatch):
    folder = example.write(tmp_path, "imagenet", 4, 2)
    locked = sorted((folder / "train").iterdir())[0]
    there = Path.iterdir

    def listed(path):
        if path == locked:  # the superuser, as whom tests may run, would be let in
            raise PermissionError(13, "Permission denied", str(path))
        return there(path)

    monkeypatch.setattr(Path, "iterdir", listed)
    assert f"{locked} cannot be read (Permission denied)" in one_line(lambda: named.load("imagenet", tmp_path))


@pytest.mark.filterwarnings("ignore::UserWarning")  # some kinds of damage Pillow warns of, and decodes
@pytest.mark.parametrize("kind", ["cmyk", "grey", "palette", "rotated", "deep", "animated"])
def test_damage_at_any_place_is_told_in_a_line_or_does_no_harm(tmp_path, kind):
    path = tmp_path / "image.jpg"
    odd(path, kind)
    whole, draw, told = path.read_bytes(), np.random.default_rng(3), 0
    for _ in range(60):
        damaged = bytearray(whole[: draw.integers(len(whole))] if draw.random() < 0.3 else whole)
        for place in draw.integers(0, min(len(damaged), 200) or 1, 4 if damaged else 0):
            damaged[place] = draw.integers(256)
        path.write_bytes(damaged)
        fault, _ = folders.examine([path], "looking")
        told += len(fault)
        assert all(line.startswith(f"{path} cannot be decoded (") and "\n" not in line for line in fault)
        if not fault:  # then it is trained on
            assert folders.square(folders.opened(path), 8).shape == (8, 8, 3)
    assert 10 < told <= 60


def test_a_decoder_that_fails_in_its_own_way_names_the_file(tmp_path, monkeypatch):
    odd(tmp_path / "a.jpg", "grey")

    def fail(*words):
        raise NotImplementedError("Unknown pixel format flags 128")

    monkeypatch.setattr(Image, "open", fail)
    assert "a.jpg cannot be decoded (Unknown pixel" in one_line(lambda: folders.opened(tmp_path / "a.jpg"))


def test_a_change_is_looked_at_again(example, tmp_path):
    folder = example.write(tmp_path, "imagenet", 4, 2)
    before = named.load("imagenet", tmp_path).checksum
    path = next((folder / "train").rglob("*.JPEG"))
    path.write_bytes(path.read_bytes()[:200])
    assert str(path) in one_line(lambda: named.load("imagenet", tmp_path))
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue())
    assert named.load("imagenet", tmp_path).checksum != before


def test_squares_are_the_middle_of_the_shorter_side():
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 255
    assert (folders.square(Image.fromarray(wide), 50)[:, 2:-2] == 255).all()
    assert (folders.square(Image.fromarray(wide.transpose(1, 0, 2)), 50)[2:-2] == 255).all()


# --- loaders and trainings ---


@BOTH
def test_loaders_give_the_same_batches(data, name, ffcv):
    place = data / datasheets.datasheet(name).place
    assert writer.main(["write", name, "--data", str(data), "--images", str(place), "--side", "256"]) == 0
    recipe = replace(RECIPE, dataset=name, train_images=20, eval_images=9)
    made, splits = {}, {}
    for loader in ("resident", "torchvision", "ffcv"):
        whole = loaders.load(name, data, loader=loader)
        splits[loader] = split_of(whole).sha256  # within classes, so labels are known before images
        assert whole.train.first(7).labels.tolist() == whole.train.labels[:7].tolist()
        dataset = whole.reduced(recipe)
        batches = [served(images, dataset, recipe, CPU) for images in (dataset.train, dataset.test)]
        assert type(batches[0]) is (Batches if loader == "resident" else StreamedBatches)
        plan = batches[0].plan(1, 2)
        found = [
            *batches[0].epoch(plan),
            *batches[1].plain(),
            batches[0].train(plan, 1),
            batches[1].chosen(plan.order[:5] % 9),
        ]
        made[loader] = found, numerics(recipe, CPU, dataset)
        assert found[0][0].shape == (8, 3, 32, 32)
    for loader in ("torchvision", "ffcv"):
        for (x, y), (other, labels) in zip(made["resident"][0], made[loader][0], strict=True):
            assert torch.equal(x, other)
            assert torch.equal(y, labels)
    assert splits["resident"] == splits["torchvision"] == splits["ffcv"]
    assert made["resident"][1] == made["torchvision"][1]
    assert made["ffcv"][1]["decoder"] == made["resident"][1]["decoder"] + ", raw"
    assert "libjpeg-turbo" in made["resident"][1]["decoder"]


ODD_SIZES = [(333, 517), (500, 375), (256, 256), (1, 1), (7, 3), (900, 9), (9, 900), (64, 48)]


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory, ffcv):
    """32 + 8 JPEGs of odd sizes and kinds in the layout of ImageNet, and FFCV's files of them at quality 90."""
    root, draw = tmp_path_factory.mktemp("jpegs"), np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 8)):
        for number in range(count):
            width, height = ODD_SIZES[number % 8]
            y, x = np.mgrid[:height, :width]
            place = np.stack(
                [255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), 127 + 99 * np.sin((x + y) / 9)], -1
            )
            image = Image.fromarray((place + draw.normal(0, 6, place.shape)).clip(0, 255).astype(np.uint8))
            path = root / "imagenet" / split / f"n{number % 3}" / f"{number}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            exif[274] = 6
            kind = ["RGB", "L", "CMYK", "RGB"][number // 8]
            more = [{}, {"exif": exif}, {}, {"progressive": True, "subsampling": 0}][number // 8]
            image.convert(kind).save(path, "JPEG", quality=95, **more)
    words = ["write", "imagenet", "--data", str(root), "--images", str(root / "imagenet"), "--side", "256"]
    with pytest.raises(UsageError, match="not RGB"):
        writer.main([*words, "--quality", "90"])
    assert writer.main([*words, "--quality", "90", "--to-rgb"]) == 0
    return {loader: loaders.load("imagenet", root, loader=loader) for loader in ("torchvision", "ffcv")}


def test_ffcvs_jpegs_are_decoded_as_pillow_does(jpegs):
    """FFCV has a decoder of its own. Of the very bytes that it was given, Pillow's makes nearly the same pixels."""
    cv2 = pytest.importorskip("cv2")  # with which FFCV encodes
    theirs, mine = jpegs["torchvision"].train, jpegs["ffcv"].train
    (original, labels), *_ = theirs.decoded(torch.arange(32), 32)
    (found, others), *_ = mine.decoded(torch.arange(32), 32)
    assert labels.tolist() == others.tolist() == theirs.labels.tolist()
    expected = []
    for pixels in original.numpy():
        encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [int(cv2.IMWRITE_JPEG_QUALITY), 90])[1]
        expected.append(np.asarray(Image.open(io.BytesIO(encoded.tobytes()))))
    apart = (found.int() - torch.from_numpy(np.stack(expected)).int()).abs().double()
    assert 0 < apart.max() <= 8  # of 255; measured: 5
    assert 0 < apart.mean() < 1.2  # measured: 0.78


def test_a_batch_of_jpegs_through_ffcv_is_torchvisions_but_for_the_encoding(jpegs):
    """The same images, labels and crops in the same order; pixels differ by what JPEG 90 loses."""
    recipe, made = replace(RECIPE, dataset="imagenet", side=None), {}
    for loader, dataset in jpegs.items():
        dataset = replace(dataset, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))  # pixels as they are
        train, test = (served(images, dataset, recipe, CPU) for images in (dataset.train, dataset.test))
        made[loader] = [[*train.epoch(train.plan(5, 3))], [*test.plain()], [*train.epoch(train.plan(5, 4))]]
    for ours, theirs in zip(made["torchvision"], made["ffcv"], strict=True):
        for (x, y), (other, labels) in zip(ours, theirs, strict=True):
            assert (x.shape, y.tolist()) == ((8, 3, 224, 224), labels.tolist())
            apart = (x - other).abs()
            assert 0 < apart.mean() < 2.5  # of 255; measured: 1.6 at most
            assert apart.max() < 48  # measured: 32
    pairs = zip(made["torchvision"][0], made["ffcv"][2], strict=True)  # of another epoch: other crops
    assert all((x - other).abs().mean() > 20 for (x, _), (other, _) in pairs)


def test_an_image_of_224_is_normalised_by_its_data_sets_statistics(data):
    dataset = loaders.load("imagenet", data, loader="torchvision").reduced(replace(RECIPE, dataset="imagenet"))
    test = served(dataset.test, dataset, replace(RECIPE, dataset="imagenet", side=None), CPU)
    x, y = test.chosen(torch.tensor([3]))
    (pixels, labels), *_ = dataset.test.decoded(torch.tensor([3]), 1)
    expected = (pixels[0, 16:240, 16:240] / 255 - torch.tensor(dataset.mean)) / torch.tensor(dataset.std)
    torch.testing.assert_close(x[0].permute(1, 2, 0), expected, rtol=1e-4, atol=1e-5)
    assert y.tolist() == labels.tolist()


def test_a_cell_of_either_large_space_is_trained_alike_by_each_loader(data):
    space = load_space("resnet18-imagenet")
    recipe = space.preset(Recipe, "smoke", precision="fp32", train_images=16, eval_images=8, batch_size=8)
    outcomes = []
    for loader in ("resident", "torchvision"):
        dataset = loaders.load("imagenet", data, loader=loader)
        outcomes.append(Training(space, space[0], 0, recipe, dataset, CPU).run()[0])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["images"] == 16


def test_too_many_images_to_hold_are_refused_with_the_way_out(monkeypatch):
    folders.require_memory(1000)
    monkeypatch.setattr(folders, "MEMORY_SHARE", 1e-6)
    assert "--loader torchvision or ffcv" in one_line(lambda: folders.require_memory(1_331_167))


def test_a_part_of_a_streamed_set_is_in_its_own_order(data):
    whole = loaders.load("food101", data, loader="torchvision").train
    part = sets.Part(whole, np.array([5, 2, 9])).take(2)
    assert (len(part), part.shape, part.labels.tolist()) == (2, (256, 256, 3), whole.labels[[5, 2]].tolist())
    (pixels, labels), *_ = part.decoded(torch.tensor([1, 0]), 2)
    (expected, theirs), *_ = whole.decoded(torch.tensor([2, 5]), 2)
    assert torch.equal(pixels, expected)
    assert torch.equal(labels, theirs)
