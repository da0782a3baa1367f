"""Objects by import path, and the files of a config group: how a new policy, robot or task joins by existing.

What lies outside the repository joins as well: every folder in the environment variable PRAXON_PATH is laid out like it,
code that can be imported and ``configs/<group>/<name>.yaml``. Worker processes inherit the variable.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from praxon.errors import ConfigError, nearest

CONFIGS = Path(__file__).parent / "configs"
PATH = "PRAXON_PATH"


def outside() -> list[Path]:
    """The folders in PRAXON_PATH, absolute.

    Raises:
        ConfigError: one is not there.
    """
    folders = [Path(text).expanduser().absolute() for text in os.environ.get(PATH, "").split(os.pathsep) if text]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"There is no folder '{folder}', which {PATH} or --path names.")
    return folders


def config_folders() -> list[Path]:
    """Where config groups are: Praxon's own, and those outside that are there."""
    return [CONFIGS, *(folder / "configs" for folder in outside() if (folder / "configs").is_dir())]


def load_target(path: str) -> Any:
    """The object at an import path like ``praxon.sim.tasks.lift.Lift``; a wrong path is a ``ConfigError``."""
    module_name, _, name = path.rpartition(".")
    # Behind everything else, so that nothing installed is replaced by a file that happens to have its name.
    sys.path.extend(str(folder) for folder in outside() if str(folder) not in sys.path)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = ""
        if error.name == module_name.partition(".")[0]:
            hint = f"; where it lies outside Praxon, --path <folder> or {PATH} says where"
        raise ConfigError(f"'{path}' cannot be imported: {error}{hint}.") from error
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"'{path}' cannot be imported: {error}.") from error
    if not hasattr(module, name):
        raise ConfigError(f"Module '{module_name}' has no '{name}'.{nearest(name, vars(module))}")
    return getattr(module, name)


def options(group: str) -> list[str]:
    """Names of the configs in a group: 'task' lists every task there is."""
    return sorted(_files(group))


def option_file(group: str, name: str) -> Path:
    """The file of one config of a group; an unknown name is answered with the known ones."""
    files = _files(group)
    if name not in files:
        known = sorted(files)
        raise ConfigError(f"There is no {group} '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")
    return files[name]


def load_option(group: str, name: str) -> dict[str, Any]:
    """One config of a group as a plain dictionary."""
    file = option_file(group, name)
    try:
        return dict(yaml.safe_load(file.read_text()))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"'{file}' is no config: {' '.join(str(error).split())}.") from error


def _files(group: str) -> dict[str, Path]:
    """Configs of a group by name; a name that is taken is refused, so that nobody has to guess which one was used."""
    files: dict[str, Path] = {}
    for folder in config_folders():
        for path in sorted((folder / group).glob("*.yaml")):
            if path.stem in files:
                raise ConfigError(
                    f"There are two configs for the {group} '{path.stem}', '{files[path.stem]}' and '{path}'; rename one."
                )
            files[path.stem] = path
    return files
