"""How a policy represents actions inside: as they are, or relative to where the joints are when the chunk begins.

A chunk of absolute joint targets mixes two numbers of different size: where the arm is, which the observation says, and how
it should move from there, which is what must be learned. Relative chunks hold the second alone: row i is
``a_i - s_now`` for joints in radians, s_now measured at the newest observation (pi0, arXiv 2410.24164; UMI, arXiv
2402.10329). Nothing accumulates, since all rows refer to the same state. Grippers stay absolute.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from praxon.contract import PolicyContract
from praxon.errors import ConfigError, ContractError, nearest

REPRESENTATIONS = ("absolute", "relative")


class ActionRepresentation(nn.Module):
    """Physical absolute actions <-> what the network sees before normalisation.

    Args:
        contract: whose action is represented; relative ones need a joint-position observation of the same joints.
        kind: ``absolute`` or ``relative``.

    Raises:
        ConfigError: unknown kind.
        ContractError: no observation holds the joints that the action moves.
    """

    state_index: Tensor
    is_relative: Tensor

    def __init__(self, contract: PolicyContract, kind: str) -> None:
        super().__init__()
        if kind not in REPRESENTATIONS:
            raise ConfigError(
                f"Action representation '{kind}' does not exist. Known: {', '.join(REPRESENTATIONS)}."
                f"{nearest(kind, REPRESENTATIONS)}"
            )
        self.kind = kind
        self.state = ""
        if kind == "absolute":
            return
        action = contract.action
        moved = (
            [name for name, unit in zip(action.names, action.units, strict=True) if unit == "rad"]
            if action.names
            else []
        )
        if not moved:
            raise ContractError(
                f"Action '{action.name}' names no joints in radians to be relative to; policy.actions=absolute needs none."
            )
        for feature in contract.observations:
            if feature.kind == "joint_position" and set(moved) <= set(feature.names):
                self.state = feature.name
                index = [feature.names.index(name) if name in moved else 0 for name in action.names]
                self.register_buffer("state_index", torch.tensor(index), persistent=False)
                self.register_buffer("is_relative", torch.tensor([n in moved for n in action.names]), persistent=False)
                return
        raise ContractError(
            f"Relative actions need the positions of {', '.join(moved)} among the observations; "
            f"there are {', '.join(feature.name for feature in contract.observations)}."
        )

    @property
    def row_shape(self) -> bool:
        """Whether each row of a chunk has statistics of its own: relative rows spread more the later they are."""
        return self.kind == "relative"

    def encode(self, action_BTA: Tensor, window: Mapping[str, Tensor]) -> Tensor:
        """Absolute actions -> representation, both (B, T, A); window features (B, num_obs_steps, ...)."""
        return action_BTA if self.kind == "absolute" else action_BTA - self._offset(window)

    def decode(self, action_BTA: Tensor, window: Mapping[str, Tensor]) -> Tensor:
        """The inverse of ``encode``."""
        return action_BTA if self.kind == "absolute" else action_BTA + self._offset(window)

    def _offset(self, window: Mapping[str, Tensor]) -> Tensor:
        now_BA = window[self.state][:, -1, self.state_index]
        return torch.where(self.is_relative, now_BA, torch.zeros_like(now_BA))[:, None]
