"""Point clouds: they lie on the surfaces that are seen, in the base frame; sampling by hand."""

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.sim.factory import make_simulation
from praxon.sim.point_clouds import DepthCamera, camera_rays, exactly, farthest_points
from praxon.sim.rendering import rendering_problem


def test_farthest_points_by_hand():
    # On a line; centroid 4.2. Farthest: 10. Then 0 (10 away), then 5 (5 from either), then 2 (2 from 0; 4 is 1 from 5).
    points = np.array([[0.0, 0, 0], [2, 0, 0], [4, 0, 0], [5, 0, 0], [10, 0, 0]])
    assert farthest_points(points, 4).tolist() == [4, 0, 3, 1]


def test_farthest_points_cover_evenly():
    points = np.random.default_rng(0).uniform(0, 1, (4000, 3))
    chosen = points[farthest_points(points, 64)]
    gaps = np.linalg.norm(chosen[:, None] - chosen[None], axis=-1) + 9 * np.eye(64)
    away = np.linalg.norm(points[:, None] - chosen[None], axis=-1).min(axis=1)
    # Greedy selection: nobody is farther from the chosen ones than they are from each other.
    assert away.max() <= gaps.min() + 1e-6
    assert len(np.unique(chosen, axis=0)) == 64


@pytest.mark.parametrize("count", [2, 5, 9])
def test_there_are_always_as_many_points_as_asked(count):
    points = np.arange(15.0).reshape(5, 3)
    kept = exactly(points, count)
    assert kept.shape == (count, 3)
    assert kept.dtype == np.float32
    assert {tuple(point) for point in kept} <= {tuple(point) for point in points.astype(np.float32)}
    assert len({tuple(point) for point in kept}) == min(count, 5)
    assert not exactly(points[:0], count).any()


def test_rays_reach_the_edges_of_the_view():
    rays = camera_rays(4, 6, np.pi / 2)  # 90 degrees high: the picture is 2 high and 3 wide at depth 1
    np.testing.assert_allclose(rays[0, 0], [-1.25, 0.75, -1.0])
    np.testing.assert_allclose(rays[3, 5], [1.25, -0.75, -1.0])


@pytest.fixture(scope="module")
def simulation():
    simulation = make_simulation("lift", point_clouds=["front"], num_points=200)
    simulation.reset(3)
    yield simulation
    simulation.robot.close()


@pytest.mark.render
@pytest.mark.skipif(rendering_problem() is not None, reason="no OpenGL")
class TestInTheScene:
    def test_points_of_a_box_and_of_the_table_lie_on_their_surfaces(self, simulation):
        scene = simulation.scene
        seen = DepthCamera(scene, "front", 1).visible()
        cube = scene.data.body("cube")
        local = (seen - cube.xpos) @ cube.xmat.reshape(3, 3)
        near = local[(np.abs(local) < 0.0215).all(axis=1)]
        off_table = near[near[:, 2] > -0.0185]
        assert len(off_table) > 20
        assert np.abs(np.abs(off_table).max(axis=1) - 0.02).max() < 1e-3
        tops = np.abs(off_table[:, 2] - 0.02) < 1e-3
        assert tops.any()
        assert not tops.all()
        above = np.abs(seen[:, :2] - [0.5, 0.0]).max(axis=1) < 0.3
        table = seen[above & (seen[:, 2] < 0.01)]
        assert len(table) > 500
        assert np.median(np.abs(table[:, 2])) < 1e-4
        assert table[:, 2].min() > -1e-3

    def test_a_cloud_is_inside_the_workspace_off_the_table_and_shows_the_cube(self, simulation):
        cloud = simulation.robot.observe().features["observation.point_clouds.front"]
        workspace = simulation.scene.robot.workspace
        simulation.contract.feature("observation.point_clouds.front").check(cloud)
        assert (cloud >= np.array(workspace.lower) - 1e-6).all()
        assert (cloud <= np.array(workspace.upper) + 1e-6).all()
        away = np.abs(cloud - simulation.scene.position("cube")).max(axis=1)
        assert (away < 0.035).sum() >= 10

    def test_equal_states_give_equal_clouds(self, simulation):
        first, again = (simulation.robot.observe().features["observation.point_clouds.front"] for _ in range(2))
        assert np.array_equal(first, again)

    def test_impossible_cameras_are_refused(self, simulation):
        with pytest.raises(ConfigError, match="at least 1"):
            DepthCamera(simulation.scene, "front", 0)
        with pytest.raises(ConfigError, match="Cameras: "):
            DepthCamera(simulation.scene, "back", 8)
