"""A data set made in code, shaped like CIFAR-10: 32x32 colour images in 10 classes. Needs numpy alone.

For tests, and for machines that can neither find nor fetch CIFAR-10. A class is the scale of a texture
times the arrangement of two shapes, so that the positions of the poolings matter from both sides:

    label = 2 * arrangement + scale
    scale        0: stripes every 3 pixels, 1: every 3.9; any of 8 directions, any phase: fine detail
    arrangement  0: disc above disc, 1: ring above ring, 2: disc above ring, 3: ring above disc,
                 4: disc and ring side by side: a relation over 10 to 12 pixels

Colours, signs of contrast and positions are drawn per image and tell nothing of the class, so no linear
function of the pixels finds it; contrasts range from plain to buried in noise, so that some images are
hard. The mirror image of a class is the class itself, and a shift by 4 pixels cuts no shape: what a
training does to CIFAR-10 (flip, crop from padding) leaves every label true.

The bytes are the same on every machine: PCG64's raw stream is guaranteed by numpy, and all that follows
is whole-number arithmetic without overflow; no float, hence nothing to round, takes part.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.datasheets import Datasheet, register
from benchmark.errors import UsageError, choices

if TYPE_CHECKING:
    from benchmark.datasets.sets import Dataset, Images

CLASSES = 10
SIDE = 32
SPLITS = ("train", "test")

_TURN = 1024  # units of phase in one period
_STEPS = np.array((341, 262))  # phase per pixel of each scale: periods of 3.0 and 3.9 pixels
# Unit vectors in sixteenths, 22.5 degrees apart; stripes have no sign, so the mirror image of each is in the list.
_DIRECTIONS = np.array(((16, 0), (15, 6), (11, 11), (6, 15), (0, 16), (-6, 15), (-11, 11), (-15, 6)))
_UPPER_IS_RING = np.array((0, 1, 0, 1, 0))  # by arrangement; "upper" is the left one where they stand side by side
_LOWER_IS_RING = np.array((0, 1, 1, 0, 1))
_BESIDE = 4

# Gray levels. The wide ranges of contrast are what grades the difficulty.
_STRIPES = (12, 72)
_SHAPES = (32, 120)
_NOISE = 28  # each value moves by up to so much, evenly

# int16 holds every value of an image under way and halves the time; the largest is a phase, below 17,000.
_COLUMNS = np.arange(SIDE, dtype=np.int16)
_ROWS = _COLUMNS[:, None]

_CHUNK = 256  # images painted at once: the intermediate arrays then stay in the processor's cache
_FIELDS = 24  # 16-bit draws per image, before one byte of noise per value
_IMAGE_BYTES = 2 * _FIELDS + 3 * SIDE * SIDE  # a multiple of 8, so that every image starts on a new word of the stream


def generate(images: int, seed: int, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """`images` images and their labels: uint8 (images, 32, 32, 3) and int64 (images,) in 0..9.

    A pure function of (seed, split, position): asking for fewer gives a prefix. Labels are drawn
    independently, each class with probability 1/10. Raises UsageError for an unknown split, a negative
    seed or a negative number of images.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split '{split}': {choices(split, SPLITS)}")
    if images < 0 or seed < 0:
        raise UsageError(f"{images} images from seed {seed}: both must be 0 or more")
    # A spawn key, since a seed's words are padded with zeros: (2**32, "train") would else equal (0, "test").
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),)))
    pixels = np.empty((images, SIDE, SIDE, 3), np.uint8)
    labels = np.empty(images, np.int64)
    for start in range(0, images, _CHUNK):
        part = slice(start, min(start + _CHUNK, images))
        count = part.stop - start
        # Little-endian by decree: the bytes of a word must not depend on the machine.
        drawn = stream.random_raw(count * _IMAGE_BYTES // 8).astype("<u8").view(np.uint8).reshape(count, _IMAGE_BYTES)
        fields = drawn[:, : 2 * _FIELDS].view("<u2").astype(np.int64)
        pixels[part], labels[part] = _paint(fields, drawn[:, 2 * _FIELDS :].reshape(count, SIDE, SIDE, 3))
    return pixels, labels


def _paint(fields: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of (n, 24) draws below 65536 and (n, 32, 32, 3) bytes of noise."""
    columns = iter(fields.T)

    def pick(low: int, high: int) -> np.ndarray:
        """The next draw of every image, as a whole number from low to high, both included: (n,)."""
        return low + (next(columns) * (high - low + 1) >> 16)

    def colour(contrast: tuple[int, int]) -> np.ndarray:
        """A difference of colour, of any sign in each channel: (n, 1, 1, 3)."""
        strength = pick(*contrast)
        return _per_image(np.stack([strength * pick(-64, 64) >> 6 for _ in range(3)], axis=-1))

    label = pick(0, CLASSES - 1)
    arrangement, scale = label // 2, label % 2
    base = _per_image(np.stack([pick(80, 176) for _ in range(3)], axis=-1))

    # Stripes: a triangle wave, whose period varies by 4 % within a scale.
    step = _STEPS[scale] * pick(246, 266) >> 8
    across, down = (_per_image(step * axis >> 4) for axis in _DIRECTIONS[pick(0, len(_DIRECTIONS) - 1)].T)
    phase = (across * _COLUMNS + down * _ROWS + _per_image(pick(0, _TURN - 1))) & (_TURN - 1)
    wave = (abs(phase - _TURN // 2) - _TURN // 4) // 2  # -128 to 128
    image = base + (colour(_STRIPES) * wave[..., None] >> 7)

    # Shapes: centres within 8 to 23, so that radius 4 and a shift by 4 stay inside the image.
    first = pick(8, 11)
    second = first + pick(10, 12)
    aside = pick(8, 23)
    aside_too = np.clip(aside + pick(-3, 3), 8, 23)
    mirrored = pick(0, 1) == 1
    for along, other, ring in ((first, aside, _UPPER_IS_RING), (second, aside_too, _LOWER_IS_RING)):
        beside = arrangement == _BESIDE
        x, y = np.where(beside, along, other), np.where(beside, other, along)
        x = np.where(mirrored, SIDE - 1 - x, x)
        distance = (_COLUMNS - _per_image(x)) ** 2 + (_ROWS - _per_image(y)) ** 2  # squared
        inside = (distance <= 18) & (distance >= _per_image(6 * ring[arrangement]))
        image = np.where(inside[..., None], base + colour(_SHAPES), image)

    image += (noise.astype(np.int16) - 128) * _NOISE >> 7
    return np.clip(image, 0, 255).astype(np.uint8), label


def _per_image(values: np.ndarray) -> np.ndarray:
    """(n,) -> (n, 1, 1) and (n, 3) -> (n, 1, 1, 3) in int16: ready to meet the pixels."""
    return values.astype(np.int16).reshape(len(values), 1, 1, *values.shape[1:])


def load_synthetic(root: Path, download: bool) -> Dataset[Images]:
    """8,192 training and 2,048 test images, those of seed 0. There is nothing to read or to fetch."""
    import torch

    from benchmark.datasets.sets import Dataset, Images

    digest = hashlib.sha256()
    sets = []
    for split, count in (("train", 8192), ("test", 2048)):
        pixels, labels = generate(count, 0, split)
        digest.update(pixels.tobytes() + labels.astype("<i8").tobytes())
        sets.append(Images(torch.from_numpy(pixels), torch.from_numpy(labels)))
    return Dataset.of(SYNTHETIC, sets[0], sets[1], digest.hexdigest())


SYNTHETIC = register(Datasheet("synthetic", "synthetic", CLASSES, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), load_synthetic))
