"""A target that does not wait: a body of the scene that drifts, or jumps once, while the robot is at work.

What chunked policies fear: a plan that was right when it was made. A subscriber of the control loop; the same seed gives the same
motion.
"""

from collections.abc import Sequence

import numpy as np

from praxon.errors import ConfigError
from praxon.robots.loop import Tick
from praxon.sim.scene import Scene


class MovingTarget:
    """Moves a body over the table in a direction that the seed decides, and back from the edges of an area.

    Args:
        scene: that is running.
        body: free or mocap; it keeps its height and its rotation.
        seed: of the direction.
        period_s: control period [s].
        speed: of the drift [m/s].
        jump: length of the one jump [m].
        jump_s: when it jumps [s].
        area: corners of the rectangle that it stays in [m].

    Raises:
        ConfigError: a negative speed, jump or time.
    """

    def __init__(
        self,
        scene: Scene,
        body: str,
        seed: int,
        period_s: float,
        *,
        speed: float = 0.0,
        jump: float = 0.0,
        jump_s: float = 1.0,
        area: Sequence[Sequence[float]] = ((0.40, -0.20), (0.60, 0.20)),
    ) -> None:
        if min(speed, jump, jump_s) < 0:
            raise ConfigError(f"A target moves by 0 or more; got speed {speed}, jump {jump}, jump_s {jump_s}.")
        self._scene, self._body = scene, body
        self._low, self._high = np.asarray(area, np.float64)
        angle = np.random.default_rng([seed, 2]).uniform(0.0, 2.0 * np.pi)
        self._direction = np.array([np.cos(angle), np.sin(angle)])
        self._step, self._jump, self._jump_tick = speed * period_s, jump, round(jump_s / period_s)

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
