"""Objects by import path, and the files of a config group: how a new policy, robot or task joins by existing."""

import importlib
from pathlib import Path
from typing import Any

import yaml

from praxon.errors import ConfigError, nearest

CONFIGS = Path(__file__).parent / "configs"


def load_target(path: str) -> Any:
    """The object at an import path like ``praxon.sim.tasks.lift.Lift``; a wrong path is a ``ConfigError``."""
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"'{path}' cannot be imported: {error}.") from error
    if not hasattr(module, name):
        raise ConfigError(f"Module '{module_name}' has no '{name}'.{nearest(name, vars(module))}")
    return getattr(module, name)


def options(group: str) -> list[str]:
    """Names of the configs in a group: 'task' lists every task there is."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def load_option(group: str, name: str) -> dict[str, Any]:
    """One config of a group as a plain dictionary; an unknown name is answered with the known ones."""
    known = options(group)
    if name not in known:
        raise ConfigError(f"There is no {group} '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")
    return dict(yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text()))
