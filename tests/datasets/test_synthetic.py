"""The synthetic data set: the same bytes everywhere, prefixes, classes that survive augmentation and no linear way in."""

import hashlib

import numpy as np
import pytest

from benchmark.datasets.known import synthetic
from benchmark.datasets.known.synthetic import CLASSES, SIDE, generate
from benchmark.errors import UsageError

MANY = 4000


@pytest.fixture(scope="module")
def train():
    return generate(MANY, seed=0)


@pytest.fixture(scope="module")
def test():
    return generate(MANY, seed=0, split="test")


def plain(monkeypatch, images, **settings):
    """Images (as int) and labels without noise, stripes or shapes, except for what `settings` turns on."""
    for name, value in {"_NOISE": 0, "_STRIPES": (0, 0), "_SHAPES": (0, 0), **settings}.items():
        monkeypatch.setattr(synthetic, name, value)
    pixels, labels = generate(images, seed=3)
    return pixels.astype(int), labels


def shapes(monkeypatch, images):
    """Where an image differs from its background (n, 32, 32), and labels; images with an invisible shape left out."""
    pixels, labels = plain(monkeypatch, images, _SHAPES=(120, 120))
    mask = (np.abs(pixels - pixels[:, :1, :1]) > 0).any(-1)
    # A disc has 61 pixels and a ring 40: fewer than both shapes should have means that one took the background's colour.
    seen = mask.sum((1, 2)) == np.array((122, 80, 101, 101, 101))[labels // 2]
    return mask[seen], labels[seen]


def test_bytes_are_the_same_everywhere():
    # Whole-number arithmetic on PCG64's guaranteed raw stream: nothing is rounded, so nothing may differ by a machine.
    pixels, labels = generate(64, seed=0)
    digest = hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    assert digest == "1cccfd9ca37714cd0172ef87c3adf2687e4017d5b93890db1961f4bc92b1ca66"


def test_shape_type_and_balance(train):
    pixels, labels = train
    assert pixels.shape == (MANY, SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert labels.shape == (MANY,)
    assert labels.dtype == np.int64
    counts = np.bincount(labels, minlength=CLASSES)
    assert len(counts) == CLASSES
    assert counts.min() > 0.8 * MANY / CLASSES
    assert counts.max() < 1.2 * MANY / CLASSES


@pytest.mark.parametrize("images", [0, 1, 255, 256, 257, 700])
def test_fewer_images_are_a_prefix(train, images):
    pixels, labels = generate(images, seed=0)
    assert np.array_equal(pixels, train[0][:images])
    assert np.array_equal(labels, train[1][:images])


def test_seeds_and_splits_share_no_image():
    # 2**32 too: a seed of two words must not be taken for a smaller one.
    sets = [generate(64, seed, split) for seed in (0, 1, 2**32) for split in synthetic.SPLITS]
    images = {image.tobytes() for pixels, _ in sets for image in pixels}
    assert len(images) == 64 * len(sets)
    assert len({labels.tobytes() for _, labels in sets}) == len(sets)


@pytest.mark.parametrize(("arguments", "named"), [((1, 0, "val"), "val"), ((-1, 0), "-1"), ((1, -2), "-2")])
def test_wrong_arguments_are_named(arguments, named):
    with pytest.raises(UsageError, match=named):
        generate(*arguments)


def test_no_value_overflows(monkeypatch):
    """With every draw at its extremes, the image made in 64 bits is the one made in 16."""
    rng = np.random.default_rng(0)
    fields = rng.choice([0, 65535], size=(500, synthetic._FIELDS))
    fields[:, 0] = rng.integers(65536, size=500)
    noise = rng.choice(np.array([0, 255], np.uint8), size=(500, SIDE, SIDE, 3))
    narrow = synthetic._paint(fields, noise)
    monkeypatch.setattr(synthetic, "_COLUMNS", synthetic._COLUMNS.astype(np.int64))
    monkeypatch.setattr(synthetic, "_ROWS", synthetic._ROWS.astype(np.int64))
    monkeypatch.setattr(synthetic, "_per_image", lambda v: v.reshape(len(v), 1, 1, *v.shape[1:]))
    wide = synthetic._paint(fields, noise.astype(np.int64))
    assert all(np.array_equal(a, b) for a, b in zip(narrow, wide, strict=True))


def test_a_shift_by_four_cuts_no_shape(monkeypatch):
    mask, _ = shapes(monkeypatch, 2000)
    assert len(mask) > 1500
    border = mask.copy()
    border[:, 4:-4, 4:-4] = False
    assert not border.any()
    assert mask[:, 4].any()
    assert mask[:, -5].any()
    assert mask[:, :, 4].any()
    assert mask[:, :, -5].any()


def test_classes_are_their_own_mirror_images(monkeypatch):
    """The arrangement read from an image is the label's, and so it is from its mirror image."""
    mask, labels = shapes(monkeypatch, 2000)
    for seen in (mask, mask[:, :, ::-1]):
        rows, columns = seen.any(2), seen.any(1)
        tall = SIDE - rows.argmax(1) - rows[:, ::-1].argmax(1)
        wide = SIDE - columns.argmax(1) - columns[:, ::-1].argmax(1)
        beside = wide > tall
        assert np.array_equal(beside, labels // 2 == 4)
        upper = np.array([image[top : top + 9].sum() for image, top in zip(seen, rows.argmax(1), strict=True)])
        total = seen.sum((1, 2))
        kinds = np.stack([upper, total - upper], axis=1)[~beside]  # pixels of the upper and of the lower shape
        assert np.array_equal(kinds, np.array(((61, 61), (40, 40), (61, 40), (40, 61)))[labels[~beside] // 2])
    directions = {tuple(d) for d in synthetic._DIRECTIONS.tolist()}
    assert all((-x, y) in directions or (x, -y) in directions for x, y in directions)


def test_scales_are_periods_of_the_stripes(monkeypatch):
    """The strongest frequency of the image tells the scale: the two do not overlap."""
    pixels, labels = plain(monkeypatch, 500, _STRIPES=(100, 100))
    gray = pixels.sum(-1)
    spectrum = np.abs(np.fft.fft2(gray - gray.mean((1, 2), keepdims=True), s=(128, 128)))
    best = spectrum.reshape(len(gray), -1).argmax(1)
    frequency = np.hypot(*(np.fft.fftfreq(128)[axis] for axis in np.unravel_index(best, (128, 128))))
    clear = gray.std((1, 2)) > 15  # in the others the channels cancel
    assert clear.sum() > 300
    assert np.array_equal(frequency[clear] < 0.29, labels[clear] % 2 == 1)


def test_no_linear_function_of_the_pixels_finds_the_classes(train, test):
    """Ridge regression on the pixels (averaged two by two), and the nearest class mean, stay close to chance (10 %)."""

    def prepared(pixels):
        coarse = pixels.reshape(MANY, 16, 2, 16, 2, 3).mean((2, 4)).reshape(MANY, -1) / 255 - 0.5
        return np.hstack([coarse, np.ones((MANY, 1))])

    x, z = prepared(train[0]), prepared(test[0])
    target = np.eye(CLASSES)[train[1]]
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ target)
    means = np.stack([x[train[1] == c].mean(0) for c in range(CLASSES)])
    nearest = (z @ means.T * 2 - (means**2).sum(1)).argmax(1)
    assert ((z @ weights).argmax(1) == test[1]).mean() < 0.16
    assert (nearest == test[1]).mean() < 0.16
