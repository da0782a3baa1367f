"""Scene: a robot standing in a task's world, compiled, with everything the loop touches resolved by name once."""

from pathlib import Path

import mujoco
import numpy as np

from praxon.errors import ConfigError, RobotError, nearest
from praxon.robots.spec import RobotSpec

PHYSICS_STEP_S = 0.002
REFERENCE_STEP_S = 0.01
"""How often the servos' reference is updated between two ticks [s]; the arm's own interpolator runs faster still."""


class Scene:
    """A compiled model and its state, with joints in the RobotSpec's order.

    Args:
        robot: who stands in the scene, base at the world's origin.
        world: MJCF file of the task's world.
        model_source: 'own' or 'menagerie'.
        offscreen: (height, width) of the largest picture to be rendered.
    """

    def __init__(
        self, robot: RobotSpec, world: Path, model_source: str = "own", offscreen: tuple[int, int] = (480, 640)
    ) -> None:
        self.robot = robot
        try:
            spec = mujoco.MjSpec.from_file(str(world))
        except ValueError as error:
            raise ConfigError(f"The world '{world}' cannot be read: {' '.join(str(error).split())}") from error
        body = robot.build(model_source)
        for option in (spec.option, body.option):
            option.timestep = PHYSICS_STEP_S
            option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.attach(body, frame=spec.worldbody.add_frame(), prefix="")
        spec.visual.global_.offheight, spec.visual.global_.offwidth = offscreen
        # Shadows, reflections and multisampling cost twenty times the rest of a small picture on a CPU.
        spec.visual.quality.shadowsize = 0
        spec.visual.quality.offsamples = 0
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)

        self.joint_qpos = np.array([self.model.joint(name).qposadr[0] for name in robot.joint_names])
        self.joint_dof = np.array([self.model.joint(name).dofadr[0] for name in robot.joint_names])
        driven = [(name, i) for i, joint in enumerate(robot.joints) for name in (joint.name, *joint.mimics)]
        self._actuators = np.array([self.model.actuator(name).id for name, _ in driven])
        self._actuator_source = np.array([i for _, i in driven])
        self._driven_qpos = np.array([self.model.joint(name).qposadr[0] for name, _ in driven])
        self.tool_site = self.model.site(robot.tool_site).id
        self._gripper_qpos = self.joint_qpos[robot.index(robot.gripper)] if robot.gripper is not None else -1
        self._positions: dict[str, np.ndarray] = {}

    def body(self, name: str) -> int:
        """Index of a body; the error lists the bodies there are."""
        index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name)
        if index < 0:
            names = [self.model.body(i).name for i in range(self.model.nbody)]
            raise RobotError(f"Body '{name}' is not in the scene.{nearest(name, names)} Bodies: {', '.join(names)}.")
        return index

    def camera(self, name: str) -> int:
        """Index of a camera; the error lists the cameras there are."""
        index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA, name)
        if index < 0:
            names = [self.model.camera(i).name for i in range(self.model.ncam)]
            raise ConfigError(
                f"Camera '{name}' is not in the scene.{nearest(name, names)} Cameras: {', '.join(names)}."
            )
        return index

    def positions(self) -> np.ndarray:
        """Measured joint positions in the RobotSpec's order, (num_joints,) [rad or m]."""
        return self.data.qpos[self.joint_qpos]

    def velocities(self) -> np.ndarray:
        """Measured joint velocities in the RobotSpec's order, (num_joints,) [rad/s or m/s]."""
        return self.data.qvel[self.joint_dof]

    def gripper(self) -> float:
        """Measured position of the gripper joint [m]."""
        return float(self.data.qpos[self._gripper_qpos])

    def tool_position(self) -> np.ndarray:
        """Position of the tool site in the base frame, (3,) [m]; a view that moves with the simulation."""
        return self.data.site_xpos[self.tool_site]

    def set_reference(self, positions: np.ndarray) -> None:
        """Give the servos their target, (num_joints,) [rad or m]."""
        self.data.ctrl[self._actuators] = positions[self._actuator_source]

    def reset(self, positions: np.ndarray) -> None:
        """Everything at the model's initial state, the robot at rest at ``positions``."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self._driven_qpos] = positions[self._actuator_source]
        self.set_reference(positions)

    def place(self, body: str, position: np.ndarray, quaternion: np.ndarray) -> None:
        """Put a free or mocap body at a pose in the world, at rest. Quaternion (w, x, y, z)."""
        index = self.body(body)
        mocap = self.model.body_mocapid[index]
        if mocap >= 0:
            self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position, quaternion
            return
        joint = self.model.body_jntadr[index]
        if joint < 0 or self.model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            raise RobotError(f"Body '{body}' can be placed neither by a free joint nor as mocap.")
        address, dof = self.model.jnt_qposadr[joint], self.model.jnt_dofadr[joint]
        self.data.qpos[address : address + 7] = (*position, *quaternion)
        self.data.qvel[dof : dof + 6] = 0

    def position(self, body: str) -> np.ndarray:
        """Position of a named body in the world, (3,) [m]; a view that moves with the simulation."""
        if body not in self._positions:
            self._positions[body] = self.data.xpos[self.body(body)]
        return self._positions[body]

    def pose(self, body: int) -> np.ndarray:
        """(x, y, z, qw, qx, qy, qz) of a body in the world, qw >= 0 so that equal rotations are equal arrays."""
        pose = np.empty(7)
        pose[:3] = self.data.xpos[body]
        quaternion = self.data.xquat[body]
        pose[3:] = quaternion if quaternion[0] >= 0 else -quaternion
        return pose
