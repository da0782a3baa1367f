"""A simulation that runs by itself, as a robot does: it follows trajectories, reports, and judges the episode. No ROS.

Time on its clock never goes back: an episode that begins continues the clock of the one before it.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from praxon.ros_nodes.trajectory import Trajectory, TrajectoryFollower, clamped, ordered
from praxon.sim.episode import Simulation
from praxon.sim.scene import REFERENCE_STEP_S

SLICE_NS = round(REFERENCE_STEP_S * 1e9)
JUDGE_NS = 50_000_000
"""How often success is judged, and the time limit checked: as the simulation's control loop does at 20 Hz [ns]."""


@dataclass(frozen=True)
class Report:
    """What the robot and its surroundings report at one instant.

    Args:
        stamp_ns: of the state [ns].
        names: of every joint, those that mimic others included.
        positions, velocities: (len(names),) [rad or m, per s].
        poses: (x, y, z, qw, qx, qy, qz) of the bodies asked for, by name [m].
    """

    stamp_ns: int
    names: tuple[str, ...]
    positions: np.ndarray
    velocities: np.ndarray
    poses: dict[str, np.ndarray]


@dataclass
class Episode:
    """How the present episode goes.

    Args:
        number: episodes begun so far.
        seed: of its start.
        finished: by success or time limit.
        success: whether the task was solved.
        seconds: simulated time from the first command to success, or to now [s].
        metrics: largest and smallest task figures seen, by name ``max_*`` and ``min_*``.
    """

    number: int
    seed: int
    finished: bool = False
    success: bool = False
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)


class LiveSimulation:
    """A ``Simulation`` in slices of ``SLICE_NS``; every method may be called from any thread.

    The time limit runs from the first command of an episode on: before, nobody is acting.

    Args:
        simulation: scene, task and contract.
        seed: of the first episode.
        now_ns: time at which it begins [ns].
    """

    def __init__(self, simulation: Simulation, seed: int, now_ns: int) -> None:
        self.simulation = simulation
        self.counts: Counter[str] = Counter()
        self._scene = simulation.scene
        robot = self._scene.robot
        names = tuple(name for joint in robot.joints for name in (joint.name, *joint.mimics))
        joints = [self._scene.model.joint(name) for name in names]
        self._names = names
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._lower, self._upper = robot.limit("lower"), robot.limit("upper")
        self._substeps = round(REFERENCE_STEP_S / self._scene.model.opt.timestep)
        self._limit_ns = round(simulation.task.time_limit_s * 1e9)
        self._lock = threading.RLock()
        self._follower = TrajectoryFollower(np.array(robot.home))
        self._stamp_ns = now_ns
        self.episode = Episode(0, seed)
        self.reset(seed)

    @property
    def stamp_ns(self) -> int:
        """Time of the present state on the robot's clock [ns]."""
        return self._stamp_ns

    def reset(self, seed: int) -> Episode:
        """Begin the episode of a seed, exactly as ``Simulation.reset`` does, at rest."""
        with self._lock:
            self._follower.reset(self.simulation.reset(seed))
            self.episode = Episode(self.episode.number + 1, seed)
            self._began_ns: int | None = None
            self._judge_ns = 0
            return self.episode

    def command(self, trajectory: Trajectory) -> None:
        """Follow a trajectory; positions outside the limits are clamped and counted.

        Raises:
            RobotError: it cannot be followed; the present one then continues.
        """
        with self._lock:
            robot = self._scene.robot
            trajectory, changed = clamped(ordered(trajectory, robot), robot)
            self._follower.replace(trajectory, self._stamp_ns)
            self.counts["clamped"] += changed
            if self._began_ns is None:
                self._began_ns = self._judge_ns = self._stamp_ns

    def advance(self) -> Episode | None:
        """One slice of physics; the episode, where it ended in this slice."""
        with self._lock:
            reference = self._follower.sample(self._stamp_ns + SLICE_NS)
            # A cubic may pass a limit by a hair between two points that are inside.
            self._scene.set_reference(np.clip(reference, self._lower, self._upper))
            mujoco.mj_step(self._scene.model, self._scene.data, nstep=self._substeps)
            self._stamp_ns += SLICE_NS
            return self._judge()

    def skip(self, duration_ns: int) -> None:
        """Let the clock go on without physics: what a computer could not keep up with."""
        with self._lock:
            self._stamp_ns += duration_ns

    def report(self, bodies: Sequence[str] = ()) -> Report:
        """The present state of every joint and of these bodies."""
        with self._lock:
            data, scene = self._scene.data, self._scene
            poses = {body: scene.pose(scene.body(body)) for body in bodies}
            return Report(self._stamp_ns, self._names, data.qpos[self._qpos], data.qvel[self._dof], poses)

    def copy_state(self, data: Any) -> int:
        """Copy the present state into another ``MjData`` of the same model; returns its time [ns]."""
        with self._lock:
            mujoco.mj_copyData(data, self._scene.model, self._scene.data)
            return self._stamp_ns

    def _judge(self) -> Episode | None:
        episode, began_ns = self.episode, self._began_ns
        if began_ns is None or episode.finished or self._stamp_ns < self._judge_ns + JUDGE_NS:
            return None
        self._judge_ns += JUDGE_NS
        task, scene = self.simulation.task, self._scene
        episode.seconds = (self._judge_ns - began_ns) / 1e9
        for name, value in task.metrics(scene).items():
            episode.metrics[f"max_{name}"] = max(value, episode.metrics.get(f"max_{name}", value))
            episode.metrics[f"min_{name}"] = min(value, episode.metrics.get(f"min_{name}", value))
        episode.success = task.success(scene)
        episode.finished = episode.success or self._judge_ns - began_ns >= self._limit_ns
        return episode if episode.finished else None
