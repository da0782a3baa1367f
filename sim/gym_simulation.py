"""GymSimulation: a gymnasium environment as a world. Its step is the control step, its action space what keeps it safe.

The contract's robot is ``gymnasium``, its action a vector with the components of the action space. Actions are clipped to
the space's bounds (cause ``box``); where none has come yet, or one that is not finite, the last one is repeated, at first
that which does nothing.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np

from praxon.contract import GOAL, Chunk, Feature, Observation, PolicyContract, task_value
from praxon.errors import ConfigError
from praxon.robots.base import Agent, SafeCommand, SafetyReport
from praxon.robots.loop import Tick
from praxon.sim.gym_features import REACHED, WANTED, Reader, features, is_goal_space, reader
from praxon.sim.gym_snapshot import snapshot
from praxon.sim.gym_task import GymTask, Script
from praxon.sim.rendering import rendering_problem
from praxon.sim.world import Judgement, Pictures, World

ROBOT = "gymnasium"


class GymSimulation(World):
    """An environment, ready to run episodes.

    Args:
        task: which environment, and what it calls success.
        task_name: what the contract calls it (``gym_task.identity``).
        cameras: names of cameras to observe besides what the environment observes: of its model where it is a MuJoCo one,
            'render' for what its ``render`` shows.
        image_size: (height, width) of their pictures.
        policy_contract: of a policy that shall act here; what it sees then replaces cameras and size, and its goals and
            tasks are offered as far as the environment knows them.

    Raises:
        ConfigError: the environment is missing, or its spaces are none that can be learned here.
        ContractError: the policy does not know this task.
    """

    def __init__(
        self,
        task: GymTask,
        task_name: str,
        cameras: Sequence[str] = (),
        image_size: Sequence[int] = (84, 84),
        policy_contract: PolicyContract | None = None,
    ) -> None:
        self.task = task
        self.instruction = task.instruction
        self.env = task.make()
        space = self.env.action_space
        if not isinstance(space, gymnasium.spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            raise ConfigError(
                f"'{task.env_id}' takes actions of {space}; continuous ones (Box of floats) can be learned here."
            )
        self._space = space
        self._low, self._high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
        observed = features(task, self.env.observation_space)
        wanted = policy_contract.observations if policy_contract is not None else ()
        if policy_contract is not None:
            pictures = [
                each for each in wanted if each.kind == "image" and each.source not in {f.source for f in observed}
            ]
            cameras = [each.source for each in pictures]
            image_size = pictures[0].shape[:2] if pictures else image_size
        height, width = image_size
        views = {f"observation.images.{name}": task.view(self.env, name, height, width) for name in cameras}
        shown = [
            Feature(name, "image", (height, width, 3), dtype="uint8", source=name.split(".", 2)[2]) for name in views
        ]
        size = len(self._low)
        contract = PolicyContract(
            robot=ROBOT,
            task=task_name,
            observations=(*observed, *shown),
            action=Feature("action", "vector", (size,), task.action_names(size)),
            chunk=Chunk(control_period_s=1 / control_hz(task, self.env)),
        )
        self._readers: dict[str, Reader] = {feature.name: reader(feature) for feature in observed}
        self._readers |= {name: partial(_picture, view) for name, view in views.items()}
        reached = (
            {GOAL + each.name: each for each in observed if each.source == REACHED} if is_goal_space(self.env) else {}
        )
        for feature in wanted:
            if feature.name in reached:
                contract = contract.with_goals([reached[feature.name].name])
                self._readers[feature.name] = reader(replace(reached[feature.name], source=WANTED))
            elif feature.kind == "task":
                contract = contract.with_tasks(feature.names)
                self._readers[feature.name] = partial(_constant, task_value(feature, task.instruction))
        self.contract = contract
        self.step_limit = step_limit(task, self.env)
        self._period_ns = round(self.contract.chunk.control_period_s * 1e9)
        self.nothing = np.clip(np.zeros(size), self._low, self._high)
        """The action that does nothing, as far as an action space can tell: zero, or what of its bounds is nearest, (A,)."""
        self.observed: Any = None
        """The environment's own last observation."""
        self._begin()

    def expert(self) -> Agent:
        """The scripted expert, its actions clipped to the action space: what is recorded is what was done."""
        return _ExpertAgent(self, self.task.script(self.env))

    def idle(self) -> Agent:
        """Always ``nothing``."""
        return _IdleAgent(self.nothing)

    def push_heights(self, joint_rad: float, box_share: float) -> np.ndarray:
        """``box_share`` of half the range of each component.

        Raises:
            ConfigError: a component without bounds is to be pushed.
        """
        if not box_share:
            return np.zeros_like(self._low)
        half_range = (self._high - self._low) / 2
        if not np.isfinite(half_range).all():
            raise ConfigError(
                f"Actions of '{self.task.env_id}' have no bounds that a push could be a share of; perturbation=0 leaves pushes out."
            )
        return box_share * half_range

    def first_observation(self, seed: int) -> Observation:
        """Begin the episode of this seed; returns what is seen at its start."""
        self._reset(seed)
        return self.observe()

    def observe(self) -> Observation:
        """Every feature of the contract now."""
        return Observation(
            self._steps * self._period_ns, {name: read(self.observed) for name, read in self._readers.items()}
        )

    def view(self, height: int, width: int) -> Pictures:
        """The camera that shows the environment best."""
        return self.task.view(self.env, None, height, width)

    def filming_problem(self) -> str | None:
        """What keeps this environment from being filmed here."""
        if hasattr(self.env.unwrapped, "model") and isinstance(self.env.unwrapped.model, mujoco.MjModel):
            return rendering_problem()
        if self.env.render_mode != "rgb_array":
            return f"'{self.task.env_id}' renders no pictures."
        try:
            self._reset(0)
            self.env.render()
        except gymnasium.error.DependencyNotInstalled as error:
            return f"'{self.task.env_id}' cannot be rendered here: {error}."
        return None

    def bounded(self, action: np.ndarray) -> np.ndarray:
        """An action (A,) inside the bounds of the action space, where the task keeps them."""
        return np.minimum(np.maximum(action, self._low), self._high) if self.task.clip_actions else action

    def _reset(self, seed: int) -> None:
        self.observed = self.task.reset(self.env, seed)
        self._begin()

    def _begin(self) -> None:
        self._last, self._steps, self._return = self.nothing, 0, 0.0
        self._judgement = Judgement(0.0, False, {})

    def _start(self, agent: Agent, seed: int, subscribers: Sequence[Callable[[Tick], None]]) -> Callable[[], Tick]:
        self._reset(seed)
        agent.reset(seed)
        return partial(self._tick, agent, subscribers)

    def _beside(self, agent: Agent) -> tuple[Callable[[], Tick], Callable[[], None]]:
        restore_env = snapshot(self.env)
        kept = self.observed, self._last, self._steps, self._return, self._judgement

        def restore() -> None:
            restore_env()
            self.observed, self._last, self._steps, self._return, self._judgement = kept

        return partial(self._tick, agent, ()), restore

    def _tick(self, agent: Agent, subscribers: Sequence[Callable[[Tick], None]]) -> Tick:
        """One control step."""
        observation = self.observe()
        asked = agent.act(observation)
        command = self._command(asked, observation.stamp_ns)
        tick = Tick(self._steps, observation, None if asked is None else asked[0], command)
        for notify in subscribers:
            notify(tick)
        self._step(command.positions[0])
        return tick

    def _command(self, asked: np.ndarray | None, stamp_ns: int) -> SafeCommand:
        causes: tuple[str, ...] = ()
        deviation, held = 0.0, False
        if asked is None or not np.isfinite(asked[0]).all():
            action, held = self._last, True
            causes = ("no_action",) if asked is None else ("nonfinite",)
        else:
            action = self.bounded(asked[0])
            deviation = float(abs(action - asked[0]).max())
            causes = ("box",) if deviation else ()
        self._last = action
        report = SafetyReport(causes, deviation, held)
        period_s = self.contract.chunk.control_period_s
        return SafeCommand(stamp_ns, period_s, action[None], np.zeros((1, len(action))), report)

    def _step(self, action: np.ndarray) -> None:
        space = self._space
        self.observed, reward, terminated, truncated, info = self.env.step(
            action.astype(space.dtype).reshape(space.shape)
        )
        self._steps += 1
        self._return += float(reward)
        over = bool(terminated or truncated or self._steps >= self.step_limit)
        success = self.task.solved(info, self._return, over)
        self._judgement = Judgement(
            float(reward), success, self.task.figures(info), bool(terminated), bool(truncated and not terminated)
        )

    def _judge(self) -> Judgement:
        return self._judgement

    def _totals(self) -> dict[str, float]:
        return {"return": self._return}


def _picture(view: Pictures, observation: Any) -> np.ndarray:
    return view.render()


def _constant(value: np.ndarray, observation: Any) -> np.ndarray:
    return value


class _ExpertAgent:
    """A script that reads the environment's own observation, which features may leave out; a copy, since some write into it."""

    def __init__(self, world: GymSimulation, script: Script) -> None:
        self._world, self._script = world, script

    def reset(self, seed: int) -> None:
        """Scripts decide from what they see."""

    def act(self, observation: Observation) -> np.ndarray:
        """(1, A) the script's action, inside the action space."""
        return self._world.bounded(np.asarray(self._script(deepcopy(self._world.observed)), np.float64).ravel())[None]


class _IdleAgent:
    def __init__(self, action: np.ndarray) -> None:
        self._action = action

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> np.ndarray:
        """(1, A): nothing."""
        return self._action[None]


def control_hz(task: GymTask, env: gymnasium.Env) -> float:
    """Steps per second: the config's, a MuJoCo environment's time step, or the pictures per second it declares.

    Raises:
        ConfigError: nobody says.
    """
    if task.control_hz is not None:
        return float(task.control_hz)
    inner = env.unwrapped
    if isinstance(getattr(inner, "model", None), mujoco.MjModel) and hasattr(inner, "dt"):
        return float(round(1 / inner.dt, 9))
    declared = inner.metadata.get("render_fps")
    if not declared:
        raise ConfigError(f"'{task.env_id}' does not say how many steps it takes per second; task.control_hz=20 does.")
    return float(declared)


def step_limit(task: GymTask, env: gymnasium.Env) -> int:
    """Steps after which an episode ends.

    Raises:
        ConfigError: neither the config nor the environment limits them.
    """
    declared = env.spec.max_episode_steps if env.spec is not None else None
    limit = task.max_steps or declared or getattr(env.unwrapped, "max_path_length", None)
    if not limit:
        raise ConfigError(f"Episodes of '{task.env_id}' have no end; task.max_steps=500 gives them one.")
    return int(limit)
