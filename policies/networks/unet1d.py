"""The convolutional denoiser of Diffusion Policy: a U-Net along the chunk, conditioned by FiLM.

Chi et al., arXiv 2303.04137, section III-A, after Janner et al., arXiv 2205.09991; FiLM: Perez et al., arXiv 1709.07871.
Every residual block scales and shifts its channels by Linear(Mish([step embedding, observations])). Mish acts on each
number by itself, so that product is a sum of two: the part of the step is computed once per time (``modulation``), the
part of the observations once per sample (``condition``), and a denoising step holds convolutions only.

Shapes: B batch, T action tokens, A action size, S observation tokens, D width of a token, C channels, E width of the
step embedding, F scales and shifts of all blocks.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.errors import ConfigError, nearest
from praxon.policies.networks.blocks import BlockName, Run, run_all
from praxon.policies.networks.denoiser import Denoiser
from praxon.policies.networks.sizes import sized
from praxon.policies.networks.transformer import TimeFeatures

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"widths": (16, 32), "step_width": 16},  # for tests
    "small": {"widths": (32, 64, 128), "step_width": 64},
    "medium": {"widths": (64, 128, 256), "step_width": 128},
    # The sizes of the paper for states and for images.
    "base": {"widths": (256, 512, 1024), "step_width": 256},
    "large": {"widths": (512, 1024, 2048), "step_width": 128},
}
SHAPE: dict[str, Any] = {
    "kernel_size": 5,
    "groups": 8,
    "film_scale": True,
    "time_embedding": "periods",
    "num_levels": 100,
}
"""What is the same at every size."""
TIME_EMBEDDINGS = ("periods", "steps")


class StepFeatures(nn.Module):
    """Sines and cosines of the noise level k = (1 - t) N, (B, T) -> (B, T, size), as in DDPM (Ho et al., arXiv 2006.11239).

    Frequencies fall geometrically from 1 to 1e-4. Levels are rounded to 1e-4, which undoes the rounding of t in float32:
    whole levels are embedded as the integers they were.
    """

    frequencies: Tensor

    def __init__(self, size: int, num_levels: int) -> None:
        super().__init__()
        half = size // 2
        self.num_levels = num_levels
        exponents = torch.arange(half) * -(math.log(10000) / (half - 1))
        self.register_buffer("frequencies", exponents.exp(), persistent=False)

    def forward(self, time_BT: Tensor) -> Tensor:
        level_BT = (1.0 - time_BT.float()) * self.num_levels
        # Rounded in value alone: a derivative along time (MeanFlow) passes.
        level_BT = level_BT + (torch.round(level_BT, decimals=4) - level_BT).detach()
        phase = level_BT[..., None] * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class ConvBlock(nn.Module):
    """Convolution along the chunk, group norm, Mish."""

    def __init__(self, inner: int, outer: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inner, outer, kernel_size, padding=kernel_size // 2)
        self.norm = nn.GroupNorm(groups, outer)

    def forward(self, x_BCT: Tensor) -> Tensor:
        return F.mish(self.norm(self.conv(x_BCT)))


class ResidualBlock(nn.Module):
    """Two convolution blocks with FiLM between them, around a shortcut."""

    def __init__(self, inner: int, outer: int, kernel_size: int, groups: int, film_scale: bool) -> None:
        super().__init__()
        self.film_scale = film_scale
        self.film_size = (1 + film_scale) * outer
        self.first = ConvBlock(inner, outer, kernel_size, groups)
        self.second = ConvBlock(outer, outer, kernel_size, groups)
        self.shortcut = nn.Conv1d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x_BCT: Tensor, film_BF: Tensor, run: Run = run_all, name: str = "") -> Tensor:
        return run(name, lambda: self._added(x_BCT, film_BF)) + self.shortcut(x_BCT)

    def _added(self, x_BCT: Tensor, film_BF: Tensor) -> Tensor:
        hidden = self.first(x_BCT)
        film_BF1 = film_BF[..., None]
        if self.film_scale:
            scale, shift = film_BF1.chunk(2, dim=1)
            hidden = torch.addcmul(shift, scale, hidden)
        else:
            hidden = hidden + film_BF1
        added: Tensor = self.second(hidden)
        return added


class Level(nn.Module):
    """Two residual blocks at one resolution, and the convolution to the next."""

    def __init__(self, first: ResidualBlock, second: ResidualBlock, resample: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.resample = first, second, resample

    def forward(
        self, x_BCT: Tensor, film_BF: Tensor, film_second_BF: Tensor, run: Run = run_all, name: str = ""
    ) -> tuple[Tensor, Tensor]:
        """Activations at this resolution, and at the next."""
        x_BCT = self.second(self.first(x_BCT, film_BF, run, f"{name}first"), film_second_BF, run, f"{name}second")
        return x_BCT, self.resample(x_BCT)


class UNet1D(Denoiser):
    """Prediction of the whole chunk by convolutions along it; all actions share one time.

    Args:
        action_size: A.
        horizon: T, divisible by 2 for every width but the first.
        num_tokens: S.
        token_width: D.
        spans: whether the length of the step is an input as well; its embedding is added to that of the step.
        size: ``tiny``, ``small``, ``medium``, ``base`` or ``large``: the defaults of ``widths`` and ``step_width``.
        widths: channels at each resolution, finest first, each divisible by ``groups``.
        step_width: E, even.
        kernel_size: of the convolutions, odd; 5 where None.
        groups: of the group norms; 8 where None.
        head_groups: of the last of them, before the head; as many as ``groups`` where ``None``. Published networks have 8.
        film_scale: whether observations and step scale the channels besides shifting them; they do where None.
        time_embedding: ``periods``, or None: of flow time itself; ``steps``: of the noise level k = (1 - t) ``num_levels``, as
            published diffusion policies have it.
        num_levels: noise levels of the training; for ``steps`` only; 100 where None.
        shortest_period: of the time features; a derivative along time is multiplied by its inverse, so that objectives with
            such a derivative (MeanFlow) need about 3. 4e-3 where None.

    Raises:
        ConfigError: a horizon, width or name that does not fit.
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
        widths: Sequence[int] | None = None,
        step_width: int | None = None,
        kernel_size: int | None = None,
        groups: int | None = None,
        head_groups: int | None = None,
        film_scale: bool | None = None,
        time_embedding: str | None = None,
        num_levels: int | None = None,
        shortest_period: float | None = None,
    ) -> None:
        super().__init__()
        chosen = SHAPE | sized(
            SIZES,
            size,
            widths=widths,
            step_width=step_width,
            kernel_size=kernel_size,
            groups=groups,
            film_scale=film_scale,
            time_embedding=time_embedding,
            num_levels=num_levels,
        )
        channels, E = [int(width) for width in chosen["widths"]], chosen["step_width"]
        kernel, per_norm = chosen["kernel_size"], chosen["groups"]
        _check(horizon, channels, E, kernel, per_norm, chosen["time_embedding"])
        self.time_features = (
            StepFeatures(E, chosen["num_levels"])
            if chosen["time_embedding"] == "steps"
            else TimeFeatures(E, shortest_period)
        )
        self.time_in, self.time_out = nn.Linear(E, 4 * E), nn.Linear(4 * E, E)
        self.span_features = TimeFeatures(E, shortest_period) if spans else None
        self.span_in = nn.Linear(E, E) if spans else None

        def block(inner: int, outer: int) -> ResidualBlock:
            return ResidualBlock(inner, outer, kernel, per_norm, chosen["film_scale"])

        last = len(channels) - 1
        self.down = nn.ModuleList()
        for index, (inner, outer) in enumerate(zip([action_size, *channels[:-1]], channels, strict=True)):
            halve = nn.Conv1d(outer, outer, 3, stride=2, padding=1) if index < last else nn.Identity()
            self.down.append(Level(block(inner, outer), block(outer, outer), halve))
        self.middle = nn.ModuleList(block(channels[-1], channels[-1]) for _ in range(2))
        self.up = nn.ModuleList()
        for outer, inner in zip(channels[-2::-1], channels[:0:-1], strict=True):
            double = nn.ConvTranspose1d(outer, outer, 4, stride=2, padding=1)
            self.up.append(Level(block(2 * inner, outer), block(outer, outer), double))
        self.head_block = ConvBlock(channels[0], channels[0], kernel, per_norm if head_groups is None else head_groups)
        self.head = nn.Conv1d(channels[0], action_size, 1)

        # One projection for all blocks: few large products instead of many small ones.
        self.film_sizes = [module.film_size for module in self.residual_blocks()]
        self.film_time = nn.Linear(E, sum(self.film_sizes), bias=False)
        self.film_condition = nn.Linear(num_tokens * token_width, sum(self.film_sizes))

    def residual_blocks(self) -> list[ResidualBlock]:
        """Every residual block in the order in which it is run, which is that of its rows in the FiLM projections."""
        parts = (*self.down, *self.middle, *self.up)
        return [module for part in parts for module in part.modules() if isinstance(module, ResidualBlock)]

    def condition(self, tokens_BSD: Tensor) -> Tensor:
        """Observation tokens (B, S, D) -> their part of every block's scales and shifts (B, F)."""
        return self.film_condition(F.mish(tokens_BSD.flatten(1)))

    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """Flow time (B, 1) (and span) -> their part of every block's scales and shifts (B, F).

        Raises:
            ConfigError: the actions of a sample differ in time.
        """
        if time_BT.shape[1] != 1:
            raise ConfigError(
                f"A U-Net has one flow time for a whole chunk; got {time_BT.shape[1]}. Use a transformer denoiser."
            )
        embedded = self.time_out(F.mish(self.time_in(self.time_features(time_BT))))
        if self.span_features is not None and self.span_in is not None and span_BT is not None:
            embedded = embedded + self.span_in(self.span_features(span_BT))
        return self.film_time(F.mish(embedded[:, 0]))

    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: Tensor,
        features: list[Tensor] | None = None,
        run: Run = run_all,
    ) -> Tensor:
        """Noisy chunk (B, T, A) -> prediction (B, T, A); the activations of the way down are its features."""
        films = iter((modulation + condition).split(self.film_sizes, dim=1))
        x_BCT, skips = noisy_BTA.transpose(1, 2), []
        for index, level in enumerate(self.down):
            skip, x_BCT = level(x_BCT, next(films), next(films), run, f"down.{index}.")
            skips.append(skip)
        if features is not None:
            features.extend(skips)
        for index, block in enumerate(self.middle):
            x_BCT = block(x_BCT, next(films), run, f"middle.{index}")
        for index, level in enumerate(self.up):
            merged_BCT = torch.cat([x_BCT, skips.pop()], dim=1)
            _, x_BCT = level(merged_BCT, next(films), next(films), run, f"up.{index}.")
        return self.head(self.head_block(x_BCT)).transpose(1, 2)

    @property
    def block_names(self) -> tuple[BlockName, ...]:
        """What each residual block adds to its shortcut; convolutions carry every error on, as an MLP does."""
        levels = [
            f"{way}.{index}.{part}"
            for way, modules in (("down", self.down), ("middle", self.middle), ("up", self.up))
            for index in range(len(modules))
            for part in (("first", "second") if way != "middle" else ("",))
        ]
        return tuple(BlockName(name.removesuffix("."), feed_forward=True) for name in levels)


def _check(horizon: int, channels: list[int], step_width: int, kernel_size: int, groups: int, embedding: str) -> None:
    factor = 2 ** (len(channels) - 1)
    if horizon % factor:
        below, above = horizon // factor * factor, (horizon // factor + 1) * factor
        raise ConfigError(
            f"A U-Net of {len(channels)} widths halves the chunk {len(channels) - 1} times, so its horizon must be divisible by "
            f"{factor}; it is {horizon}. Use {f'{below} or ' if below else ''}{above}, or fewer widths."
        )
    if len(channels) < 2 or any(width < 1 or width % groups for width in channels):
        raise ConfigError(f"U-Net widths must be two or more numbers divisible by groups={groups}; got {channels}.")
    if step_width < 4 or step_width % 2:
        raise ConfigError(f"The width of the step embedding must be even and at least 4; got {step_width}.")
    if kernel_size % 2 == 0:
        raise ConfigError(f"The kernel size of a U-Net must be odd, so that lengths stay; got {kernel_size}.")
    if embedding not in TIME_EMBEDDINGS:
        raise ConfigError(
            f"Time embedding '{embedding}' does not exist. Embeddings: {', '.join(TIME_EMBEDDINGS)}."
            f"{nearest(embedding, TIME_EMBEDDINGS)}"
        )
