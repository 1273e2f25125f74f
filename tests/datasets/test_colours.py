"""Colour jitter against torchvision's own functions, and what an epoch draws for it."""

from dataclasses import replace

import pytest
import torch
import torchvision.transforms.functional as reference

from benchmark.datasets import batches, loaders
from benchmark.datasets.colours import Colours, colours, jittered
from benchmark.recipe import Recipe

CPU = torch.device("cpu")
CHANGES = (
    reference.adjust_brightness,
    reference.adjust_contrast,
    reference.adjust_saturation,
    reference.adjust_hue,
)
NONE = (1.0, 1.0, 1.0, 0.0)


def images(count, side=8):
    """Any colours, greys among them, and the corners of the cube, where hue and saturation have no value."""
    pixels = torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(count))
    pixels[:, 0] = pixels[:, 0, :, :1]
    corners = torch.cartesian_prod(*[torch.tensor([0, 255])] * 3)
    pixels[:, 1, :8] = corners
    return pixels.to(torch.uint8)


def by_torchvision(image, factors, order):
    """Of one image (H, W, 3), 0 to 255, with the same factors in the same order."""
    made = image.permute(2, 0, 1).to(torch.float32) / 255
    for number in order:
        made = CHANGES[number](made, factors[number])
    return 255 * made.permute(1, 2, 0)


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("amount", [-0.4, -0.1, 0.0, 0.1, 0.4])
def test_each_change_is_torchvisions(which, amount):
    factors = list(NONE)
    factors[which] += amount
    pixels, order = images(3), [which, *(other for other in range(4) if other != which)]
    how = Colours(torch.tensor([factors] * 3), torch.tensor([order] * 3))
    expected = torch.stack([by_torchvision(image, factors, order[:1]) for image in pixels])
    torch.testing.assert_close(jittered(pixels, how), expected, atol=2e-3, rtol=0)


def test_an_epochs_images_are_those_of_torchvision_each_with_its_own_factors_in_its_own_order():
    pixels, how = images(48), colours(48, 0.4, 5, 2)
    assert len({tuple(order) for order in how.order.tolist()}) > 15  # of 24
    expected = [by_torchvision(*each) for each in zip(pixels, how.factors.tolist(), how.order.tolist(), strict=True)]
    torch.testing.assert_close(jittered(pixels, how), torch.stack(expected), atol=5e-3, rtol=0)


def test_what_is_drawn_is_a_pure_function_and_uniform():
    how, again = (colours(20_000, 0.4, 3, 7) for _ in range(2))
    assert torch.equal(how.factors, again.factors)
    assert torch.equal(how.order, again.order)
    for seed, epoch in ((3, 8), (4, 7)):
        assert not torch.equal(how.factors, colours(20_000, 0.4, seed, epoch).factors)
    for number, (low, high) in enumerate([(0.6, 1.4)] * 3 + [(-0.2, 0.2)]):
        drawn = how.factors[:, number]
        assert low <= drawn.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < drawn.max() <= high
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    assert (how.order.sort(1).values == torch.arange(4)).all()
    for place in range(4):
        assert how.order[:, place].bincount() / 20_000 == pytest.approx(torch.full((4,), 0.25), abs=0.02)
    assert torch.corrcoef(how.factors.T).fill_diagonal_(0).abs().max() < 0.03


def test_batches_of_an_epoch_are_jittered_crops_and_those_of_a_test_are_plain(tiny_dataset):
    recipe = Recipe(precision="fp32", memory_layout="contiguous", batch_size=16)
    images = tiny_dataset.train
    plain = batches.served(images, tiny_dataset, recipe, CPU)
    served = batches.served(images, tiny_dataset, recipe, CPU, 0.4)
    plan, uncoloured = served.plan(1, 3), plain.plan(1, 3)
    for name in ("order", "top", "left", "mirrored"):
        assert torch.equal(getattr(plan, name), getattr(uncoloured, name)), name  # crops are as without
    assert uncoloured.colours is None
    assert torch.equal(plan.colours.factors, colours(len(images), 0.4, 1, 3).factors)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny_dataset.mean, tiny_dataset.std))
    for step in range(2):
        x, y = served.train(plan, step)
        crops, labels = plain.train(uncoloured, step)
        assert torch.equal(y, labels)
        pixels = (255 * (crops * std + mean)).permute(0, 2, 3, 1)
        expected = jittered(pixels, plan.colours.at(slice(16 * step, 16 * step + 16))) / 255
        torch.testing.assert_close(x, (expected.permute(0, 3, 1, 2) - mean) / std, atol=1e-3, rtol=1e-3)
        assert not torch.allclose(x, crops, atol=0.1)
    for one, other in zip(served.plain(), plain.plain(), strict=True):
        assert torch.equal(one[0], other[0])


def test_resized_crops_are_jittered_too_and_streamed_images_are_as_resident_ones(tiny_dataset):
    recipe = Recipe(precision="fp32", memory_layout="contiguous", batch_size=8)
    sized = replace(tiny_dataset, crop=24)
    resident = batches.served(sized.train, sized, recipe, CPU, 0.4)
    streamed = batches.served(loaders.ImageByImage(sized.train), sized, recipe, CPU, 0.4)
    plan = resident.plan(0, 0)
    assert plan.colours is not None
    for step, (x, y) in enumerate(streamed.epoch(streamed.plan(0, 0))):
        expected, labels = resident.train(plan, step)
        assert torch.equal(x, expected)
        assert torch.equal(y, labels)
    assert not torch.equal(
        x, batches.served(sized.train, sized, recipe, CPU).train(replace(plan, colours=None), step)[0]
    )
