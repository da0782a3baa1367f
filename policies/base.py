"""What a policy is: a per-sample loss to train it, and chunks of actions drawn from noise.

A policy models the distribution p(a | o) of action chunks a given a window of observations o. Training minimises the
weighted mean over samples of ``loss``; the mean is the trainer's business, so that samples can be reweighted (PTR,
trajectory weighting) without touching any policy. All randomness of a sample enters as ``noise``: the same weights,
window and noise give the same chunk, whoever else is in the batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.actions import ActionRepresentation
from praxon.policies.denoising.continuation import Plan
from praxon.policies.normalizer import Normalizer


@dataclass(frozen=True)
class Needs:
    """What a policy's loss reads besides observations, actions and padding.

    Args:
        extras: columns of the dataset beyond the contract, which come with the actions, such as ``phase``.
        future: steps to the later observation window that comes as ``future.<name>``, or to several of them, as
            ``Windows`` gives them; none where ``None``.
        lead: rows of the chunk before the newest observation; ``action`` is then (B, lead + horizon, A).
        hint: how a dataset comes by the extras, or how to do without; ends the sentence that refuses one without them.
    """

    extras: tuple[str, ...] = ()
    future: int | tuple[int, ...] | None = None
    lead: int = 0
    hint: str = ""


class Policy(nn.Module, ABC):
    """Parent of every policy. Physical units outside, network units inside.

    A **batch** is a dict of tensors: every observation feature by name (B, num_obs_steps, *shape), ``action``
    (B, horizon, A) and ``action_is_pad`` (B, horizon) bool. A **window** is a batch's observation features alone.

    Args:
        contract: features, chunk and control period.
        normalization: mode of the normaliser, or one for each group, see ``Normalizer``.
        spread_floor: smallest spread the normaliser divides by, in the feature's unit.
        actions: ``auto``, ``absolute``, ``relative`` or ``delta``, see ``ActionRepresentation``. Its ``size`` is N, the
            number of components that the network sees; the contract's action has A.
    """

    def __init__(
        self,
        contract: PolicyContract,
        normalization: str | Mapping[str, str] = "mean_std",
        spread_floor: float = 1e-2,
        actions: str = "absolute",
    ) -> None:
        super().__init__()
        self.contract = contract
        self.actions = ActionRepresentation(contract, actions)
        self.normalizer = Normalizer(contract, normalization, spread_floor, self.actions)

    @classmethod
    def settled(
        cls, config: Mapping[str, Any], columns: Mapping[str, int], period_s: float
    ) -> tuple[dict[str, Any], str]:
        """The policy's config with what the data decide decided, and a sentence that says how; empty where nothing was.

        Args:
            config: of the policy, as ``build_policy`` takes it.
            columns: whole-number columns of the data beyond the contract, such as ``phase`` -> the largest value.
            period_s: control period of the data [s].
        """
        return dict(config), ""

    def encode_actions(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The batch's actions in network units, (B, horizon, N)."""
        name = self.contract.action.name
        return self.normalizer.normalize(name, self.actions.encode(batch[name], batch))

    def decode_actions(self, action_BTN: Tensor, window: Mapping[str, Tensor]) -> Tensor:
        """Network units -> physical absolute actions, (B, horizon, A): the inverse of ``encode_actions``."""
        return self.actions.decode(self.normalizer.denormalize(self.contract.action.name, action_BTN), window)

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Per-sample losses (B,): the mean over horizon and action components of each sample, never over the batch.

        Args:
            batch: as above.
            generator: the only source of randomness, on the policy's device.
        """

    @property
    def deterministic(self) -> bool:
        """Whether a chunk is the same whatever the noise."""
        return False

    @property
    def compilable(self) -> bool:
        """Whether ``loss`` may go through ``torch.compile``, which knows no second derivatives."""
        return True

    def needs(self) -> Needs:
        """What ``loss`` reads of a batch besides the features of the contract."""
        return Needs()

    def after_step(self) -> None:
        """Called by the trainer after every optimiser step: for averaged target networks."""

    @abstractmethod
    def sample(self, window: Mapping[str, Tensor], noise: Tensor, plan: Plan | None = None) -> Tensor:
        """Observation window and noise, as ``noise`` draws it -> action chunk (B, horizon, A) in physical units.

        Args:
            window: as above; one observation (1, ...) may serve the noise of several chunks.
            noise: as ``noise`` draws it.
            plan: what is planned already, in physical units (B, horizon, A), for policies that continue chunks.

        Raises:
            ConfigError: a plan, for a policy that cannot continue one.
        """

    @property
    def fixed(self) -> bool:
        """Whether a chunk is drawn by the same operations whatever the values, so that it can be written as a graph."""
        return True

    @property
    def continues(self) -> bool:
        """Whether ``sample`` takes a plan."""
        return False

    def freeze(self) -> None:
        """Compute once what no observation changes: for serving, until a weight is changed or ``train`` is called."""
        self.eval()

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of the noise of one sample: (horizon, N)."""
        return self.contract.chunk.horizon, self.actions.size

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Unit normal noise (batch_size, *noise_shape) on the generator's device."""
        return torch.randn(batch_size, *self.noise_shape, generator=generator, device=generator.device)

    def remarks(self) -> tuple[str, ...]:
        """Sentences for whoever trains it: settings that have no effect under this contract."""
        return ()

    def engine_settings(self) -> dict[str, Any]:
        """How samples are drawn, as stored in a bundle's ``engine.yaml``; empty where there is nothing to choose."""
        return {}

    def configure_engine(self, settings: Mapping[str, Any]) -> None:
        """Draw samples as ``engine_settings`` of another policy of this class said.

        Raises:
            ConfigError: a setting this policy does not have.
        """
        if settings:
            raise ConfigError(f"{type(self).__name__} has no engine settings; got {', '.join(settings)}.")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
