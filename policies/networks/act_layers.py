"""Transformer layers of ACT: DETR's, which add positions to queries and keys at every layer and never to values.

Carion et al., arXiv 2005.12872; as used by ACT, Zhao et al., arXiv 2304.13705. Attention keeps the parameter layout of
``torch.nn.MultiheadAttention`` (one matrix for queries, keys and values), so that weights trained elsewhere fit.

Shapes: B batch, Q queries, S keys, D width, N heads, H width of one head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout:
    """Zeroes a share of the values and scales up the others, with masks from ``generator``; without one, the identity.

    Training hands one to every layer, so that a loss is a function of its generator alone; sampling never drops.

    Args:
        rate: share of values that become zero, in [0, 1).
        generator: on the device of the values.
    """

    def __init__(self, rate: float = 0.0, generator: torch.Generator | None = None) -> None:
        self.rate, self.generator = rate, generator

    @property
    def drops(self) -> bool:
        """Whether anything is dropped."""
        return self.generator is not None and self.rate > 0

    def __call__(self, x: Tensor) -> Tensor:
        if not self.drops:
            return x
        keep = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.rate
        return x * keep * (1.0 / (1.0 - self.rate))


KEEP_ALL = Dropout()


class Attention(nn.Module):
    """Multi-head attention; ``projections`` holds the rows of queries, keys and values in that order."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.projections = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.projections.weight)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.projections.bias)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, query_BQD: Tensor, key_BSD: Tensor, value_BSD: Tensor, drop: Dropout, allowed_BS: Tensor | None = None
    ) -> Tensor:
        """(B, Q, D); ``allowed_BS`` bool says which keys may be attended to."""
        width = self.out.in_features
        weights, biases = self.projections.weight.split(width), self.projections.bias.split(width)
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query_BQD, key_BSD, value_BSD), weights, biases, strict=True)
        )
        mask = None if allowed_BS is None else allowed_BS[:, None, None]
        # In float32 on CPUs, where the gradient in bfloat16 is ten times slower.
        with torch.autocast("cpu", enabled=torch.is_autocast_enabled("cpu") and query.device.type != "cpu"):
            if query.device.type == "cpu":
                query, key, value = query.float(), key.float(), value.float()
            attended = self._attend(query, key, value, mask, drop)
        return self.out(attended.transpose(1, 2).flatten(2))

    @staticmethod
    def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, drop: Dropout) -> Tensor:
        if not drop.drops:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        return drop(logits.softmax(dim=-1)) @ value


class Mlp(nn.Module):
    """Two linear maps around a ReLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x_BSD: Tensor, drop: Dropout) -> Tensor:
        return self.outer(drop(F.relu(self.inner(x_BSD))))


class EncoderLayer(nn.Module):
    """Self-attention and an MLP, each with a residual connection and a layer norm before (``pre_norm``) or after it."""

    def __init__(self, width: int, num_heads: int, hidden: int, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(width, num_heads)
        self.mlp = Mlp(width, hidden)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x_BSD: Tensor, positions_BSD: Tensor, drop: Dropout, allowed_BS: Tensor | None = None) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        inner = self.attention_norm(x_BSD) if self.pre_norm else x_BSD
        placed = inner + positions_BSD
        x_BSD = x_BSD + drop(self.attention(placed, placed, inner, drop, allowed_BS))
        if self.pre_norm:
            return x_BSD + drop(self.mlp(self.mlp_norm(x_BSD), drop))
        x_BSD = self.attention_norm(x_BSD)
        return self.mlp_norm(x_BSD + drop(self.mlp(x_BSD, drop)))


class DecoderLayer(nn.Module):
    """Self-attention over queries, cross-attention to the memory, and an MLP."""

    def __init__(self, width: int, num_heads: int, hidden: int, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attention = Attention(width, num_heads)
        self.cross_attention = Attention(width, num_heads)
        self.mlp = Mlp(width, hidden)
        self.self_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, x_BQD: Tensor, queries_QD: Tensor, memory_BSD: Tensor, placed_memory_BSD: Tensor, drop: Dropout
    ) -> Tensor:
        """(B, Q, D) -> (B, Q, D); ``placed_memory_BSD`` is the memory with its positions."""
        inner = self.self_norm(x_BQD) if self.pre_norm else x_BQD
        placed = inner + queries_QD
        x_BQD = x_BQD + drop(self.self_attention(placed, placed, inner, drop))
        x_BQD = x_BQD if self.pre_norm else self.self_norm(x_BQD)
        inner = self.cross_norm(x_BQD) if self.pre_norm else x_BQD
        x_BQD = x_BQD + drop(self.cross_attention(inner + queries_QD, placed_memory_BSD, memory_BSD, drop))
        if self.pre_norm:
            return x_BQD + drop(self.mlp(self.mlp_norm(x_BQD), drop))
        x_BQD = self.cross_norm(x_BQD)
        return self.mlp_norm(x_BQD + drop(self.mlp(x_BQD, drop)))


class ActEncoder(nn.Module):
    """A stack of encoder layers; pre-norm stacks end in a norm."""

    def __init__(self, depth: int, width: int, num_heads: int, hidden: int, pre_norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, num_heads, hidden, pre_norm) for _ in range(depth))
        self.norm = nn.LayerNorm(width) if pre_norm else nn.Identity()

    def forward(
        self, x_BSD: Tensor, positions_BSD: Tensor, drop: Dropout = KEEP_ALL, allowed_BS: Tensor | None = None
    ) -> Tensor:
        """Tokens and their positions (B or 1, S, D) -> tokens (B, S, D)."""
        for layer in self.layers:
            x_BSD = layer(x_BSD, positions_BSD, drop, allowed_BS)
        return self.norm(x_BSD)


class ActDecoder(nn.Module):
    """Learned queries that read a memory, layer after layer, from an empty start; ends in a norm.

    Args:
        num_queries: Q.
        depth, width, num_heads, hidden, pre_norm: of the layers.
    """

    def __init__(self, num_queries: int, depth: int, width: int, num_heads: int, hidden: int, pre_norm: bool) -> None:
        super().__init__()
        self.queries_QD = nn.Parameter(torch.randn(num_queries, width))
        self.layers = nn.ModuleList(DecoderLayer(width, num_heads, hidden, pre_norm) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, memory_BSD: Tensor, positions_BSD: Tensor, drop: Dropout = KEEP_ALL) -> Tensor:
        """Memory and its positions (B or 1, S, D) -> (B, Q, D)."""
        x_BQD = memory_BSD.new_zeros(len(memory_BSD), *self.queries_QD.shape)
        placed = memory_BSD + positions_BSD
        for layer in self.layers:
            x_BQD = layer(x_BQD, self.queries_QD, memory_BSD, placed, drop)
        return self.norm(x_BQD)
