"""One episode: reset a task from a seed, run the control loop to success or time-out, say how it went."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np

from praxon.contract import PolicyContract
from praxon.robots.base import Agent
from praxon.robots.loop import ControlLoop, Tick
from praxon.robots.safety import SafetyFilter
from praxon.sim.scene import Scene
from praxon.sim.sim_robot import SimRobot
from praxon.sim.task import Task


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode went.

    Args:
        seed: that fixed its start.
        success: whether the task was solved before the time limit.
        steps: control steps taken.
        seconds: simulated time [s].
        mean_reward: shaped reward averaged over steps.
        clamped: fraction of steps on which the safety filter changed the action.
        metrics: largest or smallest task figures seen, by name ``max_*`` and ``min_*``.
        wall_s: time it took [s].
    """

    seed: int
    success: bool
    steps: int
    seconds: float
    mean_reward: float
    clamped: float
    metrics: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0


class Simulation:
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
        self.robot = SimRobot(scene, contract)
        self.safety = SafetyFilter(scene.robot, contract.chunk.control_period_s, contract.max_observation_age_s)

    def reset(self, seed: int) -> np.ndarray:
        """Begin the episode of this seed; returns the joint positions (num_joints,) at which the robot stands."""
        rng = np.random.default_rng(seed)
        start = self.task.start(rng)
        self.scene.reset(start)
        mujoco.mj_kinematics(self.scene.model, self.scene.data)
        self.task.place(self.scene, rng)
        mujoco.mj_forward(self.scene.model, self.scene.data)
        self.robot.reset(start)
        return start

    def run(
        self,
        agent: Agent,
        seed: int,
        subscribers: Sequence[Callable[[Tick], None]] = (),
        linger_s: float = 0.0,
    ) -> EpisodeResult:
        """Run one episode.

        Args:
            agent: who acts; reset with the same seed.
            seed: of start and agent.
            subscribers: see every tick.
            linger_s: how long to go on after success [s], so that recorded demonstrations show how to stay.
        """
        began = time.perf_counter()
        start = self.reset(seed)
        loop = ControlLoop(self.robot, agent, self.safety, subscribers)
        loop.reset(start, seed)
        period_s = self.contract.chunk.control_period_s
        limit = round(self.task.time_limit_s / period_s)
        steps, clamped, rewards, success, left = 0, 0, 0.0, False, 0
        extremes: dict[str, float] = {}
        while steps < limit:
            tick = loop.tick()
            steps += 1
            clamped += bool(tick.command.report.causes)
            rewards += self.task.reward(self.scene)
            for name, value in self.task.metrics(self.scene).items():
                extremes[f"max_{name}"] = max(value, extremes.get(f"max_{name}", value))
                extremes[f"min_{name}"] = min(value, extremes.get(f"min_{name}", value))
            if not success and self.task.success(self.scene):
                success, left = True, round(linger_s / period_s)
                limit = min(limit, steps + left) if left else steps
        return EpisodeResult(
            seed,
            success,
            steps,
            steps * period_s,
            rewards / max(steps, 1),
            clamped / max(steps, 1),
            extremes,
            time.perf_counter() - began,
        )
