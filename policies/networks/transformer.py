"""The transformer denoiser: noisy action chunk, flow time of each token, observation tokens -> a vector for each token.

Blocks follow DiT (Peebles and Xie, arXiv 2212.09748): layer norms without weights whose shift, scale and gate come
from the time embedding, all zero at the start (adaLN-Zero), here around self-attention over action tokens,
cross-attention to observation tokens, and an MLP. Each action token has its own time, which is what prefix
conditioning, streaming and inpainting need; tokens that share one time cost one modulation per sample.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width, N heads, H width of one head, L layers,
M shifts, scales and gates (nine per layer, two for the head).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.errors import ConfigError
from praxon.policies.networks.blocks import BlockName, Run, run_all
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.sizes import require_heads, sized

SIZES = {
    # For a few minutes on a CPU, more steps of a smaller network beat fewer of a larger one.
    "tiny": {"width": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2},  # for tests
    "small": {"width": 128, "depth": 3, "num_heads": 4, "mlp_ratio": 2},
    "base": {"width": 256, "depth": 6, "num_heads": 8, "mlp_ratio": 4},
    "large": {"width": 512, "depth": 8, "num_heads": 8, "mlp_ratio": 4},
}
SHORTEST_PERIOD = 4e-3
PARTS_PER_BLOCK = 9  # shift, scale and gate of self-attention, cross-attention and MLP


class Condition(NamedTuple):
    """Observation keys and values of every layer: constant over denoising steps."""

    keys_LBNSH: Tensor
    values_LBNSH: Tensor


class TimeFeatures(nn.Module):
    """Sines and cosines of flow time with geometrically spaced periods, (B, T) -> (B, T, size).

    Periods from 4e-3 to 4 resolve times in [0, 1] (pi0, arXiv 2410.24164, appendix B); the usual embedding, made for
    integers up to a thousand, would leave most channels constant.
    """

    angular_frequencies: Tensor

    def __init__(self, size: int, shortest_period: float | None = None, longest_period: float = 4.0) -> None:
        super().__init__()
        shortest_period = SHORTEST_PERIOD if shortest_period is None else shortest_period
        if not 0 < shortest_period <= longest_period:
            raise ConfigError(
                f"shortest_period is {shortest_period}; above 0 and at most {longest_period:g} is needed."
            )
        periods = torch.logspace(math.log10(shortest_period), math.log10(longest_period), size // 2)
        self.register_buffer("angular_frequencies", 2 * math.pi / periods, persistent=False)

    def forward(self, time_BT: Tensor) -> Tensor:
        # Float32 even under autocast: at the shortest period bfloat16 would lose the phase.
        phase = time_BT.float()[..., None] * self.angular_frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class Block(nn.Module):
    """Self-attention, cross-attention and MLP, each modulated by time; the identity while the gates are zero."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.self_in = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_in = nn.Linear(width, width)
        self.cross_out = nn.Linear(width, width)
        self.mlp_in = nn.Linear(width, mlp_ratio * width)
        self.mlp_out = nn.Linear(mlp_ratio * width, width)

    def forward(
        self,
        x_BTD: Tensor,
        modulation: Sequence[Tensor],
        key_BNSH: Tensor,
        value_BNSH: Tensor,
        run: Run = run_all,
        name: str = "",
    ) -> Tensor:
        self_shift, self_scale, self_gate, cross_shift, cross_scale, cross_gate, mlp_shift, mlp_scale, mlp_gate = (
            modulation
        )
        # What a block adds is handed on before its gate, which is known at every step whether the block is run or not.
        added = run(f"{name}self", lambda: self._attend(modulated_norm(x_BTD, self_shift, self_scale)))
        after_BTD = torch.addcmul(x_BTD, self_gate, added)
        added = run(
            f"{name}cross",
            lambda: self._look(modulated_norm(after_BTD, cross_shift, cross_scale), key_BNSH, value_BNSH),
        )
        seen_BTD = torch.addcmul(after_BTD, cross_gate, added)
        added = run(f"{name}mlp", lambda: self._mlp(modulated_norm(seen_BTD, mlp_shift, mlp_scale)))
        return torch.addcmul(seen_BTD, mlp_gate, added)

    def _attend(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        N = self.num_heads
        query, key, value = self.self_in(x_BTD).view(B, T, 3, N, D // N).permute(2, 0, 3, 1, 4).unbind()
        attended: Tensor = self.self_out(attention(query, key, value).transpose(1, 2).reshape(B, T, D))
        return attended

    def _look(self, x_BTD: Tensor, key_BNSH: Tensor, value_BNSH: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        N = self.num_heads
        query = self.cross_in(x_BTD).view(B, T, N, D // N).transpose(1, 2)
        looked: Tensor = self.cross_out(attention(query, key_BNSH, value_BNSH).transpose(1, 2).reshape(B, T, D))
        return looked

    def _mlp(self, x_BTD: Tensor) -> Tensor:
        # The exact GELU: on CPUs three times faster than its tanh approximation.
        out: Tensor = self.mlp_out(F.gelu(self.mlp_in(x_BTD)))
        return out


class TransformerDenoiser(Denoiser):
    """Prediction of every action token.

    Args:
        action_size: A.
        horizon: T, the number of learned action positions.
        num_tokens: S; attention takes any number, so nothing depends on it.
        token_width: width of an observation token.
        spans: whether the length of the step is an input as well.
        size: ``tiny``, ``small``, ``base`` or ``large``: the defaults of what follows.
        width: D, divisible by ``num_heads``.
        depth: L.
        num_heads: N.
        mlp_ratio: hidden width of the MLP over D.
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
        self.positions_TD = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.time_features = TimeFeatures(width, shortest_period)
        self.time_in = nn.Linear(width, width)
        self.span_in = nn.Linear(width, width) if spans else None
        # One projection for all layers and one for all keys and values: few large products instead of many small ones.
        self.modulation_out = nn.Linear(width, (depth * PARTS_PER_BLOCK + 2) * width)
        self.condition_out = nn.Linear(token_width, depth * 2 * width)
        self.blocks = nn.ModuleList(Block(width, num_heads, chosen["mlp_ratio"]) for _ in range(depth))
        self.head = nn.Linear(width, action_size)
        for layer in (self.modulation_out, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():  # scales start at one: the bias carries the 1 of DiT's (1 + scale)
            parts_MD = self.modulation_out.bias.view(-1, width)
            parts_MD[:-2].view(depth, 3, 3, width)[:, :, 1] = 1.0
            parts_MD[-1] = 1.0

    def condition(self, tokens_BSD: Tensor) -> Condition:
        """Observation tokens (B, S, token width) -> the keys and values every layer attends to."""
        B, S, token_width = tokens_BSD.shape
        projected = self.condition_out(F.layer_norm(tokens_BSD, (token_width,)))
        split = projected.view(B, S, 2, self.depth, self.num_heads, self.width // self.num_heads)
        keys_LBNSH, values_LBNSH = split.permute(2, 3, 0, 4, 1, 5)
        return Condition(keys_LBNSH, values_LBNSH)

    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """Flow time (and span) -> shifts, scales and gates of every layer (B, T, M, D)."""
        embedded = self.time_in(self.time_features(time_BT))
        if self.span_in is not None and span_BT is not None:
            embedded = embedded + self.span_in(self.time_features(span_BT))
        return self.modulation_out(F.silu(embedded)).unflatten(-1, (-1, self.width))

    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: Condition,
        features: list[Tensor] | None = None,
        run: Run = run_all,
        corrections_BTD: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Noisy chunk (B, T, A) -> prediction (B, T, A). ``corrections_BTD`` are added after each layer, one each."""
        *parts, head_shift, head_scale = modulation.unbind(2)
        x_BTD = self.action_in(noisy_BTA) + self.positions_TD
        for layer, (block, key, value) in enumerate(zip(self.blocks, *condition, strict=True)):
            modulated = parts[layer * PARTS_PER_BLOCK : (layer + 1) * PARTS_PER_BLOCK]
            x_BTD = block(x_BTD, modulated, key, value, run, f"{layer}.")
            if corrections_BTD is not None:
                x_BTD = x_BTD + corrections_BTD[layer]
            if features is not None:
                features.append(x_BTD)
        return self.head(modulated_norm(x_BTD, head_shift, head_scale))

    @property
    def block_names(self) -> tuple[BlockName, ...]:
        """Self-attention, cross-attention and MLP of every layer."""
        return layer_blocks(self.depth)

    @property
    def own_times(self) -> bool:
        """They may."""
        return True

    def mixed_modulation(self, mask_BT: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
        """See ``Denoiser.mixed_modulation``; (B, T, M, D)."""
        return torch.where(mask_BT[:, :, None, None], there, elsewhere)


def layer_blocks(depth: int) -> tuple[BlockName, ...]:
    """The three blocks of each of ``depth`` layers."""
    parts = ("self", "cross", "mlp")
    return tuple(BlockName(f"{layer}.{part}", part == "mlp") for layer in range(depth) for part in parts)


def modulated_norm(x_BTD: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then ``scale x + shift``."""
    return torch.addcmul(shift, F.layer_norm(x_BTD, x_BTD.shape[-1:]), scale)


def attention(
    query_BNTH: Tensor, key_BNSH: Tensor, value_BNSH: Tensor, mask_TS: Tensor | None = None, is_causal: bool = False
) -> Tensor:
    """Scaled dot-product attention.

    Under autocast on CPUs it is done in float32 and by plain products: there the fused one's bfloat16 gradient is ten times
    slower, and for the few tokens of a chunk plain products are the faster ones.
    """
    if not (query_BNTH.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
        return F.scaled_dot_product_attention(query_BNTH, key_BNSH, value_BNSH, mask_TS, is_causal=is_causal)
    if is_causal:
        mask_TS = torch.ones(query_BNTH.shape[-2], key_BNSH.shape[-2], dtype=torch.bool).tril()
    with torch.autocast("cpu", enabled=False):
        scores_BNTS = (query_BNTH.float() * query_BNTH.shape[-1] ** -0.5) @ key_BNSH.float().transpose(-1, -2)
        if mask_TS is not None:
            scores_BNTS = scores_BNTS.masked_fill(~mask_TS, -torch.inf)
        return scores_BNTS.softmax(dim=-1) @ value_BNSH.float()
