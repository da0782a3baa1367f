"""The observation encoders of LeRobot's diffusion policy and ACT, for weights that were trained there.

Shapes: B batch, O observation steps, S tokens, P tokens of one picture, D width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from praxon.contract import PolicyContract
from praxon.policies.lerobot.pictures import Pictures
from praxon.policies.networks.encoders import Encoder
from praxon.policies.networks.image_tokens import ImageTokens
from praxon.policies.networks.resnet import ResNet
from praxon.policies.normalizer import Normalizer

STATE, ENVIRONMENT = "observation.state", "observation.environment_state"
UNSCALED = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # the pictures are normalised before


class StepEncoder(Encoder):
    """LeRobot's conditioning of diffusion: one token per step, [state, keypoints of each camera, environment].

    Args:
        contract: names the features and the window's length.
        backbone: ``resnet18`` or ``resnet34``.
        norm: ``group`` or ``frozen_batch``.
        shared: whether one network looks through all cameras.
        num_keypoints: points each picture is reduced to.
        resize, crop: see ``Pictures``.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        backbone: str = "resnet18",
        norm: str = "group",
        shared: bool = False,
        num_keypoints: int = 32,
        resize: Sequence[int] | None = None,
        crop: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.pictures = Pictures(contract, resize, crop)
        self.shared = shared
        self.numeric = _numeric(contract)
        cameras = len(self.pictures.cameras)
        self.images = nn.ModuleList(
            ImageTokens(
                ResNet(backbone, norm, **UNSCALED), self.pictures.size, 2 * num_keypoints, "keypoints", num_keypoints
            )
            for _ in range(min(cameras, 1) if shared else cameras)
        )
        sizes = sum(contract.feature(name).size for name in self.numeric)
        self.width = sizes + 2 * num_keypoints * cameras
        self.num_tokens = contract.chunk.num_obs_steps

    def forward(
        self, window: Mapping[str, Tensor], normalizer: Normalizer, generator: torch.Generator | None = None
    ) -> Tensor:
        """See ``Encoder.forward``; nothing is augmented."""
        parts = [normalizer.normalize(STATE, window[STATE])]
        for number, name in enumerate(self.pictures.cameras):
            tokens = self.images[0 if self.shared else number](self.pictures(window[name], number))
            parts.append(tokens.unflatten(0, window[name].shape[:2]).flatten(2))
        parts += [normalizer.normalize(name, window[name]) for name in self.numeric if name != STATE]
        return torch.cat(parts, dim=-1)


class TokenEncoder(Encoder):
    """LeRobot's tokens of ACT: state, environment, every position of each camera's feature map; one step of each.

    Args:
        contract: names the features.
        width: D.
        backbone: ``resnet18`` or ``resnet34``, one for all cameras, with frozen batch norms.
    """

    grid_PD: Tensor

    def __init__(self, contract: PolicyContract, *, width: int = 512, backbone: str = "resnet18") -> None:
        super().__init__()
        self.pictures = Pictures(contract)
        self.width = width
        self.numeric = _numeric(contract)
        self.states = nn.ModuleList(nn.Linear(contract.feature(name).size, width) for name in self.numeric)
        self.positions_ND = nn.Parameter(torch.randn(len(self.numeric), width))
        self.num_tokens = len(self.numeric)
        self.image: ImageTokens | None = None
        if self.pictures.cameras:
            net = ResNet(backbone, "frozen_batch", **UNSCALED)
            self.image = ImageTokens(net, self.pictures.size, width, "grid")
            self.num_tokens += len(self.pictures.cameras) * self.image.num_tokens
            self.register_buffer("grid_PD", self.image.positions(), persistent=False)

    def forward(
        self, window: Mapping[str, Tensor], normalizer: Normalizer, generator: torch.Generator | None = None
    ) -> Tensor:
        """See ``Encoder.forward``; the newest observation alone, and nothing is augmented."""
        tokens = [
            linear(normalizer.normalize(name, window[name][:, -1]))[:, None]
            for name, linear in zip(self.numeric, self.states, strict=True)
        ]
        if self.image is not None:
            tokens += [
                self.image(self.pictures(window[name][:, -1:], number))
                for number, name in enumerate(self.pictures.cameras)
            ]
        return torch.cat(tokens, dim=1)

    def positions(self) -> Tensor:
        """Learned ones of the state tokens, sines of the rest (S, D)."""
        parts: list[Tensor] = [self.positions_ND]
        if self.image is not None:
            parts += [self.grid_PD] * len(self.pictures.cameras)
        return torch.cat(parts)


def _numeric(contract: PolicyContract) -> list[str]:
    names = [feature.name for feature in contract.observations]
    return [name for name in (STATE, ENVIRONMENT) if name in names]
