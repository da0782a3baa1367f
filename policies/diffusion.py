"""Diffusion: a policy that learns to undo noise level by level.

Diffusion Policy, Chi et al., arXiv 2303.04137, on DDPM, Ho et al., arXiv 2006.11239. With a chunk a (network units),
noise e ~ N(0, I) and a noise level k drawn uniformly from 0 (nearly clean) to N - 1 (nearly noise):

    x_k = alpha_k a + sigma_k e,    loss = mean (network(x_k, t, o) - target)^2,    t = 1 - k / N

The target is e (``epsilon``), a (``sample``) or alpha_k e - sigma_k a (``v_prediction``). Levels run the other way than
flow time; networks and samplers are told flow time.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.denoising.diffusion_sampler import DiffusionSampler
from praxon.policies.denoising.noise_schedule import NoiseSchedule
from praxon.policies.generative import GenerativePolicy
from praxon.policies.prefix import PrefixTraining


class DiffusionPolicy(GenerativePolicy):
    """Trained on noisy chunks, sampled by any solver of diffusion.

    Args:
        contract: features, chunk and control period.
        encoder, network: configs of the observation encoder and the denoiser.
        num_levels: N.
        betas: noise schedule, see ``NoiseSchedule``.
        first_beta, last_beta: ends of the linear schedules.
        prediction: ``epsilon``, ``sample`` or ``v_prediction``. ``epsilon`` is the paper's; ``sample`` is right after far
            fewer training steps (so also DP3, arXiv 2403.03954).
        clip: largest absolute value of a clean chunk in network units while sampling; ``None``: any. ``auto`` is 1 where
            the data's range is normalised to [-1, 1], rotations and grippers excepted, and none otherwise: normalised by
            mean and spread, or left as they are, joints lie beyond 1.
        solver, steps, spacing, eta: see ``DiffusionSampler``.
        prefix_delays: see ``PrefixTraining``; ``None`` trains without given actions.
        options: of ``GenerativePolicy``.
    """

    alpha_N: Tensor
    sigma_N: Tensor

    def __init__(
        self,
        contract: PolicyContract,
        *,
        encoder: Mapping[str, Any],
        network: Mapping[str, Any],
        num_levels: int = 100,
        betas: str = "squaredcos_cap_v2",
        first_beta: float = 1e-4,
        last_beta: float = 0.02,
        prediction: str = "sample",
        clip: float | str | None = "auto",
        solver: str = "dpmpp_2m",
        steps: int = 10,
        spacing: str | None = None,
        eta: float = 0.0,
        prefix_delays: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        # Before the parent's constructor, which asks for the sampler.
        self.schedule = NoiseSchedule(num_levels, betas, first_beta, last_beta)
        self.prediction, self.clip = prediction, clip
        engine = {"solver": solver, "steps": steps, "spacing": spacing, "eta": eta}
        super().__init__(contract, encoder=encoder, network=network, engine=engine, **options)
        self.prefix = self.make_prefix(prefix_delays)
        alpha, sigma = self.schedule.at(np.arange(num_levels))
        self.register_buffer("alpha_N", torch.from_numpy(alpha).float(), persistent=False)
        self.register_buffer("sigma_N", torch.from_numpy(sigma).float(), persistent=False)

    def make_sampler(self, **settings: Any) -> DiffusionSampler:
        """A solver of diffusion."""
        clip = _clip(self.clip, zip(self.actions.groups, self.normalizer.action_modes, strict=True))
        return DiffusionSampler(self.schedule, self.prediction, clip, **settings)

    def error(self, action_BTA: Tensor, tokens_BSD: Tensor, generator: torch.Generator) -> Tensor:
        """Squared error of the prediction."""
        noise_BTA = torch.randn(action_BTA.shape, generator=generator, device=generator.device)
        levels = self.schedule.num_levels
        level_B = torch.randint(levels, (len(action_BTA),), generator=generator, device=generator.device)
        alpha, sigma = self.alpha_N[level_B, None, None], self.sigma_N[level_B, None, None]
        noisy_BTA = alpha * action_BTA + sigma * noise_BTA
        given_BT: Tensor | None = None
        if self.prefix is not None:
            given_BT = self.prefix.draw(action_BTA, generator)
            noisy_BTA = torch.where(given_BT[..., None], action_BTA, noisy_BTA)
        predicted_BTA = self.network(noisy_BTA, (1.0 - level_B / levels)[:, None], tokens_BSD, given_BT=given_BT)
        if self.prediction == "epsilon":
            target_BTA = noise_BTA
        elif self.prediction == "sample":
            target_BTA = action_BTA
        else:
            target_BTA = alpha * noise_BTA - sigma * action_BTA
        error_BTA = (predicted_BTA.float() - target_BTA).square()
        return error_BTA if given_BT is None else error_BTA * PrefixTraining.count(given_BT)[..., None]


def _clip(clip: float | str | None, components: Iterable[tuple[str, str]]) -> float | None:
    """Largest value of a clean chunk; ``components`` are the group and the mode of each."""
    if clip == "auto":
        # Left as they are, six-number rotations and grippers lie within it too (as in Diffusion Policy, on robomimic).
        left = {("rotation", "none"), ("gripper", "none")}
        parts = set(components)
        bounded = all(mode == "min_max" or (group, mode) in left for group, mode in parts) and not parts <= left
        return 1.0 if bounded else None
    if clip is None:
        return None
    if isinstance(clip, str) or not clip > 0:
        raise ConfigError(f"The setting clip is a positive number, null or auto; got {clip!r}.")
    return float(clip)
