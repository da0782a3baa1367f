"""Tokens of pictures: keypoints where the peaks are, one token per position, positions by hand."""

import math

import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.networks.backbone import Backbone, Features
from praxon.policies.networks.image_tokens import ImageTokens, sine_positions, spatial_softmax
from praxon.policies.networks.resnet import ResNet
from praxon.policies.networks.small_conv import SmallConvNet
from praxon.policies.networks.vit import VisionTransformer

BACKBONES = {
    "small": lambda: SmallConvNet(),
    "resnet": lambda: ResNet(),
    "vit": lambda: VisionTransformer(width=32, depth=1, num_heads=2),
}


class Same(Backbone):
    """Its maps are the picture."""

    channels = 3

    def grid(self, height, width):
        return height, width

    def features(self, pixel_BCHW):
        return Features(pixel_BCHW, pixel_BCHW.mean((2, 3)))


def test_spatial_softmax_finds_a_peak():
    maps = torch.zeros(1, 2, 5, 9)
    maps[0, 0, 0, 8] = 50.0  # top right
    maps[0, 1, 2, 4] = 50.0  # middle
    torch.testing.assert_close(spatial_softmax(maps)[0], torch.tensor([[1.0, -1.0], [0.0, 0.0]]))


def test_sine_positions_by_hand():
    positions = sine_positions(2, 4, 8)
    assert positions.shape == (8, 8)
    row, column = 2 / 2 * 2 * math.pi, 3 / 4 * 2 * math.pi  # counted from 1
    slow = 10_000 ** (-2 / 4)
    expected = [
        *(math.sin(row), math.cos(row), math.sin(row * slow), math.cos(row * slow)),
        *(math.sin(column), math.cos(column), math.sin(column * slow), math.cos(column * slow)),
    ]
    torch.testing.assert_close(positions[1 * 4 + 2], torch.tensor(expected), atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match="multiple of 4"):
        sine_positions(2, 2, 6)


def test_a_grid_token_sees_its_position_alone():
    tokens = ImageTokens(Same(), (4, 6), 8, "grid")
    rgb = torch.rand(1, 3, 4, 6)
    changed = rgb.clone()
    changed[0, :, 2, 3] += 0.1
    different = (tokens(rgb) != tokens(changed)).any(-1)[0]
    assert different.nonzero().flatten().tolist() == [2 * 6 + 3]


@pytest.mark.parametrize("picture", [(24, 32), (76, 76), (57, 45)])
@pytest.mark.parametrize("name", BACKBONES)
def test_maps_have_the_announced_size(name, picture):
    backbone = BACKBONES[name]()
    with torch.no_grad():
        maps, summary = backbone(torch.rand(2, 3, *picture))
    assert maps.shape == (2, backbone.channels, *backbone.grid(*picture))
    assert summary.shape == (2, backbone.channels)


@pytest.mark.parametrize(("kind", "count"), [("keypoints", 1), ("grid", 4 * 6), ("summary", 1)])
def test_number_of_tokens(kind, count):
    tokens = ImageTokens(Same(), (4, 6), 8, kind)
    assert tokens(torch.rand(3, 3, 4, 6)).shape == (3, count, 8)
    assert tokens.num_tokens == count
    assert tokens.positions().shape == (count, 8)


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="Did you mean 'grid'"):
        ImageTokens(Same(), (4, 6), 8, "grids")


@pytest.mark.parametrize("name", BACKBONES)
def test_a_frozen_backbone_gets_no_gradient_and_pictures_do_not_see_each_other(name):
    backbone = BACKBONES[name]().train()
    rgb = torch.rand(3, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(backbone(rgb)[0][1:2], backbone(rgb[1:2])[0], atol=1e-4, rtol=1e-4)
    assert any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.frozen = True
    backbone.freeze_if_asked()
    assert not backbone(rgb)[0].requires_grad
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
