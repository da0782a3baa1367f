"""ResNet (He et al., arXiv 1512.03385) of basic blocks, parameters named as in torchvision.

A torchvision checkpoint saved as safetensors loads by name; its classifier ``fc`` is left out. From scratch every batch
norm is a group norm with channels / 16 groups (Diffusion Policy, arXiv 2303.04137, III-B: running statistics and averaged
weights disagree); with pretrained weights the batch norms keep theirs and are never updated (as in ACT, arXiv 2304.13705).

Shapes: B batch, C channels, H W pixels, h w positions of the feature map.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.errors import ConfigError, nearest
from praxon.policies.networks.backbone import Backbone, Features
from praxon.policies.networks.sizes import sized

SIZES = {"resnet18": {"blocks": (2, 2, 2, 2)}, "resnet34": {"blocks": (3, 4, 6, 3)}}
CHANNELS = (64, 128, 256, 512)


class FrozenBatchNorm2d(nn.Module):
    """Batch norm with the statistics it was loaded with, in training as well; weight and bias are constants too."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.batch_norm(x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)


def group_norm(channels: int) -> nn.Module:
    """A group norm with 16 channels in each group."""
    return nn.GroupNorm(channels // 16, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {"group": group_norm, "frozen_batch": FrozenBatchNorm2d}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False)
        self.bn1 = norm(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.bn2 = norm(outer)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), norm(outer))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return F.relu(shortcut + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x_BCHW))))))


class ResNet(Backbone):
    """A residual network without its head; the maps are those of its last stage, 1/32 of the resolution.

    Args:
        size: ``resnet18`` or ``resnet34``.
        norm: ``group`` or ``frozen_batch``; frozen batch norms where there are ``weights``, else group norms.
        options: of ``Backbone``.

    Raises:
        ConfigError: an unknown size or norm.
    """

    channels = CHANNELS[-1]

    def __init__(self, size: str | None = None, norm: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        norm = norm or ("frozen_batch" if self.weights else "group")
        if norm not in NORMS:
            raise ConfigError(
                f"A ResNet's norm '{norm}' does not exist. Norms: {', '.join(NORMS)}.{nearest(norm, NORMS)}"
            )
        make = NORMS[norm]
        self.conv1 = nn.Conv2d(3, CHANNELS[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = make(CHANNELS[0])
        counts = sized(SIZES, size or "resnet18")["blocks"]
        ends = zip((CHANNELS[0], *CHANNELS[:-1]), CHANNELS, counts, strict=True)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(
                BasicBlock(inner, outer, 1 if inner == outer else 2, make),
                *(BasicBlock(outer, outer, 1, make) for _ in range(count - 1)),
            )
            for inner, outer, count in ends
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.freeze_if_asked()

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """See ``Backbone.grid``."""
        return -(-height // 32), -(-width // 32)

    def features(self, pixel_BCHW: Tensor) -> Features:
        """See ``Backbone.features``; the summary is the mean over positions."""
        x_BCHW = F.max_pool2d(F.relu(self.bn1(self.conv1(pixel_BCHW))), kernel_size=3, stride=2, padding=1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x_BCHW = stage(x_BCHW)
        return Features(x_BCHW, x_BCHW.mean((2, 3)))

    def translate(self, name: str) -> str | None:
        """torchvision's names are ours; its classifier and its count of batches are not used."""
        return None if name.startswith("fc.") or name.endswith("num_batches_tracked") else name
