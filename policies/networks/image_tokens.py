"""From a backbone's feature maps to tokens: where things are, what is at each position, or one vector for all.

Shapes: B batch, C channels, K keypoints, h w positions of the feature map, P tokens of one picture, D width.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.errors import ConfigError, nearest
from praxon.policies.networks.backbone import Backbone, Features

KINDS = ("keypoints", "grid", "summary")


class ImageTokens(nn.Module):
    """A backbone and what is made of its maps: RGB in [0, 1] (B, 3, H, W) -> (B, P, D).

    ``keypoints``: mean position of K maps, through a linear layer and ReLU; one token. It keeps where things are, which
    pooling would discard (Levine et al., arXiv 1504.00702, section 5.1; the image encoder of arXiv 2303.04137).
    ``grid``: every position is a token, as in ACT (arXiv 2304.13705). ``summary``: the backbone's summary vector; one token.

    Args:
        backbone: of this camera.
        picture: (height, width) that the backbone is given [pixels].
        width: D.
        kind: one of the three.
        num_keypoints: K.

    Attributes:
        num_tokens: P.

    Raises:
        ConfigError: an unknown kind.
    """

    def __init__(
        self, backbone: Backbone, picture: Sequence[int], width: int, kind: str = "keypoints", num_keypoints: int = 32
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"Image tokens '{kind}' do not exist. Kinds: {', '.join(KINDS)}.{nearest(kind, KINDS)}")
        self.kind, self.width, self.backbone = kind, width, backbone
        self.grid = backbone.grid(picture[0], picture[1])
        self.num_tokens = self.grid[0] * self.grid[1] if kind == "grid" else 1
        if kind == "keypoints":
            self.keypoints = nn.Conv2d(backbone.channels, num_keypoints, kernel_size=1)
        self.out = nn.Linear(2 * num_keypoints if kind == "keypoints" else backbone.channels, width)

    def forward(self, rgb_BCHW: Tensor) -> Tensor:
        features: Features = self.backbone(rgb_BCHW)
        if self.kind == "keypoints":
            return F.relu(self.out(spatial_softmax(self.keypoints(features.maps_BChw)).flatten(1)))[:, None]
        if self.kind == "grid":
            return self.out(features.maps_BChw.flatten(2).transpose(1, 2))
        return self.out(features.summary_BC)[:, None]

    def positions(self) -> Tensor:
        """Fixed positions of the tokens (P, D): those of the grid, zero where there is one token."""
        like: dict[str, Any] = {"device": self.out.weight.device, "dtype": self.out.weight.dtype}
        if self.kind != "grid":
            return torch.zeros(self.num_tokens, self.width, **like)
        return sine_positions(*self.grid, self.width).to(**like)


def spatial_softmax(maps_BKHW: Tensor) -> Tensor:
    """Expected (x, y) of each map under its softmax, in [-1, 1] from left to right and top to bottom: (B, K, 2)."""
    height, width = maps_BKHW.shape[-2:]
    weight_BKHW = maps_BKHW.flatten(2).softmax(dim=-1).unflatten(-1, (height, width))
    x = torch.linspace(-1.0, 1.0, width, device=maps_BKHW.device)
    y = torch.linspace(-1.0, 1.0, height, device=maps_BKHW.device)
    return torch.stack([(weight_BKHW.sum(2) * x).sum(-1), (weight_BKHW.sum(3) * y).sum(-1)], dim=-1)


def sine_positions(height: int, width: int, size: int) -> Tensor:
    """Sines and cosines of row and column, (height * width, size): the first half of the channels for rows.

    As in DETR (arXiv 2005.12872) and ACT: positions count from 1, are divided by their number and multiplied by 2 pi;
    wavelengths are geometric from 2 pi up to 10000 times that.

    Raises:
        ConfigError: the size is not divisible by 4.
    """
    if size % 4:
        raise ConfigError(f"A width of {size} has no two-dimensional sine positions; a multiple of 4 is needed.")
    half = size // 2
    frequency = 10_000.0 ** (-2 * (torch.arange(half) // 2) / half)

    def along(count: int) -> Tensor:
        phase = torch.arange(1, count + 1)[:, None] / count * 2 * math.pi * frequency
        return torch.stack([phase[:, 0::2].sin(), phase[:, 1::2].cos()], dim=-1).flatten(1)

    rows = along(height)[:, None].expand(height, width, half)
    columns = along(width)[None].expand(height, width, half)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)
