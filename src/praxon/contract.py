"""The contract: what goes in and out of a policy, written once and carried from dataset to bundle to robot.

Train/serve skew raises no error, so everything that could differ between the two is named here: features
with their component names in order, units, frames and rates, the action, the chunk and the control period.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from praxon.errors import ContractError, nearest

FEATURE_KINDS = ("joint_position", "joint_velocity", "pose", "position", "image", "point_cloud", "task", "vector")
GOAL = "goal."
"""What the names of goals begin with: ``goal.observation.cube_pose`` is where ``observation.cube_pose`` shall get to."""
TASK = "task"
"""Name of the observation that says which of several tasks is asked for."""
POSE_COMPONENTS = ("x", "y", "z", "qw", "qx", "qy", "qz")

AVERAGED_KINDS = ("joint_position", "joint_velocity", "position", "vector")
"""Kinds of action whose mean, component by component, lies between them; a mean of rotations need not be one."""


@dataclass(frozen=True)
class Feature:
    """One named array.

    Args:
        name: key in observations, datasets and batches, e.g. ``observation.state``.
        kind: one of ``FEATURE_KINDS``; says how the array is filled from a simulator or from messages.
            ``pose`` is (x, y, z, qw, qx, qy, qz) with qw >= 0; an action of this kind is where ``source``, the tool,
            shall go, and joints that the tool carries may follow, such as a gripper's. ``image`` is (height, width, 3) RGB,
            ``point_cloud`` (points, 3) in no particular order, ``task`` one-hot over the instructions in ``names``.
        shape: of one sample, without batch or time axes.
        names: component names in order (joint names for joints); empty for images.
        dtype: numpy name of the stored type.
        unit: SI unit of all components ("rad", "m", "1"), or one for each, separated by commas ("m,m,m,1,1,1,1").
        frame: name of the reference frame, empty where there is none.
        source: what it is read from: object, body or camera name; empty for the robot's own joints.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    dtype: str = "float32"
    unit: str = "1"
    frame: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "names", tuple(self.names))
        if self.kind not in FEATURE_KINDS:
            raise ContractError(f"Feature '{self.name}' has kind '{self.kind}'. Kinds: {', '.join(FEATURE_KINDS)}.")
        if self.names and self.shape != (len(self.names),):
            raise ContractError(f"Feature '{self.name}' names {len(self.names)} components but has shape {self.shape}.")
        if "," in self.unit and self.unit.count(",") + 1 != self.size:
            raise ContractError(f"Feature '{self.name}' has {self.size} components but the units {self.unit}.")

    @property
    def is_goal(self) -> bool:
        """Whether it says what is to be reached, not what is."""
        return self.name.startswith(GOAL)

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each component."""
        return tuple(self.unit.split(",")) if "," in self.unit else (self.unit,) * self.size

    @property
    def size(self) -> int:
        """Number of scalars in one sample."""
        return int(np.prod(self.shape))

    def check(self, value: np.ndarray) -> None:
        """Raise ``ContractError`` unless ``value`` is one sample of this feature."""
        if value.shape != self.shape or value.dtype != np.dtype(self.dtype):
            raise ContractError(
                f"Feature '{self.name}' is {value.dtype}{value.shape}; the contract says {self.dtype}{self.shape}."
            )


@dataclass(frozen=True)
class Chunk:
    """How actions are predicted and executed.

    Args:
        horizon: actions per chunk; row 0 belongs to the tick of the newest observation.
        num_execute: rows executed before the next chunk takes over.
        control_period_s: time between rows [s].
        num_obs_steps: observations in the window.
        ensemble: None lets every chunk take over from the one before. A number m averages, at each tick, the rows of all
            chunks that cover it with weights exp(-m i), i = 0 for the oldest: temporal ensembling (ACT, arXiv 2304.13705,
            whose m is 0.01). It takes a chunk at every tick, so ``num_execute`` is 1.
    """

    horizon: int = 1
    num_execute: int = 1
    control_period_s: float = 0.05
    num_obs_steps: int = 1
    ensemble: float | None = None

    def __post_init__(self) -> None:
        for name in ("horizon", "num_execute", "num_obs_steps"):
            if not isinstance(getattr(self, name), Integral):
                raise ContractError(f"A chunk's {name} is {getattr(self, name)!r}; a whole number is needed.")
        for name in ("control_period_s", *([] if self.ensemble is None else ["ensemble"])):
            if not isinstance(getattr(self, name), Real):
                raise ContractError(f"A chunk's {name} is {getattr(self, name)!r}; a number is needed.")
        if self.horizon < 1:
            raise ContractError(
                f"A chunk of {self.horizon} actions has none to execute; a horizon of at least 1 is needed."
            )
        if not 1 <= self.num_execute <= self.horizon:
            raise ContractError(
                f"A chunk of {self.horizon} actions cannot execute {self.num_execute}; 1 to {self.horizon} would do."
            )
        if self.control_period_s <= 0 or self.num_obs_steps < 1:
            raise ContractError("A chunk needs a positive control period and at least one observation step.")
        if self.ensemble is not None and self.num_execute != 1:
            raise ContractError(
                f"Temporal ensembling takes a new chunk at every tick, but num_execute is {self.num_execute}; 1 would do."
            )
        if self.ensemble is not None and not isfinite(self.ensemble):
            raise ContractError(f"Temporal ensembling weighs by exp(-m i) with m {self.ensemble}; it must be finite.")


@dataclass(frozen=True)
class PolicyContract:
    """What one policy sees, commands, and how often.

    Args:
        robot: name of the robot's config.
        task: name of the task's config.
        observations: features of one observation, in the order in which they are concatenated.
        action: the commanded feature; ``kind`` says the representation.
        chunk: horizon, executed steps, control period, window length.
        latency_budget_s: longest acceptable time from observation to chunk [s].
        max_observation_age_s: older observations end in a hold [s].
    """

    robot: str
    task: str
    observations: tuple[Feature, ...]
    action: Feature
    chunk: Chunk = Chunk()
    latency_budget_s: float = 0.1
    max_observation_age_s: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "observations", tuple(self.observations))
        names = [feature.name for feature in self.observations]
        if len(set(names)) != len(names):
            raise ContractError(f"Observation features must have distinct names; got {', '.join(names)}.")
        if self.chunk.ensemble is not None and self.action.kind not in AVERAGED_KINDS:
            raise ContractError(
                f"Temporal ensembling averages actions, which the kind '{self.action.kind}' of '{self.action.name}' does not "
                f"allow; ensemble null, or an action of kind {', '.join(AVERAGED_KINDS)}, would do."
            )

    def __iter__(self) -> Iterator[Feature]:
        yield from self.observations
        yield self.action

    def feature(self, name: str) -> Feature:
        """The feature of that name; ``ContractError`` lists the names there are."""
        for feature in self:
            if feature.name == name:
                return feature
        raise ContractError(f"Feature '{name}' is not in the contract. Features: {', '.join(f.name for f in self)}.")

    def with_chunk(self, **changes: Any) -> "PolicyContract":
        """A copy whose chunk has these fields changed."""
        return replace(self, chunk=replace(self.chunk, **changes))

    def with_observations(self, names: Sequence[str]) -> "PolicyContract":
        """A copy that observes these features alone, in this contract's order; ``ContractError`` for one that is not there."""
        wanted = {self.observation(name).name for name in names}
        return replace(self, observations=tuple(each for each in self.observations if each.name in wanted))

    def with_goals(self, names: Sequence[str]) -> "PolicyContract":
        """A copy that observes, for each of these observations, besides a goal: the value it shall get to."""
        goals = tuple(replace(self.observation(name), name=GOAL + name) for name in names)
        return replace(self, observations=(*self.observations, *goals))

    def with_tasks(self, instructions: Sequence[str]) -> "PolicyContract":
        """A copy that observes besides which of these tasks is asked for."""
        return replace(self, observations=(*self.observations, task_feature(instructions)))

    def observation(self, name: str) -> Feature:
        """The observation of that name; ``ContractError`` lists the names there are."""
        known = [feature.name for feature in self.observations]
        if name not in known:
            raise ContractError(
                f"There is no observation '{name}'.{nearest(name, known)} Observations: {', '.join(known)}."
            )
        return self.feature(name)

    # -- comparison -------------------------------------------------------------------------------

    def mismatches(self, offered: "PolicyContract") -> list[str]:
        """What keeps a policy under this contract from running where ``offered`` describes the world.

        Everything this contract reads must be offered with the same components, unit and frame; the action must be
        the same; the control period must be equal. Extra offered features are fine. The chunk's length is the policy's own.
        """
        found = []
        if self.robot != offered.robot:
            found.append(f"robot: policy '{self.robot}', here '{offered.robot}'")
        there = {feature.name: feature for feature in offered.observations}
        for mine in self.observations:
            other = there.get(mine.name)
            if other is None:
                found.append(f"observation '{mine.name}': policy needs it, here only {', '.join(there) or 'none'}")
            else:
                found += _differences(mine, other)
        found += _differences(self.action, offered.action)
        mine_s, other_s = self.chunk.control_period_s, offered.chunk.control_period_s
        if abs(mine_s - other_s) > 1e-9:
            found.append(f"control period: policy {mine_s} s, here {other_s} s")
        return found

    def require(self, offered: "PolicyContract", where: str) -> None:
        """Raise one sentence listing both sides unless a policy under this contract can run ``where``."""
        found = self.mismatches(offered)
        if found:
            raise ContractError(f"The policy's contract does not fit {where}: {'; '.join(found)}.")

    # -- YAML -------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, lists for tuples: what is written as YAML or JSON."""
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PolicyContract":
        """The inverse of ``to_dict``; unknown or missing keys are refused by name."""
        try:
            known = {field.name for field in fields(cls)}
            unknown = set(data) - known
            if unknown:
                raise ContractError(
                    f"The contract has unknown keys {', '.join(sorted(unknown))}. Keys: {', '.join(sorted(known))}."
                )
            values = dict(data)
            values["observations"] = tuple(Feature(**feature) for feature in values["observations"])
            values["action"] = Feature(**values["action"])
            values["chunk"] = Chunk(**values["chunk"])
            return cls(**values)
        except KeyError as error:
            raise ContractError(f"The contract has no entry {error}. Keys: {', '.join(sorted(known))}.") from error
        except (TypeError, AttributeError) as error:
            raise ContractError(f"The contract cannot be read: {error}.") from error

    def save(self, path: Path) -> None:
        """Write as YAML."""
        path.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def load(cls, path: Path) -> "PolicyContract":
        """Read from YAML."""
        try:
            data = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise ContractError(f"The contract '{path}' cannot be read: {error}.") from error
        if not isinstance(data, dict):
            raise ContractError(f"The contract '{path}' holds no mapping.")
        return cls.from_dict(data)


def observed_name(name: str) -> str:
    """The observation that a goal is a value of; any other name as it is."""
    return name.removeprefix(GOAL)


def task_feature(instructions: Sequence[str]) -> Feature:
    """The observation that says which of these tasks is asked for."""
    return Feature(TASK, "task", (len(instructions),), tuple(instructions))


def task_value(feature: Feature, instruction: str) -> np.ndarray:
    """One-hot (tasks,) float32; ``ContractError`` where the policy does not know the instruction."""
    if instruction not in feature.names:
        raise ContractError(
            f"The policy does not know the task '{instruction}'.{nearest(instruction, feature.names)} "
            f"It was trained on: {'; '.join(feature.names).rstrip('.')}."
        )
    return np.array([name == instruction for name in feature.names], np.float32)


@dataclass(frozen=True)
class Observation:
    """What a robot reports at one instant.

    Args:
        stamp_ns: time of measurement on the robot's clock [ns].
        features: arrays by feature name, unbatched, in the contract's shapes, units and frames.
    """

    stamp_ns: int
    features: Mapping[str, np.ndarray]


def _differences(mine: Feature, other: Feature) -> list[str]:
    return [
        f"{key} of '{mine.name}': policy {_show(getattr(mine, key))}, here {_show(getattr(other, key))}"
        for key in ("kind", "shape", "names", "dtype", "unit", "frame", "source")
        if getattr(mine, key) != getattr(other, key)
    ]


def _show(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
