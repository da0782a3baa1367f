"""The simulation behind robot_sim: limits, refusals, the time limit, and a clock that never goes back."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from praxon.errors import RobotError
from praxon.robots.panda import PANDA
from praxon.ros_nodes.live_simulation import SLICE_NS, LiveSimulation
from praxon.ros_nodes.trajectory import Trajectory
from praxon.sim.factory import make_simulation

BEGIN_NS = 1_750_000_000_000_000_000


@pytest.fixture
def live() -> LiveSimulation:
    return LiveSimulation(make_simulation("lift"), seed=3, now_ns=BEGIN_NS)


def to(live: LiveSimulation, positions: np.ndarray, after_s: float = 1.0) -> Trajectory:
    times_ns = np.array([live.stamp_ns + round(after_s * 1e9)])
    return Trajectory(PANDA.joint_names, live.stamp_ns, times_ns, positions[None], np.zeros((1, len(positions))))


def advance(live: LiveSimulation, seconds: float) -> None:
    for _ in range(round(seconds * 1e9) // SLICE_NS):
        live.advance()


def measured(live: LiveSimulation) -> np.ndarray:
    report = live.report()
    return np.array([report.positions[report.names.index(name)] for name in PANDA.joint_names])


def test_follows_a_trajectory_fingers_included(live: LiveSimulation) -> None:
    target = np.array(PANDA.home) + [0.2, -0.1, 0.1, 0.1, -0.2, 0.1, 0.2, -0.02]
    live.command(to(live, target))
    advance(live, 1.5)
    np.testing.assert_allclose(measured(live), target, atol=2e-3)
    report = live.report()
    fingers = [report.positions[report.names.index(f"panda_finger_joint{i}")] for i in (1, 2)]
    assert fingers[0] == pytest.approx(fingers[1], abs=1e-4)


def test_without_a_command_it_stands_and_the_time_limit_does_not_run(live: LiveSimulation) -> None:
    start = measured(live)
    advance(live, 2 * live.simulation.task.time_limit_s)
    np.testing.assert_allclose(measured(live), start, atol=1e-3)
    assert not live.episode.finished
    assert live.episode.seconds == 0


def test_the_time_limit_runs_from_the_first_command(live: LiveSimulation) -> None:
    limit_s = live.simulation.task.time_limit_s
    advance(live, 1.0)
    live.command(to(live, measured(live)))
    ended = [episode for _ in range(round(limit_s * 100) + 50) if (episode := live.advance()) is not None]
    assert ended == [live.episode]  # told once
    assert (ended[0].success, ended[0].seconds, ended[0].seed) == (False, limit_s, 3)
    assert set(ended[0].metrics) == {"max_height_m", "min_height_m"}
    json.dumps(asdict(ended[0]))


def test_positions_outside_the_limits_are_clamped_and_counted(live: LiveSimulation) -> None:
    target = measured(live)
    target[-1] = 1.0
    live.command(to(live, target))
    advance(live, 1.5)
    assert live.counts["clamped"] == 1
    assert measured(live)[-1] <= PANDA.limit("upper")[-1] + 1e-3


def test_a_refused_trajectory_leaves_the_present_one(live: LiveSimulation) -> None:
    target = measured(live) + [0.1, 0, 0, 0, 0, 0, 0, 0]
    live.command(to(live, target))
    wrong = Trajectory(("elbow",), live.stamp_ns, np.array([live.stamp_ns + 1]), np.zeros((1, 1)), np.zeros((1, 1)))
    with pytest.raises(RobotError, match="names the joints elbow; it must name panda_joint1, "):
        live.command(wrong)
    advance(live, 1.5)
    np.testing.assert_allclose(measured(live), target, atol=2e-3)


def test_the_clock_goes_on_over_resets_and_skips(live: LiveSimulation) -> None:
    stamps = [live.stamp_ns]
    for action in (live.advance, lambda: live.reset(4), live.advance, lambda: live.skip(7), live.advance):
        action()
        stamps.append(live.stamp_ns - BEGIN_NS)
    assert stamps[1:] == [SLICE_NS, SLICE_NS, 2 * SLICE_NS, 2 * SLICE_NS + 7, 3 * SLICE_NS + 7]
    assert (live.episode.number, live.episode.seed) == (2, 4)


def test_a_reset_forgets_the_motion_of_the_episode_before(live: LiveSimulation) -> None:
    live.command(to(live, np.array(PANDA.home) + 0.02, after_s=5.0))
    advance(live, 0.5)
    live.reset(8)
    start = make_simulation("lift").reset(8)
    advance(live, 0.5)
    np.testing.assert_allclose(measured(live), start, atol=1e-3)


@pytest.mark.render
def test_cameras_show_what_the_simulation_would_render() -> None:
    import threading

    from praxon.ros_nodes.camera_thread import CameraThread
    from praxon.ros_nodes.streams import stream
    from praxon.sim.rendering import rendering_problem

    if rendering_problem():
        pytest.skip(str(rendering_problem()))
    simulation = make_simulation("lift", cameras=["front"], image_size=(48, 64))
    live = LiveSimulation(simulation, seed=3, now_ns=BEGIN_NS)
    advance(live, 0.1)
    streams = [stream(f, PANDA) for f in simulation.contract.observations if f.kind == "image"]
    heard, arrived = [], threading.Event()

    def publish(topic: str, message: object) -> None:
        heard.append((topic, message))
        arrived.set()

    cameras = CameraThread(live, streams, 10.0, publish, pytest.fail)
    cameras.start()
    assert arrived.wait(20)
    cameras.stop()
    topic, message = heard[0]
    assert topic == "cameras/front/image"
    picture = streams[0].from_message(message)
    assert np.array_equal(picture, simulation.robot.observe().features["observation.images.front"])
