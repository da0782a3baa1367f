"""The learner of a refined policy: critics of chunks by temporal differences, and the actor that moves them or chooses their noise.

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

from praxon.learning.rl.rlpd import CriticLearner, RlpdSettings, follow
from praxon.policies.networks.value import CriticEnsemble
from praxon.policies.refined import RefinedPolicy
from praxon.policies.refinement import LatentNoise

BASE, NEXT_BASE, LATENT = "base", "next_base", "latent"
"""What a transition holds besides: candidates (N, H, A) at the state and the next, and the noise (N, L) of the former."""


def refinement_shapes(policy: RefinedPolicy) -> dict[str, tuple[int, ...]]:
    """What a transition holds besides states, action and scalars."""
    sizes, count = policy.sizes, policy.refinement.candidates
    chunk = (count, sizes.rows, sizes.components)
    return {BASE: chunk, NEXT_BASE: chunk, LATENT: (count, sizes.noise)}


class RefinementLearner(CriticLearner):
    """Trains a policy's critics and its refinement's actor, in place.

    Args:
        policy: who acts; its base is left alone.
        settings: how to learn; widths and number of critics are the policy's.
        seed: of noise and subsets.
    """

    def __init__(self, policy: RefinedPolicy, settings: RlpdSettings, seed: int = 0) -> None:
        self.policy, self.refinement = policy, policy.refinement
        actor = getattr(policy.refinement, "actor", None)
        super().__init__(policy.critics, actor, policy.refinement.actor_size, settings, seed)
        self.noise_critics: CriticEnsemble | None = None
        if isinstance(policy.refinement, LatentNoise):
            self.target_entropy = 0.0 if settings.target_entropy is None else settings.target_entropy
            self.noise_critics = policy.refinement.noise_critics
            self.noise_targets = copy.deepcopy(self.noise_critics).requires_grad_(False)
            self.optimizers["noise"] = torch.optim.Adam(self.noise_critics.parameters(), settings.learning_rate)

    def following(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """See ``CriticLearner.following``."""
        state_BS = batch["next_state"]
        if self.noise_critics is not None:
            assert isinstance(self.refinement, LatentNoise)
            raw_BL, log_density_B = self.refinement.actor.sample(state_BS, self.generator)
            return self.noise_targets(state_BS, self.refinement.bound * raw_BL), log_density_B
        size = max(self.refinement.actor_size, 1)
        explore_BD = torch.randn(len(state_BS), size, generator=self.generator, device=self.device)
        chosen = self.refinement.choose(self._target_value, state_BS, batch[NEXT_BASE], explore_BD, True)
        return self._target_value(state_BS, chosen), None

    def actor_value(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See ``CriticLearner.actor_value``."""
        if self.noise_critics is not None:
            assert isinstance(self.refinement, LatentNoise)
            raw_BL, log_density_B = self.refinement.actor.sample(batch["state"], self.generator)
            value_EB = self.noise_critics(batch["state"], self.refinement.bound * raw_BL)
            return value_EB.mean(dim=0), log_density_B
        return self.refinement.actor_value(self.policy.value, batch["state"], batch[BASE], self.generator)

    def critic_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """See ``CriticLearner.critic_step``; and of the noise critics towards them."""
        figures = super().critic_step(batch)
        if self.noise_critics is not None:
            figures["noise_critic_loss"] = self._noise_step(batch)
        return figures

    def _noise_step(self, batch: Mapping[str, Tensor]) -> float:
        assert self.noise_critics is not None
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

    def _target_value(self, state_MS: Tensor, chunk_MHA: Tensor) -> Tensor:
        value_EM: Tensor = self.targets(state_MS, chunk_MHA[:, : self.policy.sizes.execute].flatten(1))
        return value_EM
