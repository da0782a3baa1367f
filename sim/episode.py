"""A task on a robot as a world: reset from a seed, run the control loop, judge."""

from collections.abc import Callable, Sequence
from copy import copy

import mujoco
import numpy as np

from praxon.contract import Observation, PolicyContract
from praxon.errors import ConfigError
from praxon.robots.base import Agent
from praxon.robots.cartesian import CartesianAgent, ToolPoses
from praxon.robots.hold import HoldAgent
from praxon.robots.loop import ControlLoop, Tick
from praxon.robots.safety import SafetyFilter
from praxon.sim.moving import MovingTarget
from praxon.sim.rendering import Camera, rendering_problem
from praxon.sim.scene import Scene
from praxon.sim.sim_robot import SimRobot
from praxon.sim.task import Task
from praxon.sim.world import Judgement, World


class Simulation(World):
    """A task on a robot, ready to run episodes: scene, robot, safety filter.

    Args:
        task: what is to be done.
        scene: the compiled world.
        contract: what agents see and command; its control period paces the loop.
    """

    def __init__(self, task: Task, scene: Scene, contract: PolicyContract) -> None:
        self.task = task
        self.scene = scene
        self.contract = contract
        self.instruction = task.instruction
        self.step_limit = round(task.time_limit_s / contract.chunk.control_period_s)
        self.robot = SimRobot(scene, contract)
        self.safety = SafetyFilter(scene.robot, contract.chunk.control_period_s, contract.max_observation_age_s)
        self._poses = ToolPoses(scene.robot) if contract.action.kind == "pose" else None
        self._cartesian: CartesianAgent | None = None
        self._loop: ControlLoop | None = None
        self._moving: MovingTarget | None = None

    def reset(self, seed: int) -> np.ndarray:
        """Begin the episode of this seed; returns the joint positions (num_joints,) at which the robot stands."""
        rng = np.random.default_rng(seed)
        start = self.task.start(rng)
        self.scene.reset(start)
        mujoco.mj_kinematics(self.scene.model, self.scene.data)
        self.task.place(self.scene, rng)
        mujoco.mj_forward(self.scene.model, self.scene.data)
        self.robot.reset(start)
        self.robot.aim(self.task.goal(self.scene), self.instruction)
        return start

    def expert(self) -> Agent:
        """The task's scripted expert at the contract's control period."""
        return self.task.expert(self.scene, self.contract.chunk.control_period_s)

    def idle(self) -> Agent:
        """Holds the joints where they are at the start."""
        return HoldAgent()

    def performer(self, agent: Agent) -> Agent:
        """Inverse kinematics between the agent and the robot where the contract's action is the tool's pose."""
        return agent if self._poses is None else CartesianAgent(agent, self.scene.robot, self.contract)

    def demonstrated(self, action: np.ndarray) -> np.ndarray:
        """Joint targets as they are, or where they send the tool."""
        return (action if self._poses is None else self._poses.action(action)).astype(np.float32)

    def push_heights(self, joint_rad: float, box_share: float) -> np.ndarray:
        """``joint_rad`` for joints in radians, nothing for grippers."""
        return np.array([joint_rad if joint.unit == "rad" else 0.0 for joint in self.scene.robot.joints])

    def first_observation(self, seed: int) -> Observation:
        """Begin the episode of this seed; returns what is seen at its start."""
        self.reset(seed)
        return self.observe()

    def observe(self) -> Observation:
        """Every feature of the contract now."""
        return self.robot.observe()

    def view(self, height: int, width: int) -> Camera:
        """The task's first camera."""
        return Camera(self.scene, self.task.cameras[0], height, width)

    def filming_problem(self) -> str | None:
        """What keeps MuJoCo from rendering here."""
        return rendering_problem()

    def _start(self, agent: Agent, seed: int, subscribers: Sequence[Callable[[Tick], None]]) -> Callable[[], Tick]:
        start = self.reset(seed)
        self._cartesian = agent if isinstance(agent, CartesianAgent) else None
        task, period_s = self.task, self.contract.chunk.control_period_s
        self._moving = None
        if task.moving is not None and task.target is not None:
            self._moving = MovingTarget(self.scene, task.target, task.moving, seed, period_s)
            subscribers = [self._moving, *subscribers]
        self._loop = ControlLoop(self.robot, agent, self.safety, subscribers)
        self._loop.reset(start, seed)
        return self._loop.tick

    def _beside(self, agent: Agent) -> tuple[Callable[[], Tick], Callable[[], None]]:
        if self._loop is None:
            raise ConfigError("Nothing can be foreseen before an episode has begun; World.run begins one.")
        robot, safety = self.robot.snapshot(), self.safety.snapshot()
        moving = [] if self._moving is None else [copy(self._moving)]

        def restore() -> None:
            self.robot.restore(robot)
            self.safety.restore(safety)

        return self._loop.beside(agent, moving).tick, restore

    def _judge(self) -> Judgement:
        return Judgement(self.task.reward(self.scene), self.task.success(self.scene), self.task.metrics(self.scene))

    def _totals(self) -> dict[str, float]:
        """How well tool poses were reached by inverse kinematics, where those are commanded."""
        if self._cartesian is None:
            return {}
        reached = self._cartesian.unreached
        return {
            "ik_missed": reached.missed / max(reached.poses, 1),
            "ik_worst_m": reached.worst_m,
            "ik_worst_rad": reached.worst_rad,
        }
