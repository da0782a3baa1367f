"""The transformer denoiser of Diffusion Policy: causal over the chunk, step and observations through cross-attention.

Chi et al., arXiv 2303.04137, section III-B and their released code. Action tokens attend to themselves and their
predecessors, then to a memory of one token for the step and the observation tokens. A memory token passes through an MLP
by itself, so keys and values of the observations are constant over the steps (``condition``) and those of the step are
constant over samples (``modulation``).

Four things differ from the release. There, action t does not see observations later than t, which takes the observation
step of each token; encoders here give several tokens per step and do not say of which, so every action sees all
observations, all of which lie before execution anyhow. There is no dropout, whose randomness would not come from the
loss's generator. The memory passes through a layer norm before its keys and values. And the step token is a linear map of
features of flow time, not the sines of the level. Where actions have times of their own, each sees the step token of its
own time.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width, N heads, H width of one head, L layers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.policies.networks.blocks import BlockName, Run, run_all
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.sizes import require_heads, sized
from praxon.policies.networks.transformer import TimeFeatures, attention, layer_blocks

SIZES = {
    "tiny": {"width": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2},  # for tests
    "small": {"width": 128, "depth": 3, "num_heads": 4, "mlp_ratio": 2},
    "base": {"width": 256, "depth": 8, "num_heads": 4, "mlp_ratio": 4},  # the paper's
    "large": {"width": 768, "depth": 8, "num_heads": 4, "mlp_ratio": 4},  # the paper's for the Franka kitchen
}


class CausalBlock(nn.Module):
    """Pre-norm causal self-attention, cross-attention to the memory, MLP."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.self_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.self_in, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.cross_in, self.cross_out = nn.Linear(width, width), nn.Linear(width, width)
        self.mlp_in, self.mlp_out = nn.Linear(width, mlp_ratio * width), nn.Linear(mlp_ratio * width, width)

    def forward(
        self,
        x_BTD: Tensor,
        key_BNSH: Tensor,
        value_BNSH: Tensor,
        mask_TS: Tensor | None,
        run: Run = run_all,
        name: str = "",
    ) -> Tensor:
        after_BTD = x_BTD + run(f"{name}self", lambda: self._attend(self.self_norm(x_BTD)))
        seen_BTD = after_BTD + run(
            f"{name}cross", lambda: self._look(self.cross_norm(after_BTD), key_BNSH, value_BNSH, mask_TS)
        )
        return seen_BTD + run(f"{name}mlp", lambda: self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(seen_BTD)))))

    def _attend(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        N = self.num_heads
        query, key, value = self.self_in(x_BTD).view(B, T, 3, N, D // N).permute(2, 0, 3, 1, 4).unbind()
        attended = attention(query, key, value, is_causal=True)
        out: Tensor = self.self_out(attended.transpose(1, 2).reshape(B, T, D))
        return out

    def _look(self, x_BTD: Tensor, key_BNSH: Tensor, value_BNSH: Tensor, mask_TS: Tensor | None) -> Tensor:
        B, T, D = x_BTD.shape
        N = self.num_heads
        query = self.cross_in(x_BTD).view(B, T, N, D // N).transpose(1, 2)
        attended = attention(query, key_BNSH, value_BNSH, mask_TS)
        out: Tensor = self.cross_out(attended.transpose(1, 2).reshape(B, T, D))
        return out


class CausalTransformer(Denoiser):
    """Prediction of every action token from itself, its predecessors, the observations and the step.

    Args:
        action_size: A.
        horizon: T, the number of learned action positions.
        num_tokens: S.
        token_width: width of an observation token.
        spans: whether the length of the step is an input as well; its embedding is added to that of the step.
        size: ``tiny``, ``small``, ``base`` or ``large``: the defaults of what follows.
        width: D, divisible by ``num_heads``.
        depth: L.
        num_heads: N.
        mlp_ratio: hidden width of the MLPs over D.
        shortest_period: of the time features; a derivative along time is multiplied by its inverse, so that objectives with
            such a derivative (MeanFlow) need about 3. 4e-3 where None.

    Raises:
        ConfigError: D is not divisible by N, or an unknown size.
    """

    def __init__(
        self,
        action_size: int,
        horizon: int,
        num_tokens: int,
        token_width: int,
        *,
        spans: bool = False,
        size: str = "small",
        width: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: int | None = None,
        shortest_period: float | None = None,
    ) -> None:
        super().__init__()
        chosen = sized(SIZES, size, width=width, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio)
        width, depth, num_heads = chosen["width"], chosen["depth"], chosen["num_heads"]
        require_heads(width, num_heads)
        self.width, self.depth, self.num_heads = width, depth, num_heads
        self.action_in = nn.Linear(action_size, width)
        self.positions_TD = nn.Parameter(torch.zeros(horizon, width))
        self.time_features = TimeFeatures(width, shortest_period)
        self.time_in = nn.Linear(width, width)
        self.span_in = nn.Linear(width, width) if spans else None
        self.token_in = nn.Linear(token_width, width)
        self.memory_positions_SD = nn.Parameter(torch.zeros(1 + num_tokens, width))
        self.memory = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
        self.memory_out = nn.Linear(width, depth * 2 * width)
        self.blocks = nn.ModuleList(CausalBlock(width, num_heads, chosen["mlp_ratio"]) for _ in range(depth))
        self.head_norm, self.head = nn.LayerNorm(width), nn.Linear(width, action_size)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def condition(self, tokens_BSD: Tensor) -> Tensor:
        """Observation tokens (B, S, token width) -> keys and values of every layer (2, L, B, N, S, H)."""
        return self._keys_and_values(self.token_in(tokens_BSD) + self.memory_positions_SD[1:])

    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """Flow time (and span) -> the step token's keys and values of every layer (B, 2, L, N, 1 or T, H)."""
        embedded = self.time_in(self.time_features(time_BT))
        if self.span_in is not None and span_BT is not None:
            embedded = embedded + self.span_in(self.time_features(span_BT))
        return self._keys_and_values(embedded + self.memory_positions_SD[0]).movedim(2, 0)

    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: Tensor,
        features: list[Tensor] | None = None,
        run: Run = run_all,
    ) -> Tensor:
        """Noisy chunk (B, T, A) -> prediction (B, T, A)."""
        step = modulation.movedim(0, 2).expand(-1, -1, len(noisy_BTA), -1, -1, -1)
        mask = _own_step_token(step.shape[-2], condition.shape[-2], noisy_BTA.device) if step.shape[-2] > 1 else None
        keys_LBNSH, values_LBNSH = torch.cat([step, condition], dim=-2)
        x_BTD = self.action_in(noisy_BTA) + self.positions_TD
        for layer, (block, key_BNSH, value_BNSH) in enumerate(zip(self.blocks, keys_LBNSH, values_LBNSH, strict=True)):
            x_BTD = block(x_BTD, key_BNSH, value_BNSH, mask, run, f"{layer}.")
            if features is not None:
                features.append(x_BTD)
        return self.head(self.head_norm(x_BTD))

    @property
    def block_names(self) -> tuple[BlockName, ...]:
        """Self-attention, cross-attention and MLP of every layer."""
        return layer_blocks(self.depth)

    @property
    def own_times(self) -> bool:
        """They may."""
        return True

    def mixed_modulation(self, mask_BT: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
        """See ``Denoiser.mixed_modulation``; (B, 2, L, N, T, H)."""
        return torch.where(mask_BT[:, None, None, None, :, None], there, elsewhere)

    def _keys_and_values(self, tokens_BSD: Tensor) -> Tensor:
        B, S, _ = tokens_BSD.shape
        projected = self.memory_out(F.layer_norm(self.memory(tokens_BSD), (self.width,)))
        split = projected.view(B, S, 2, self.depth, self.num_heads, self.width // self.num_heads)
        return split.permute(2, 3, 0, 4, 1, 5)


def _own_step_token(num_times: int, num_tokens: int, device: torch.device) -> Tensor:
    own = torch.eye(num_times, dtype=torch.bool, device=device)
    return torch.cat([own, torch.ones(num_times, num_tokens, dtype=torch.bool, device=device)], dim=1)
