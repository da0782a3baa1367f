"""GymTask: which gymnasium environment, how to make it, and what it calls success, all from one task config.

A bundle carries no task config, only its contract, so a contract's task names the environment whole:
``metaworld/hammer-v3`` is the config's name and the environment, ``gym/Pendulum-v1?kwargs={"g":3.0}`` says besides which
settings differ from the config's file. ``config_of`` turns the name back into the config.
"""

import importlib
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode

import gymnasium
import numpy as np

from praxon.errors import ConfigError, nearest
from praxon.sim.gym_views import RENDERED, make_view
from praxon.sim.world import Pictures
from praxon.targets import load_option, load_target

EXPERT = "expert"
NOT_IDENTITY = ("_target_", EXPERT, "install", "instruction", "metrics")
"""Settings that leave the environment what it is."""
SUCCESS_KEYS = ("is_success", "success")
"""Where environments say that the task is solved, unless the config names another key of ``info``."""

Script = Callable[[Any], np.ndarray]
"""A scripted expert: the environment's own observation -> an action."""


class GymTask:
    """One gymnasium environment with Box actions and Box or Dict observations.

    Args:
        name: of the task's config.
        env_id: of the environment, ``module:id`` where a module registers it.
        module: package that registers it when it is imported; None: the namespace of an id that is not registered yet.
        install: how to install what it needs, for the sentence that says that it is missing.
        kwargs: of the environment's constructor.
        observations: observation key -> feature name (``observation.*``); keys of nested dictionaries are joined by '/',
            an environment that observes a plain array has the key 'state'. Keys that are not listed are left out. None:
            every array, see ``praxon.sim.gym_features``.
        control_hz: steps per second; None: what the environment says.
        max_steps: after which an episode ends; None: the environment's own limit.
        clip_actions: whether actions are clipped to the action space's bounds.
        success: key of ``info`` that is true, or not zero, once the task is solved; 'not <key>' for one that empties.
            None: ``is_success`` or ``success``.
        success_return: least sum of an episode's rewards with which it counts as solved, for environments without such a key;
            judged at the end, since a sum of negative rewards is the larger the less has been done.
        metrics: keys of ``info`` whose extremes are reported.
        expert: import path of a function that takes the environment and returns a function from its observation to an
            action: the demonstrator.
        instruction: the task in words; None: the environment's id.

    Raises:
        ConfigError: no environment is named.
    """

    variant: ClassVar[str] = "env_id"
    """The setting that names the environment."""

    def __init__(
        self,
        name: str,
        env_id: str | None,
        module: str | None = None,
        install: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        observations: Mapping[str, str] | None = None,
        control_hz: float | None = None,
        max_steps: int | None = None,
        clip_actions: bool = True,
        success: str | None = None,
        success_return: float | None = None,
        metrics: tuple[str, ...] = (),
        expert: str | None = None,
        instruction: str | None = None,
    ) -> None:
        if not env_id:
            raise ConfigError(f"task={name} needs the id of an environment, as in task.env_id=Pendulum-v1.")
        self.name, self.env_id, self.module, self.install = name, env_id, module, install
        self.kwargs = dict(kwargs or {})
        self.observations = None if observations is None else dict(observations)
        self.control_hz, self.max_steps, self.clip_actions = control_hz, max_steps, clip_actions
        self._success, self._success_return, self._metrics = success, success_return, tuple(metrics)
        self._expert = expert
        self.instruction = instruction or env_id

    def make(self) -> gymnasium.Env:
        """The environment, able to render pictures where it can at all.

        Raises:
            ConfigError: it, or something it needs, is not installed, or its constructor refuses.
        """
        module, _, env_id = self.env_id.rpartition(":")
        self._import(self.module or module or ("" if env_id in gymnasium.registry else env_id.rpartition("/")[0]))
        try:
            spec = gymnasium.spec(env_id)
            settings = {**self.kwargs, **({"max_episode_steps": self.max_steps} if self.max_steps else {})}
            if "rgb_array" in _render_modes(spec):
                settings.setdefault("render_mode", "rgb_array")
            return gymnasium.make(env_id, disable_env_checker=True, **settings)
        except gymnasium.error.UnregisteredEnv as error:
            raise ConfigError(
                f"There is no gymnasium environment '{env_id}'.{nearest(env_id, gymnasium.registry)}{self._how()}"
            ) from error
        except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
            raise ConfigError(f"The environment '{env_id}' needs more than is installed here: {error}") from error
        except (TypeError, ValueError, AssertionError, gymnasium.error.Error) as error:
            raise ConfigError(f"The environment '{env_id}' cannot be made: {type(error).__name__}: {error}") from error

    def reset(self, env: gymnasium.Env, seed: int) -> Any:
        """Begin the episode that ``seed`` fixes; the environment's first observation."""
        return env.reset(seed=seed)[0]

    def solved(self, info: Mapping[str, Any], total_reward: float, ended: bool) -> bool:
        """Whether the task is solved after this step.

        Args:
            info: of the step.
            total_reward: sum of the episode's rewards so far.
            ended: whether the episode has come to its end.

        Raises:
            ConfigError: ``info`` has no such key.
        """
        if ended and self._success_return is not None and total_reward >= self._success_return:
            return True
        if self._success is None:
            return any(bool(info[key]) for key in SUCCESS_KEYS if key in info)
        key = self._success.removeprefix("not ")
        return bool(self._entry(info, key, "task.success")) != (key != self._success)

    def figures(self, info: Mapping[str, Any]) -> dict[str, float]:
        """The ``metrics`` after this step.

        Raises:
            ConfigError: ``info`` lacks one.
        """
        return {key: float(self._entry(info, key, "task.metrics")) for key in self._metrics}

    def script(self, env: gymnasium.Env) -> Script:
        """The scripted expert.

        Raises:
            ConfigError: there is none.
        """
        if self._expert is None:
            raise ConfigError(
                f"'{self.env_id}' has no scripted expert; task.expert=<import path> names one, and praxon data convert "
                "brings demonstrations from elsewhere."
            )
        script: Script = load_target(self._expert)(env)
        return script

    def components(self, key: str, size: int) -> tuple[str, ...]:
        """Names of the numbers of an observation."""
        return tuple(f"{key.replace('/', '_')}_{i}" for i in range(size))

    def units(self, key: str) -> str:
        """Units of the numbers of an observation, as a ``Feature`` has them."""
        return "1"

    def action_names(self, size: int) -> tuple[str, ...]:
        """Names of the components of an action."""
        return tuple(f"action_{i}" for i in range(size))

    def view(self, env: gymnasium.Env, camera: str | None, height: int, width: int) -> Pictures:
        """A camera of the environment, ``height`` x ``width`` [pixels]; None is the one that shows it best."""
        return make_view(env, camera or RENDERED, height, width)

    def _entry(self, info: Mapping[str, Any], key: str, setting: str) -> Any:
        """What ``info`` says under the key that a setting names."""
        if key not in info:
            raise ConfigError(
                f"'{self.env_id}' has no '{key}' in its info, which {setting} names; there are {', '.join(info) or 'none'}."
            )
        return info[key]

    def _import(self, package: str) -> None:
        """Import the package that registers the environment; '' is none."""
        if not package:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(package)
        except ImportError as error:
            missing = (error.name or package).partition(".")[0]
            what = (
                "is not installed here"
                if isinstance(error, ModuleNotFoundError)
                else f"cannot be imported here: {error}"
            )
            raise ConfigError(f"task={self.name} needs the package '{missing}', which {what}.{self._how()}") from error

    def _how(self) -> str:
        return f" To install it: {self.install}" if self.install else ""


def identity(config: Mapping[str, Any]) -> str:
    """What a contract calls the environment of a task config."""
    kind = load_target(config["_target_"])
    usual = load_option("task", config["name"])
    left_out = (*NOT_IDENTITY, "name", kind.variant)
    changed = {key: value for key, value in config.items() if key not in left_out and value != usual.get(key)}
    settings = urlencode(
        {key: json.dumps(changed[key], separators=(",", ":")) for key in sorted(changed)},
        safe='{}[]":,/ ',
        quote_via=quote,
    )
    return f"{config['name']}/{config[kind.variant]}" + (f"?{settings}" if settings else "")


def config_of(task: str) -> dict[str, Any]:
    """The inverse of ``identity``."""
    name, _, rest = task.partition("/")
    variant, _, settings = rest.partition("?")
    config = load_option("task", name)
    try:
        changed = {key: json.loads(value) for key, value in parse_qsl(settings, strict_parsing=bool(settings))}
    except ValueError as error:
        raise ConfigError(f"The task '{task}' cannot be read: {error}.") from error
    return {**config, **changed, load_target(config["_target_"]).variant: variant}


def _render_modes(spec: Any) -> tuple[str, ...]:
    """Modes that the environment's class declares; none where the entry point is a function."""
    creator = spec.entry_point
    if isinstance(creator, str):
        creator = gymnasium.envs.registration.load_env_creator(creator)
    return tuple(getattr(creator, "metadata", {}).get("render_modes", ()))
