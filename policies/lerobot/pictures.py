"""Pictures as LeRobot's policies see them: scaled, normalised colour by colour, resized, cropped to the centre.

Shapes: B batch, O observation steps, C colours, H W pixels, h w after resizing and cropping.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.contract import PolicyContract
from praxon.errors import ConfigError


class Pictures(nn.Module):
    """One normalisation per camera.

    Args:
        contract: names the cameras.
        resize: (height, width) that pictures are resized to; as they are where None.
        crop: (height, width) of the centre that is kept; all where None.

    Attributes:
        size: (h, w).

    Raises:
        ConfigError: cameras of different sizes, or a crop larger than the picture.
    """

    mean_NC: Tensor
    std_NC: Tensor

    def __init__(
        self, contract: PolicyContract, resize: Sequence[int] | None = None, crop: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        features = [feature for feature in contract.observations if feature.kind == "image"]
        self.cameras = [feature.name for feature in features]
        sizes = {feature.shape[:2] for feature in features}
        if len(sizes) > 1:
            raise ConfigError(f"LeRobot's policies take pictures of one size; the contract has {sorted(sizes)}.")
        self.resize = None if resize is None else (int(resize[0]), int(resize[1]))
        self.crop = None if crop is None else (int(crop[0]), int(crop[1]))
        whole = self.resize or next(iter(sizes), (1, 1))
        self.size = self.crop or whole
        if self.size[0] > whole[0] or self.size[1] > whole[1]:
            raise ConfigError(f"A crop of {list(self.size)} does not fit into pictures of {list(whole)}.")
        for name in ("mean_NC", "std_NC"):
            self.register_buffer(name, torch.full((len(self.cameras), 3), torch.nan))

    def forward(self, image_BOHWC: Tensor, camera: int) -> Tensor:
        """uint8 RGB (B, O, H, W, C) of one camera -> (B * O, C, h, w)."""
        x_BCHW = image_BOHWC.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        x_BCHW = (x_BCHW - self.mean_NC[camera, :, None, None]) / self.std_NC[camera, :, None, None]
        if self.resize is not None:
            x_BCHW = F.interpolate(x_BCHW, self.resize, mode="bilinear", antialias=True)
        h, w = self.size
        top, left = round((x_BCHW.shape[2] - h) / 2), round((x_BCHW.shape[3] - w) / 2)
        return x_BCHW[:, :, top : top + h, left : left + w]
