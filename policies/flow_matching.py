"""Flow matching: a policy that carries noise to an action chunk along straight paths.

Lipman et al., arXiv 2210.02747, with the straight paths of rectified flow (Liu et al., arXiv 2209.03003); as a robot
policy with noise-heavy times: pi0, Black et al., arXiv 2410.24164. With a chunk a (network units), noise e ~ N(0, I)
and flow time t from 0 (noise) to 1 (data):

    x_t = (1 - t) e + t a,    target u = a - e,    loss = mean (v(x_t, t, o) - u)^2

and sampling integrates dx/dt = v(x, t, o) from t = 0 to 1. (pi0 writes the same with time running the other way.)
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.errors import ConfigError, nearest
from praxon.policies.base import Policy
from praxon.policies.denoising.engine import DenoisingEngine
from praxon.policies.networks.encoders import ObservationEncoder
from praxon.policies.networks.transformer import TransformerDenoiser

# Inverse cumulative distributions: uniform numbers in [0, 1) -> flow times.
TIME_DISTRIBUTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda u: u,
    # 0.999 (1 - b) with b ~ Beta(1.5, 1): more effort near noise, where the observation must decide the action
    # (arXiv 2410.24164, appendix B). The distribution function of b is b^1.5.
    "beta": lambda u: 0.999 * (1.0 - u ** (1.0 / 1.5)),
}


class FlowMatchingPolicy(Policy):
    """Transformer denoiser trained by flow matching.

    Args:
        contract: features, chunk and control period.
        width, depth, num_heads, mlp_ratio: of the transformer.
        time_distribution: ``uniform`` or ``beta`` (noise-heavy).
        solver: of the flow ODE at inference.
        steps: of the solver.
        noise_scale: what the noise is multiplied with at inference; below 1 samples stay nearer to what is most likely, as
            flow models do at low temperature (Kingma and Dhariwal, Glow, arXiv 1807.03039, section 6). Training uses 1.
        mask_padding: leave rows past an episode's end out of the loss. Off by default: they repeat the last action,
            and teach the policy to hold it.
        normalization: mode of the normaliser.
        spread_floor: smallest spread the normaliser divides by, in the feature's unit.
        actions: ``relative`` to the joints at the chunk's start, or ``absolute``.
    """

    def __init__(
        self,
        contract: PolicyContract,
        *,
        width: int = 128,
        depth: int = 3,
        num_heads: int = 4,
        mlp_ratio: int = 2,
        time_distribution: str = "beta",
        solver: str = "euler",
        steps: int = 10,
        noise_scale: float = 1.0,
        mask_padding: bool = False,
        normalization: str = "mean_std",
        spread_floor: float = 1e-2,
        actions: str = "absolute",
    ) -> None:
        super().__init__(contract, normalization, spread_floor, actions)
        if time_distribution not in TIME_DISTRIBUTIONS:
            raise ConfigError(
                f"Time distribution '{time_distribution}' does not exist. "
                f"Distributions: {', '.join(TIME_DISTRIBUTIONS)}.{nearest(time_distribution, TIME_DISTRIBUTIONS)}"
            )
        self.time_distribution, self.mask_padding = time_distribution, mask_padding
        self.engine = DenoisingEngine(solver, steps)
        self.noise_scale = noise_scale
        self.encoder = ObservationEncoder(contract, width)
        self.denoiser = TransformerDenoiser(
            contract.action.size, contract.chunk.horizon, width, depth, num_heads, mlp_ratio
        )

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """See ``Policy.loss``; squared velocity error in network units."""
        action_BTA = self.encode_actions(batch)
        noise_BTA = self.noise(len(action_BTA), generator)
        time_B = self._times(len(action_BTA), generator)
        time_B11 = time_B[:, None, None]
        noisy_BTA = (1.0 - time_B11) * noise_BTA + time_B11 * action_BTA
        velocity_BTA = self.denoiser(noisy_BTA, time_B[:, None], self.encoder(batch, self.normalizer))
        error_BT = (velocity_BTA.float() - (action_BTA - noise_BTA)).square().mean(dim=-1)
        if not self.mask_padding:
            return error_BT.mean(dim=-1)
        valid_BT = (~batch["action_is_pad"]).to(error_BT.dtype)
        return (error_BT * valid_BT).sum(dim=-1) / valid_BT.sum(dim=-1)

    def sample(self, window: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        """See ``Policy.sample``."""
        tokens_BSD = self.encoder(window, self.normalizer)
        chunk_BTA = self.engine.sample(self.denoiser, tokens_BSD, self.noise_scale * noise)
        return self.decode_actions(chunk_BTA, window)

    def engine_settings(self) -> dict[str, Any]:
        """Solver, steps and noise scale."""
        return {**self.engine.settings(), "noise_scale": self.noise_scale}

    def configure_engine(self, settings: Mapping[str, Any]) -> None:
        """Take solver and steps from a bundle's ``engine.yaml``, or from the command line."""
        known = self.engine_settings()
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise ConfigError(f"Engine setting '{unknown[0]}' does not exist. Settings: {', '.join(known)}.")
        chosen = {**known, **settings}
        self.noise_scale = float(chosen.pop("noise_scale"))
        self.engine = DenoisingEngine(**chosen)

    def _times(self, batch_size: int, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(batch_size, generator=generator, device=generator.device)
        return TIME_DISTRIBUTIONS[self.time_distribution](uniform)
