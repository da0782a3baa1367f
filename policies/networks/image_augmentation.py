"""Augmentation of pictures on the device: a random crop and colour jitter in training, the centre crop otherwise.

Everything is drawn per sample from the generator that is given, on its device; one draw holds for all pictures of a
sample that are given together. Without a generator, or in evaluation mode, nothing is random.

Shapes: B batch, O pictures of one sample, C colours (RGB), H W pixels, h w after the crop.
"""

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in what the eye sees as brightness (ITU-R BT.601)."""


class ImageAugmentation(nn.Module):
    """uint8 RGB (B, O, H, W, C) -> RGB in [0, 1], (B, O, C, h, w).

    Args:
        crop: share of each side that is kept, in (0, 1]. About 0.9 in training and its centre at run time is the cheapest
            regulariser for pictures (the crop of arXiv 2303.04137: 76 of 84 pixels).
        brightness, contrast, saturation: half-width s of the factor, drawn uniformly from [1 - s, 1 + s] per sample;
            0 leaves it out. Applied in this order.

    Raises:
        ConfigError: a crop outside (0, 1], or a half-width outside [0, 1].
    """

    def __init__(
        self, crop: float = 1.0, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 < crop <= 1:
            raise ConfigError(f"The crop of pictures keeps {crop} of each side; more than 0 and at most 1 is possible.")
        for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if not 0 <= value <= 1:
                raise ConfigError(f"The {name} of pictures varies by {value}; 0 to 1 is possible.")
        self.crop = crop
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation

    def cropped_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of pictures of (H, W)."""
        return max(1, round(self.crop * height)), max(1, round(self.crop * width))

    def forward(self, image_BOHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See the class.

        Args:
            generator: what is drawn comes from it, where this module is in training mode.
        """
        H, W = image_BOHWC.shape[2:4]
        h, w = self.cropped_size(H, W)
        if not self.training or generator is None:
            top, left = (H - h) // 2, (W - w) // 2
            return to_rgb(image_BOHWC[:, :, top : top + h, left : left + w])
        B = len(image_BOHWC)
        if (h, w) != (H, W):
            top_B, left_B = (
                torch.randint(0, free + 1, (B,), generator=generator, device=generator.device)
                for free in (H - h, W - w)
            )
            image_BOHWC = crop_at(image_BOHWC, top_B, left_B, h, w)
        return self._jitter(to_rgb(image_BOHWC), generator)

    def _jitter(self, rgb_BOChw: Tensor, generator: torch.Generator) -> Tensor:
        for strength, change in (
            (self.brightness, brighten),
            (self.contrast, change_contrast),
            (self.saturation, saturate),
        ):
            if strength:
                uniform = torch.rand(len(rgb_BOChw), generator=generator, device=generator.device)
                rgb_BOChw = change(rgb_BOChw, (1 + strength * (2 * uniform - 1))[:, None, None, None, None])
        return rgb_BOChw


def to_rgb(image_BOHWC: Tensor) -> Tensor:
    """uint8 (B, O, H, W, C) -> [0, 1], (B, O, C, H, W)."""
    return image_BOHWC.movedim(-1, 2).float() / 255.0


def crop_at(image_BOHWC: Tensor, top_B: Tensor, left_B: Tensor, height: int, width: int) -> Tensor:
    """(B, O, height, width, C): of each sample the rectangle whose upper left corner is (top, left)."""
    device = image_BOHWC.device
    sample = torch.arange(len(image_BOHWC), device=device)[:, None, None]
    rows = top_B[:, None, None] + torch.arange(height, device=device)[:, None]
    columns = left_B[:, None, None] + torch.arange(width, device=device)
    return image_BOHWC.transpose(1, 2).transpose(2, 3)[sample, rows, columns].movedim(3, 1)


def brighten(rgb_BOChw: Tensor, factor: Tensor) -> Tensor:
    """Every colour times the factor."""
    return (rgb_BOChw * factor).clamp(0, 1)


def change_contrast(rgb_BOChw: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor above 1) or towards the picture's mean brightness."""
    mean = gray(rgb_BOChw).mean((2, 3, 4), keepdim=True)
    return (mean + factor * (rgb_BOChw - mean)).clamp(0, 1)


def saturate(rgb_BOChw: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor above 1) or towards each pixel's grey."""
    grey = gray(rgb_BOChw)
    return (grey + factor * (rgb_BOChw - grey)).clamp(0, 1)


def gray(rgb_BOChw: Tensor) -> Tensor:
    """Brightness of each pixel, (B, O, 1, h, w)."""
    weights = torch.tensor(LUMA, device=rgb_BOChw.device)[:, None, None]
    return (rgb_BOChw * weights).sum(2, keepdim=True)
