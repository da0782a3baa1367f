"""What an environment observes, as features of a contract: which arrays there are, what they are called, how they are read.

Without a mapping every array is taken. Pictures (height, width, 3) of uint8 become ``observation.images.<last word of the
key>``; the array that stands for the robot (``state``, ``observation`` or ``agent_pos``, the first there is) becomes
``observation.state``, every other one ``observation.<key>``. Arrays with several axes are flattened.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from praxon.contract import Feature
from praxon.errors import ConfigError, nearest
from praxon.sim.gym_task import GymTask

PLAIN = "state"
"""Key of the observation of an environment that observes no dictionary."""
REACHED, WANTED = "achieved_goal", "desired_goal"
"""Keys under which goal environments observe what is the case and what shall be."""
STATES = ("state", "observation", "agent_pos")

Reader = Callable[[Any], np.ndarray]


def arrays(space: gymnasium.Space, prefix: str = "") -> dict[str, gymnasium.Space]:
    """Every space of an observation that is no dictionary itself, by its key, nested keys joined by '/'."""
    if isinstance(space, gymnasium.spaces.Dict):
        found: dict[str, gymnasium.Space] = {}
        for key, inner in space.spaces.items():
            found |= arrays(inner, f"{prefix}/{key}" if prefix else str(key))
        return found
    return {prefix or PLAIN: space}


def is_picture(space: gymnasium.Space) -> bool:
    """Whether an array is a colour picture, (height, width, 3) uint8."""
    return space.dtype == np.uint8 and len(space.shape or ()) == 3 and space.shape[2] == 3


def is_goal_space(env: gymnasium.Env) -> bool:
    """Whether an environment says what shall be reached in the terms of what is."""
    spaces = arrays(env.observation_space)
    return REACHED in spaces and WANTED in spaces and spaces[REACHED].shape == spaces[WANTED].shape


def features(task: GymTask, space: gymnasium.Space) -> tuple[Feature, ...]:
    """The features of an environment's observations, in the order of the mapping or of the environment.

    Raises:
        ConfigError: the mapping names a key that is not there, or an observation is no array of numbers.
    """
    spaces = arrays(space)
    mapping = task.observations if task.observations is not None else _usual_names(spaces)
    found = []
    for key, name in mapping.items():
        if key not in spaces:
            raise ConfigError(
                f"'{task.env_id}' observes no '{key}', which task.observations names.{nearest(key, spaces)} "
                f"It observes {', '.join(spaces)}."
            )
        if not str(name).startswith("observation."):
            raise ConfigError(f"task.observations calls '{key}' '{name}'; a name like observation.{name} is needed.")
        inner = spaces[key]
        if not isinstance(inner, gymnasium.spaces.Box):
            raise ConfigError(
                f"Observation '{key}' of '{task.env_id}' is {inner}; arrays (Box) can be observed, and task.observations "
                "chooses among them."
            )
        if is_picture(inner):
            found.append(Feature(name, "image", inner.shape, dtype="uint8", source=key))
        else:
            size = int(np.prod(inner.shape))
            found.append(Feature(name, "vector", (size,), task.components(key, size), unit=task.units(key), source=key))
    if not found:
        raise ConfigError(f"task.observations chooses nothing of what '{task.env_id}' observes: {', '.join(spaces)}.")
    return tuple(found)


def reader(feature: Feature) -> Reader:
    """A function from the environment's observation to one feature's array."""
    keys = feature.source.split("/")
    dtype, shape = np.dtype(feature.dtype), feature.shape

    def read(observation: Any) -> np.ndarray:
        if isinstance(observation, Mapping):
            for key in keys:
                observation = observation[key]
        return np.array(observation, dtype).reshape(shape)

    return read


def _usual_names(spaces: Mapping[str, gymnasium.Space]) -> dict[str, str]:
    state = next((key for key in STATES if key in spaces and not is_picture(spaces[key])), None)
    return {
        key: f"observation.images.{key.rpartition('/')[2]}"
        if is_picture(space)
        else "observation.state"
        if key == state
        else f"observation.{key.replace('/', '_')}"
        for key, space in spaces.items()
    }
