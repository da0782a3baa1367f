"""The normaliser: physical units <-> roughly unit scale, with statistics that live in the policy's weights."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from praxon.contract import Feature, PolicyContract
from praxon.errors import ConfigError, ContractError, nearest

# mode -> the two statistics that become the centre and the spread, and how
MODES: dict[str, tuple[str, str]] = {
    "mean_std": ("mean", "std"),  # mean -> 0, one standard deviation -> 1
    "min_max": ("min", "max"),  # range -> [-1, 1]
    "quantile": ("q01", "q99"),  # 1 % and 99 % quantiles -> -1 and 1, not clipped (pi0.5, arXiv 2504.16054)
}


class FeatureNormalizer(nn.Module):
    """``(x - center) / spread`` for one feature. Not a number until fitted, so that use before fitting cannot pass."""

    center: Tensor
    spread: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("center", torch.full(shape, torch.nan))
        self.register_buffer("spread", torch.full(shape, torch.nan))


class Normalizer(nn.Module):
    """Per-component affine map of every feature of a contract except images.

    Args:
        contract: whose observations and action are mapped.
        mode: ``mean_std``, ``min_max`` or ``quantile``.
        spread_floor: smallest spread divided by, in the feature's own unit [m, rad, ...]. Nearly constant components,
            such as the tilt of an object that stands upright, would otherwise be blown up into noise.
        action_rows: if given, each row of an action chunk has statistics of its own, (action_rows, A).

    Raises:
        ConfigError: unknown mode, or a floor that is not positive.
    """

    def __init__(
        self,
        contract: PolicyContract,
        mode: str = "mean_std",
        spread_floor: float = 1e-2,
        action_rows: int | None = None,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ConfigError(
                f"Normalisation '{mode}' does not exist. Modes: {', '.join(MODES)}.{nearest(mode, MODES)}"
            )
        if not spread_floor > 0:
            raise ConfigError(f"The normaliser's spread floor is {spread_floor}; it must be positive.")
        self.mode, self.spread_floor = mode, spread_floor
        self._shapes = {feature.name: feature.shape for feature in contract if is_numeric(feature)}
        if action_rows is not None:
            self._shapes[contract.action.name] = (action_rows, *contract.action.shape)
        self.features = nn.ModuleDict({_key(name): FeatureNormalizer(shape) for name, shape in self._shapes.items()})

    def fit(self, statistics: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Take centre and spread from dataset statistics.

        Args:
            statistics: feature name -> {mean, std, min, max, q01, q99}, arrays of the feature's shape, physical units.

        Raises:
            ContractError: a feature or statistic is missing, has another shape, or is not finite.
        """
        first, second = MODES[self.mode]
        for name, shape in self._shapes.items():
            a, b = (self._statistic(statistics, name, key, shape) for key in (first, second))
            center, spread = (a, b) if self.mode == "mean_std" else ((a + b) / 2, (b - a) / 2)
            part = self._part(name)
            part.center.copy_(torch.from_numpy(center))
            part.spread.copy_(torch.from_numpy(np.maximum(spread, self.spread_floor)))

    @property
    def fitted(self) -> bool:
        """Whether every feature has finite statistics."""
        return all(bool(torch.isfinite(buffer).all()) for buffer in self.buffers())

    def normalize(self, name: str, value: Tensor) -> Tensor:
        """Physical units (..., *shape) -> network units, float32."""
        part = self._part(name)
        return (value.to(part.center.dtype) - part.center) / part.spread

    def denormalize(self, name: str, value: Tensor) -> Tensor:
        """Network units (..., *shape) -> physical units, float32."""
        part = self._part(name)
        return value.to(part.center.dtype) * part.spread + part.center

    def _part(self, name: str) -> FeatureNormalizer:
        part = self.features[_key(name)]
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
    """Whether a feature is normalised by statistics; images are scaled in their encoder."""
    return feature.kind != "image"


def _key(name: str) -> str:
    # Module names may hold no dot; feature names such as 'observation.state' do.
    return name.replace(".", "/")
