"""The normaliser: physical units <-> roughly unit scale, with statistics that live in the policy's weights."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from praxon.contract import Feature, PolicyContract, observed_name
from praxon.errors import ConfigError, ContractError, nearest
from praxon.policies.actions import GROUPS, ActionRepresentation

# mode -> the two statistics that become the centre and the spread, and how
MODES: dict[str, tuple[str, str]] = {
    "mean_std": ("mean", "std"),  # mean -> 0, one standard deviation -> 1
    "min_max": ("min", "max"),  # range -> [-1, 1]
    "quantile": ("q01", "q99"),  # 1 % and 99 % quantiles -> -1 and 1, not clipped (pi0.5, arXiv 2504.16054)
    "none": ("mean", "std"),  # left as it is
}
DEFAULT = "mean_std"


class FeatureNormalizer(nn.Module):
    """``(x - center) / spread`` for one feature. Not a number until fitted, so that use before fitting cannot pass.

    Args:
        shape: of the feature.
        is_pose: whether it is a pose whose quaternion is to keep its sign, see ``Normalizer``.
    """

    center: Tensor
    spread: Tensor
    hemisphere: Tensor

    def __init__(self, shape: tuple[int, ...], is_pose: bool) -> None:
        super().__init__()
        self.register_buffer("center", torch.full(shape, torch.nan))
        self.register_buffer("spread", torch.full(shape, torch.nan))
        if is_pose:
            self.register_buffer("hemisphere", torch.full((4,), torch.nan))


class Normalizer(nn.Module):
    """Per-component affine map of every feature of a contract except images.

    Six-number rotations of absolute pose actions are left alone unless ``mode`` says otherwise: they are unit vectors
    already, and shifting them would only move where they are not rotations.

    Observed quaternions come with w >= 0, which makes the others jump from q to -q wherever a rotation passes half a turn;
    a tool that points down is there always. So the sign is chosen anew: the component that is largest over the data (its
    mean square does not depend on signs) becomes positive. Objects that stand upright keep w >= 0.

    Args:
        contract: whose observations and action are mapped.
        mode: one of ``MODES`` for everything, or a mode for each of: a feature's name; a group of action components
            (``joint``, ``position``, ``rotation``, ``gripper``, ``vector``); ``action``; ``observation``. The more
            particular wins, a component's group before its feature's name; what nothing names is ``mean_std``.
        spread_floor: smallest spread divided by, in the feature's own unit [m, rad, ...]. Nearly constant components,
            such as the tilt of an object that stands upright, would otherwise be blown up into noise.
        actions: how the action is represented; as the contract says when ``None``.

    Raises:
        ConfigError: unknown mode or name, or a floor that is not positive.
    """

    def __init__(
        self,
        contract: PolicyContract,
        mode: str | Mapping[str, str] = DEFAULT,
        spread_floor: float = 1e-2,
        actions: ActionRepresentation | None = None,
    ) -> None:
        super().__init__()
        if not spread_floor > 0:
            raise ConfigError(f"The normaliser's spread floor is {spread_floor}; it must be positive.")
        actions = actions if actions is not None else ActionRepresentation(contract, "absolute")
        self.spread_floor = spread_floor
        self._action = contract.action.name
        # A goal is a value of an observation and has its statistics.
        self._shapes = {observed_name(feature.name): feature.shape for feature in contract if is_numeric(feature)}
        rows = (contract.chunk.horizon,) if actions.row_shape else ()
        self._shapes[self._action] = (*rows, actions.size)
        self._modes = _modes(mode, contract, actions)
        poses = {
            observed_name(feature.name)
            for feature in contract.observations
            if feature.kind == "pose" and feature.shape == (7,)
        }
        self.features = nn.ModuleDict(
            {_key(name): FeatureNormalizer(shape, name in poses) for name, shape in self._shapes.items()}
        )

    @property
    def action_modes(self) -> tuple[str, ...]:
        """The mode of each of the action's components."""
        return self._modes[self._action]

    def fit(self, statistics: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Take centre and spread from dataset statistics.

        Args:
            statistics: feature name -> {mean, std, min, max, q01, q99}, physical units, arrays of the feature's shape; for
                the action, of its representation's: (size,), or (horizon, size) where each row has its own.

        Raises:
            ContractError: a feature or statistic is missing, has another shape, or is not finite.
        """
        for name, shape in self._shapes.items():
            part, modes = self._part(name), self._modes[name]
            center, spread = np.zeros(shape), np.ones(shape)
            here = {key: self._statistic(statistics, name, key, shape) for mode in set(modes) for key in MODES[mode]}
            if hasattr(part, "hemisphere"):
                square = self._statistic(statistics, name, "mean", shape)[3:7] ** 2
                square += self._statistic(statistics, name, "std", shape)[3:7] ** 2
                part.hemisphere.copy_(torch.from_numpy(np.arange(4) == square.argmax()))
            for index, mode in enumerate(modes):
                at = (..., index) if len(modes) > 1 else ...
                a, b = (here[key][at] for key in MODES[mode])
                if mode == "none":
                    continue
                center[at], wide = (a, b) if mode == "mean_std" else ((a + b) / 2, (b - a) / 2)
                spread[at] = np.maximum(wide, self.spread_floor)
            part.center.copy_(torch.from_numpy(center))
            part.spread.copy_(torch.from_numpy(spread))

    @property
    def fitted(self) -> bool:
        """Whether every feature has finite statistics."""
        return all(bool(torch.isfinite(buffer).all()) for buffer in self.buffers())

    def normalize(self, name: str, value: Tensor) -> Tensor:
        """Physical units (..., *shape) -> network units, float32."""
        part = self._part(name)
        value = value.to(part.center.dtype)
        if hasattr(part, "hemisphere"):
            value = _aligned(value, part.hemisphere)
        return (value - part.center) / part.spread

    def denormalize(self, name: str, value: Tensor) -> Tensor:
        """Network units (..., *shape) -> physical units, float32."""
        part = self._part(name)
        return value.to(part.center.dtype) * part.spread + part.center

    def _part(self, name: str) -> FeatureNormalizer:
        part = self.features[_key(observed_name(name))]
        assert isinstance(part, FeatureNormalizer)
        return part

    @staticmethod
    def _statistic(
        statistics: Mapping[str, Mapping[str, np.ndarray]], name: str, key: str, shape: tuple[int, ...]
    ) -> np.ndarray:
        if name not in statistics:
            raise ContractError(f"Statistics of '{name}' are missing. There are: {', '.join(statistics) or 'none'}.")
        if key not in statistics[name]:
            raise ContractError(f"Statistic '{key}' of '{name}' is missing. There are: {', '.join(statistics[name])}.")
        value = np.asarray(statistics[name][key], dtype=np.float64)
        if value.shape != shape or not np.isfinite(value).all():
            raise ContractError(
                f"Statistic '{key}' of '{name}' has shape {value.shape}; it must be finite with shape {shape}."
            )
        return value


def is_numeric(feature: Feature) -> bool:
    """Whether a feature is normalised by statistics; images are scaled in their encoder, point clouds stay in metres."""
    return feature.kind not in ("image", "point_cloud", "task")


def _modes(
    mode: str | Mapping[str, str], contract: PolicyContract, actions: ActionRepresentation
) -> dict[str, tuple[str, ...]]:
    """Feature -> its mode, or those of its components along the last axis."""
    chosen = {"action": mode, "observation": mode} if isinstance(mode, str) else dict(mode)
    names = [observed_name(feature.name) for feature in contract if is_numeric(feature)]
    known = dict.fromkeys([*names, *GROUPS, "action", "observation"])
    for name, value in chosen.items():
        if name not in known:
            raise ConfigError(
                f"Normalisation is given for '{name}', which is neither a feature nor a group; there are "
                f"{', '.join(known)}.{nearest(name, known)}"
            )
        if value not in MODES:
            raise ConfigError(
                f"Normalisation '{value}' does not exist. Modes: {', '.join(MODES)}.{nearest(value, MODES)}"
            )
    observation = chosen.get("observation", DEFAULT)
    observed = (observed_name(feature.name) for feature in contract.observations)
    modes: dict[str, tuple[str, ...]] = {name: (chosen.get(name, observation),) for name in observed}
    action = chosen.get(contract.action.name, chosen.get("action", DEFAULT))
    if actions.kind == "absolute":
        chosen.setdefault("rotation", "none")
    modes[contract.action.name] = tuple(chosen.get(group, action) for group in actions.groups)
    return modes


def _aligned(pose: Tensor, hemisphere: Tensor) -> Tensor:
    """Poses (..., 7) with the quaternion's sign chosen so that it does not point away from ``hemisphere`` (4,)."""
    quaternion = pose[..., 3:7]
    away = (quaternion * hemisphere).sum(-1, keepdim=True) < 0
    return torch.cat([pose[..., :3], torch.where(away, -quaternion, quaternion)], dim=-1)


def _key(name: str) -> str:
    # Module names may hold no dot; feature names such as 'observation.state' do.
    return name.replace(".", "/")
