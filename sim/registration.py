"""Every task's config becomes a gymnasium id: configs/task/pick_place.yaml is ``praxon/PickPlace-v0``.

``import praxon.sim`` registers them; so does ``gymnasium.make("praxon.sim:praxon/PickPlace-v0")``.
"""

import gymnasium

from praxon.targets import options


def env_id(task: str) -> str:
    """'pick_place' -> 'praxon/PickPlace-v0'."""
    return f"praxon/{''.join(word.capitalize() for word in task.split('_'))}-v0"


def register() -> None:
    """Register one environment per task config."""
    for task in options("task"):
        gymnasium.register(env_id(task), entry_point="praxon.sim.env:PraxonEnv", kwargs={"task": task})
