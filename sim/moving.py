"""A target that does not wait: a body of the scene that drifts, or jumps once, while the robot is at work.

What chunked policies fear: a plan that was right when it was made. The same seed gives the same motion.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from praxon.errors import ConfigError, nearest
from praxon.robots.loop import Tick
from praxon.sim.scene import Scene

AREA = ((0.40, -0.20), (0.60, 0.20))
"""Corners of the rectangle that moving targets stay in [m]."""


@dataclass(frozen=True)
class Motion:
    """How a target moves.

    Args:
        speed: of a steady drift [m/s].
        jump: length of one jump [m].
        jump_s: when it jumps [s].

    Raises:
        ConfigError: a negative number.
    """

    speed: float = 0.0
    jump: float = 0.0
    jump_s: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ConfigError(f"The {field.name} of a moving target is a number from 0 on; got {value!r}.")

    @classmethod
    def from_dict(cls, data: Mapping[str, float]) -> "Motion":
        """From a task's config.

        Raises:
            ConfigError: an entry that does not exist.
        """
        known = [field.name for field in fields(cls)]
        for name in data:
            if name not in known:
                raise ConfigError(
                    f"A moving target has no '{name}'. Settings: {', '.join(known)}.{nearest(name, known)}"
                )
        return cls(**data)


class MovingTarget:
    """Moves a body in a direction that the seed decides, and back from the edges of ``AREA``: called at every tick.

    Args:
        scene: that is running.
        body: free or mocap; it keeps its height and its rotation.
        motion: how it moves.
        seed: of the direction.
        period_s: control period [s].
    """

    def __init__(self, scene: Scene, body: str, motion: Motion, seed: int, period_s: float) -> None:
        self._scene, self._body = scene, body
        self._low, self._high = np.asarray(AREA, np.float64)
        angle = np.random.default_rng([seed, 2]).uniform(0.0, 2.0 * np.pi)
        self._direction = np.array([np.cos(angle), np.sin(angle)])
        self._step, self._jump = motion.speed * period_s, motion.jump
        self._jump_tick = round(motion.jump_s / period_s)

    def __call__(self, tick: Tick) -> None:
        """Move on by one control period."""
        step = self._step + (self._jump if tick.index == self._jump_tick else 0.0)
        if not step:
            return
        pose = self._scene.pose(self._scene.body(self._body))
        place = pose[:2] + step * self._direction
        outside = (place < self._low) | (place > self._high)
        self._direction = np.where(outside, -self._direction, self._direction)
        place = np.clip(np.where(outside, pose[:2] + step * self._direction, place), self._low, self._high)
        self._scene.place(self._body, np.array([*place, pose[2]]), pose[3:])
