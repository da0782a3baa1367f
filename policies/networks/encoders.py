"""Observation encoders: a window of observations -> tokens that the denoiser attends to.

Shapes: B batch, O observation steps, S tokens, D width, C channels, K keypoints.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.contract import PolicyContract
from praxon.policies.normalizer import Normalizer, is_numeric


class Encoder(nn.Module, ABC):
    """Parent of observation encoders; the constructor takes the contract and keyword arguments.

    Attributes:
        width: D.
        num_tokens: S.
    """

    width: int
    num_tokens: int

    @abstractmethod
    def forward(self, window: Mapping[str, Tensor], normalizer: Normalizer) -> Tensor:
        """Window of features (B, O, *shape), physical units -> tokens (B, S, D)."""


class ObservationEncoder(Encoder):
    """One token per observation step for all numeric features together, and one per camera and step.

    Args:
        contract: names the features and the window's length.
        width: D.
        num_keypoints: K, points each camera is reduced to.
    """

    def __init__(self, contract: PolicyContract, *, width: int = 128, num_keypoints: int = 32) -> None:
        super().__init__()
        self.numeric = [feature.name for feature in contract.observations if is_numeric(feature)]
        self.cameras = [feature.name for feature in contract.observations if not is_numeric(feature)]
        steps = contract.chunk.num_obs_steps
        self.width = width
        self.num_tokens = (len(self.cameras) + bool(self.numeric)) * steps
        if self.numeric:
            self.state = StateEncoder(sum(contract.feature(name).size for name in self.numeric), width)
        # One encoder per camera: a wrist and a scene camera share little (Diffusion Policy, arXiv 2303.04137, III-B).
        self.images = nn.ModuleList(ImageEncoder(width, num_keypoints) for _ in self.cameras)
        self.positions_SD = nn.Parameter(0.02 * torch.randn(self.num_tokens, width))

    def forward(self, window: Mapping[str, Tensor], normalizer: Normalizer) -> Tensor:
        """See ``Encoder.forward``."""
        tokens = []
        if self.numeric:
            parts = [normalizer.normalize(name, window[name]).flatten(2) for name in self.numeric]
            tokens.append(self.state(torch.cat(parts, dim=-1)))
        for camera, encoder in zip(self.cameras, self.images, strict=True):
            image = window[camera]
            tokens.append(encoder(image.flatten(0, 1)).unflatten(0, image.shape[:2]))
        return torch.cat(tokens, dim=1) + self.positions_SD


class StateEncoder(nn.Module):
    """Two-layer perceptron, (B, O, state) -> (B, O, D)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(size, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, state: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(state)))


class ImageEncoder(nn.Module):
    """A small residual network ending in the mean positions of K feature maps: uint8 RGB (B, H, W, 3) -> (B, D).

    Spatial softmax (Levine et al., arXiv 1504.00702, section 5.1) keeps where things are, which pooling would discard;
    group norm instead of batch norm, whose running statistics and EMA weights do not mix (arXiv 2303.04137, III-B).
    """

    def __init__(self, width: int, num_keypoints: int = 32, channels: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels[0], kernel_size=5, stride=2, padding=2)
        pairs = zip((channels[0], *channels[:-1]), channels, strict=True)
        self.stages = nn.Sequential(*(ResidualStage(inner, outer) for inner, outer in pairs))
        self.keypoints = nn.Conv2d(channels[-1], num_keypoints, kernel_size=1)
        self.out = nn.Linear(2 * num_keypoints, width)

    def forward(self, image_BHWC: Tensor) -> Tensor:
        x_BCHW = image_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        maps_BKHW = self.keypoints(F.gelu(self.stages(self.stem(x_BCHW))))
        return self.out(spatial_softmax(maps_BKHW).flatten(1))


class ResidualStage(nn.Module):
    """Pre-activation residual block that halves the resolution."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(inner // 16, inner), nn.GroupNorm(outer // 16, outer)
        self.conv_in = nn.Conv2d(inner, outer, kernel_size=3, stride=2, padding=1)
        self.conv_out = nn.Conv2d(outer, outer, kernel_size=3, padding=1)
        self.shortcut = nn.Conv2d(inner, outer, kernel_size=1, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        hidden = self.conv_in(F.gelu(self.norm_in(x_BCHW)))
        return self.shortcut(x_BCHW) + self.conv_out(F.gelu(self.norm_out(hidden)))


def spatial_softmax(maps_BKHW: Tensor) -> Tensor:
    """Expected (x, y) of each map under its softmax, in [-1, 1] from left to right and top to bottom: (B, K, 2)."""
    height, width = maps_BKHW.shape[-2:]
    weight_BKHW = maps_BKHW.flatten(2).softmax(dim=-1).unflatten(-1, (height, width))
    x = torch.linspace(-1.0, 1.0, width, device=maps_BKHW.device)
    y = torch.linspace(-1.0, 1.0, height, device=maps_BKHW.device)
    return torch.stack([(weight_BKHW.sum(2) * x).sum(-1), (weight_BKHW.sum(3) * y).sum(-1)], dim=-1)
