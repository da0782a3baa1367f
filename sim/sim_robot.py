"""SimRobot: a robot backed by MuJoCo, with the same interface as hardware; its clock is simulation time."""

from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import NamedTuple

import mujoco
import numpy as np

from praxon.contract import Feature, Observation, PolicyContract, task_value
from praxon.errors import ContractError, RobotError
from praxon.robots.base import SafeCommand
from praxon.robots.cartesian import ToolPoses
from praxon.sim.point_clouds import DepthCamera
from praxon.sim.rendering import Camera
from praxon.sim.scene import REFERENCE_STEP_S, Scene
from praxon.sim.task import TOOL

STATE = mujoco.mjtState.mjSTATE_INTEGRATION

_DIVERGENCE = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
]


class RobotState(NamedTuple):
    """Where a simulated robot and its world are: MuJoCo's data as a whole, the servos' reference and its target.

    Poses and contacts are kept with it. They are those before the last physics step, and computed anew would be others.
    """

    data: mujoco.MjData
    reference: np.ndarray
    target: np.ndarray


class SimRobot:
    """Observes features of a contract and tracks commands in a ``Scene``.

    Between two ticks the servos' reference moves on a straight line from the last command to the new one.
    """

    lookahead = 0

    def __init__(self, scene: Scene, contract: PolicyContract) -> None:
        self.spec = scene.robot
        self.scene = scene
        self.contract = contract
        self._cameras: list[Camera | DepthCamera] = []
        self._goals: dict[str, np.ndarray] = {}
        self._readers = {
            feature.name: partial(self._goals.__getitem__, feature.name)
            if feature.is_goal or feature.kind == "task"
            else self._reader(feature)
            for feature in contract.observations
        }
        self._goal_readers = {
            feature.name: self._reader(feature) for feature in contract.observations if feature.is_goal
        }
        self._reference = np.array(scene.robot.home)
        self._target = self._reference
        step_s = scene.model.opt.timestep
        self._substeps = max(1, round(REFERENCE_STEP_S / step_s))
        self._step_ns = round(step_s * 1e9)

    def reset(self, positions: np.ndarray) -> None:
        """Begin at rest with the servos' reference at ``positions`` (num_joints,)."""
        self._reference = np.array(positions)
        self._target = self._reference

    def snapshot(self) -> RobotState:
        """What ``restore`` takes."""
        return RobotState(copy(self.scene.data), self._reference, self._target)

    def restore(self, state: RobotState) -> None:
        """Put robot and world back as they were at a ``snapshot``, to the bit."""
        mujoco.mj_copyData(self.scene.data, self.scene.model, state.data)
        self._reference, self._target = state.reference, state.target

    def aim(self, goal: Mapping[str, np.ndarray], instruction: str) -> None:
        """Fix what goals and the task are in this episode; the objects must lie at their start.

        Goal pictures and clouds show the objects where they shall be and the robot where it starts.

        Args:
            goal: as ``Task.goal`` gives it.
            instruction: the task in words.
        """
        scene = self.scene
        for feature in self.contract.observations:
            if feature.kind == "task":
                self._goals[feature.name] = task_value(feature, instruction)
        if not self._goal_readers:
            return
        before = np.empty(mujoco.mj_stateSize(scene.model, STATE))
        mujoco.mj_getState(scene.model, scene.data, before, STATE)
        for body, pose in goal.items():
            if body != TOOL:
                scene.place(body, pose[:3], pose[3:])
        mujoco.mj_forward(scene.model, scene.data)
        for name, read in self._goal_readers.items():
            is_tool = self.contract.feature(name).source == self.spec.tool_site
            self._goals[name] = _upright(goal[TOOL]).astype(np.float32) if is_tool else read()
        mujoco.mj_setState(scene.model, scene.data, before, STATE)
        mujoco.mj_forward(scene.model, scene.data)

    def close(self) -> None:
        """Free the OpenGL contexts of observed cameras."""
        for camera in self._cameras:
            camera.close()

    def now_ns(self) -> int:
        """Simulation time [ns]."""
        return round(self.scene.data.time * 1e9)

    def observe(self) -> Observation:
        """Every feature of the contract at the present simulation time."""
        return Observation(self.now_ns(), {name: read() for name, read in self._readers.items()})

    def command(self, command: SafeCommand) -> None:
        """Take the command's first row as the target to be reached by the next tick."""
        self._target = command.positions[0]

    def wait_until(self, deadline_ns: int) -> None:
        """Advance physics to ``deadline_ns``."""
        scene = self.scene
        remaining = round((deadline_ns - self.now_ns()) / self._step_ns)
        total = max(1, -(-remaining // self._substeps))
        start, target = self._reference, self._target
        difference = target - start
        for segment in range(1, total + 1):
            steps = min(self._substeps, remaining)
            if steps <= 0:
                break
            scene.set_reference(target if segment == total else start + difference * (segment / total))
            mujoco.mj_step(scene.model, scene.data, nstep=steps)
            remaining -= steps
        self._reference = target
        self._require_physics()

    def _require_physics(self) -> None:
        """MuJoCo restarts a simulation that diverges and goes on silently; that world is not the one that was asked for."""
        if self.scene.data.warning.number[_DIVERGENCE].any():
            raise RobotError(
                f"The simulation of '{self.contract.task}' diverged and was reset by MuJoCo; its results would be of "
                "another episode."
            )

    def _reader(self, feature: Feature) -> Callable[[], np.ndarray]:
        """A function of no arguments that reads one feature from the scene."""
        scene = self.scene
        if feature.kind == "joint_position":
            unknown = [name for name in feature.names if name not in scene.robot.joint_names]
            if unknown:
                raise ContractError(
                    f"Feature '{feature.name}' names joints {', '.join(unknown)}; robot '{scene.robot.name}' has "
                    f"{', '.join(scene.robot.joint_names)}."
                )
            address = np.array([scene.model.joint(name).qposadr[0] for name in feature.names])
            return lambda: scene.data.qpos[address].astype(np.float32)
        if feature.kind == "pose" and feature.source == scene.robot.tool_site:
            # As a robot's driver knows it: from the measured joints.
            poses = ToolPoses(scene.robot)
            return lambda: poses.pose(scene.positions()).astype(np.float32)
        if feature.kind == "pose":
            body = scene.body(feature.source)
            return lambda: scene.pose(body).astype(np.float32)
        if feature.kind == "image":
            camera = Camera(scene, feature.source, feature.shape[0], feature.shape[1])
            self._cameras.append(camera)
            return camera.render
        if feature.kind == "point_cloud":
            depth = DepthCamera(scene, feature.source, feature.shape[0])
            self._cameras.append(depth)
            return depth.points
        raise ContractError(f"Feature '{feature.name}' of kind '{feature.kind}' cannot be read from a simulation.")


def _upright(pose: np.ndarray) -> np.ndarray:
    """The same pose with qw >= 0, as poses are observed."""
    return pose if pose[3] >= 0 else np.concatenate([pose[:3], -pose[3:]])
