"""Learners of a refined policy: critics of chunks by temporal differences, and the actor that moves them or chooses their noise.

    y = R + gamma^k m min over a subset of Q'_e(s', a*(s')),    a* as the refinement chooses among the candidates at s'

where the candidates of every state were drawn once from the policy below, which learning leaves as it is (EXPO,
arXiv 2507.07986, whose base keeps imitating: here between rounds). Chosen noise is learned of by a critic of its own, which is
fitted to what the critics of chunks make of the candidates, and says too what the next chosen noise is worth (DSRL,
arXiv 2506.15799, noise-aliased; its target draws the chunk of that noise, ours asks the noise critics, and it fits them ten times
as often).

Shapes: B batch, N candidates, S state, h rows that are executed, H rows of a chunk, A components, L numbers of noise, E critics.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from praxon.learning.rl.rlpd import ActorCriticLearner, CriticLearner, RlpdSettings, follow, under
from praxon.policies.networks.value import CriticEnsemble
from praxon.policies.refined import RefinedPolicy
from praxon.policies.refinement import Acting, LatentNoise

BASE, NEXT_BASE, LATENT = "base", "next_base", "latent"
"""What a transition holds besides: candidates (N, H, A) at the state and the next, and the noise (N, L) of the former."""


def refinement_shapes(policy: RefinedPolicy) -> dict[str, tuple[int, ...]]:
    """What a transition holds besides states, action and scalars."""
    sizes, count = policy.sizes, policy.refinement.candidates
    chunk = (count, sizes.rows, sizes.components)
    return {BASE: chunk, NEXT_BASE: chunk, LATENT: (count, sizes.noise)}


def refinement_learner(policy: RefinedPolicy, settings: RlpdSettings, seed: int = 0) -> CriticLearner:
    """Who trains a policy's critics, and its refinement's actor where there is one, in place.

    Args:
        policy: who acts; its base is left alone.
        settings: how to learn; widths and number of critics are the policy's.
        seed: of noise and subsets.
    """
    if isinstance(policy.refinement, LatentNoise):
        return NoiseLearner(policy, policy.refinement, settings, seed)
    if isinstance(policy.refinement, Acting):
        return ActingLearner(policy, policy.refinement, settings, seed)
    return ChoosingLearner(policy, settings, seed)


class ChoosingLearner(CriticLearner):
    """Of critics that choose among candidates as they are; arguments as in ``refinement_learner``."""

    def __init__(self, policy: RefinedPolicy, settings: RlpdSettings, seed: int = 0) -> None:
        super().__init__(policy.critics, settings, seed)
        self.policy = policy

    def following(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See ``CriticLearner.following``: of what the targets would choose."""
        return _of_chosen(self.policy, self.targets, batch, batch["next_state"].new_zeros(len(batch["next_state"]), 0))


class ActingLearner(ActorCriticLearner):
    """Of critics and the actor of a refinement; arguments as in ``refinement_learner``."""

    def __init__(self, policy: RefinedPolicy, refinement: Acting, settings: RlpdSettings, seed: int = 0) -> None:
        super().__init__(policy.critics, refinement.actor, refinement.actor_size, settings, seed)
        self.policy, self.refinement = policy, refinement

    def following(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See ``CriticLearner.following``: of what the targets would choose of what the actor offers."""
        count, size = len(batch["next_state"]), self.refinement.actor_size
        explore_BD = torch.randn(count, size, generator=self.generator, device=self.device)
        return _of_chosen(self.policy, self.targets, batch, explore_BD)

    def actor_value(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See ``ActorCriticLearner.actor_value``."""
        return self.refinement.actor_value(self.policy.value, batch["state"], batch[BASE], self.generator)


class NoiseLearner(ActingLearner):
    """Of critics, the actor that chooses noise, and the critics of noise; arguments as in ``refinement_learner``."""

    def __init__(self, policy: RefinedPolicy, refinement: LatentNoise, settings: RlpdSettings, seed: int = 0) -> None:
        super().__init__(policy, refinement, settings, seed)
        self.target_entropy = 0.0 if settings.target_entropy is None else settings.target_entropy
        self.bound, self.noise_critics = refinement.bound, refinement.noise_critics
        self.noise_targets = copy.deepcopy(self.noise_critics).requires_grad_(False)
        self.optimizers["noise"] = torch.optim.Adam(self.noise_critics.parameters(), settings.learning_rate)

    def following(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See ``CriticLearner.following``: of noise that the actor draws."""
        raw_BL, log_density_B = self.actor.sample(batch["next_state"], self.generator)
        return self.with_entropy(self.noise_targets(batch["next_state"], self.bound * raw_BL), log_density_B)

    def critic_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """See ``CriticLearner.critic_step``; and of the noise critics towards them."""
        return {**super().critic_step(batch), "noise_critic_loss": self._noise_step(batch)}

    def state(self) -> dict[str, Tensor]:
        """See ``CriticLearner.state``."""
        noise = {f"noise_targets.{name}": tensor for name, tensor in self.noise_targets.state_dict().items()}
        return {**super().state(), **noise}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See ``CriticLearner.restore``."""
        super().restore(tensors)
        self.noise_targets.load_state_dict(under(tensors, "noise_targets."))

    def _noise_step(self, batch: Mapping[str, Tensor]) -> float:
        count = batch[LATENT].shape[1]
        picked = int(torch.randint(count, (), generator=self.generator, device=self.device))
        state_BS, latent_BL = batch["state"], batch[LATENT][:, picked]
        with torch.no_grad():
            worth_EB = self.policy.value(state_BS, batch[BASE][:, picked])
        count = min(len(worth_EB), self.noise_critics.count)
        loss = (self.noise_critics(state_BS, latent_BL)[:count] - worth_EB[:count]).square().mean()
        self.optimizers["noise"].zero_grad()
        loss.backward()
        self.optimizers["noise"].step()
        follow(self.noise_targets, self.noise_critics, self.settings.tau)
        return float(loss.detach())


def _of_chosen(
    policy: RefinedPolicy, targets: CriticEnsemble, batch: Mapping[str, Tensor], explore_BD: Tensor
) -> Tensor:
    """What each target (E, B) thinks of the chunk that they would choose at the next state."""

    def value(state_MS: Tensor, chunk_MHA: Tensor) -> Tensor:
        value_EM: Tensor = targets(state_MS, chunk_MHA[:, : policy.sizes.execute].flatten(1))
        return value_EM

    state_BS = batch["next_state"]
    return value(state_BS, policy.refinement.choose(value, state_BS, batch[NEXT_BASE], explore_BD, True))
