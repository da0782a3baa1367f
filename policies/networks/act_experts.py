"""Action heads of MoE-ACT: experts, one per phase of a task, mixed by a classifier that tells the phase.

Mazza et al., arXiv 2601.21971. Every row of the chunk has its own phase, so a chunk may cross from one to the next. Phases
are learned from labels, or without any: then the mixture is trained by the actions alone (routing without labels: LAR-MoE,
arXiv 2603.08476). The published loss weight is not known; ours is in the config.

Shapes: B batch, T horizon, A action size, D width, K experts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.errors import ConfigError

AUTO, PHASE = "auto", "phase"
"""The setting that leaves it to the data where phases come from, and the column that it looks for."""
NUM_EXPERTS = 4


class ExpertHeads(nn.Module):
    """K linear heads and a linear gate.

    Args:
        width: D.
        action_size: A.
        num_experts: K; 4 where ``None``.
        phases: column of the dataset that holds each frame's phase, 0 to K - 1; ``None`` learns the routing without, and so
            does ``auto``, which ``ActPolicy.settled`` replaces where there are data.
        phase_weight: of the cross-entropy of the gate.
        top_k: experts that are heard at each row, their gates scaled to sum to one; all where ``None``.

    Raises:
        ConfigError: fewer than one expert, or a ``top_k`` outside 1 to K.
    """

    def __init__(
        self,
        width: int,
        action_size: int,
        *,
        num_experts: int | None = None,
        phases: str | None = None,
        phase_weight: float = 0.1,
        top_k: int | None = None,
    ) -> None:
        super().__init__()
        num_experts = NUM_EXPERTS if num_experts is None else num_experts
        phases = None if phases == AUTO else phases
        if num_experts < 1:
            raise ConfigError(f"A mixture of {num_experts} experts was asked for; at least 1 is needed.")
        if top_k is not None and not 1 <= top_k <= num_experts:
            raise ConfigError(f"The {top_k} best of {num_experts} experts were asked for; 1 to {num_experts} would do.")
        self.num_experts, self.phases, self.phase_weight, self.top_k = num_experts, phases, phase_weight, top_k
        self.gate = nn.Linear(width, num_experts)
        self.experts = nn.Linear(width, num_experts * action_size)

    def forward(self, features_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (B, T, A) and the gate's logits (B, T, K)."""
        logits_BTK = self.gate(features_BTD).float()
        action_BTKA = self.experts(features_BTD).unflatten(-1, (self.num_experts, -1))
        return (self.shares(logits_BTK)[..., None] * action_BTKA).sum(dim=-2), logits_BTK

    def shares(self, logits_BTK: Tensor) -> Tensor:
        """How much each expert is heard (B, T, K), summing to one."""
        if self.top_k is not None and self.top_k < self.num_experts:
            least = logits_BTK.topk(self.top_k, dim=-1).values[..., -1:]
            logits_BTK = logits_BTK.masked_fill(logits_BTK < least, -torch.inf)
        return logits_BTK.softmax(dim=-1)

    def phase_error(self, logits_BTK: Tensor, phase_BT: Tensor) -> Tensor:
        """Cross-entropy of each row's phase (B, T).

        Raises:
            ConfigError: a label that no expert stands for.
        """
        if phase_BT.min() < 0 or phase_BT.max() >= self.num_experts:
            raise ConfigError(
                f"The column '{self.phases}' holds phases from {int(phase_BT.min())} to {int(phase_BT.max())}; "
                f"{self.num_experts} experts stand for 0 to {self.num_experts - 1}, "
                f"and policy.experts.num_experts={int(phase_BT.max()) + 1} would do."
            )
        return F.cross_entropy(logits_BTK.transpose(1, 2), phase_BT.long(), reduction="none")
