"""Replays begin where they are told and reproduce what was recorded."""

import numpy as np
import pytest

from praxon.sim.factory import make_simulation
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import record_episode
from praxon.sim.replay import PathAgent, Replay, Start
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.tool_path import tool_path

PERIOD_S = 0.05
SEEDS = episode_seeds(Purpose.COLLECT, 7, 3)
IK_TOLERANCE_RAD = 0.02
"""One step of inverse kinematics is exact to first order; on the longest ways it ends some millimetres beside."""


def recorded(replay, seed, std_rad=0.0):
    """An expert's episode and where it began."""
    simulation = make_simulation(replay.task.name)
    agent = PerturbedAgent(simulation.expert(), simulation.push_heights(std_rad, 0.0), PERIOD_S)
    frames = record_episode(simulation, agent, seed, linger_s=0.5).frames
    poses = {body: frames[f"observation.{body}_pose"][0].astype(np.float64) for body in replay.task.objects}
    return frames, Start(frames["observation.state"][0].astype(np.float64), poses)


def replayed(replay, frames, start):
    agent = PathAgent(replay.scene.robot, PERIOD_S)
    agent.path = tool_path(agent.control, replay.scene.robot, frames["observation.state"], frames["action"])
    replay.begin = start
    demonstrator = PerturbedAgent(agent, replay.push_heights(0.0, 0.0), PERIOD_S)
    return record_episode(replay, demonstrator, 0, linger_s=0.5), agent


@pytest.fixture(scope="module", params=["reach", "lift", "pick_place"])
def replay(request):
    plain = make_simulation(request.param)
    return Replay(plain.task, plain.scene, plain.contract)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_expert_replayed_as_it_was_does_the_same(replay, seed):
    frames, start = recorded(replay, seed)
    again, agent = replayed(replay, frames, start)
    assert again.result.success
    assert len(again.frames["action"]) == len(frames["action"])
    for name, value in frames.items():
        assert np.array_equal(again.frames[name][0], value[0]) or name == "action"
    assert np.abs(again.frames["action"] - frames["action"]).max() < IK_TOLERANCE_RAD
    assert np.median(np.abs(again.frames["action"] - frames["action"]).max(axis=1)) < IK_TOLERANCE_RAD / 4
    assert agent.deviation_m < 0.03
    final = [
        frames_of[f"observation.{body}_pose"][-1][:3]
        for body in replay.task.objects
        for frames_of in (frames, again.frames)
    ]
    assert np.abs(np.array(final[::2]) - np.array(final[1::2])).max() < 0.01


def test_an_episode_begins_where_it_is_told(replay):
    positions = np.array(replay.scene.robot.home) + 0.01 * (np.arange(len(replay.scene.robot.home)) < 7)
    start = replay.drawn(positions, np.random.default_rng(3))
    replay.begin = start
    replay.reset(99)
    observation = replay.robot.observe().features
    assert np.allclose(observation["observation.state"], positions, atol=1e-7)
    for body, pose in start.poses.items():
        assert np.allclose(observation[f"observation.{body}_pose"], pose, atol=1e-7)
    assert np.array_equal(replay.scene.velocities(), np.zeros(len(positions)))


def test_drawn_starts_are_the_tasks_own(replay):
    """The same generator draws the same objects in an ordinary episode."""
    simulation = make_simulation(replay.task.name)
    rng = np.random.default_rng(SEEDS[0])
    positions = simulation.task.start(rng)
    drawn = replay.drawn(positions, rng)
    simulation.reset(SEEDS[0])
    for body, pose in drawn.poses.items():
        assert np.allclose(pose, simulation.scene.pose(simulation.scene.body(body)), atol=1e-12)


def test_without_a_path_there_is_nothing_to_say(replay):
    agent = PathAgent(replay.scene.robot, PERIOD_S)
    assert agent.act(replay.robot.observe()) is None
