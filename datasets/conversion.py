"""From any format to LeRobot's: finding the format, opening the source, copying episodes."""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from praxon.contract import PolicyContract
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.source import Source
from praxon.errors import DatasetError, nearest

FORMATS = Path(__file__).parent / "formats"


def formats() -> list[str]:
    """Names of the formats there are: the files of ``datasets/formats/``."""
    return sorted(path.stem for path in FORMATS.glob("*.py") if not path.stem.startswith("_"))


def find_format(path: Path, name: str | None = None) -> tuple[str, ModuleType]:
    """The format of what is at ``path``, or the named one.

    Raises:
        DatasetError: there is nothing at ``path``, no such format, or none recognises it.
    """
    if not path.exists():
        raise DatasetError(f"There is nothing at '{path}'.")
    if name is not None and name not in formats():
        raise DatasetError(f"There is no format '{name}'.{nearest(name, formats())} Formats: {', '.join(formats())}.")
    for each in [name] if name is not None else formats():
        module = importlib.import_module(f"praxon.datasets.formats.{each}")
        if name is not None or module.recognises(path):
            return each, module
    raise DatasetError(f"No format recognises '{path}'; format=<name> chooses one of {', '.join(formats())}.")


def open_source(path: Path, format: str | None = None, settings: Mapping[str, Any] | None = None) -> Source:
    """Whatever is at ``path``, as episodes.

    Args:
        format: its name; found out where None.
        settings: of the format's own ``open_source``; those that are None are not passed on.

    Raises:
        DatasetError: as ``find_format``, or a setting is not one of the format's.
    """
    name, module = find_format(path, format)
    given = {key: value for key, value in (settings or {}).items() if value is not None}
    accepted = [key for key in inspect.signature(module.open_source).parameters if key != "path"]
    unknown = [key for key in given if key not in accepted]
    if unknown:
        raise DatasetError(
            f"The format '{name}' has no setting {', '.join(unknown)}; its settings are {', '.join(accepted) or 'none'}."
        )
    types = get_type_hints(module.open_source)
    for key, value in given.items():
        if not _is_a(value, types[key]):
            raise DatasetError(f"The setting {key} is {value!r}; the format '{name}' needs {_words(types[key])}.")
    source: Source = module.open_source(path, **given)
    return source


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a setting from YAML is of an annotated type: plain types, unions, sequences and mappings of them."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_is_a(value, part) for part in parts)
    if origin is Sequence:
        return isinstance(value, (list, tuple)) and all(_is_a(item, parts[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_is_a(k, parts[0]) and _is_a(v, parts[1]) for k, v in value.items())
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    """An annotated type as a user reads it."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_words(part) for part in get_args(kind) if part is not NoneType)
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    named = {Sequence: "a list", Mapping: "names and values", PolicyContract: "a contract, contract=<file>"}
    return (known | named).get(get_origin(kind) or kind, str(kind))


def copy_episodes(
    source: Source, writer: LeRobotWriter, episodes: Iterable[int], on_episode: Callable[[], None] = lambda: None
) -> None:
    """Write the chosen episodes of a source in this order; named splits follow their episodes to the new numbers."""
    places: dict[int, int] = {}
    kept = {feature.name for feature in writer.features}
    for number in episodes:
        episode = source.episode(number)
        frames = {name: values for name, values in episode.frames.items() if name in kept}
        places[number] = writer.add_episode(frames, episode.stamps_ns, episode.task)
        on_episode()
    for name, numbers in source.splits.items():
        if set(numbers) != set(range(len(source))):  # all of it is no split
            writer.splits.setdefault(name, []).extend(places[number] for number in numbers if number in places)
