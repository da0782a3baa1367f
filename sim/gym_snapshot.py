"""The whole state of a gymnasium environment on MuJoCo, kept and put back to the bit.

The simulator's state is MuJoCo's data; what an environment remembers besides, and its wrappers, are attributes. Every attribute
must be of a kind that is known here, so that an environment with state of another kind is refused instead of half restored.
Models are taken not to change between resets.
"""

from collections import deque
from collections.abc import Callable
from copy import copy
from enum import Enum
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer
from gymnasium.envs.registration import EnvSpec

from praxon.errors import ConfigError

Restore = Callable[[], None]

IMMUTABLE = (bool, int, float, complex, str, bytes, np.generic, Enum, type(None), type)
STATELESS = (mujoco.MjModel, MujocoRenderer, EnvSpec, gymnasium.Space)
"""What steps of an episode read and do not change; a space's own generator draws for those who ask it."""


def snapshot(env: gymnasium.Env) -> Restore:
    """Keep the state of an environment and its wrappers; the function returned puts it back, as often as it is called.

    Raises:
        ConfigError: the environment does not run on MuJoCo, or keeps state of an unknown kind.
    """
    inner: Any = env.unwrapped
    if not isinstance(getattr(inner, "data", None), mujoco.MjData):
        raise ConfigError(
            f"What comes of a plan cannot be foreseen in '{type(inner).__name__}': only environments on MuJoCo can be put back "
            "where they were."
        )
    layers: list[Any] = [env]
    while layers[-1] is not inner:
        layers.append(layers[-1].env)
    kept = _Kept(layers)
    for layer in layers:
        kept.keep(layer.__dict__, type(layer).__name__)
    return kept.restore


class _Kept:
    """Steps that put everything back. Objects stay the ones they are, so that whoever shares an array goes on sharing it."""

    def __init__(self, layers: list[Any]) -> None:
        self._model: mujoco.MjModel = layers[-1].model
        self._seen = {id(layer) for layer in layers}
        self._steps: list[Restore] = []

    def restore(self) -> None:
        for step in self._steps:
            step()

    def keep(self, value: Any, where: str) -> None:
        """Keep an object and all that it holds; ``where`` is what an error calls it."""
        if isinstance(value, (*IMMUTABLE, *STATELESS)) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        members: dict[str, Any] = {}
        if isinstance(value, mujoco.MjData):
            self._steps.append(partial(mujoco.mj_copyData, value, self._model, copy(value)))
        elif isinstance(value, np.ndarray) and value.dtype != object:
            if value.flags.writeable:
                self._steps.append(partial(np.copyto, value, value.copy()))
        elif isinstance(value, np.random.Generator):
            self._steps.append(partial(setattr, value.bit_generator, "state", value.bit_generator.state))
        elif isinstance(value, dict):
            self._steps.append(partial(_refill, value, value.update, dict(value)))
            members = {f"{where}.{key}": entry for key, entry in value.items()}
        elif isinstance(value, list | deque):
            self._steps.append(partial(_refill, value, value.extend, list(value)))
            members = {f"{where}[{index}]": entry for index, entry in enumerate(value)}
        elif isinstance(value, tuple):
            members = {f"{where}[{index}]": entry for index, entry in enumerate(value)}
        else:
            raise ConfigError(
                f"What comes of a plan cannot be foreseen here: {where} is a {type(value).__name__}, and how such a "
                "thing is put back as it was is not known."
            )
        for name, member in members.items():
            self.keep(member, name)


def _refill(held: Any, fill: Callable[[Any], None], content: Any) -> None:
    held.clear()
    fill(content)
