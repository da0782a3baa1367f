"""The contract of every robot that has a config: its model is what its specification says, from either source."""

import os
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from praxon.errors import RobotError
from praxon.robots.panda import PANDA
from praxon.robots.spec import RobotSpec
from praxon.targets import load_option, load_target, options


@pytest.fixture(params=options("robot"))
def robot(request) -> RobotSpec:
    return load_target(load_option("robot", request.param)["_target_"])


@pytest.fixture
def model(robot) -> mujoco.MjModel:
    return robot.build("own").compile()


def driven(robot: RobotSpec):
    """Every joint the specification moves, with the commanded joint it belongs to."""
    return [(name, joint) for joint in robot.joints for name in (joint.name, *joint.mimics)]


def tool_pose(robot: RobotSpec, model: mujoco.MjModel, positions: np.ndarray) -> np.ndarray:
    """Position and rotation matrix of the tool, (12,)."""
    data = mujoco.MjData(model)
    for joint, position in zip(robot.joints, positions, strict=True):
        for name in (joint.name, *joint.mimics):
            data.joint(name).qpos = position
    mujoco.mj_kinematics(model, data)
    site = data.site(robot.tool_site)
    return np.concatenate([site.xpos, site.xmat])


def test_config_is_a_specification_of_that_name(robot):
    assert isinstance(robot, RobotSpec)
    assert robot.name in options("robot")


def test_everything_named_is_in_the_model(robot, model):
    for name, _ in driven(robot):
        assert model.joint(name).name == model.actuator(name).name == name
    assert model.site(robot.tool_site).name == robot.tool_site
    for name in robot.cameras:
        assert model.camera(name).name == name
    for body in {body for pair in robot.self_distance_pairs for body in pair}:
        assert model.body(body).geomnum[0] > 0


def test_nothing_in_the_model_moves_unnamed(robot, model):
    assert sorted(name for name, _ in driven(robot)) == sorted(model.joint(i).name for i in range(model.njnt))
    assert model.nu == model.njnt


def test_model_has_the_limits_of_the_specification(robot, model):
    for name, joint in driven(robot):
        limits, element, actuator = joint.limits, model.joint(name), model.actuator(name)
        assert tuple(element.range) == tuple(actuator.ctrlrange) == (limits.lower, limits.upper)
        assert tuple(actuator.forcerange) == (-limits.effort, limits.effort)
        assert model.jnt_limited[element.id]
        assert model.actuator_ctrllimited[actuator.id]
        assert model.actuator_forcelimited[actuator.id]
        kind = mujoco.mjtJoint.mjJNT_SLIDE if joint.unit == "m" else mujoco.mjtJoint.mjJNT_HINGE
        assert element.type[0] == kind


def test_servos_have_the_gains_of_the_specification(robot, model):
    for name, joint in driven(robot):
        actuator = model.actuator(name)
        assert actuator.gainprm[0] == joint.stiffness
        assert tuple(actuator.biasprm[:3]) == (0, -joint.stiffness, -joint.damping)


def test_limits_are_positive_and_home_is_inside(robot):
    for quantity in ("velocity", "acceleration", "jerk", "effort"):
        assert (robot.limit(quantity) > 0).all()
    home = np.array(robot.home)
    assert ((home >= robot.limit("lower")) & (home <= robot.limit("upper"))).all()


def test_the_tool_at_home_is_in_the_workspace(robot, model):
    tool = tool_pose(robot, model, np.array(robot.home))[:3]
    assert (tool > robot.workspace.lower).all()
    assert (tool < robot.workspace.upper).all()


def test_home_is_held_against_gravity(robot, model):
    data = mujoco.MjData(model)
    for joint, position in zip(robot.joints, robot.home, strict=True):
        for name in (joint.name, *joint.mimics):
            data.joint(name).qpos = data.actuator(name).ctrl = position
    start = data.qpos.copy()
    mujoco.mj_step(model, data, nstep=500)
    np.testing.assert_allclose(data.qpos, start, atol=1e-3)


@pytest.mark.skipif("MENAGERIE_ROOT" not in os.environ, reason="MENAGERIE_ROOT does not point at a Menagerie checkout")
def test_menagerie_has_the_same_kinematics_and_mass(robot, model):
    other = robot.build("menagerie").compile()
    assert other.body_mass.sum() == pytest.approx(model.body_mass.sum(), rel=1e-6)
    random = np.random.default_rng(0)
    lower, upper = robot.limit("lower"), robot.limit("upper")
    for positions in [np.array(robot.home), *random.uniform(lower, upper, (20, len(lower)))]:
        expected = tool_pose(robot, model, positions)
        np.testing.assert_allclose(tool_pose(robot, other, positions), expected, atol=1e-6)


def test_errors_name_what_is_known():
    with pytest.raises(RobotError, match=r"'panda_joint9' is not in robot 'panda'.*Joints: panda_joint1, "):
        PANDA.index("panda_joint9")
    with pytest.raises(RobotError, match="lack panda_finger_joint1; got panda_joint1, "):
        PANDA.vector(dict(zip(PANDA.joint_names[:7], PANDA.home, strict=False)))
    with pytest.raises(RobotError, match=r"'theirs' is not known. Sources: own, menagerie"):
        PANDA.build("theirs")
    with pytest.raises(RobotError, match="8 joints but a home pose of 7"):
        replace(PANDA, home=PANDA.home[:7])
    with pytest.raises(RobotError, match="'panda_joint1' of 'panda' is 3.0, outside"):
        replace(PANDA, home=(3.0, *PANDA.home[1:]))
    with pytest.raises(RobotError, match=r"'elbow' is not in the model. Joints: panda_joint1, "):
        replace(PANDA, joints=(replace(PANDA.joints[0], name="elbow"), *PANDA.joints[1:])).build("own")


def test_joint_vector_is_by_name_and_ignores_what_it_does_not_know():
    positions = dict(zip(reversed(PANDA.joint_names), reversed(PANDA.home), strict=True)) | {"gantry": 1.0}
    assert tuple(PANDA.vector(positions)) == PANDA.home
