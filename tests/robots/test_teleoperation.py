"""Devices, fed as the viewer and SDL would feed them: what is pressed becomes the message it should."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from praxon.errors import ConfigError
from praxon.robots.teleoperation import keyboard
from praxon.robots.teleoperation.gamepad import AXES, BUTTONS, Gamepad
from praxon.robots.teleoperation.intervention import Gripper, Mark
from praxon.robots.teleoperation.keyboard import Keyboard

PERIOD_S = 0.05


def awake(**settings) -> Keyboard:
    """A keyboard whose user has gone on and taken over."""
    device = Keyboard(**settings)
    device.open(PERIOD_S)
    device.press(keyboard.ENTER)
    return device


def travelled(device, reads=60) -> np.ndarray:
    """(x, y, z, yaw) that the messages of so many periods add up to."""
    messages = [device.read() for _ in range(reads)]
    return PERIOD_S * np.sum([(*message.linear, message.yaw_rate) for message in messages], axis=0)


# -- keyboard ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "way"),
    [
        (keyboard.UP, (0.02, 0, 0, 0)),
        (keyboard.DOWN, (-0.02, 0, 0, 0)),
        (keyboard.LEFT, (0, 0.02, 0, 0)),
        (keyboard.RIGHT, (0, -0.02, 0, 0)),
        (keyboard.PAGE_UP, (0, 0, 0.02, 0)),
        (keyboard.PAGE_DOWN, (0, 0, -0.02, 0)),
        (keyboard.HOME, (0, 0, 0, 0.15)),
        (keyboard.END, (0, 0, 0, -0.15)),
    ],
)
def test_a_press_is_one_step_whatever_the_speed(key, way):
    for speed in (0.07, 0.15, 5.0):
        device = awake(speed_m_s=speed, speed_rad_s=speed)
        device.press(key)
        np.testing.assert_allclose(travelled(device), way, atol=1e-12)


def test_steps_are_travelled_at_the_speed_and_then_end():
    device = awake(step_m=0.02, speed_m_s=0.15)
    device.press(keyboard.UP)
    speeds = [device.read().linear[0] for _ in range(5)]
    np.testing.assert_allclose(speeds, [0.15, 0.15, (0.02 - 0.015) / PERIOD_S, 0, 0], atol=1e-12)


def test_presses_add_up_cancel_and_are_not_hoarded():
    device = awake(queued=3)
    for key in (keyboard.UP, keyboard.UP, keyboard.DOWN, keyboard.LEFT):
        device.press(key)
    np.testing.assert_allclose(travelled(device), (0.02, 0.02, 0, 0), atol=1e-12)
    for _ in range(10):
        device.press(keyboard.UP)
    np.testing.assert_allclose(travelled(device), (0.06, 0, 0, 0), atol=1e-12)


def test_steps_become_longer_and_shorter_within_bounds():
    device = awake()
    device.press(keyboard.EQUAL)
    device.press(keyboard.UP)
    np.testing.assert_allclose(travelled(device)[0], 0.04)
    for _ in range(20):
        device.press(keyboard.MINUS)
    device.press(keyboard.UP)
    np.testing.assert_allclose(travelled(device)[0], 0.02 / 8)


def test_control_and_pause_are_toggles_and_an_episode_begins_paused():
    device = Keyboard()
    device.open(PERIOD_S)

    def state():
        message = device.read()
        return message.control, message.paused

    assert state() == (False, True)
    device.press(keyboard.SPACE)
    assert state() == (False, False)
    device.press(keyboard.SPACE)
    device.press(keyboard.ENTER)  # taking over goes on
    assert state() == (True, False)
    device.press(keyboard.SPACE)
    device.press(keyboard.ENTER)  # in a pause of the operator's own it does not give back
    assert state() == (True, False)
    device.press(keyboard.ENTER)
    assert state() == (False, False)
    device.press(keyboard.ENTER)
    device.reset()
    assert state() == (False, True)


def test_steps_are_for_those_in_control_and_end_with_it():
    device = Keyboard()
    device.open(PERIOD_S)
    device.press(keyboard.UP)
    device.press(keyboard.ENTER)
    np.testing.assert_array_equal(travelled(device), np.zeros(4))
    for stop in (keyboard.SPACE, keyboard.ENTER):
        device.press(keyboard.UP)
        device.press(stop)
        np.testing.assert_array_equal(travelled(device), np.zeros(4))
        device.press(stop)


def test_events_are_said_once():
    device = awake()
    device.press(keyboard.INSERT)
    device.press(keyboard.EIGHT)
    first, second = device.read(), device.read()
    assert (first.gripper, first.mark) == (Gripper.TOGGLE, Mark.FAILURE)
    assert (second.gripper, second.mark) == (Gripper.KEEP, Mark.NONE)
    for key, mark in ((keyboard.SEVEN, Mark.SUCCESS), (keyboard.NINE, Mark.DISCARD), (ord("Q"), Mark.NONE)):
        device.press(key)
        assert device.read().mark == mark
    device.press(keyboard.INSERT)
    device.press(keyboard.DELETE)
    assert device.read().gripper == Gripper.KEEP  # open and closed again


# -- gamepad ----------------------------------------------------------------------------------------------------------


def said(device, held=(), **axes):
    values, buttons = [0.0] * 6, [False] * 11
    for name, value in axes.items():
        values[AXES[name]] = value
    for name in held:
        buttons[BUTTONS[name]] = True
    return device.said(values, buttons)


def test_a_stick_that_is_pushed_away_or_left_is_positive():
    device = Gamepad(speed_m_s=0.2, speed_rad_s=1.5, deadzone=0.1)
    for index, name in enumerate(("x", "y", "z")):
        away = said(device, **{name: -1.0})
        np.testing.assert_allclose(away.linear, 0.2 * np.eye(3)[index])
        np.testing.assert_allclose(said(device, **{name: 1.0}).linear, -0.2 * np.eye(3)[index])
    assert said(device, yaw=-1.0).yaw_rate == pytest.approx(1.5)
    assert said(device, x=0.1, y=-0.1, z=0.05).linear == (0, 0, 0)
    # Half of the way beyond the deadzone is half of the speed, and its edge is no step.
    assert said(device, x=-0.55).linear[0] == pytest.approx(0.1)
    assert said(device, x=-0.1001).linear[0] == pytest.approx(0, abs=1e-4)
    assert said(device, x=-1.5).linear[0] == pytest.approx(0.2)


def test_buttons_count_when_they_go_down_and_driving_while_held():
    device = Gamepad()
    assert said(device).paused  # every episode begins so
    assert not said(device, ["pause"]).paused
    assert not said(device, ["pause"]).paused
    said(device)
    assert said(device, ["pause"]).paused
    assert [said(device, held).control for held in (["drive"], ["drive"], [])] == [True, True, False]
    assert [said(device, held).gripper for held in (["gripper"], ["gripper"], [], ["gripper"])] == [3, 0, 0, 3]
    for name, mark in (("success", Mark.SUCCESS), ("failure", Mark.FAILURE), ("discard", Mark.DISCARD)):
        assert said(device, [name]).mark == mark
        assert said(device, [name]).mark == Mark.NONE
        device.reset()
        assert said(device, [name]).mark == Mark.NONE  # still held from the episode that it ended
        said(device)


def test_where_pygame_is_missing_the_install_line_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ConfigError, match=r"pip install 'praxon\[gamepad\]'"):
        Gamepad().open(PERIOD_S)


def test_where_no_pad_is_attached_it_is_said():
    pygame = pytest.importorskip("pygame")
    with pytest.raises(ConfigError, match="Gamepad 63 was asked for and"):
        Gamepad(index=63).open(PERIOD_S)
    pygame.quit()


def test_a_pad_that_was_unplugged_says_nothing_new_and_is_read_afresh_when_it_is_back(monkeypatch):
    attached, opened = [True], []

    def pad(index):
        """SDL's handle of a pad that was unplugged stays dead; a new one is read."""
        number = len(opened)
        opened.append(index)
        return SimpleNamespace(
            get_init=lambda: True,
            get_numaxes=lambda: 6,
            get_numbuttons=lambda: 11,
            get_axis=lambda axis: 0.0,
            get_button=lambda button: button == BUTTONS["drive"] and number == 1,
        )

    part = SimpleNamespace(init=lambda: None, get_count=lambda: len(attached), Joystick=pad, pump=lambda: None)
    monkeypatch.setitem(sys.modules, "pygame", SimpleNamespace(display=part, joystick=part, event=part))
    device = Gamepad()
    device.open(PERIOD_S)
    first = device.read()
    attached.clear()
    assert device.read() is device.read() is first
    attached.append(True)
    again = device.read()
    assert again.stamp_ns > first.stamp_ns
    assert (first.control, again.control) == (False, True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Keyboard(step_m=0),
        lambda: Keyboard(queued=-1),
        lambda: Gamepad(deadzone=1.0),
        lambda: Gamepad(speed_m_s=0.0),
        lambda: Gamepad(axes={"x": 0}),
        lambda: Gamepad(buttons={**BUTTONS, "dance": 9}),
    ],
)
def test_impossible_devices_are_refused(make):
    with pytest.raises(ConfigError):
        make()
