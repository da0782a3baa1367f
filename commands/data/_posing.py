"""A model that follows a recording: joints by name, objects by the body that each pose was measured of."""

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.targets import load_option, options

IN_SI = {"rad": 1.0, "m": 1.0, "deg": np.pi / 180, "mm": 1e-3, "cm": 1e-2}
"""Units of joint positions, as factors to MuJoCo's [rad] and [m]."""
SCALAR_JOINTS = (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE)


class Posing:
    """Which parts of a model the features of a recording move.

    Args:
        model: with joints and bodies named as in the contract.
        features: of the recording; those that move nothing are passed over.
        mimics: joint -> joints that follow it.

    Attributes:
        data: the model's state; ``pose`` writes it.
        driven_joints: indices of the joints that are moved.
    """

    def __init__(
        self, model: mujoco.MjModel, features: Sequence[Feature], mimics: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        self.driven_joints: list[int] = []
        self._joints: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []
        self._bodies: list[tuple[str, int, int]] = []
        for feature in features:
            if feature.kind == "joint_position":
                self._follow_joints(feature, mimics)
            elif feature.kind in ("pose", "position") and feature.size in (3, 7):
                self._follow_body(feature)
        mujoco.mj_kinematics(model, self.data)

    def _follow_joints(self, feature: Feature, mimics: Mapping[str, tuple[str, ...]]) -> None:
        components, addresses, factors = [], [], []
        for component, (name, unit) in enumerate(zip(feature.names, feature.units, strict=False)):
            for joint_name in (name, *mimics.get(name, ())):
                joint = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, joint_name)
                if joint < 0 or unit not in IN_SI or self.model.jnt_type[joint] not in SCALAR_JOINTS:
                    continue
                self.driven_joints.append(joint)
                components.append(component)
                addresses.append(int(self.model.jnt_qposadr[joint]))
                factors.append(IN_SI[unit])
        if components:
            self._joints.append((feature.name, np.array(components), np.array(addresses), np.array(factors)))

    def _follow_body(self, feature: Feature) -> None:
        """Poses are in the robot's base frame, which is the world's: the robot stands at the origin of every scene."""
        body = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, feature.source)
        if body < 0:
            return
        joint = int(self.model.body_jntadr[body])
        free = joint >= 0 and self.model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE
        mocap = int(self.model.body_mocapid[body])
        if free or mocap >= 0:
            self._bodies.append((feature.name, mocap, int(self.model.jnt_qposadr[joint]) if free else -1))

    def __bool__(self) -> bool:
        return bool(self._joints or self._bodies)

    def pose(self, values: Mapping[str, np.ndarray], frame: int) -> mujoco.MjData:
        """The state at one frame of (T, *shape) values by feature; what is not finite stays where it was."""
        data = self.data
        for name, components, addresses, factors in self._joints:
            positions = values[name][frame][components] * factors
            finite = np.isfinite(positions)
            data.qpos[addresses[finite]] = positions[finite]
        for name, mocap, address in self._bodies:
            pose = values[name][frame].astype(float)
            if not np.isfinite(pose).all():
                continue
            if mocap >= 0:
                data.mocap_pos[mocap] = pose[:3]
                data.mocap_quat[mocap] = pose[3:] if len(pose) == 7 else data.mocap_quat[mocap]
            else:
                data.qpos[address : address + len(pose)] = pose
        mujoco.mj_kinematics(self.model, data)
        return data

    def strangers(self) -> set[int]:
        """Indices of the loose bodies that no feature places: where they were is not known."""
        followed = {address for _, _, address in self._bodies}, {mocap for _, mocap, _ in self._bodies}
        loose = set()
        for body in range(1, self.model.nbody):
            joint, mocap = int(self.model.body_jntadr[body]), int(self.model.body_mocapid[body])
            free = joint >= 0 and self.model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE
            unplaced = (free and int(self.model.jnt_qposadr[joint]) not in followed[0]) or (
                mocap >= 0 and mocap not in followed[1]
            )
            if unplaced or int(self.model.body_parentid[body]) in loose:
                loose.add(body)
        return loose

    def driven_bodies(self) -> set[int]:
        """Indices of the bodies that the driven joints move."""
        carried = {int(self.model.jnt_bodyid[joint]) for joint in self.driven_joints}
        for body in range(1, self.model.nbody):  # parents come before their children
            if int(self.model.body_parentid[body]) in carried:
                carried.add(body)
        return carried


class Stage:
    """The robot of a recording in its task's world, or alone where the task is not known.

    Args:
        model: compiled.
        contract: of the recording.
        mimics: joint -> joints that follow it.

    Attributes:
        measured: follows the observations.
        commanded: follows the action; false where the action is not joint positions.
        bodies: indices of the bodies whose place is known.
    """

    def __init__(self, model: mujoco.MjModel, contract: PolicyContract, mimics: Mapping[str, tuple[str, ...]]) -> None:
        self.model = model
        self.measured = Posing(model, contract.observations, mimics)
        self.commanded = Posing(model, [contract.action], mimics)
        self.bodies = set(range(model.nbody)) - self.measured.strangers()


def make_stage(contract: PolicyContract, model_source: str | None = None) -> tuple[Stage | None, str]:
    """The stage of a contract, and one sentence that says what will not be shown, empty where everything is.

    Args:
        contract: with the names of robot and task.
        model_source: 'own' or 'menagerie'; what the robot's config says where None.
    """
    if contract.robot not in options("robot"):
        known = ", ".join(options("robot"))
        return None, f"Cameras and curves only: the robot '{contract.robot}' is not one that is known here ({known})."
    from praxon.sim.factory import make_robot, make_task
    from praxon.sim.scene import Scene

    config = load_option("robot", contract.robot)
    robot, source = make_robot(config), model_source or str(config.get("model", "own"))
    if contract.task in options("task"):
        model, note = Scene(robot, make_task(contract.task, robot).world, source).model, ""
    else:
        model, note = (
            robot.build(source).compile(),
            f"The task '{contract.task}' is not known here; the robot is shown alone.",
        )
    stage = Stage(model, contract, {joint.name: joint.mimics for joint in robot.joints})
    if not stage.measured and not stage.commanded:
        return None, f"Cameras and curves only: no feature is positions of joints of '{robot.name}' by name."
    hidden = [model.body(body).name for body in range(model.nbody) if body not in stage.bodies]
    if hidden:
        note = f"Not shown, because no feature is its pose: {', '.join(hidden)}."
    return stage, note
