"""The web scene: nodes stand where MuJoCo has the geoms, colours follow MuJoCo's rule, addresses are refused with what would do."""

import re
import socket
import sys

import mujoco
import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.sim.web_scene import WebScene, geom_colour, open_server

pytest.importorskip("viser")

ARM = """
<mujoco>
  <asset>
    <texture name="two" type="2d" builtin="checker" rgb1="0.2 0.4 0.6" rgb2="0.4 0.6 0.8" width="64" height="64"/>
    <material name="paint" rgba="0.1 0.2 0.3 0.5"/>
    <material name="cloth" texture="two"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 0.1" material="cloth"/>
    <body name="upper" pos="0 0 0.5">
      <joint name="shoulder" axis="0 1 0"/>
      <geom name="bone" type="capsule" fromto="0 0 0 0.4 0 0.1" size="0.05" material="paint"/>
      <geom name="hull" type="box" size="0.1 0.1 0.1" group="3"/>
      <body name="lower" pos="0.4 0 0">
        <joint name="elbow" axis="0 1 0"/>
        <geom name="tip" type="box" size="0.05 0.02 0.02" pos="0.1 0 0" euler="10 20 30" material="paint" rgba="0.9 0.8 0.7 1"/>
      </body>
    </body>
  </worldbody>
</mujoco>"""


@pytest.fixture(scope="module")
def server():
    server = open_server("127.0.0.1", 0, "test")
    yield server
    server.stop()


@pytest.fixture
def arm():
    model = mujoco.MjModel.from_xml_string(ARM)
    return model, mujoco.MjData(model)


def handle(server, name):
    found = server.scene.get_handle_by_name(name)
    assert found is not None, f"no node {name}"
    return found


def world(server, body, geom):
    """Position and rotation matrix in the world of a geom's node, as a browser composes them from the two nodes."""
    outer, inner = handle(server, body), handle(server, f"{body}/{geom}")
    turns = [np.empty(9), np.empty(9)]
    for turn, node in zip(turns, (outer, inner), strict=True):
        mujoco.mju_quat2Mat(turn, np.asarray(node.wxyz, float))
    first, second = (turn.reshape(3, 3) for turn in turns)
    return outer.position + first @ inner.position, first @ second


def test_geoms_stand_where_mujoco_has_them(server, arm):
    model, data = arm
    scene = WebScene(server, model, "/where")
    rng = np.random.default_rng(0)
    for _ in range(5):
        data.qpos[:] = rng.uniform(-2, 2, 2)
        mujoco.mj_kinematics(model, data)
        scene.update(data)
        for name, body in (("bone", "/where/1_upper"), ("tip", "/where/2_lower")):
            geom = model.geom(name).id
            position, rotation = world(server, body, geom)
            assert position == pytest.approx(data.geom_xpos[geom], abs=1e-6)
            assert rotation == pytest.approx(data.geom_xmat[geom].reshape(3, 3), abs=1e-6)


def test_only_what_moved_is_sent(server, arm):
    model, data = arm
    scene = WebScene(server, model, "/sent")
    mujoco.mj_kinematics(model, data)
    scene.update(data)
    upper, lower = handle(server, "/sent/1_upper"), handle(server, "/sent/2_lower")
    upper.position = lower.position = (9, 9, 9)
    data.qpos[1] = 0.3
    mujoco.mj_kinematics(model, data)
    scene.update(data)
    assert upper.position == pytest.approx([9, 9, 9])
    assert lower.position == pytest.approx(data.body("lower").xpos)


def test_collision_shapes_and_other_bodies_are_left_out(server, arm):
    model, _ = arm
    WebScene(server, model, "/some", bodies={2})
    assert handle(server, f"/some/2_lower/{model.geom('tip').id}") is not None
    assert server.scene.get_handle_by_name("/some/1_upper") is None
    WebScene(server, model, "/all")
    assert server.scene.get_handle_by_name(f"/all/1_upper/{model.geom('hull').id}") is None


def test_a_second_scene_is_tinted_translucent_and_can_be_hidden(server, arm):
    model, _ = arm
    ghost = WebScene(server, model, "/ghost", tint=(0, 0, 1), opacity=0.5)
    bone = handle(server, f"/ghost/1_upper/{model.geom('bone').id}")
    assert tuple(bone.color) == (0, 0, 255)
    assert bone.opacity == pytest.approx(0.25)
    assert ghost.visible
    ghost.visible = False
    assert not handle(server, "/ghost").visible


def test_a_geom_has_its_own_colour_else_its_materials_else_the_mean_of_the_texture(arm):
    model, _ = arm
    assert geom_colour(model, model.geom("tip").id) == pytest.approx([0.9, 0.8, 0.7, 1])
    assert geom_colour(model, model.geom("bone").id) == pytest.approx([0.1, 0.2, 0.3, 0.5])
    assert geom_colour(model, model.geom("floor").id) == pytest.approx([0.3, 0.5, 0.7, 1], abs=0.01)
    assert geom_colour(model, model.geom("hull").id) == pytest.approx([0.5, 0.5, 0.5, 1])


def test_the_first_look_has_everything_before_it(server, arm):
    model, data = arm
    mujoco.mj_kinematics(model, data)
    WebScene(server, model, "/look").look(data, azimuth=0, elevation=0)
    eye, target = server.initial_camera.position, server.initial_camera.look_at
    assert eye[1:] == pytest.approx(target[1:])
    assert eye[0] > data.geom_xpos[1:, 0].max() + 0.3


def test_a_taken_port_is_refused_with_one_that_is_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=f"^Port {port} of '127.0.0.1' cannot .*: another program uses it"
        ) as error:
            open_server("127.0.0.1", port, "test")
    free = int(re.search(r"Port (\d+) is free", str(error.value))[1])
    assert free != port
    socket.create_server(("127.0.0.1", free)).close()


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("127.0.0.1", 65536, "port is 65536; ports are 0 to 65535"),
        ("127.0.0.1", -1, "port is -1"),
        ("203.0.113.7", 0, "'203.0.113.7' cannot be listened on: "),  # an address for documentation, nobody's own
        ("no such host", 0, "'no such host' cannot be listened on: "),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(host, port, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        open_server(host, port, "test")


def test_a_missing_viser_is_said_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'praxon[view]'")):
        open_server("127.0.0.1", 0, "test")
