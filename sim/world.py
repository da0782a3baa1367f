"""World: a place where agents act for episodes. A task on a robot in MuJoCo is one, a gymnasium environment another.

What verbs need of either is here; how an episode is paced, ended and summed up is written once, in ``run``.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from praxon.contract import Observation, PolicyContract
from praxon.errors import ConfigError
from praxon.robots.base import Agent
from praxon.robots.loop import Tick


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode went.

    Args:
        seed: that fixed its start.
        success: whether the task was solved before the time limit.
        steps: control steps taken.
        seconds: simulated time [s].
        mean_reward: reward averaged over steps.
        clamped: fraction of steps on which the action was changed before it was carried out: by the safety filter of a
            robot, by the bounds of an environment's action space.
        metrics: largest or smallest task figures seen, by name ``max_*`` and ``min_*``, and the world's own totals.
        wall_s: time it took [s].
    """

    seed: int
    success: bool
    steps: int
    seconds: float
    mean_reward: float
    clamped: float
    metrics: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """What the world says of its present state.

    Args:
        reward: of the last step.
        success: whether the task is solved now.
        metrics: task figures by name.
        ended: whether the episode is over for good: nothing can follow.
        truncated: whether it is over although something could have followed.
    """

    reward: float
    success: bool
    metrics: Mapping[str, float]
    ended: bool = False
    truncated: bool = False

    @property
    def over(self) -> bool:
        """Whether the episode does not go on."""
        return self.ended or self.truncated


class Pictures(Protocol):
    """A view of a world."""

    def render(self) -> np.ndarray:
        """The picture now, (height, width, 3) uint8 RGB."""

    def close(self) -> None:
        """Free what pictures need."""


class Verdict(Protocol):
    """Whoever says whether the task is solved by what is seen; see ``World.verdict``."""

    def reset(self) -> None:
        """Begin an episode."""

    def __call__(self, features: Mapping[str, np.ndarray]) -> Judgement:
        """Of the observation that followed a step; asked once at every step, in order."""


class World(ABC):
    """Where episodes run.

    Attributes:
        contract: what agents see and command here; it names task and robot, and its control period paces the episode.
        instruction: the task in words.
        step_limit: control steps after which an episode ends.
        verdict: who says that the task is solved; the world itself where ``None``. Rewards stay the world's.
    """

    contract: PolicyContract
    instruction: str
    step_limit: int
    verdict: Verdict | None = None

    @abstractmethod
    def expert(self) -> Agent:
        """Who knows how it is done; ``ConfigError`` where nobody does."""

    @abstractmethod
    def idle(self) -> Agent:
        """An agent that does nothing: the baseline below every other."""

    @abstractmethod
    def push_heights(self, joint_rad: float, box_share: float) -> np.ndarray:
        """Standard deviation of a push on each component of the action, (A,), for ``PerturbedAgent``.

        Args:
            joint_rad: where actions are joint positions [rad].
            box_share: where they have bounds only: a share of half their range.
        """

    @abstractmethod
    def first_observation(self, seed: int) -> Observation:
        """Begin the episode of this seed; returns what is seen at its start."""

    @abstractmethod
    def observe(self) -> Observation:
        """Every feature of the contract now."""

    def performer(self, agent: Agent) -> Agent:
        """Who acts here for an agent that speaks in the contract's actions; itself where the world takes those."""
        return agent

    def demonstrated(self, action: np.ndarray) -> np.ndarray:
        """What an action of the expert is in the contract's terms, as it is recorded."""
        return action.astype(np.float32)

    @abstractmethod
    def view(self, height: int, width: int) -> Pictures:
        """How this world is filmed, ``height`` x ``width`` [pixels]."""

    @abstractmethod
    def filming_problem(self) -> str | None:
        """None where ``view`` works here, else one sentence saying what is missing."""

    @abstractmethod
    def _start(self, agent: Agent, seed: int, subscribers: Sequence[Callable[[Tick], None]]) -> Callable[[], Tick]:
        """Reset world and agent; returns what carries out one control step."""

    def _beside(self, agent: Agent) -> tuple[Callable[[], Tick], Callable[[], None]]:
        """What carries out one control step of another agent from the present state, and what puts everything back.

        Raises:
            ConfigError: this world cannot go back.
        """
        raise ConfigError(
            f"What comes of a plan cannot be foreseen in a {type(self).__name__} ('{self.contract.task}'): it cannot go back to "
            "where it was."
        )

    @abstractmethod
    def _judge(self) -> Judgement:
        """The world's opinion of the step just taken."""

    def _totals(self) -> dict[str, float]:
        """Figures of a whole episode, by name."""
        return {}

    def foresee(self, agent: Agent, steps: int) -> np.ndarray:
        """What would come of it if ``agent`` had control from this step on; the episode then goes on as if nobody had looked.

        Everything passes by the same way as in the episode itself, what keeps the world safe included. For agents to call while
        they decide, about themselves or others; the one asked about is not reset.

        Args:
            agent: who would act.
            steps: control steps to look ahead, at least 1.

        Returns:
            (steps,) reward after each. From success on, and where the world ends the episode, the last one stays; at success it
            counts as 1 at least.

        Raises:
            ConfigError: this world cannot go back to where it was, or an episode has not begun.
        """
        step, restore = self._beside(agent)
        rewards: list[float] = []
        try:
            while len(rewards) < steps:
                step()
                judgement = self._judge()
                rewards.append(max(1.0, judgement.reward) if judgement.success else judgement.reward)
                if judgement.success or judgement.over:
                    break
        finally:
            restore()
        return np.array(rewards + [rewards[-1]] * (steps - len(rewards)))

    def run(
        self,
        agent: Agent,
        seed: int,
        subscribers: Sequence[Callable[[Tick], None]] = (),
        linger_s: float = 0.0,
        judged: Callable[[Judgement], None] = lambda judgement: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> EpisodeResult:
        """Run one episode: to success, to the time limit, or until the world or somebody who watches ends it.

        Args:
            agent: who acts; reset with the same seed.
            seed: of start and agent.
            subscribers: see every tick.
            linger_s: how long to go on after success [s], so that recorded demonstrations show how to stay.
            judged: told the world's opinion of every step.
            stop: asked after every step whether the episode ends here.
        """
        began = time.perf_counter()
        if self.verdict is not None:
            self.verdict.reset()
        step = self._start(agent, seed, subscribers)
        period_s = self.contract.chunk.control_period_s
        limit = self.step_limit
        steps, clamped, rewards, success = 0, 0, 0.0, False
        extremes: dict[str, float] = {}
        while steps < limit:
            tick = step()
            steps += 1
            clamped += bool(tick.command.report.causes)
            judgement = self._judge()
            if self.verdict is not None:
                solved = self.verdict(self.observe().features).success
                # A world that ends with what it calls solved has not failed where the verdict does not say so yet.
                early = judgement.ended and judgement.success and not solved
                ended, truncated = judgement.ended and not early, judgement.truncated or early
                judgement = replace(judgement, success=solved, ended=ended, truncated=truncated)
            judged(judgement)
            rewards += judgement.reward
            for name, value in judgement.metrics.items():
                extremes[f"max_{name}"] = max(value, extremes.get(f"max_{name}", value))
                extremes[f"min_{name}"] = min(value, extremes.get(f"min_{name}", value))
            if not success and judgement.success:
                success = True
                limit = min(limit, steps + round(linger_s / period_s))
            if judgement.over or stop():
                break
        return EpisodeResult(
            seed,
            success,
            steps,
            steps * period_s,
            rewards / max(steps, 1),
            clamped / max(steps, 1),
            extremes | self._totals(),
            time.perf_counter() - began,
        )
