"""The sides of the loaders' measurement hand out the same images, or, of JPEGs that other libraries decode, nearly."""

from __future__ import annotations

from contextlib import closing
from itertools import islice

import pytest
import torch

from speed.loaders import SIDES, Turn, batches, held, pictures, prepare, side_of, summary

COUNTS = {"cifar10": 256, "jpeg": 64}


def decoded(material, side, place):
    """All images of a side that streams them, and their labels, in order."""
    source = side_of(Turn(material, side, str(place), None, COUNTS[material], 0, 1.0))
    with closing(source.decoded(torch.arange(len(source)), 32)) as found:
        pixels, labels = zip(*found, strict=True)
    return torch.cat(pixels), torch.cat(labels)


def require_the_same(material, side, place, exact):
    there = held(material, None, COUNTS[material])
    pixels, labels = decoded(material, side, place)
    assert torch.equal(labels, there.labels)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == there.pixels.shape
    difference = (pixels.float() - there.pixels.float()).abs().mean()
    assert difference == 0 if exact else difference < 4  # of 255; two pictures differ by some 70


@pytest.mark.parametrize("material", SIDES)
@pytest.mark.parametrize("side", ["torchvision", "torchvision batches"])
def test_torchvisions_sides_decode_what_is_resident(material, side, tmp_path):
    require_the_same(material, side, tmp_path, exact=material == "cifar10")  # of JPEG there are several libraries


def test_ffcvs_sides_do_too(ffcv, tmp_path):
    sizes = prepare(tmp_path, None, COUNTS)
    assert sizes["jpeg ffcv jpg"] < sizes["jpeg ffcv raw"]
    for material, sides in SIDES.items():
        for side in (side for side in sides if side.startswith("ffcv")):
            require_the_same(material, side, tmp_path, exact=side == "ffcv raw")


@pytest.mark.parametrize("side", ["resident", "torchvision batches"])
def test_batches_are_augmented_and_do_not_end(side, tmp_path, monkeypatch):
    monkeypatch.setattr("speed.loaders.REPEATS", 128)
    stream = batches(Turn("jpeg", side, str(tmp_path), None, 64, 0, 1.0))
    shapes = [tuple(x.shape) for x, _ in islice(stream, 5)]
    stream.close()
    assert shapes == [(64, 3, 256, 288)] * 5


def test_pictures_are_a_function_of_their_number():
    files, labels = pictures(3)
    again, _ = pictures(2)
    assert files[:2] == again
    assert len(set(files)) == len(labels) == 3
    assert held("jpeg", None, 3).pixels.shape == (3, 256, 288, 3)
    assert held("jpeg", None, 3).pixels.dtype == torch.uint8


def test_medians_are_taken_over_rounds_side_by_side():
    found = [
        {"material": "cifar10", "side": side, "images_per_second": rate}
        for side, rates in (("resident", (1.0, 9.0, 2.0)), ("torchvision", (4.0,)))
        for rate in rates
    ]
    assert summary(found) == {"cifar10": {"resident": 2.0, "torchvision": 4.0}, "jpeg": {}}
