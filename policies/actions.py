"""How a policy represents actions inside: as they are, relative to where the robot is when the chunk begins, or step by step.

A chunk of absolute targets mixes two numbers of different size: where the robot is, which the observation says, and how it
should move from there, which is what must be learned. With ``now`` measured at the newest observation, row i of a chunk is

    absolute    a_i
    relative    a_i - now          pi0, arXiv 2410.24164; UMI, arXiv 2402.10329: nothing accumulates
    delta       a_i - a_{i-1}      a_{-1} = now; decoding sums, so that errors accumulate along the chunk

For joints "-" is the difference of radians, by joint name. For tool poses it is the motion seen from the earlier pose's own
frame, T_from^-1 T_to: position R_from^T (p_to - p_from), rotation R_from^T R_to. Inside the policy a pose is nine numbers: the
position and the first two columns of the rotation matrix (see ``rotations``). What is neither a joint in radians nor part
of the pose, such as the opening of a gripper, stays absolute.

Shapes: B batch, T rows of the chunk, A components of the contract's action, N those of the representation.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from praxon.contract import POSE_COMPONENTS, PolicyContract
from praxon.errors import ConfigError, ContractError, nearest
from praxon.policies.rotations import (
    matrix_to_quaternion,
    matrix_to_six,
    quaternion_to_matrix,
    rotate,
    six_to_matrix,
)

REPRESENTATIONS = ("auto", "absolute", "relative", "delta")

GROUPS = ("joint", "position", "rotation", "gripper", "vector")
"""What a component of the representation is; each may have a normalisation of its own."""


class ActionRepresentation(nn.Module):
    """Physical absolute actions <-> what the network sees before normalisation.

    Args:
        contract: whose action is represented; all but absolute ones need an observation of what the action moves: the
            positions of the same joints, or the pose of the same tool.
        kind: ``absolute``, ``relative``, ``delta``, or ``auto``: relative where that is observed, else absolute.

    Attributes:
        kind: what ``auto`` came to.
        size: N.
        groups: (N,) of ``GROUPS``.

    Raises:
        ConfigError: unknown kind.
        ContractError: no observation holds what the action moves.
    """

    def __init__(self, contract: PolicyContract, kind: str) -> None:
        super().__init__()
        if kind not in REPRESENTATIONS:
            raise ConfigError(
                f"Action representation '{kind}' does not exist. Known: {', '.join(REPRESENTATIONS)}."
                f"{nearest(kind, REPRESENTATIONS)}"
            )
        space = PoseSpace if contract.action.kind == "pose" else JointSpace
        self.space: ActionSpace = space(contract)
        if kind == "auto":
            kind = "absolute" if self.space.problem else "relative"
        if kind != "absolute" and self.space.problem:
            raise ContractError(f"{self.space.problem}; policy.actions=absolute needs none.")
        self.kind = kind
        self.size = len(self.space.groups)
        self.groups = self.space.groups

    @property
    def row_shape(self) -> bool:
        """Whether each row of a chunk has statistics of its own: relative rows spread more the later they are."""
        return self.kind != "absolute"

    @property
    def stored(self) -> bool:
        """Whether the representation is the stored action itself, so that a dataset's statistics are its own."""
        return self.kind == "absolute" and not isinstance(self.space, PoseSpace)

    def encode(self, action_BTA: Tensor, window: Mapping[str, Tensor]) -> Tensor:
        """Absolute actions -> representation (B, T, N); window features (B, num_obs_steps, ...)."""
        if self.kind == "absolute":
            return self.space.inside(action_BTA)
        before_B1A = self.space.now(window)
        if self.kind == "delta":
            before_BTA = torch.cat([before_B1A.to(action_BTA.dtype), action_BTA[:, :-1]], dim=1)
            return self.space.difference(before_BTA, action_BTA)
        return self.space.difference(before_B1A, action_BTA)

    def decode(self, inside_BTN: Tensor, window: Mapping[str, Tensor]) -> Tensor:
        """The inverse of ``encode``: (B, T, A)."""
        if self.kind == "absolute":
            return self.space.outside(inside_BTN)
        before_B1A = self.space.now(window)
        if self.kind == "relative":
            return self.space.onwards(before_B1A, inside_BTN)
        rows = []
        for step_B1N in inside_BTN.split(1, dim=1):
            before_B1A = self.space.onwards(before_B1A, step_B1N)
            rows.append(before_B1A)
        return torch.cat(rows, dim=1)


class ActionSpace(nn.Module, ABC):
    """What an action's numbers are, and what the difference of two actions is.

    Attributes:
        groups: of the components inside, (N,).
        problem: why there are no differences, the beginning of a sentence; empty where there are.
    """

    groups: tuple[str, ...]
    problem: str = ""

    @abstractmethod
    def now(self, window: Mapping[str, Tensor]) -> Tensor:
        """Where the robot is at the newest observation, as an action (B, 1, A)."""

    @abstractmethod
    def inside(self, action: Tensor) -> Tensor:
        """(..., A) -> (..., N)."""

    @abstractmethod
    def outside(self, inside: Tensor) -> Tensor:
        """(..., N) -> (..., A)."""

    @abstractmethod
    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        """What leads from one action to another, (..., N)."""

    @abstractmethod
    def onwards(self, before: Tensor, difference: Tensor) -> Tensor:
        """The action (..., A) to which a difference leads."""


class JointSpace(ActionSpace):
    """Joint positions by name, and every action that names no joints (which has no differences)."""

    state_index: Tensor
    is_relative: Tensor

    def __init__(self, contract: PolicyContract) -> None:
        super().__init__()
        action = contract.action
        joints = action.kind == "joint_position" and bool(action.names)
        units = action.units if joints else ("",) * action.size
        self.groups = tuple(("joint" if unit == "rad" else "gripper") if joints else "vector" for unit in units)
        moved = [name for name, unit in zip(action.names, units, strict=bool(action.names)) if unit == "rad"]
        self.state = ""
        if not moved:
            self.problem = f"Action '{action.name}' names no joints in radians to be relative to"
            return
        joints_observed = (f for f in contract.observations if f.kind == "joint_position" and not f.is_goal)
        feature = next((f for f in joints_observed if set(moved) <= set(f.names)), None)
        if feature is None:
            self.problem = (
                f"Relative actions need the positions of {', '.join(moved)} among the observations, and there are "
                f"{', '.join(f.name for f in contract.observations)}"
            )
            return
        self.state = feature.name
        index = [feature.names.index(name) if name in moved else 0 for name in action.names]
        self.register_buffer("state_index", torch.tensor(index), persistent=False)
        self.register_buffer("is_relative", torch.tensor([n in moved for n in action.names]), persistent=False)

    def now(self, window: Mapping[str, Tensor]) -> Tensor:
        return window[self.state][:, -1:, self.state_index]

    def inside(self, action: Tensor) -> Tensor:
        return action

    def outside(self, inside: Tensor) -> Tensor:
        return inside

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        return after - self._moving(before)

    def onwards(self, before: Tensor, difference: Tensor) -> Tensor:
        return difference + self._moving(before)

    def _moving(self, action: Tensor) -> Tensor:
        return torch.where(self.is_relative, action, torch.zeros_like(action))


class PoseSpace(ActionSpace):
    """A tool pose (x, y, z, qw, qx, qy, qz), then absolute components such as the gripper's opening."""

    def __init__(self, contract: PolicyContract) -> None:
        super().__init__()
        action = contract.action
        pose = len(POSE_COMPONENTS)
        if action.names[:pose] != POSE_COMPONENTS:
            raise ContractError(
                f"Action '{action.name}' of kind 'pose' has components {', '.join(action.names) or 'without names'}; "
                f"it begins with {', '.join(POSE_COMPONENTS)}."
            )
        self.extra = action.size - pose
        self.groups = ("position",) * 3 + ("rotation",) * 6 + ("gripper",) * self.extra
        poses = (f for f in contract.observations if f.kind == "pose" and not f.is_goal)
        feature = next((f for f in poses if (f.source, f.frame) == (action.source, action.frame)), None)
        self.tool = feature.name if feature is not None else ""
        if feature is None:
            self.problem = (
                f"Relative actions need the pose of '{action.source}' in frame '{action.frame}' among the observations, "
                f"and there are {', '.join(f.name for f in contract.observations)}"
            )

    def now(self, window: Mapping[str, Tensor]) -> Tensor:
        pose_B1P = window[self.tool][:, -1:]
        return torch.cat([pose_B1P, pose_B1P.new_zeros(*pose_B1P.shape[:-1], self.extra)], dim=-1)

    def inside(self, action: Tensor) -> Tensor:
        six = matrix_to_six(quaternion_to_matrix(action[..., 3:7]))
        return torch.cat([action[..., :3], six, action[..., 7:]], dim=-1)

    def outside(self, inside: Tensor) -> Tensor:
        quaternion = matrix_to_quaternion(six_to_matrix(inside[..., 3:9]))
        return torch.cat([inside[..., :3], quaternion, inside[..., 9:]], dim=-1)

    def difference(self, before: Tensor, after: Tensor) -> Tensor:
        back = quaternion_to_matrix(before[..., 3:7]).mT
        position = rotate(back, (after[..., :3] - before[..., :3])[..., None])[..., 0]
        six = matrix_to_six(rotate(back, quaternion_to_matrix(after[..., 3:7])))
        return torch.cat([position, six, after[..., 7:]], dim=-1)

    def onwards(self, before: Tensor, difference: Tensor) -> Tensor:
        turned = quaternion_to_matrix(before[..., 3:7])
        position = before[..., :3] + rotate(turned, difference[..., :3, None])[..., 0]
        quaternion = matrix_to_quaternion(rotate(turned, six_to_matrix(difference[..., 3:9])))
        return torch.cat([position, quaternion, difference[..., 9:]], dim=-1)
