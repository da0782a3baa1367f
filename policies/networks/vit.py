"""Vision transformer (Dosovitskiy et al., arXiv 2010.11929) in the shape of DINOv2 (Oquab et al., arXiv 2304.07193).

Patches of 14 pixels, a class token, learned positions interpolated to the picture at hand, LayerScale. Parameters are named
as in facebookresearch's DINOv2, so that such a checkpoint, saved as safetensors, loads by name.

Shapes: B batch, H W pixels, h w patches, P = h w, R registers, D width, N heads, G positions along one side.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.errors import ConfigError
from praxon.policies.networks.backbone import Backbone, Features
from praxon.policies.networks.sizes import sized

SIZES = {
    "vit_tiny": {"width": 192, "depth": 12, "num_heads": 3},
    "vit_small": {"width": 384, "depth": 12, "num_heads": 6},
    "vit_base": {"width": 768, "depth": 12, "num_heads": 12},
}
PATCH = 14
OFFSET = 0.1
"""Added to the number of patches before positions are interpolated: published weights were trained and are used with it."""


class PatchEmbedding(nn.Module):
    """Pixels (B, 3, H, W) -> (B, P, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)

    def forward(self, pixel_BCHW: Tensor) -> Tensor:
        return self.proj(pixel_BCHW).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BPD: Tensor) -> Tensor:
        query, key, value = self.qkv(x_BPD).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers around a GELU, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x_BPD: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_BPD)))


class LayerScale(nn.Module):
    """One learned factor per channel on a residual branch (Touvron et al., arXiv 2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BPD: Tensor) -> Tensor:
        return x_BPD * self.gamma


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm, scaled, and added."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, x_BPD: Tensor) -> Tensor:
        x_BPD = x_BPD + self.ls1(self.attn(self.norm1(x_BPD)))
        return x_BPD + self.ls2(self.mlp(self.norm2(x_BPD)))


class VisionTransformer(Backbone):
    """Patch tokens as feature maps, the class token as summary, both behind the last layer norm.

    Pictures are resized to the nearest whole number of patches.

    Args:
        size: ``vit_tiny``, ``vit_small`` or ``vit_base``; single numbers override it.
        width, depth, num_heads: D, layers, N.
        resize: length to which a picture's longer side is brought first [pixels]; as it is where None.
        num_registers: R, register tokens beside the class token (Darcet et al., arXiv 2309.16588); 4 in DINOv2 "reg".
        num_positions: G; 37 in DINOv2, which saw 518 pixels.
        options: of ``Backbone``.

    Raises:
        ConfigError: D is not divisible by N, or an unknown size.
    """

    def __init__(
        self,
        size: str | None = None,
        width: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        resize: int | None = None,
        num_registers: int = 0,
        num_positions: int = 37,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        chosen = sized(SIZES, size or "vit_small", width=width, depth=depth, num_heads=num_heads)
        self.channels, heads = chosen["width"], chosen["num_heads"]
        if self.channels % heads:
            raise ConfigError(
                f"A width of {self.channels} cannot be split over {heads} attention heads; it must divide."
            )
        self.resize, self.num_registers, self.num_positions = resize, num_registers, num_positions
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, self.channels))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + num_positions**2, self.channels))
        if num_registers:
            self.register_tokens = nn.Parameter(0.02 * torch.randn(1, num_registers, self.channels))
        self.patch_embed = PatchEmbedding(self.channels)
        self.blocks = nn.ModuleList(Block(self.channels, heads) for _ in range(chosen["depth"]))
        self.norm = nn.LayerNorm(self.channels, eps=1e-6)
        self.freeze_if_asked()

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """See ``Backbone.grid``."""
        scale = self.resize / max(height, width) if self.resize else 1.0
        return max(1, round(scale * height / PATCH)), max(1, round(scale * width / PATCH))

    def features(self, pixel_BCHW: Tensor) -> Features:
        """See ``Backbone.features``."""
        h, w = self.grid(*pixel_BCHW.shape[-2:])
        if pixel_BCHW.shape[-2:] != (PATCH * h, PATCH * w):
            pixel_BCHW = F.interpolate(pixel_BCHW, (PATCH * h, PATCH * w), mode="bilinear", antialias=True)
        patch_BPD = self.patch_embed(pixel_BCHW) + self.patch_positions(h, w)
        class_B1D = (self.cls_token + self.pos_embed[:, :1]).expand(len(patch_BPD), -1, -1)
        registers = [self.register_tokens.expand(len(patch_BPD), -1, -1)] if self.num_registers else []
        x_BPD = torch.cat([class_B1D, *registers, patch_BPD], dim=1)
        for block in self.blocks:
            x_BPD = block(x_BPD)
        x_BPD = self.norm(x_BPD)
        maps = x_BPD[:, 1 + self.num_registers :].transpose(1, 2).unflatten(2, (h, w))
        return Features(maps, x_BPD[:, 0])

    def patch_positions(self, h: int, w: int) -> Tensor:
        """Positions (1, h w, D), as DINOv2 interpolates them: bicubic, with ``OFFSET``; with registers, which were trained
        later, without it and smoothed."""
        G = self.num_positions
        position_1PD = self.pos_embed[:, 1:]
        if (h, w) == (G, G):
            return position_1PD
        position_1DGG = position_1PD.transpose(1, 2).unflatten(2, (G, G))
        if self.num_registers:
            found = F.interpolate(position_1DGG, size=(h, w), mode="bicubic", antialias=True)
        else:
            scale = ((h + OFFSET) / G, (w + OFFSET) / G)
            found = F.interpolate(position_1DGG, scale_factor=scale, mode="bicubic", antialias=False)
        return found.flatten(2).transpose(1, 2)

    def translate(self, name: str) -> str | None:
        """DINOv2's names are ours; its mask token serves pre-training alone."""
        return None if name == "mask_token" else name
