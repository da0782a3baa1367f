"""The config of every task of ours becomes a gymnasium id: configs/task/pick_place.yaml is ``praxon/PickPlace-v0``.

``import praxon.sim`` registers them; so does ``gymnasium.make("praxon.sim:praxon/PickPlace-v0")``.
"""

import gymnasium

from praxon.targets import load_option, options


def env_id(task: str) -> str:
    """'pick_place' -> 'praxon/PickPlace-v0'."""
    return f"praxon/{''.join(word.capitalize() for word in task.split('_'))}-v0"


def own_tasks() -> list[str]:
    """Tasks for our robots. Configs of gymnasium environments, which are registered elsewhere, state a ``name``."""
    return [task for task in options("task") if "name" not in load_option("task", task)]


def register() -> None:
    """Register one environment per task of ours."""
    for task in own_tasks():
        gymnasium.register(env_id(task), entry_point="praxon.sim.env:PraxonEnv", kwargs={"task": task})
