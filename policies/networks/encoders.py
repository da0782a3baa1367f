"""Observation encoders: a window of observations -> tokens that the denoiser attends to.

Shapes: B batch, O observation steps, S tokens, P tokens of one picture, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from praxon.contract import Feature, PolicyContract, observed_name
from praxon.policies.build import build_part
from praxon.policies.networks.backbone import Backbone
from praxon.policies.networks.image_augmentation import ImageAugmentation
from praxon.policies.networks.image_tokens import ImageTokens
from praxon.policies.networks.point_cloud import PointCloudEncoder
from praxon.policies.networks.small_conv import SmallConvNet
from praxon.policies.networks.state import StateEncoder
from praxon.policies.networks.task_encoder import TaskEncoder
from praxon.policies.normalizer import Normalizer, is_numeric


class Encoder(nn.Module, ABC):
    """Parent of observation encoders; the constructor takes the contract and keyword arguments.

    Attributes:
        width: D.
        num_tokens: S.
        goal_slice: which of the S tokens say what is to be reached; empty where there is no goal.
    """

    width: int
    num_tokens: int
    goal_slice: slice = slice(0, 0)

    @abstractmethod
    def forward(
        self, window: Mapping[str, Tensor], normalizer: Normalizer, generator: torch.Generator | None = None
    ) -> Tensor:
        """Window of features (B, O, *shape), physical units -> tokens (B, S, D).

        Args:
            generator: what augmentation in training is drawn from; there is none without it.
        """

    def positions(self) -> Tensor | None:
        """Positions (S, D) that the tokens do not carry, for attention to add to queries and keys; None if they do."""
        return None


class ObservationEncoder(Encoder):
    """Tokens in this order; what the contract lacks is left out.

        state         one per observation step, of all numeric features together
        pictures      per camera and step, as ``image_tokens`` says
        point clouds  one per cloud and step
        goals         one of all numeric ``goal.*`` features together, then as above per picture and cloud; a goal does not
                      change within a window, so there is one step of it
        task          one

    Args:
        contract: names the features and the window's length.
        width: D.
        backbone: config of the picture network, a ``Backbone``; a small one where None. Each camera has its own: a wrist
            and a scene camera share little (Diffusion Policy, arXiv 2303.04137, III-B). A camera's goal picture shares it.
        image_tokens: ``keypoints``, ``grid`` or ``summary``, see ``ImageTokens``.
        num_keypoints: points each picture is reduced to with ``keypoints``.
        augmentation: keyword arguments of ``ImageAugmentation``; none where None.
        task: keyword arguments of ``TaskEncoder``; one learned vector per task where None.
        carry_positions: whether learned and grid positions are added to the tokens; otherwise ``positions`` gives them.
    """

    grid_SD: Tensor

    def __init__(
        self,
        contract: PolicyContract,
        *,
        width: int = 128,
        backbone: Mapping[str, Any] | None = None,
        image_tokens: str = "keypoints",
        num_keypoints: int = 32,
        augmentation: Mapping[str, Any] | None = None,
        task: Mapping[str, Any] | None = None,
        carry_positions: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.carry_positions = width, carry_positions
        steps = contract.chunk.num_obs_steps
        now = [feature for feature in contract.observations if not feature.is_goal]
        goals = [feature for feature in contract.observations if feature.is_goal]
        self._now, self._goals = _Names(now), _Names(goals)

        if self._now.numeric:
            self.state = StateEncoder(_size(now), width)
        self.augmentation = ImageAugmentation(**(augmentation or {}))
        cameras = {observed_name(f.name): f for f in (*now, *goals) if f.kind == "image"}
        self._cameras = {name: index for index, name in enumerate(cameras)}
        pictures = [
            ImageTokens(
                build_part(backbone, Backbone) if backbone is not None else SmallConvNet(),
                self.augmentation.cropped_size(*feature.shape[:2]),
                width,
                image_tokens,
                num_keypoints,
            )
            for feature in cameras.values()
        ]
        self.images = nn.ModuleList(pictures)
        clouds = [observed_name(f.name) for f in (*now, *goals) if f.kind == "point_cloud"]
        self._clouds = {name: index for index, name in enumerate(dict.fromkeys(clouds))}
        self.point_clouds = nn.ModuleList(PointCloudEncoder(width) for _ in self._clouds)
        if self._goals.numeric:
            self.goal = StateEncoder(_size(goals), width)
        tasks = [feature for feature in now if feature.kind == "task"]
        if tasks:
            self.task = TaskEncoder(tasks[0].names, width, **(task or {}))

        fixed = {name: picture.positions() for name, picture in zip(cameras, pictures, strict=True)}
        present, goal = (self._fixed(names, fixed, count) for names, count in ((self._now, steps), (self._goals, 1)))
        self.register_buffer("grid_SD", torch.cat([present, goal, torch.zeros(len(tasks), width)]), persistent=False)
        self.num_tokens = len(self.grid_SD)
        self.goal_slice = slice(len(present), len(present) + len(goal))
        self.positions_SD = nn.Parameter(0.02 * torch.randn(self.num_tokens, width))

    def forward(
        self, window: Mapping[str, Tensor], normalizer: Normalizer, generator: torch.Generator | None = None
    ) -> Tensor:
        """See ``Encoder.forward``."""
        tokens = list(self._tokens(self._now, window, normalizer, generator))
        goal = {name: window[name][:, -1:] for name in self._goals.all}
        tokens += self._tokens(self._goals, goal, normalizer, generator)
        tokens += [self.task(window[name][:, -1])[:, None] for name in self._now.tasks]
        tokens_BSD = torch.cat(tokens, dim=1)
        return tokens_BSD + self._positions() if self.carry_positions else tokens_BSD

    def positions(self) -> Tensor | None:
        """See ``Encoder.positions``."""
        return None if self.carry_positions else self._positions()

    def _positions(self) -> Tensor:
        return self.positions_SD + self.grid_SD

    def _tokens(
        self,
        names: "_Names",
        window: Mapping[str, Tensor],
        normalizer: Normalizer,
        generator: torch.Generator | None,
    ) -> Iterator[Tensor]:
        """Tokens (B, ., D) of the present or of the goal."""
        if names.numeric:
            parts = [normalizer.normalize(name, window[name]).flatten(2) for name in names.numeric]
            yield (self.goal if names is self._goals else self.state)(torch.cat(parts, dim=-1))
        for name in names.cameras:
            rgb_BOCHW = self.augmentation(window[name], generator)
            tokens = self.images[self._cameras[observed_name(name)]](rgb_BOCHW.flatten(0, 1))
            yield tokens.unflatten(0, rgb_BOCHW.shape[:2]).flatten(1, 2)
        for name in names.clouds:
            cloud = window[name]
            yield self.point_clouds[self._clouds[observed_name(name)]](cloud.flatten(0, 1)).unflatten(
                0, cloud.shape[:2]
            )

    def _fixed(self, names: "_Names", pictures: Mapping[str, Tensor], steps: int) -> Tensor:
        """Fixed positions of the tokens of the present or of the goal: those of the pictures' grids, zero elsewhere."""
        zero_OD = torch.zeros(steps, self.width)
        parts = [zero_OD] if names.numeric else []
        parts += [pictures[observed_name(name)].repeat(steps, 1) for name in names.cameras]
        return torch.cat([*parts, *[zero_OD] * len(names.clouds), torch.zeros(0, self.width)])


class _Names:
    """Names of features by how they are encoded."""

    def __init__(self, features: list[Feature]) -> None:
        self.all = [feature.name for feature in features]
        self.numeric = [feature.name for feature in features if is_numeric(feature)]
        self.cameras = [feature.name for feature in features if feature.kind == "image"]
        self.clouds = [feature.name for feature in features if feature.kind == "point_cloud"]
        self.tasks = [feature.name for feature in features if feature.kind == "task"]


def _size(features: list[Feature]) -> int:
    return sum(feature.size for feature in features if is_numeric(feature))
