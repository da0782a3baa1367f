"""What a denoising network is: three parts, of which a sampling loop computes two once.

    condition(tokens)        observations        -> constant over the steps of a sample
    modulation(time, span)   flow times          -> constant over samples
    denoise(x, ., .)         the rest            -> at every step

Shapes: B batch, T action tokens, A action size, S observation tokens, D width of a token, N number of times.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError
from praxon.policies.networks.blocks import BlockName, Run, run_all


class Denoiser(nn.Module, ABC):
    """Noisy chunk, flow time and observation tokens -> one vector per action: velocity, noise, clean action, as trained.

    A subclass's constructor takes ``(action_size, horizon, num_tokens, token_width, *, spans=False, ...)``; with
    ``spans`` the network is told a second time as well, the length of the step it shall predict.
    """

    @abstractmethod
    def condition(self, tokens_BSD: Tensor) -> Any:
        """Observation tokens (B, S, D) -> what every step reads of them: a tensor, or a tuple of tensors."""

    @abstractmethod
    def modulation(self, time_BT: Tensor, span_BT: Tensor | None = None) -> Tensor:
        """Flow times -> their effect; the first axis is that of the times, so that rows can be picked.

        Args:
            time_BT: in [0, 1], 0 is noise and 1 data. (B, 1) where the tokens of a sample share their time, (B, T) where
                each has its own.
            span_BT: length of the step in flow time, same shape; only for networks built with ``spans``.
        """

    @abstractmethod
    def denoise(
        self,
        noisy_BTA: Tensor,
        modulation: Tensor,
        condition: Any,
        features: list[Tensor] | None = None,
        run: Run = run_all,
    ) -> Tensor:
        """Noisy chunk (B, T, A) -> prediction (B, T, A).

        Args:
            modulation: of B times, or of one for all.
            features: intermediate activations are appended to it, each with batch as its first axis (dispersive losses).
            run: what every block of ``block_names`` goes through.
        """

    @property
    def block_names(self) -> tuple[BlockName, ...]:
        """Blocks that go through ``run``, in order; none where the network has nothing to skip."""
        return ()

    @property
    def differentiates(self) -> bool:
        """Whether its prediction is a derivative of what it computes."""
        return False

    @property
    def own_times(self) -> bool:
        """Whether the actions of a sample may have times of their own."""
        return False

    def require_own_times(self) -> None:
        """Refuse where the actions of a sample share their time.

        Raises:
            ConfigError: they do.
        """
        if not self.own_times:
            raise ConfigError(
                f"{type(self).__name__} has one flow time for a whole chunk, so that part of it cannot be given as clean; "
                "use a transformer denoiser, or continue chunks by method=guided."
            )

    def mixed_modulation(self, mask_BT: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
        """Two rows of ``modulation`` -> that of samples some of whose actions have one time and some the other.

        Args:
            mask_BT: where ``there`` holds.
            there, elsewhere: of one shared time each, or of one for each sample.
        """
        raise NotImplementedError(
            f"{type(self).__name__} says that actions may have times of their own, and mixes none."
        )

    def forward(
        self,
        noisy_BTA: Tensor,
        time_BT: Tensor,
        tokens_BSD: Tensor,
        span_BT: Tensor | None = None,
        features: list[Tensor] | None = None,
        given_BT: Tensor | None = None,
    ) -> Tensor:
        """The three together, as training uses them; actions that are ``given`` have the time of clean data."""
        modulation = self.modulation(time_BT, span_BT)
        if given_BT is not None:
            clean = self.modulation(torch.ones_like(time_BT[:1]), None if span_BT is None else span_BT[:1])
            modulation = self.mixed_modulation(given_BT, clean, modulation)
        return self.denoise(noisy_BTA, modulation, self.condition(tokens_BSD), features)
