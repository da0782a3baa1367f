"""Augmentation: crops are slices, factors of one change nothing, draws are per sample and only in training."""

import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.networks import image_augmentation
from praxon.policies.networks.image_augmentation import ImageAugmentation, crop_at, to_rgb


@pytest.fixture
def pictures() -> torch.Tensor:
    """(B 5, O 2, H 20, W 30, C 3); the two pictures of a sample are equal."""
    one = torch.randint(0, 256, (5, 1, 20, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return one.repeat(1, 2, 1, 1, 1)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_settings_it_only_scales_to_one(pictures):
    rgb = ImageAugmentation().train()(pictures, generator())
    assert rgb.shape == (5, 2, 3, 20, 30)
    torch.testing.assert_close(rgb, pictures.permute(0, 1, 4, 2, 3) / 255)


def test_a_crop_at_a_corner_is_that_slice(pictures):
    top, left = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([5, 0, 3, 2, 1])
    cropped = crop_at(pictures, top, left, 16, 25)
    for b in range(5):
        assert torch.equal(cropped[b], pictures[b, :, top[b] : top[b] + 16, left[b] : left[b] + 25])


def test_a_random_crop_is_one_slice_per_sample_for_all_its_steps(pictures):
    rgb = ImageAugmentation(crop=0.8).train()(pictures, generator())
    found = []
    for b in range(5):
        whole = to_rgb(pictures)[b, 0]
        corners = [
            (y, x) for y in range(5) for x in range(7) if torch.equal(rgb[b, 0], whole[:, y : y + 16, x : x + 24])
        ]
        assert len(corners) == 1
        assert torch.equal(rgb[b, 0], rgb[b, 1])
        found += corners
    assert len(set(found)) > 1


@pytest.mark.parametrize(("training", "drawn"), [(False, True), (True, False)])
def test_otherwise_it_is_the_centre(pictures, training, drawn):
    settings = {"crop": 0.8, "brightness": 0.5, "contrast": 0.5, "saturation": 0.5}
    rgb = ImageAugmentation(**settings).train(training)(pictures, generator() if drawn else None)
    assert torch.equal(rgb, to_rgb(pictures[:, :, 2:18, 3:27]))


def test_what_is_drawn_comes_from_the_generator_alone(pictures):
    augmentation = ImageAugmentation(0.9, 0.3, 0.3, 0.3).train()
    first, again, other = (augmentation(pictures, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["brighten", "change_contrast", "saturate"])
def test_colour_changes_are_the_identity_at_one_and_stay_colours(pictures, name):
    change, rgb = getattr(image_augmentation, name), to_rgb(pictures)
    factors = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0])[:, None, None, None, None]
    changed = change(rgb, factors)
    torch.testing.assert_close(changed[2], rgb[2])
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.allclose(changed[1], rgb[1], atol=1e-2)


def test_colour_changes_at_zero(pictures):
    rgb, zero = to_rgb(pictures), torch.zeros(5, 1, 1, 1, 1)
    grey = (rgb * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2, keepdim=True)
    assert image_augmentation.brighten(rgb, zero).max() == 0
    torch.testing.assert_close(image_augmentation.saturate(rgb, zero), grey.expand_as(rgb))
    flat = grey.mean((2, 3, 4), keepdim=True).expand_as(rgb)
    torch.testing.assert_close(image_augmentation.change_contrast(rgb, zero), flat)


@pytest.mark.parametrize("setting", [{"crop": 0.0}, {"crop": 1.1}, {"brightness": -0.1}, {"saturation": 2.0}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ConfigError, match="possible"):
        ImageAugmentation(**setting)
