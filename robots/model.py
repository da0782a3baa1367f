"""Building a robot's MuJoCo model: our own mesh-free MJCF or Menagerie's, with joint names, servos and tool from the RobotSpec."""

from pathlib import Path

import mujoco

from praxon.errors import RobotError
from praxon.robots.spec import Joint, RobotSpec

SOURCES = ("own", "menagerie")


def build_model(robot: RobotSpec, source: str) -> mujoco.MjSpec:
    """The editable model of ``robot``: named joints, one position servo per commanded joint, coupled fingers.

    Whatever actuators, keyframes and couplings the file brings are replaced, so that both sources are driven alike:
    torque = stiffness * (command - position) - damping * velocity, limited to the joint's effort, gravity compensated
    as the arm's own controller does.
    """
    if source == "own":
        spec = mujoco.MjSpec.from_file(str(Path(__file__).parent / robot.model))
    elif source == "menagerie":
        spec = _menagerie(robot)
    else:
        raise RobotError(f"Model source '{source}' is not known. Sources: {', '.join(SOURCES)}.")
    for element in [*spec.actuators, *spec.tendons, *spec.equalities, *spec.keys, *spec.excludes, *spec.lights]:
        spec.delete(element)
    spec.modelname = robot.name
    for joint in robot.joints:
        _add_servo(spec, joint)
    for body in spec.bodies:
        if body.name != "world":
            body.gravcomp = 1.0
    return spec


def _add_servo(spec: mujoco.MjSpec, joint: Joint) -> None:
    """A position servo on the joint, half on each finger where other joints mimic it."""
    driven = (joint.name, *joint.mimics)
    for name in driven:
        element = spec.joint(name)
        if element is None:
            raise RobotError(f"Joint '{name}' is not in the model. Joints: {', '.join(j.name for j in spec.joints)}.")
        element.range = [joint.limits.lower, joint.limits.upper]
        element.limited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        actuator.set_to_position(kp=joint.stiffness, kv=joint.damping)
        actuator.ctrlrange = [joint.limits.lower, joint.limits.upper]
        actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.forcerange = [-joint.limits.effort, joint.limits.effort]
        actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    for name in joint.mimics:
        # Polynomial coupling q_mimic = q_joint, stiff enough that the fingers close about their centre.
        equality = spec.add_equality(
            name=f"{name}_mimics",
            type=mujoco.mjtEq.mjEQ_JOINT,
            name1=name,
            name2=joint.name,
            objtype=mujoco.mjtObj.mjOBJ_JOINT,
            solref=[0.005, 1],
            solimp=[0.95, 0.99, 0.001, 0.5, 2],
        )
        equality.data[:5] = [0, 1, 0, 0, 0]


def _menagerie(robot: RobotSpec) -> mujoco.MjSpec:
    """Menagerie's model with our joint names, our tool site and our cameras."""
    folder, entry = robot.menagerie
    try:
        import mujoco_menagerie
    except ImportError as error:
        raise RobotError(
            f"Model source 'menagerie' of robot '{robot.name}' needs the package mujoco-menagerie; "
            "pip install 'praxon[menagerie]', or use the source 'own'."
        ) from error
    try:
        spec = mujoco_menagerie.get(folder).spec(entry)
    except (mujoco_menagerie.MenagerieError, OSError, ValueError) as error:
        raise RobotError(
            f"MuJoCo Menagerie's '{folder}' could not be had ({error}); set MENAGERIE_ROOT to a checkout that holds it, "
            "or use the source 'own'."
        ) from error
    for joint in robot.joints:
        renames = zip((joint.menagerie_name, *joint.menagerie_mimics), (joint.name, *joint.mimics), strict=True)
        for old, new in renames:
            element = spec.joint(old)
            if element is None:
                raise RobotError(
                    f"Menagerie's '{folder}' has no joint '{old}'. Joints: {', '.join(j.name for j in spec.joints)}."
                )
            element.name = new
    own = mujoco.MjSpec.from_file(str(Path(__file__).parent / robot.model))
    _copy_tool_and_cameras(own, spec, robot)
    return spec


def _copy_tool_and_cameras(own: mujoco.MjSpec, other: mujoco.MjSpec, robot: RobotSpec) -> None:
    """Sites and cameras that our model defines, on the bodies of the same name in the other model."""
    site = own.site(robot.tool_site)
    body = other.body(site.parent.name)
    if body is None:
        raise RobotError(f"Menagerie's model of '{robot.name}' has no body '{site.parent.name}' for the tool.")
    body.add_site(name=site.name, pos=site.pos, quat=site.quat)
    for name in robot.cameras:
        camera = own.camera(name)
        other.body(camera.parent.name).add_camera(name=name, pos=camera.pos, quat=camera.quat, fovy=camera.fovy)
