"""A person who helps, played by scripted messages: the arm goes where they say, from where it is, and no further."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from praxon.contract import Observation
from praxon.errors import ConfigError, ContractError
from praxon.learning.interactive import operators
from praxon.learning.interactive.attendant import Attendant
from praxon.learning.interactive.gates import Always, ByDevice
from praxon.learning.interactive.operators import ByHand, Scripted
from praxon.learning.interactive.supervised import SupervisedAgent, roll_out
from praxon.robots.base import SafeCommand, SafetyReport
from praxon.robots.kinematics import ToolKinematics
from praxon.robots.panda import PANDA
from praxon.robots.teleoperation.intervention import Device, Gripper, Intervention, Mark
from praxon.robots.teleoperation.operator import OperatorAgent
from praxon.sim.factory import make_world, task_config
from praxon.sim.window import Window, display_problem
from praxon.targets import load_option, options

PERIOD_S = 0.05
DRIVE = {"control": True}


class Clock:
    """Time [ns] that passes when somebody sleeps, and a little whenever it is looked at."""

    def __init__(self):
        self.ns, self.slept = 0, []

    def __call__(self):
        self.ns += 1
        return self.ns

    def sleep(self, seconds):
        assert seconds >= 0
        self.slept.append(seconds)
        self.ns += round(1e9 * seconds)


class Script(Device):
    """Says the settings of message ``i`` at read ``i`` of an episode; ``None``: nothing new came."""

    def __init__(self, clock, messages=()):
        self.clock, self.messages = clock, list(messages)
        self.reset()

    def reset(self):
        self.reads, self.newest = 0, None

    def read(self):
        settings = self.messages[self.reads] if self.reads < len(self.messages) else self.messages[-1]
        self.reads += 1
        if settings is not None:
            self.newest = Intervention(self.clock(), **settings)
        return self.newest


class Still:
    """A policy that stays where the arm stands; ``moving`` [rad] a tick for one that drives a joint."""

    contract = SimpleNamespace(chunk=SimpleNamespace(num_execute=1))

    def __init__(self, moving=0.0):
        self.moving = moving
        self.reset(0)

    def reset(self, seed):
        self._asked = None

    def begins(self, stamp_ns):
        return True

    def restart(self):
        self._asked = None

    def act(self, observation, preview=0):
        if self._asked is None:
            self._asked = observation.features["observation.state"].astype(np.float64)
        self._asked = self._asked + self.moving * np.eye(8)[0]
        return self._asked[None]


@pytest.fixture(scope="module")
def world():
    return make_world(task_config("reach"), load_option("robot", "panda"))


def helped(world, messages, policy=None, takeover_ticks=1, **settings):
    """One episode of the messages: rollout, and what was seen at each tick."""
    clock, seen = Clock(), []
    device = Script(clock, messages)
    operator = OperatorAgent(PANDA, world.contract, device, takeover_ticks=takeover_ticks, clock=clock, **settings)

    class Watched(Attendant):
        def __call__(self, tick):
            super().__call__(tick)
            seen.append(SimpleNamespace(tool=tool(world), action=tick.action, driving=operator.driving))

    attendant = Watched(operator, PERIOD_S, None, clock, clock.sleep)
    agent = SupervisedAgent(policy or Still(), operator, ByDevice(operator))
    return roll_out(world, agent, 3, attendant=attendant), seen, clock


def tool(world):
    pose = ToolKinematics(PANDA).tool(world.scene.positions())
    rotation = pose.rotation().as_matrix()
    return np.array([*pose.translation(), np.arctan2(rotation[1, 0], rotation[0, 0])]), rotation[:, 2]


STOP = {"control": True, "mark": Mark.FAILURE}
REST = [DRIVE] * 15


@pytest.mark.parametrize(
    "way", [(1, 0, 0, 0), (0, -1, 0, 0), (0, 0, 1, 0), (0.5, 0.5, -0.3, 0), (0, 0, 0, 4), (0, 1, 0, -4)]
)
def test_the_tool_goes_where_it_is_sent_by_velocity_times_time(world, way):
    velocity = 0.1 * np.array(way, float)
    sent = {"control": True, "linear": tuple(velocity[:3].tolist()), "yaw_rate": float(velocity[3])}
    ticks = 16
    _, seen, _ = helped(world, [DRIVE] * 5 + [sent] * ticks + REST + [STOP])
    (begin, axis), (end, axis_after) = seen[5].tool, seen[-1].tool
    moved = end - begin
    wanted = velocity * ticks * PERIOD_S
    np.testing.assert_allclose(moved[:3], wanted[:3], atol=0.003)
    np.testing.assert_allclose((moved[3] - wanted[3] + np.pi) % (2 * np.pi) - np.pi, 0, atol=0.02)
    # Turned about the vertical, and not tilted otherwise.
    cos, sin = np.cos(wanted[3]), np.sin(wanted[3])
    turned = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ axis
    np.testing.assert_allclose(axis_after, turned, atol=0.005)


def test_taking_over_begins_where_the_arm_is_measured(world):
    """While the policy moves at speed: what is asked first is no further away than one step of the fastest."""
    fastest = {"control": True, "linear": (0.3, 0.3, 0.3)}
    rollout, seen, _ = helped(world, [{}] * 12 + [fastest] * 3 + [STOP], Still(moving=0.02))
    first = next(index for index, each in enumerate(seen) if each.driving)
    assert first == 12
    measured = rollout.frames["observation.state"][first].astype(float)
    kinematics = ToolKinematics(PANDA)
    before = kinematics.tool(measured).translation()
    after = kinematics.tool(seen[first].action).translation()
    assert np.linalg.norm(after - before) <= OperatorAgent.SPEED_M_S * PERIOD_S + 1e-4
    assert np.abs(seen[first].action - measured)[:7].max() < 0.08
    # Nor does it, where the policy has driven on during an attempt that came to nothing.
    touch = [DRIVE, DRIVE, *[{}] * 10]
    rollout, seen, _ = helped(world, touch + [DRIVE] * 5 + [STOP], Still(moving=0.02), takeover_ticks=3)
    first = next(index for index, each in enumerate(seen) if each.driving)
    np.testing.assert_allclose(seen[first].action[:7], rollout.frames["observation.state"][first][:7], atol=1e-4)


def test_a_touch_is_no_takeover(world):
    touches = [DRIVE, DRIVE, {}, DRIVE, {}, DRIVE, DRIVE, DRIVE, DRIVE, {}, {}]
    rollout, _, _ = helped(world, [*touches, {"mark": Mark.SUCCESS}], takeover_ticks=3)
    driven = rollout.frames["is_intervention"].reshape(-1)
    np.testing.assert_array_equal(driven, [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    assert rollout.counts.interventions == 1


def test_silence_holds_still_and_keeps_control(world):
    clock = Clock()
    moving = {"control": True, "linear": (0.1, 0.0, 0.0)}
    device = Script(clock, [DRIVE, moving, None])
    operator = OperatorAgent(PANDA, world.contract, device, stale_s=0.32, takeover_ticks=1, clock=clock)
    seen = Observation(0, {"observation.state": np.array(PANDA.home, np.float32)})
    asked, silent = [], []
    for _ in range(20):
        asked.append(operator.act(seen)[0])
        silent.append(operator.silent)
        clock.sleep(PERIOD_S)
    steps = np.abs(np.diff(asked, axis=0)).max(axis=1)
    # The message of tick 1 is 0.3 s old at tick 7, and moves it last: from then on the same is asked for, to the bit.
    assert (steps[:7] > 0).all()
    assert (steps[7:] == 0).all()
    assert silent == [False] * 8 + [True] * 12
    assert operator.driving
    kinematics = ToolKinematics(PANDA)
    begin, end = (kinematics.tool(each).translation() for each in (asked[0], asked[-1]))
    np.testing.assert_allclose(end - begin, [0.1 * 7 * PERIOD_S, 0, 0], atol=0.003)


@pytest.mark.parametrize("driven", [False, True])
def test_a_device_that_drops_out_holds_the_world_whoever_drives(world, driven, caplog):
    said = {"control": driven}
    away = [None] * 60
    rollout, seen, clock = helped(world, [said] * 3 + away + [said] * 4 + [{"mark": Mark.SUCCESS}], stale_s=0.12)
    # Ticks 3 and 4 go by the last message; at tick 5 it is 0.15 s old. That tick's command is still carried out, as in a pause.
    assert len(seen) == 3 + 3 + 4
    np.testing.assert_array_equal(np.diff(rollout.stamps_ns), 50_000_000)
    assert rollout.frames["is_intervention"].reshape(-1).tolist() == [driven] * 9 + [False]
    assert [record.message for record in caplog.records] == ["the device is silent: all waits until it is heard again"]
    # Nine periods between ten ticks, and a look for each read that the world did not make.
    looks = 3 + 60 + 4 + 1 - len(seen)
    assert clock.ns / 1e9 == pytest.approx(9 * PERIOD_S + looks * 0.02, abs=1e-6)


def test_a_device_that_is_away_when_an_episode_begins_is_waited_for(world):
    rollout, seen, _ = helped(world, [None, None, None, {}, {}, {"mark": Mark.SUCCESS}])
    assert len(seen) == 3  # the first, without a message; and two after the fourth read
    assert rollout.counts.intervened == 0


def test_what_is_not_a_number_moves_nothing(world):
    broken = [{"control": True, "linear": (np.nan, 0.0, 0.0)}, {"control": True, "yaw_rate": np.inf}]
    _, seen, _ = helped(world, [DRIVE, *broken * 5, STOP])
    assert np.isfinite([each.action for each in seen]).all()
    assert np.ptp([each.action for each in seen], axis=0).max() == 0


@pytest.mark.parametrize("speed", [0.05, 0.15, 0.35])
def test_at_the_edge_of_the_workspace_it_comes_off_at_once(world, speed):
    """Against the workspace's floor for seconds, and back up."""
    fast, down, up = ({"control": True, "linear": (0.0, 0.0, each)} for each in (-0.35, -speed, speed))
    fall = 70
    _, seen, _ = helped(world, [fast] * 30 + [down] * 40 + [up] * 20 + [STOP])
    heights = np.array([each.tool[0][2] for each in seen])
    floor = PANDA.workspace.lower[2]
    assert floor - 0.001 <= heights[fall - 1] < floor + 0.02
    assert np.ptp(heights[fall - 20 : fall]) < 0.002
    # Of twenty ticks, four to get up to speed again and two of lag; and the fingers stood on the table, above what was commanded.
    assert heights[fall + 19] - heights[fall - 1] > speed * 14 * PERIOD_S - 0.01
    # Where it was pressed down it neither tilted nor slid away.
    before, after = (seen[index].tool for index in (0, fall + 19))
    np.testing.assert_allclose(after[1], before[1], atol=0.05)
    np.testing.assert_allclose(after[0][:2], before[0][:2], atol=0.02)


def test_the_pose_does_not_run_away_from_an_arm_that_cannot_follow(world):
    """An arm that is held: the first step back is no further than the leash."""
    clock = Clock()
    ahead, back = ({"control": True, "linear": (sign * 0.2, 0.0, 0.0), "yaw_rate": sign * 1.0} for sign in (1, -1))
    operator = OperatorAgent(
        PANDA, world.contract, Script(clock, [ahead] * 100 + [back]), takeover_ticks=1, clock=clock
    )
    positions = np.array(PANDA.home)
    seen = Observation(0, {"observation.state": positions.astype(np.float32)})
    asked = np.stack([operator.act(seen)[0] for _ in range(100)])
    kinematics = ToolKinematics(PANDA)
    there, here = kinematics.tool(asked[-1]), kinematics.tool(positions)
    away = np.linalg.norm(there.translation() - here.translation())
    assert OperatorAgent.LEASH_M - 0.2 * PERIOD_S - 1e-3 < away <= OperatorAgent.LEASH_M + 1e-3
    turned = np.linalg.norm((here.rotation().inverse() @ there.rotation()).log())
    assert OperatorAgent.LEASH_RAD - 1.0 * PERIOD_S - 1e-2 < turned <= OperatorAgent.LEASH_RAD + 1e-2
    nearer = kinematics.tool(operator.act(seen)[0]).translation()
    assert np.linalg.norm(nearer - here.translation()) == pytest.approx(away - 0.2 * PERIOD_S, abs=1e-3)


def test_the_gripper_is_toggled_from_what_it_was_sent_and_kept_at_takeover(world):
    toggle = {"control": True, "gripper": Gripper.TOGGLE}
    messages = [{}, {}, DRIVE, toggle, *[DRIVE] * 20, toggle, DRIVE, None, None, STOP]
    _, seen, _ = helped(world, messages)
    asked = [float(each.action[7]) for each in seen]
    upper = PANDA.joints[7].limits.upper
    assert asked[2] == pytest.approx(upper, abs=1e-6)
    assert asked[3:24] == [0.0] * 21
    assert asked[24:] == [upper] * 5  # once: the message that came last is not acted on again
    ignored = [{"gripper": Gripper.CLOSE}, {}, DRIVE, {"control": True, "gripper": Gripper.OPEN}, STOP]
    assert [round(float(each.action[7]), 6) for each in helped(world, ignored)[1]] == [upper] * 5


def test_with_nobody_at_the_device_it_asks_for_what_was_sent_last(world):
    rollout, seen, _ = helped(world, [*[{}] * 30, {"mark": Mark.SUCCESS}], Still(moving=0.01))
    # The filter lets these small steps pass: what is sent is what was asked for.
    np.testing.assert_allclose(rollout.frames["expert_action"][1:], np.stack([s.action for s in seen[:-1]]), atol=1e-6)
    assert rollout.counts.intervened == 0


# -- the episode ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mark", "driven"), [(Mark.SUCCESS, False), (Mark.FAILURE, False), (Mark.FAILURE, True)])
def test_a_mark_ends_the_episode_for_good(world, mark, driven):
    rollout, _, _ = helped(world, [{}] * 4 + [{"control": driven, "mark": mark}])
    frames, success = rollout.frames, mark == Mark.SUCCESS
    assert len(rollout.stamps_ns) == 5
    assert rollout.result.success == success
    assert frames["next.terminal"].reshape(-1).tolist() == [0, 0, 0, 0, 1]
    assert not frames["next.timeout"].any()
    assert frames["next.success"].reshape(-1).tolist() == [0, 0, 0, 0, int(success)]
    blamed = [0, 0, 0, int(driven), int(not success and not driven)]  # the last step was the expert's, where it drove
    assert frames["pre_intervention"].reshape(-1).tolist() == blamed


def test_an_episode_that_nobody_marks_runs_out_of_time(world):
    rollout, _, _ = helped(world, [{}])
    assert rollout.mark == Mark.NONE
    assert rollout.result.steps == world.step_limit
    assert rollout.frames["next.timeout"][-1, 0] == 1


def test_the_world_keeps_pace_with_the_clock_and_waits_in_a_pause(world):
    paused = {"paused": True}
    messages = [{}, {}, paused, *[paused] * 10, {}, {}, {"mark": Mark.SUCCESS}]
    rollout, seen, clock = helped(world, messages)
    assert len(seen) == 5  # no step in the pause
    np.testing.assert_array_equal(np.diff(rollout.stamps_ns), 50_000_000)
    # Four periods between five ticks, and eleven looks until the pause was over.
    assert clock.ns / 1e9 == pytest.approx(4 * PERIOD_S + 11 * 0.02, abs=1e-6)


def test_a_mark_ends_a_pause(world):
    rollout, _, _ = helped(world, [{}, {"paused": True}, {"paused": True, "mark": Mark.DISCARD}])
    assert (rollout.mark, rollout.result.steps) == (Mark.DISCARD, 2)


def test_a_slow_world_does_not_hurry_afterwards(world):
    clock = Clock()
    operator = OperatorAgent(PANDA, world.contract, Script(clock, [{}]), clock=clock)
    attendant = Attendant(operator, PERIOD_S, None, clock, clock.sleep)
    for index, computing_s in enumerate([0.0, 0.01, 0.5, 0.0, 0.0]):
        clock.ns += round(1e9 * computing_s)
        attendant(
            SimpleNamespace(
                index=index, command=SafeCommand(0, PERIOD_S, np.zeros((1, 8)), np.zeros((1, 8)), SafetyReport())
            )
        )
    np.testing.assert_allclose(clock.slept, [0, 0.04, 0, 0.05, 0.05], atol=1e-7)


def test_a_closed_window_interrupts_where_keys_come_from_it(world):
    clock = Clock()
    device = Script(clock, [{}])
    operator = OperatorAgent(PANDA, world.contract, device, clock=clock)
    window = SimpleNamespace(closed=True)
    attendant = Attendant(operator, PERIOD_S, window, clock, clock.sleep)
    tick = SimpleNamespace(
        index=0, command=SafeCommand(0, PERIOD_S, np.zeros((1, 8)), np.zeros((1, 8)), SafetyReport())
    )
    attendant(tick)  # a gamepad goes on without
    device.needs_window = True
    with pytest.raises(KeyboardInterrupt, match="resume=true"):
        attendant(tick)


# -- from configs -----------------------------------------------------------------------------------------------------


def test_every_operator_is_one():
    from praxon.policies.build import build_part

    for name in options("operator"):
        assert isinstance(build_part(load_option("operator", name), operators.Operator), operators.Operator)


def test_the_scripted_one_is_the_worlds_expert_under_the_gate(world):
    gate = Always()
    found = Scripted().at(world, 1.0, gate)
    assert found.gate is gate
    assert found.attendant is None


def test_a_person_gets_the_time_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(operators, "display_problem", lambda: "none")
    world = make_world(task_config("reach"), load_option("robot", "panda"))
    silent = {"_target_": "praxon.robots.teleoperation.gamepad.Gamepad"}
    monkeypatch.setattr(operators, "OperatorAgent", lambda *arguments: SimpleNamespace())
    assert ByHand(silent, episode_s=30.0).at(world, 1.0, Always()).attendant.window is None
    assert world.step_limit == 600
    ByHand(silent, episode_s=None).at(world, 1.0, Always())
    assert world.step_limit == 600
    with pytest.raises(ConfigError, match="lasts 0 s"):
        ByHand(silent, episode_s=0)


def test_without_a_display_the_keyboard_says_what_would_be_right(world, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    device = load_option("operator", "keyboard")["device"]
    with pytest.raises(ConfigError, match=r"DISPLAY is not set.*operator=gamepad"):
        ByHand(device).at(world, 1.0, Always())
    with pytest.raises(ConfigError, match=r"DISPLAY is not set.*operator=gamepad"):
        ByHand(device).require(world, 1.0)
    with pytest.raises(ConfigError, match=r"operator.window is false"):
        ByHand(device, window=False).at(world, 1.0, Always())


def test_where_another_process_helps_the_device_is_let_go_of_again(world, monkeypatch):
    pad = SimpleNamespace(get_numaxes=lambda: 6, get_numbuttons=lambda: 11)
    held = []
    joystick = SimpleNamespace(
        init=lambda: held.append("pad"), quit=held.clear, get_count=lambda: 1, Joystick=lambda index: pad
    )
    display = SimpleNamespace(init=lambda: None)
    monkeypatch.setitem(sys.modules, "pygame", SimpleNamespace(display=display, joystick=joystick))
    gamepad, limit = ByHand(load_option("operator", "gamepad")["device"], episode_s=1.0), world.step_limit
    gamepad.require(world, 1.0)
    assert (held, world.step_limit) == ([], limit)
    joystick.get_count = lambda: 0
    with pytest.raises(ConfigError, match="0 are attached"):
        gamepad.require(world, 1.0)


def test_a_display_that_is_none_is_met_before_the_viewer_waits_for_it(world, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":4711")
    assert "':4711'" in display_problem()
    with pytest.raises(ConfigError, match="No window can be opened"):
        Window(world.scene.model, world.scene.data)


def test_worlds_without_a_robot_and_actions_without_joints_are_refused(world):
    elsewhere = SimpleNamespace(contract=SimpleNamespace(task="somewhere"))
    with pytest.raises(ConfigError, match="'somewhere' has none of ours"):
        ByHand(load_option("operator", "keyboard")["device"]).at(elsewhere, 1.0, Always())
    blind = replace(world.contract, observations=())
    with pytest.raises(ContractError, match="no observation holds them"):
        OperatorAgent(PANDA, blind, Script(Clock()))
    with pytest.raises(ContractError, match="moves the joints of 'panda'"):
        OperatorAgent(
            PANDA, replace(world.contract, action=replace(world.contract.action, names=("a",) * 8)), Script(Clock())
        )
    for wrong in ({"stale_s": 0.0}, {"takeover_ticks": 0}):
        with pytest.raises(ConfigError):
            OperatorAgent(PANDA, world.contract, Script(Clock()), **wrong)
