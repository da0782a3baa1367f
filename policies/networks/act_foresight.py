"""Foresight: what ACT-JEPA adds to ACT, predicting abstract observations that are still to come.

    memory (of now)  --predictor, one query per look ahead-->  predicted code  <-- L1 -->  code of the later observation

after Vujinovic and Kovacevic, arXiv 2501.14622. A code is the mean over the observation's encoded tokens, normalised; codes of
later observations come from the target encoder, a slow average of the context encoder that gets no gradient. The paper
names an exponential moving average and joint training; its rate, the loss weights and the predictor's size were not found:
the mean over tokens, the normalisation (as in I-JEPA, arXiv 2301.08243), L1, one predictor layer, rate and weight are ours.

Shapes: B batch, F looks ahead, D width.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.errors import ConfigError
from praxon.policies.networks.act_layers import ActDecoder, Dropout
from praxon.policies.networks.act_network import ContextEncoder, Memory
from praxon.policies.networks.encoders import Encoder
from praxon.policies.normalizer import Normalizer


class Foresight(nn.Module):
    """Predictor and target encoder.

    Args:
        encoder: observation encoder, copied.
        context: context encoder, copied.
        layer: what the predictor's layers are made of, as the network has it.
        steps: how many control steps ahead each look goes, growing.
        depth: layers of the predictor.
        weight: of the prediction error beside the error of the actions.
        target_decay: d in target <- d target + (1 - d) weights, after every step of the optimiser.

    Raises:
        ConfigError: no steps, or steps that do not grow from 1 on, or a decay outside [0, 1].
    """

    def __init__(
        self,
        encoder: Encoder,
        context: ContextEncoder,
        layer: Mapping[str, Any],
        *,
        steps: Sequence[int],
        depth: int = 1,
        weight: float = 1.0,
        target_decay: float = 0.996,
    ) -> None:
        super().__init__()
        steps = tuple(int(step) for step in steps)
        if not steps or steps != tuple(sorted(set(steps))) or steps[0] < 1:
            raise ConfigError(f"Foresight looks {list(steps)} steps ahead; growing numbers from 1 on are needed.")
        if not 0 <= target_decay <= 1:
            raise ConfigError(f"The decay of the target encoder is {target_decay}; 0 to 1 would do.")
        self.steps, self.weight, self.target_decay = steps, weight, target_decay
        self.predictor = ActDecoder(len(steps), depth, **layer)
        self.code_out = nn.Linear(layer["width"], layer["width"])
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_context = copy.deepcopy(context).requires_grad_(False)

    def error(
        self, memory: Memory, batch: Mapping[str, Tensor], normalizer: Normalizer, latent_size: int, drop: Dropout
    ) -> Tensor:
        """Mean error of the codes of each sample (B,), without looks past the episode's end.

        Args:
            memory: of the present observation.
            batch: with ``future.<feature>`` (B, F, num_obs_steps, *shape) and ``future_steps`` (B, F).
            normalizer: of the policy.
            latent_size: of the latent, which is zero for later observations.
            drop: of the predictor.
        """
        predicted_BFD = self.code_out(self.predictor(*memory, drop)).float()
        error_BF = (predicted_BFD - self.codes(batch, normalizer, latent_size)).abs().mean(dim=-1)
        seen_BF = batch["future_steps"] == torch.tensor(self.steps, device=error_BF.device)
        return (error_BF * seen_BF).sum(dim=1) / seen_BF.sum(dim=1).clamp_min(1)

    @torch.no_grad()
    def codes(self, batch: Mapping[str, Tensor], normalizer: Normalizer, latent_size: int) -> Tensor:
        """Codes of the later observations (B, F, D), with mean 0 and spread 1 over D."""
        prefix = "future."
        later = {name[len(prefix) :]: value.flatten(0, 1) for name, value in batch.items() if name.startswith(prefix)}
        tokens_BSD = self.target_encoder(later, normalizer)
        latent_BZ = tokens_BSD.new_zeros(len(tokens_BSD), latent_size)
        memory = self.target_context(latent_BZ, tokens_BSD, self.target_encoder.positions())
        code_BD = memory.tokens_BSD[:, 1:].float().mean(dim=1)
        return F.layer_norm(code_BD, code_BD.shape[-1:]).unflatten(0, (-1, len(self.steps)))

    @torch.no_grad()
    def follow(self, encoder: Encoder, context: ContextEncoder) -> None:
        """Move the target towards the present weights."""
        for target, present in ((self.target_encoder, encoder), (self.target_context, context)):
            pairs = zip(target.parameters(), present.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, 1.0 - self.target_decay)
