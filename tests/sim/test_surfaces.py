"""Surfaces of geoms: volumes by the formulas of solids, meshes where the model file put them, height fields where rays hit them."""

import mujoco
import numpy as np
import pytest

from praxon.sim import surfaces
from praxon.sim.surfaces import SEGMENTS

ROUND = SEGMENTS / (2 * np.pi) * np.sin(2 * np.pi / SEGMENTS)
"""Area of the regular polygon in a circle, as a part of the circle's."""


def volume(surface):
    """Signed volume by the divergence theorem: positive only where faces are counter-clockwise seen from outside."""
    a, b, c = (surface.vertices[surface.faces[:, corner]] for corner in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6


def test_a_box_and_a_cylinder_have_their_volumes():
    assert volume(surfaces.box(np.array([0.1, 0.2, 0.3]))) == pytest.approx(8 * 0.1 * 0.2 * 0.3)
    assert volume(surfaces.cylinder(0.2, 0.5)) == pytest.approx(ROUND * np.pi * 0.2**2 * 1.0)


def test_round_shapes_lie_on_their_surfaces_and_nearly_fill_them():
    ball = surfaces.ellipsoid(np.array([0.1, 0.2, 0.3]))
    assert np.linalg.norm(ball.vertices / [0.1, 0.2, 0.3], axis=1) == pytest.approx(1.0)
    assert 0.97 < volume(ball) / (4 / 3 * np.pi * 0.1 * 0.2 * 0.3) < 1
    capsule = surfaces.capsule(0.1, 0.25)
    beyond = np.maximum(np.abs(capsule.vertices[:, 2]) - 0.25, 0)
    assert np.hypot(np.linalg.norm(capsule.vertices[:, :2], axis=1), beyond) == pytest.approx(0.1)
    assert 0.97 < volume(capsule) / (np.pi * 0.1**2 * 0.5 + 4 / 3 * np.pi * 0.1**3) < 1


def test_every_type_of_geom_is_as_large_as_its_size_says():
    model = mujoco.MjModel.from_xml_string("""
    <mujoco><worldbody>
      <geom type="sphere" size="0.3"/><geom type="ellipsoid" size="0.1 0.2 0.3"/><geom type="capsule" size="0.1 0.4"/>
      <geom type="cylinder" size="0.2 0.4"/><geom type="box" size="0.1 0.2 0.3"/>
    </worldbody></mujoco>""")
    extents = [np.abs(surfaces.of_geom(model, geom).vertices).max(axis=0) for geom in range(model.ngeom)]
    expected = [[0.3] * 3, [0.1, 0.2, 0.3], [0.1, 0.1, 0.5], [0.2, 0.2, 0.4], [0.1, 0.2, 0.3]]
    assert np.array(extents) == pytest.approx(np.array(expected), abs=2e-3)


CORNERS = np.array([[x, y, z] for x in (1, 3) for y in (0, 2) for z in (-1, 4)], float)
"""A box that is neither at the origin nor a cube; MuJoCo moves and turns its frame, and ours must move it back."""


def test_a_mesh_is_where_the_file_put_it():
    vertices = " ".join(f"{value}" for value in CORNERS.reshape(-1))
    model = mujoco.MjModel.from_xml_string(f"""
    <mujoco><asset><mesh name="m" vertex="{vertices}" scale="0.1 0.2 0.3"/></asset>
      <worldbody><body pos="1 2 3" euler="30 40 50"><geom type="mesh" mesh="m"/></body></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    surface = surfaces.of_geom(model, 0)
    found = surface.vertices @ data.geom_xmat[0].reshape(3, 3).T + data.geom_xpos[0]
    expected = (CORNERS * [0.1, 0.2, 0.3]) @ data.xmat[1].reshape(3, 3).T + data.xpos[1]
    distances = np.linalg.norm(found[:, None] - expected, axis=-1)
    assert distances.min(axis=1).max() < 1e-6
    assert distances.min(axis=0).max() < 1e-6
    assert volume(surface) == pytest.approx(0.2 * 0.4 * 1.5)


def test_a_height_field_is_where_rays_from_above_meet_it():
    heights = " ".join(f"{value}" for value in np.arange(12) % 5)
    model = mujoco.MjModel.from_xml_string(f"""
    <mujoco><asset><hfield name="h" nrow="3" ncol="4" size="0.6 0.4 0.5 0.1" elevation="{heights}"/></asset>
      <worldbody><geom type="hfield" hfield="h"/></worldbody></mujoco>""")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    vertices = surfaces.of_geom(model, 0).vertices
    assert len(vertices) == 12
    for x, y, z in vertices * [0.999, 0.999, 1]:  # not on the very rim
        hit = mujoco.mj_ray(
            model, data, np.array([x, y, 2.0]), np.array([0, 0, -1.0]), None, 1, -1, np.zeros(1, np.int32)
        )
        assert 2.0 - hit == pytest.approx(z, abs=2e-3)


def test_a_plane_has_no_surface_of_its_own():
    model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom type="plane" size="1 1 1"/></worldbody></mujoco>')
    with pytest.raises(ValueError, match="PLANE"):
        surfaces.of_geom(model, 0)
