"""PerturbedAgent: an expert that is pushed while it demonstrates, so that data shows how to come back.

Executed actions carry smooth noise; what is recorded is the action the expert intended. Source: Laskey et al., "DART:
Noise Injection for Robust Imitation Learning", CoRL 2017; here the noise is a first-order process on the arm's joints.
"""

import numpy as np

from praxon.contract import Observation
from praxon.robots.base import Agent
from praxon.robots.spec import RobotSpec


class PerturbedAgent:
    """Wraps an expert.

    Args:
        expert: who demonstrates.
        robot: whose revolute joints are perturbed.
        std_rad: stationary standard deviation of the noise [rad]; 0 leaves the expert alone.
        correlation_s: time constant of the noise [s].
        period_s: control period [s].
    """

    def __init__(
        self, expert: Agent, robot: RobotSpec, std_rad: float, period_s: float, correlation_s: float = 0.3
    ) -> None:
        self.expert = expert
        self.intended: np.ndarray | None = None
        """The expert's own action of the last tick, (num_joints,); this is the demonstration."""
        self._std = np.array([std_rad if joint.unit == "rad" else 0.0 for joint in robot.joints])
        self._keep = float(np.exp(-period_s / correlation_s))
        self._noise = np.zeros(len(robot.joints))
        self._rng = np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        """Start the noise from zero."""
        self.expert.reset(seed)
        self._rng = np.random.default_rng([seed, 1])
        self._noise = np.zeros_like(self._noise)
        self.intended = None

    def act(self, observation: Observation) -> np.ndarray | None:
        """The expert's action with the noise of this tick."""
        actions = self.expert.act(observation)
        if actions is None:
            return None
        self.intended = actions[0]
        fresh = self._rng.standard_normal(len(self._noise))
        self._noise = self._keep * self._noise + np.sqrt(1 - self._keep**2) * self._std * fresh
        return actions + self._noise
