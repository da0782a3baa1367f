"""Task: what is in the world, how an episode starts, when it has succeeded, and who can show how.

A task is a file with a class and an MJCF world of the same name beside it. The class places objects, judges and
rewards; observing is generic, because every object is a named body whose pose is a feature of the contract.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import exp, log
from pathlib import Path
from typing import ClassVar

import numpy as np

from praxon.contract import POSE_COMPONENTS, Feature
from praxon.errors import ConfigError
from praxon.robots.base import Agent
from praxon.robots.spec import RobotSpec
from praxon.sim.moving import Motion
from praxon.sim.scene import Scene
from praxon.sim.symmetry import Symmetry

TOOL = "tool"
"""What ``Task.goals`` calls the robot's tool."""


class Task(ABC):
    """One task. Subclasses state their constants first, then these methods, in this order.

    Args:
        robot: who does it; scripted experts ask it for its joints, tool and gripper.
        moving: how the ``target`` moves during episodes, entries of ``Motion``; ``None``: it stays where it is.

    Raises:
        ConfigError: the target of this task does not move, or not so.
    """

    name: ClassVar[str]
    instruction: ClassVar[str]
    world: ClassVar[Path]
    objects: ClassVar[tuple[str, ...]]
    """Bodies whose poses are observed."""
    time_limit_s: ClassVar[float]
    cameras: ClassVar[tuple[str, ...]] = ("front",)
    """Cameras that the world offers besides the robot's own."""
    start_noise_rad: ClassVar[float] = 0.02
    """Half-width of the uniform noise on the arm's home pose at the start [rad]."""
    symmetry: ClassVar[Symmetry | None] = None
    """How its demonstrations may be carried over to other starts (praxon data augment); None: they may not."""

    goals: ClassVar[tuple[str, ...]] = ()
    """Of what ``goal`` says where it shall be: objects, or ``TOOL``."""

    target: ClassVar[str | None] = None
    """The observed body that may move during an episode, by itself; None: there is none."""

    def __init__(self, robot: RobotSpec, moving: Mapping[str, float] | None = None) -> None:
        self.robot = robot
        if moving is not None and self.target is None:
            raise ConfigError(
                f"The task '{self.name}' has no target that may move; moving={dict(moving)} was asked for."
            )
        self.moving = None if moving is None else Motion.from_dict(moving)

    def features(self) -> tuple[Feature, ...]:
        """Pose of each object in the robot's base frame, (7,): metres and a unit quaternion (w, x, y, z), w >= 0."""
        return tuple(
            Feature(
                name=f"observation.{body}_pose",
                kind="pose",
                shape=(7,),
                names=POSE_COMPONENTS,
                unit="m,m,m,1,1,1,1",
                frame=self.robot.base_frame,
                source=body,
            )
            for body in self.objects
        )

    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Joint positions at the start of an episode, (num_joints,): home with noise on the arm."""
        positions = np.array(self.robot.home)
        arm = np.array([joint.unit == "rad" for joint in self.robot.joints])
        positions[arm] += rng.uniform(-self.start_noise_rad, self.start_noise_rad, arm.sum())
        return positions

    @abstractmethod
    def place(self, scene: Scene, rng: np.random.Generator) -> None:
        """Put the objects where this episode begins; the robot already stands at ``start``."""

    def goal(self, scene: Scene) -> dict[str, np.ndarray]:
        """Where the things named in ``goals`` are once this episode is solved; asked when its objects lie at their start.

        Returns:
            name -> pose (7,) in the robot's base frame. What shall not change is left as it is.
        """
        return {}

    def knows(self, feature: Feature) -> bool:
        """Whether the goal of this observation can be told: a pose by name, pictures where only objects are to move."""
        if feature.kind == "pose":
            return (TOOL if feature.source == self.robot.tool_site else feature.source) in self.goals
        return feature.kind in ("image", "point_cloud") and bool(self.goals) and TOOL not in self.goals

    @abstractmethod
    def success(self, scene: Scene) -> bool:
        """Whether the task is solved in the present state."""

    @abstractmethod
    def reward(self, scene: Scene) -> float:
        """Shaped reward of the present state in [0, 1]."""

    def metrics(self, scene: Scene) -> dict[str, float]:
        """Task-specific figures of the present state; evaluation reports the largest and smallest."""
        return {}

    @abstractmethod
    def expert(self, scene: Scene, period_s: float) -> Agent:
        """A scripted expert that acts on observations of this task at the given control period [s]."""


def tolerance(value: float, bound: float, margin: float) -> float:
    """1 where ``value <= bound``, falling as a Gaussian to 0.1 at ``bound + margin`` (the suite's reward vocabulary).

    Source: Tassa et al., "DeepMind Control Suite", arXiv 1801.00690, section 2.
    """
    if value <= bound:
        return 1.0
    return exp(-log(10) * ((value - bound) / margin) ** 2)
