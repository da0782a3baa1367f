"""What a denoising network is: three parts, of which a sampling loop computes two once.

    condition(tokens)        observations        -> constant over the steps of a sample
    modulation(time, span)   flow times          -> constant over samples
    denoise(x, ., .)         the rest            -> at every step

Shapes: B batch, T action tokens, A action size, S observation tokens, D width of a token, N number of times.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

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
    def own_times(self) -> bool:
        """Whether the actions of a sample may have times of their own."""
        return False

    def forward(
        self,
        noisy_BTA: Tensor,
        time_BT: Tensor,
        tokens_BSD: Tensor,
        span_BT: Tensor | None = None,
        features: list[Tensor] | None = None,
    ) -> Tensor:
        """The three together, as training uses them."""
        return self.denoise(noisy_BTA, self.modulation(time_BT, span_BT), self.condition(tokens_BSD), features)
