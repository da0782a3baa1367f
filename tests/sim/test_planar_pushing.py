"""The pushing model: its closed-form cases, its symmetries, and its agreement with MuJoCo."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from praxon.robots.panda import PANDA
from praxon.sim.tasks.push_t import OUTLINE, PushT, PushTExpert

MODEL = PushTExpert(PANDA, 0.05).planner.model
BAR_TOP = OUTLINE[0, 1]
STILL = np.zeros(3)


def push(model, start, direction, length, num_steps, pose=STILL):
    """Poses (S + 1, 3) during one push from ``start`` (2,) along a unit vector (2,)."""
    step = np.array([direction]) * length / num_steps
    return model.roll(pose, np.array([start]), step, num_steps)[:, 0]


def corner_first(x):
    """A pusher turned by 45 degrees whose lowest corner stands on the bar at (x, BAR_TOP)."""
    model = replace(MODEL, pusher=(0.01, 0.01), pusher_yaw=np.pi / 4)
    return model, np.array([x, BAR_TOP + 0.01 * np.sqrt(2)])


def test_a_flush_push_through_the_centroid_translates():
    end = push(MODEL, [0.0, BAR_TOP + 0.014], [0.0, -1.0], 0.06, 30)[-1]
    assert end == pytest.approx([0, -0.06, 0], abs=1e-3)


def test_a_flush_push_beside_the_centroid_but_over_it_still_translates():
    """The face carries the load between its ends, and the centroid is between them."""
    end = push(MODEL, [0.006, BAR_TOP + 0.014], [0.0, -1.0], 0.06, 30)[-1]
    assert end == pytest.approx([0, -0.06, 0], abs=5e-3)


@pytest.mark.parametrize("angle", [-0.4, 0.0, 0.3])
def test_a_sticking_corner_obeys_the_closed_form(angle):
    """K. Lynch et al. 1992: v = ((c^2 + x^2) ux + x y uy, x y ux + (c^2 + y^2) uy) / (c^2 + r^2), w = (x vy - y vx) / c^2."""
    x, y = 0.05, BAR_TOP
    model, start = corner_first(x)
    c, u = model.radius, np.array([np.sin(angle), -np.cos(angle)])
    length = 1e-6
    v = np.array([(c**2 + x**2) * u[0] + x * y * u[1], x * y * u[0] + (c**2 + y**2) * u[1]]) / (c**2 + x**2 + y**2)
    w = (x * v[1] - y * v[0]) / c**2
    end = push(model, start, u, length, 1)[-1]
    assert end / length == pytest.approx([*v, w], rel=1e-3, abs=1e-3)


def test_without_friction_the_force_is_along_the_normal():
    x = 0.05
    model, start = corner_first(x)
    model = replace(model, friction=0.0)
    vx, vy, w = push(model, start, [0.6, -0.8], 1e-6, 1)[-1]
    assert vx == pytest.approx(0, abs=1e-9)
    assert w == pytest.approx(x * vy / model.radius**2, rel=1e-4)
    assert vy + x * w == pytest.approx(-0.8e-6, rel=1e-4)  # the contact follows the pusher along the normal


def test_the_world_has_no_preferred_direction():
    angle, shift = 0.7, np.array([0.3, -0.2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    start, direction = np.array([0.05, BAR_TOP + 0.02]), np.array([0.2, -1.0]) / np.hypot(0.2, 1.0)
    here = push(MODEL, start, direction, 0.06, 30)[-1]
    turned = replace(MODEL, pusher_yaw=angle)
    there = push(turned, turn @ start + shift, turn @ direction, 0.06, 30, np.array([*shift, angle]))[-1]
    assert there == pytest.approx([*(turn @ here[:2] + shift), here[2] + angle], abs=1e-9)


def test_the_pusher_stays_out_of_the_block():
    """But for grazing corners, where the shallowest way out is ambiguous."""
    rng = np.random.default_rng(0)
    around = rng.uniform(0, 2 * np.pi, 200)
    starts = 0.14 * np.stack([np.cos(around), np.sin(around)], axis=1)
    aims = rng.uniform(-0.05, 0.05, (200, 2)) - starts
    steps = 0.002 * aims / np.linalg.norm(aims, axis=1, keepdims=True)
    poses = MODEL.roll(STILL, starts, steps, 60)
    moved = np.abs(poses[-1] - poses[0]).max(axis=1) > 1e-3
    assert moved.mean() > 0.9
    depth = MODEL.depth(poses[-1], starts + 60 * steps)
    assert np.quantile(depth, 0.95) < 5e-4
    assert depth.max() < 6e-3


def test_the_gap_is_the_way_to_contact():
    starts = np.array([[0.0, BAR_TOP + 0.014 + 0.017], [0.0, BAR_TOP + 1.0]])
    directions = np.array([[0.0, -1.0], [0.0, -1.0]])
    assert MODEL.gap(STILL, starts, directions, 0.1) == pytest.approx([0.017, 0.1], abs=1e-4)


@pytest.mark.parametrize(
    ("start", "direction"),
    [
        ((0.0, 0.075), (0.0, -1.0)),
        ((0.06, 0.075), (0.0, -1.0)),
        ((0.035, -0.09), (-1.0, 0.0)),
        ((-0.1, 0.03), (1.0, 0.1)),
    ],
)
def test_agrees_with_mujoco(start, direction):
    """The same push on the task's block by a box on two strong servos: to a fifth of the way the block goes."""
    unit = np.array(direction) / np.linalg.norm(direction)
    length = 0.07
    poses = push(MODEL, start, unit, length, 70)
    expected, found = poses[-1], pushed_in_mujoco(np.array(start), unit, length)
    apart = PushTExpert(PANDA, 0.05).planner.distance
    assert apart(expected, found) < 0.2 * apart(found, STILL)


def pushed_in_mujoco(start, direction, length):
    spec = mujoco.MjSpec.from_file(str(PushT.world))
    body = spec.worldbody.add_body(name="pusher", pos=[*start, 0.025])
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, size=[*MODEL.pusher, 0.0088], mass=1, friction=[1.5, 0.02, 0.0005], priority=1
    )
    for name, axis in (("x", [1, 0, 0]), ("y", [0, 1, 0])):
        body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
        spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT).set_to_position(kp=2e4, kv=400)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, 0, 0.015, 1, 0, 0, 0]
    steps = round(length / 0.1 / model.opt.timestep)
    for i in range(steps + 200):
        data.ctrl[:] = direction * length * min(1.0, (i + 1) / steps)
        mujoco.mj_step(model, data)
    w, z = data.qpos[3], data.qpos[6]
    return np.array([data.qpos[0], data.qpos[1], 2 * np.arctan2(z, w)])
