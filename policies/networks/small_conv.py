"""A small residual network for small pictures: what trains within minutes on a CPU.

Shapes: B batch, C channels, H W pixels, h w positions of the feature map.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from praxon.policies.networks.backbone import Backbone, Features
from praxon.policies.networks.sizes import sized

SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": (32, 64, 128)},
    "base": {"channels": (32, 64, 128, 256)},
    "large": {"channels": (64, 128, 256, 512)},
}


class SmallConvNet(Backbone):
    """A strided stem and one residual stage per entry of ``channels``, each halving the resolution.

    Group norm instead of batch norm, whose running statistics and EMA weights do not mix (arXiv 2303.04137, III-B).

    Args:
        size: ``small``, ``base`` or ``large``.
        options: of ``Backbone``.
    """

    def __init__(self, size: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        channels = sized(SIZES, size or "small")["channels"]
        self.channels = channels[-1]
        self.halvings = 1 + len(channels)
        self.stem = nn.Conv2d(3, channels[0], kernel_size=5, stride=2, padding=2)
        pairs = zip((channels[0], *channels[:-1]), channels, strict=True)
        self.stages = nn.Sequential(*(ResidualStage(inner, outer) for inner, outer in pairs))
        self.freeze_if_asked()

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """See ``Backbone.grid``."""
        return -(-height // 2**self.halvings), -(-width // 2**self.halvings)

    def features(self, pixel_BCHW: Tensor) -> Features:
        """See ``Backbone.features``; the summary is the mean over positions."""
        maps_BChw = F.gelu(self.stages(self.stem(pixel_BCHW)))
        return Features(maps_BChw, maps_BChw.mean((2, 3)))


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
