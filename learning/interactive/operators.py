"""Operators: who helps a policy that is watched. The task's scripted expert, or a person with a device in hand."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from praxon.errors import ConfigError
from praxon.learning.interactive.attendant import Attendant
from praxon.learning.interactive.gates import ByDevice, Gate, Never
from praxon.policies.build import build_part
from praxon.robots.base import Agent
from praxon.robots.teleoperation.intervention import Device
from praxon.robots.teleoperation.operator import OperatorAgent
from praxon.sim.episode import Simulation
from praxon.sim.skill import skilled_expert
from praxon.sim.window import Window, display_problem
from praxon.sim.world import World


@dataclass(frozen=True)
class Help:
    """What a rollout needs of whoever helps.

    Args:
        expert: what the helper does.
        gate: when the helper has control.
        attendant: who keeps the world in step with a person; ``None`` where nobody watches.
        gives_up: whether the helper blames an episode whose time runs out unsolved, see ``roll_out``.
    """

    expert: Agent
    gate: Gate
    attendant: Attendant | None = None
    gives_up: bool = False


class Operator(ABC):
    """Parent of operators.

    Attributes:
        gated: whether a gate says when it has control; else it says so itself.
    """

    gated = True

    @abstractmethod
    def require(self, world: World, skill: float) -> None:
        """Refuse what ``at`` would, and keep hold of nothing: where another process will help.

        Args:
            world: where.
            skill: of a scripted expert.

        Raises:
            ConfigError: this operator cannot help here.
        """

    @abstractmethod
    def at(self, world: World, skill: float, gate: Gate | None) -> Help:
        """This operator at a world.

        Args:
            world: where.
            skill: of a scripted expert.
            gate: of a scripted expert; ``None`` where no gate was asked for, and it never takes over by itself.

        Raises:
            ConfigError: this operator cannot help here.
        """


class Scripted(Operator):
    """The world's own expert, whom the gate gives control.

    Args:
        gives_up: whether it blames the policy for an episode whose time runs out unsolved, as a person would.
    """

    def __init__(self, gives_up: bool = False) -> None:
        self.gives_up = gives_up

    def require(self, world: World, skill: float) -> None:
        """See ``Operator.require``."""
        skilled_expert(world, skill)

    def at(self, world: World, skill: float, gate: Gate | None) -> Help:
        """See ``Operator.at``."""
        return Help(skilled_expert(world, skill), gate or Never(), gives_up=self.gives_up)


class ByHand(Operator):
    """A person, who takes control and gives it back; skill and gate are theirs.

    Args:
        device: config of a ``Device``.
        window: whether the world is shown in a window; ``None``: where there is a display, or the device needs one.
        episode_s: how long an episode lasts at most, pauses left out [s]; ``None``: as the task says, for experts who are quick.
        stale_s, takeover_ticks: as in ``OperatorAgent``.

    Raises:
        ConfigError: an episode that does not last.
    """

    gated = False

    def __init__(
        self,
        device: Mapping[str, Any],
        window: bool | None = None,
        episode_s: float | None = 60.0,
        stale_s: float = 0.3,
        takeover_ticks: int = 3,
    ) -> None:
        if episode_s is not None and not episode_s > 0:
            raise ConfigError(f"An episode lasts {episode_s} s; more than 0 is needed.")
        self.device: Device = build_part(device, Device)
        self.episode_s = episode_s
        self.window, self.stale_s, self.takeover_ticks = window, stale_s, takeover_ticks

    def require(self, world: World, skill: float) -> None:
        """See ``Operator.require``."""
        self._agent(self._simulation(world))
        self.device.close()
        problem = display_problem() if self._needs_window else None
        if problem is not None:
            raise ConfigError(problem)

    def at(self, world: World, skill: float, gate: Gate | None) -> Help:
        """See ``Operator.at``."""
        simulation = self._simulation(world)
        operator, period_s = self._agent(simulation), simulation.contract.chunk.control_period_s
        if self.episode_s is not None:
            simulation.step_limit = max(1, round(self.episode_s / period_s))
        window = None
        if self._needs_window or (self.window is None and display_problem() is None):
            scene = simulation.scene
            window = Window(scene.model, scene.data, self.device.keys, self.device.press)
        return Help(operator, ByDevice(operator), Attendant(operator, period_s, window))

    @property
    def _needs_window(self) -> bool:
        return bool(self.device.needs_window or self.window)

    def _simulation(self, world: World) -> Simulation:
        if not isinstance(world, Simulation):
            raise ConfigError(
                f"A person drives the tool of a robot, and '{world.contract.task}' has none of ours; operator=expert is scripted."
            )
        return world

    def _agent(self, world: Simulation) -> OperatorAgent:
        """Who listens to the device, which is opened."""
        if self.window is False and self.device.needs_window:
            raise ConfigError(
                f"operator.window is false, and {type(self.device).__name__} hears the keys that are pressed in it."
            )
        return OperatorAgent(world.scene.robot, world.contract, self.device, self.stale_s, self.takeover_ticks)
