"""What a picture backbone is: RGB in, feature maps and one summary vector out.

Shapes: B batch, C channels, H W pixels, h w positions of the feature map.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from praxon.policies.networks.pretrained import load_matching

HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in [0, 1]: what networks trained on ImageNet expect."""


class Features(NamedTuple):
    """What a backbone says about pictures."""

    maps_BChw: Tensor
    summary_BC: Tensor


class Backbone(nn.Module, ABC):
    """Parent of picture networks; a subclass's constructor takes ``size`` and these keyword arguments.

    Args:
        weights: local safetensors file of pretrained parameters, read by ``load_pretrained``; none where None.
        frozen: leave the parameters as they are loaded; nothing is then kept for a gradient.
        mean, std: of each colour, subtracted and divided by; of ImageNet where there are ``weights``, else 1/2, which
            brings [0, 1] to [-1, 1].

    Attributes:
        channels: C.
    """

    channels: int
    mean_C: Tensor
    std_C: Tensor

    def __init__(
        self,
        weights: str | None = None,
        frozen: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.frozen = weights, frozen
        mean = mean or (IMAGENET_MEAN if weights else HALF)
        std = std or (IMAGENET_STD if weights else HALF)
        self.register_buffer("mean_C", torch.tensor(mean), persistent=False)
        self.register_buffer("std_C", torch.tensor(std), persistent=False)

    @abstractmethod
    def features(self, pixel_BCHW: Tensor) -> Features:
        """Normalised pixels (B, 3, H, W) -> features."""

    @abstractmethod
    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the maps for pictures of this size."""

    def forward(self, rgb_BCHW: Tensor) -> Features:
        """RGB in [0, 1], (B, 3, H, W) -> features."""
        pixel_BCHW = (rgb_BCHW - self.mean_C[:, None, None]) / self.std_C[:, None, None]
        if not self.frozen:
            return self.features(pixel_BCHW)
        with torch.no_grad():
            return self.features(pixel_BCHW)

    def freeze_if_asked(self) -> None:
        """Called by subclasses once their parameters exist."""
        if self.frozen:
            self.requires_grad_(False)

    def load_pretrained(self) -> None:
        """Take parameters by name from the ``weights`` file; ``ConfigError`` where one does not fit."""
        if self.weights is not None:
            load_matching(self, Path(self.weights), self.translate)

    def translate(self, name: str) -> str | None:
        """A published parameter's name -> ours; None for those that are not used here, such as a classifier's."""
        return name
