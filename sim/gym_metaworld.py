"""Meta-World (T. Yu et al., arXiv 1910.10897): fifty tasks of a Sawyer arm, random starts from seeds, its scripted experts.

Its environments are made without the benchmark's fixed lists of starts: ``reset(seed=...)`` alone is ignored there, so the
random vector that places object and goal is thawed and drawn from the seed. Whatever the seed, the goal is observable,
since experts and state policies both need it: the observation has 39 components, 18 of now, the same 18 of the step
before, and the goal's position. Episodes never terminate by themselves; a step beyond the 500th raises, so they end there.
"""

import warnings
from typing import Any, ClassVar

import gymnasium

from praxon.errors import ConfigError, nearest
from praxon.sim.gym_task import GymTask, Script
from praxon.sim.gym_views import TurnedView, make_view
from praxon.sim.world import Pictures

POSITIONS = ("hand_x", "hand_y", "hand_z", "gripper")
OBJECTS = tuple(f"object{i}_{part}" for i in (1, 2) for part in ("x", "y", "z", "q0", "q1", "q2", "q3"))
NOW = (*POSITIONS, *OBJECTS)
COMPONENTS = (*NOW, *(f"previous_{name}" for name in NOW), "goal_x", "goal_y", "goal_z")
METRES = ("_x", "_y", "_z")


class MetaWorld(GymTask):
    """One of the fifty tasks.

    Args:
        name: of the task's config.
        env_name: as Meta-World calls it, e.g. ``hammer-v3``.
        **settings: of ``GymTask``.
    """

    variant: ClassVar[str] = "env_name"

    def __init__(self, name: str, env_name: str, **settings: Any) -> None:
        settings.setdefault("instruction", None)
        super().__init__(name, env_name, **settings)
        if settings["instruction"] is None:
            self.instruction = env_name.removesuffix("-v3").replace("-", " ")

    def make(self) -> gymnasium.Env:
        """The environment with observable goal and starts that follow its seed."""
        self._import("metaworld")
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        if self.env_id not in ALL_V3_ENVIRONMENTS:
            raise ConfigError(
                f"Meta-World has no '{self.env_id}'.{nearest(self.env_id, ALL_V3_ENVIRONMENTS)} "
                f"There are {', '.join(ALL_V3_ENVIRONMENTS)}."
            )
        try:
            env: Any = ALL_V3_ENVIRONMENTS[self.env_id](**self.kwargs)
        except TypeError as error:
            raise ConfigError(f"'{self.env_id}' cannot be made: {error}.") from error
        env._partially_observable = False
        env.__dict__.pop("sawyer_observation_space", None)  # cached for the goal that was hidden
        env.observation_space = env.sawyer_observation_space
        env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
        return env

    def reset(self, env: gymnasium.Env, seed: int) -> Any:
        """Begin the episode that ``seed`` fixes."""
        env.seed(seed)
        return env.reset()[0]

    def script(self, env: gymnasium.Env) -> Script:
        """Meta-World's own policy for the task; the bounds that its actions leave are kept by who carries them out."""
        from metaworld.policies import ENV_POLICY_MAP

        warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high")
        policy: Any = ENV_POLICY_MAP[self.env_id]
        script: Script = policy().get_action
        return script

    def components(self, key: str, size: int) -> tuple[str, ...]:
        """Hand, gripper opening, two objects, the same of the step before, goal."""
        return COMPONENTS

    def units(self, key: str) -> str:
        """Metres, and 1 for the gripper's opening and quaternions."""
        return ",".join("m" if name.endswith(METRES) else "1" for name in COMPONENTS)

    def action_names(self, size: int) -> tuple[str, ...]:
        """Displacement of the hand in hundredths of a metre per step, and the gripper's effort (1 closes)."""
        return ("hand_dx", "hand_dy", "hand_dz", "gripper")

    def view(self, env: gymnasium.Env, camera: str | None, height: int, width: int) -> Pictures:
        """A camera of the model; those of the corners stand upside down in it and are turned."""
        camera = camera or "corner2"
        pictures = make_view(env, camera, height, width)
        return TurnedView(pictures) if camera.startswith("corner") else pictures
