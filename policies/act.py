"""ACT: action chunking with transformers, a conditional variational auto-encoder trained by the absolute error.

Zhao et al., arXiv 2304.13705. In training a posterior sees the demonstrated chunk a and gives a latent z; the policy
reconstructs the chunk from z and the observations o:

    loss = mean |a - a'(z, o)| over the rows that are no padding + kl_weight KL(q(z | a, state) || N(0, 1)),   z ~ q

When acting, z is zero: ACT is deterministic. Options: experts by phase instead of one action head (MoE-ACT,
``networks/act_experts.py``) and the prediction of abstract later observations (ACT-JEPA, ``networks/act_foresight.py``).

Shapes: B batch, T horizon, N action size in the network, Z latent size, S observation tokens, D width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.base import Needs, Policy
from praxon.policies.build import build_part
from praxon.policies.denoising.continuation import Plan
from praxon.policies.networks.act_experts import AUTO, PHASE, ExpertHeads
from praxon.policies.networks.act_foresight import Foresight
from praxon.policies.networks.act_layers import KEEP_ALL, Dropout
from praxon.policies.networks.act_network import ActNetwork
from praxon.policies.networks.encoders import Encoder

STATE = "observation.state"
"""The observation that the posterior sees beside the actions, where the contract has it: the robot's own joints."""


class ActPolicy(Policy):
    """Trained as above; a chunk costs one pass of the network.

    Args:
        contract: features, chunk and control period.
        encoder: config of the observation encoder: ``_target_`` and its keyword arguments.
        network: keyword arguments of ``ActNetwork``.
        variational: whether there is a latent at all.
        kl_weight: of the divergence, which is summed over the latent.
        dropout: share of activations dropped in training, drawn from the loss's generator.
        latent_scale: what unit normal noise is multiplied with to give z at inference; 0 as published.
        mask_padding: leave rows past an episode's end out of the loss.
        experts: keyword arguments of ``ExpertHeads``; one linear head where ``None``.
        foresight: keyword arguments of ``Foresight``; none where ``None``.
        options: of ``Policy``.

    Raises:
        ConfigError: dropout outside [0, 1), or a part that cannot be built.
    """

    encoder: Encoder

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        variational: bool = True,
        kl_weight: float = 10.0,
        dropout: float = 0.1,
        latent_scale: float = 0.0,
        mask_padding: bool = True,
        experts: Mapping[str, Any] | None = None,
        foresight: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(contract, **options)
        if not 0 <= dropout < 1:
            raise ConfigError(f"The dropout is {dropout}; a share from 0 to below 1 is needed.")
        self.variational, self.kl_weight, self.dropout = variational, kl_weight, dropout
        self.latent_scale, self.mask_padding = latent_scale, mask_padding
        names = [feature.name for feature in contract.observations]
        self.state_name = STATE if STATE in names else ""
        state_size = contract.feature(STATE).size if self.state_name else 0
        action_size, horizon = self.actions.size, contract.chunk.horizon
        self.encoder = build_part(encoder, Encoder, contract)
        self.network = ActNetwork(action_size, horizon, self.encoder.width, state_size, variational, **network)
        width = self.network.width
        self.experts = None if experts is None else ExpertHeads(width, action_size, **experts)
        self.head = nn.Linear(width, action_size) if experts is None else nn.Identity()
        self.foresight = (
            None
            if foresight is None
            else Foresight(self.encoder, self.network.context, self.network.layer, **foresight)
        )

    @classmethod
    def settled(
        cls, config: Mapping[str, Any], columns: Mapping[str, int], period_s: float
    ) -> tuple[dict[str, Any], str]:
        """See ``Policy.settled``: where experts learn their phases from, and how many there are."""
        experts = dict(config.get("experts") or {})
        if experts.get("phases") == AUTO:
            experts["phases"] = PHASE if PHASE in columns else None
            told = f"Experts learn from the column {PHASE}, phases 0 to {columns.get(PHASE)}"
            untold = f"Experts learn their routing from the actions alone: there is no column {PHASE}"
            sentence = f"{told}." if PHASE in columns else f"{untold} (praxon collect phases=true records one)."
        else:
            sentence = ""
        if experts and experts.get("num_experts") is None and experts.get("phases") in columns:
            experts["num_experts"] = columns[experts["phases"]] + 1
            sentence = (
                sentence or f"{experts['num_experts']} experts, one for each value of the column {experts['phases']}."
            )
        return {**config, **({"experts": experts} if experts else {})}, sentence

    @property
    def deterministic(self) -> bool:
        """Whether noise changes nothing."""
        return not self.variational or self.latent_scale == 0

    def needs(self) -> Needs:
        """The phase of every frame where experts are told it, later observations where foresight predicts them."""
        phases = self.experts.phases if self.experts is not None else None
        return Needs(
            extras=() if phases is None else (phases,),
            future=None if self.foresight is None else self.foresight.steps,
            hint="praxon collect phases=true records phases, and policy.experts.phases=null learns the routing without any",
        )

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """See ``Policy.loss``; in network units."""
        drop = Dropout(self.dropout, generator)
        action_BTN, is_pad_BT = self.encode_actions(batch), batch["action_is_pad"]
        tokens_BSD = self.encoder(batch, self.normalizer, generator)
        loss_B = action_BTN.new_zeros(len(action_BTN))
        if self.variational:
            posterior = self.network.posterior(action_BTN, is_pad_BT, self._state(batch), drop)
            latent_BZ = posterior.sample(generator)
            loss_B = self.kl_weight * posterior.divergence()
        else:
            latent_BZ = tokens_BSD.new_zeros(len(tokens_BSD), self.network.latent_size)
        memory = self.network.context(latent_BZ, tokens_BSD, self.encoder.positions(), drop)
        features_BTD = self.network.features(memory, drop)

        predicted_BTN, logits_BTK = self._actions(features_BTD)
        counts_BT = ~is_pad_BT if self.mask_padding else torch.ones_like(is_pad_BT)
        loss_B = loss_B + _mean_over_rows((predicted_BTN.float() - action_BTN).abs().mean(dim=-1), counts_BT)
        if self.experts is not None and self.experts.phases is not None and logits_BTK is not None:
            phase_error_BT = self.experts.phase_error(logits_BTK, batch[self.experts.phases])
            loss_B = loss_B + self.experts.phase_weight * _mean_over_rows(phase_error_BT, counts_BT)
        if self.foresight is not None:
            error_B = self.foresight.error(memory, batch, self.normalizer, self.network.latent_size, drop)
            loss_B = loss_B + self.foresight.weight * error_B
        return loss_B

    def after_step(self) -> None:
        """The target encoder follows the weights."""
        if self.foresight is not None:
            self.foresight.follow(self.encoder, self.network.context)

    def sample(self, window: Mapping[str, Tensor], noise: Tensor, plan: Plan | None = None) -> Tensor:
        """See ``Policy.sample``; noise (B, Z)."""
        if plan is not None:
            raise ConfigError(
                "ACT draws its chunk at once, and cannot continue another; blend chunks, or average them."
            )
        tokens_BSD = self.encoder(window, self.normalizer).expand(len(noise), -1, -1)
        latent_BZ = self.latent_scale * noise if self.variational else torch.zeros_like(noise)
        memory = self.network.context(latent_BZ, tokens_BSD, self.encoder.positions(), KEEP_ALL)
        features_BTD = self.network.features(memory)
        return self.decode_actions(self._actions(features_BTD)[0], window)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(Z,): that of the latent."""
        return (self.network.latent_size,)

    def _actions(self, features_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        """Actions in network units, and the logits of the experts' gate where there are experts."""
        if self.experts is None:
            return self.head(features_BTD), None
        return self.experts(features_BTD)

    def _state(self, batch: Mapping[str, Tensor]) -> Tensor | None:
        if not self.state_name:
            return None
        return self.normalizer.normalize(self.state_name, batch[self.state_name][:, -1]).flatten(1)


def _mean_over_rows(error_BT: Tensor, counts_BT: Tensor) -> Tensor:
    """Mean of each sample over the rows that count (B,); the first always does."""
    weight_BT = counts_BT.to(error_BT.dtype)
    return (error_BT * weight_BT).sum(dim=-1) / weight_BT.sum(dim=-1)
