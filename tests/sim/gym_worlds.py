"""Small environments for the tests: a mass that moves as it is told, observed as an array, as a dictionary, with a goal."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

STEP = 0.1


class Mass(gymnasium.Env):
    """A point in the plane; actions are velocities within [-1, 2]. Solved within 0.05 of the target; reward -distance.
    May fall (terminated) and be stopped (truncated) after so many steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self, render_mode=None, spread=1.0, ends_when_solved=False, says_success=True, falls_at=None, stops_at=None
    ):
        self.render_mode, self.spread = render_mode, spread
        self.ends_when_solved, self.says_success = ends_when_solved, says_success
        self.falls_at, self.stops_at = falls_at, stops_at
        self.observation_space = Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = Box(np.array([-1.0, -1.0], np.float32), np.array([2.0, 2.0], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.target = self.np_random.uniform(-self.spread, self.spread, (2, 2))
        self.steps = 0
        return self.observed(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.place = self.place + STEP * action.astype(np.float64)
        away = float(np.abs(self.place - self.target).max())
        info = {"success": away < 0.05, "away": away} if self.says_success else {}
        self.steps += 1
        fell, stopped = self.steps == self.falls_at, self.steps == self.stops_at
        return self.observed(), -away, fell or (self.ends_when_solved and away < 0.05), stopped, info

    def observed(self):
        return np.concatenate([self.place, self.target])

    def render(self):
        return np.full((40, 60, 3), 100, np.uint8)


class Pictured(Mass):
    """The same as a dictionary with a picture and a number of another kind."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        inner = Dict({"place": Box(-9, 9, (2, 1), np.float64), "kind": Discrete(3)})
        self.observation_space = Dict(
            {"agent_pos": Box(-9, 9, (2,)), "target": inner, "pixels": Dict({"top": Box(0, 255, (6, 8, 3), np.uint8)})}
        )

    def observed(self):
        return {
            "agent_pos": self.place.astype(np.float32),
            "target": {"place": self.target[:, None], "kind": 1},
            "pixels": {"top": np.full((6, 8, 3), 7, np.uint8)},
        }


class Reaching(Mass):
    """The same as a goal environment."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.observation_space = Dict({key: Box(-9, 9, (2,), np.float64) for key in KEYS})

    def observed(self):
        return dict(zip(KEYS, (self.place, self.place, self.target), strict=True))


KEYS = ("observation", "achieved_goal", "desired_goal")


def expert(env):
    """Straight to the target, faster than is allowed."""
    return lambda observed: (observed[2:] - observed[:2]) / STEP


for name, kind, steps in (
    ("Mass", Mass, 30),
    ("Pictured", Pictured, 30),
    ("Reaching", Reaching, 30),
    ("Endless", Mass, None),
):
    gymnasium.register(f"{name}-v0", kind, max_episode_steps=steps)
gymnasium.register("elsewhere/Mass-v0", Mass, max_episode_steps=30)
gymnasium.register("Moved-v0", "gym_gone:Mass", max_episode_steps=30)
gymnasium.register("Switch-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=10)
