"""SimRobot: a robot backed by MuJoCo, with the same interface as hardware; its clock is simulation time."""

from collections.abc import Callable

import mujoco
import numpy as np

from praxon.contract import Feature, Observation, PolicyContract
from praxon.errors import ContractError, RobotError
from praxon.robots.base import SafeCommand
from praxon.sim.rendering import Camera
from praxon.sim.scene import REFERENCE_STEP_S, Scene

_DIVERGENCE = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
]


class SimRobot:
    """Observes features of a contract and tracks commands in a ``Scene``.

    Between two ticks the servos' reference moves on a straight line from the last command to the new one.
    """

    lookahead = 0

    def __init__(self, scene: Scene, contract: PolicyContract) -> None:
        self.spec = scene.robot
        self.scene = scene
        self.contract = contract
        self._cameras: list[Camera] = []
        self._readers = {feature.name: self._reader(feature) for feature in contract.observations}
        self._reference = np.array(scene.robot.home)
        self._target = self._reference
        step_s = scene.model.opt.timestep
        self._substeps = max(1, round(REFERENCE_STEP_S / step_s))
        self._step_ns = round(step_s * 1e9)

    def reset(self, positions: np.ndarray) -> None:
        """Begin at rest with the servos' reference at ``positions`` (num_joints,)."""
        self._reference = np.array(positions)
        self._target = self._reference

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
        if feature.kind == "pose":
            body = scene.body(feature.source)
            return lambda: scene.pose(body).astype(np.float32)
        if feature.kind == "image":
            camera = Camera(scene, feature.source, feature.shape[0], feature.shape[1])
            self._cameras.append(camera)
            return camera.render
        raise ContractError(f"Feature '{feature.name}' of kind '{feature.kind}' cannot be read from a simulation.")
