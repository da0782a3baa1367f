"""What a policy sees over ROS is, to the bit, what it was trained on; and a robot that follows trajectories acts alike."""

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState

from praxon.contract import Observation
from praxon.robots.loop import Tick
from praxon.robots.safety import SafetyFilter
from praxon.ros_nodes.convert import joints_to_message, trajectory_from_message, trajectory_to_message
from praxon.ros_nodes.live_simulation import SLICE_NS, LiveSimulation
from praxon.ros_nodes.streams import stream
from praxon.ros_nodes.trajectory import command_trajectory
from praxon.sim.episode import Simulation
from praxon.sim.factory import make_simulation

BEGIN_NS = 1_750_000_000_000_000_000
LOOKAHEAD = 3


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return make_simulation("pick_place")


def test_a_recorded_episode_comes_through_messages_to_the_bit(simulation: Simulation) -> None:
    ticks: list[Tick] = []
    expert = simulation.task.expert(simulation.scene, 0.05)
    assert simulation.run(expert, seed=5, subscribers=[ticks.append]).success
    streams = [stream(feature, simulation.scene.robot) for feature in simulation.contract.observations]
    assert len(ticks) > 40
    for tick in ticks:
        assert tick.observation is not None
        for each in streams:
            recorded = tick.observation.features[each.feature.name]
            heard = each.from_message(each.to_message(recorded, tick.observation.stamp_ns))
            each.feature.check(heard)
            assert heard.tobytes() == recorded.tobytes()


def test_what_robot_sim_reports_is_what_the_simulated_robot_observes(simulation: Simulation) -> None:
    live = LiveSimulation(simulation, seed=5, now_ns=BEGIN_NS)
    for _ in range(30):
        live.advance()
    observed = simulation.robot.observe().features
    for name, value in heard(live).features.items():
        assert value.tobytes() == observed[name].tobytes()


def test_the_tool_is_seen_over_ros_as_in_simulation() -> None:
    live = LiveSimulation(make_simulation("pick_place", tool_pose=True), seed=5, now_ns=BEGIN_NS)
    for _ in range(30):
        live.advance()
    observed = live.simulation.robot.observe().features["observation.tool_pose"]
    assert heard(live).features["observation.tool_pose"].tobytes() == observed.tobytes()


def heard(live: LiveSimulation) -> Observation:
    """An observation put together from the messages that robot_sim publishes."""
    contract, robot = live.simulation.contract, live.simulation.scene.robot
    streams = [stream(feature, robot) for feature in contract.observations]
    report = live.report([each.feature.source for each in streams if each.message_type is PoseStamped])
    features = {}
    for each in streams:
        feature = each.feature
        if each.message_type is JointState:
            message = joints_to_message(report.names, report.positions, report.stamp_ns, report.velocities)
        else:
            message = each.to_message(report.poses[feature.source], report.stamp_ns)
        features[feature.name] = each.from_message(message)
    return Observation(report.stamp_ns, features)


@pytest.mark.parametrize("seed", [5, 6])
def test_the_expert_solves_the_task_through_messages_and_trajectories(simulation: Simulation, seed: int) -> None:
    period_s, robot = 0.05, simulation.scene.robot
    live = LiveSimulation(simulation, seed, BEGIN_NS)
    expert = simulation.task.expert(simulation.scene, period_s)
    safety = SafetyFilter(robot, period_s, simulation.contract.max_observation_age_s)
    safety.reset(live.report().positions[: len(robot.joints)])
    expert.reset(seed)
    velocity_limits = robot.limit("velocity")
    while not live.episode.finished:
        observation = heard(live)
        now_ns = observation.stamp_ns
        command = safety.filter(expert.act(observation), now_ns, now_ns, LOOKAHEAD)
        message = trajectory_to_message(command_trajectory(command, robot.joint_names))
        live.command(trajectory_from_message(message, now_ns))
        for _ in range(round(period_s * 1e9) // SLICE_NS):
            live.advance()
        measured = np.abs(live.report().velocities[: len(robot.joints)])
        assert np.all(measured <= 1.05 * velocity_limits + 1e-3)
    assert live.episode.success
    assert not live.counts["clamped"]


def test_an_episode_begins_where_the_simulation_of_that_seed_begins(simulation: Simulation) -> None:
    live = LiveSimulation(simulation, seed=1, now_ns=BEGIN_NS)
    live.advance()
    live.reset(9)
    begun = heard(live).features
    simulation.reset(9)
    expected = simulation.robot.observe().features
    assert live.stamp_ns == BEGIN_NS + SLICE_NS  # the clock goes on
    for name, value in begun.items():
        assert value.tobytes() == expected[name].tobytes()
