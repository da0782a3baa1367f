"""Composing a verb's config with hydra: overrides are checked before anything runs, mistakes answered with the nearest name."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from praxon.errors import ConfigError, nearest
from praxon.targets import CONFIGS, config_folders, load_option, option_file, options

Config = DictConfig


def compose_config(verb: str, overrides: list[str]) -> Config:
    """The resolved config of a verb under overrides like ``task=lift episodes=10 training.batch_size=64``.

    Raises:
        ConfigError: naming the override that is wrong and what would be right.
    """
    overrides = expanded(verb, overrides)
    parsed = parsed_overrides(overrides)
    name_of_file = config_name(verb)
    groups = _groups(verb)
    several = next((override for override in parsed if override.is_sweep_override()), None)
    if several is not None:
        text = override_text(several)
        key, _, value = text.partition("=")
        raise ConfigError(
            f"'{text}' gives '{key}' several values: praxon {verb} -m tries each; one with a comma needs quotes of its own: "
            f"{key}=\"'{value}'\"."
        )
    chosen = [override for override in parsed if override.key_or_group in groups]
    for override in chosen:
        group, name = override.key_or_group, override.get_value_string()
        if name not in options(group):
            raise ConfigError(
                f"There is no {group} '{name}'.{nearest(name, options(group))} Known: {', '.join(options(group))}."
            )
    with initialize_config_dir(config_dir=str(CONFIGS.resolve()), version_base="1.3"):
        try:
            base = compose(name_of_file, overrides=[*search_path(), *(override_text(override) for override in chosen)])
            _check_keys(verb, base, [override for override in parsed if override not in chosen], groups)
            # hydra takes any name of a folder for a choice of a config; a verb may have a plain setting of that name.
            folders = {entry.name for each in config_folders() for entry in each.iterdir() if entry.is_dir()} - groups
            plain = [override for override in parsed if override.key_or_group in folders]
            settings = [override_text(each) for each in parsed if each not in plain]
            config = compose(name_of_file, overrides=[*search_path(), *settings])
            for override in plain:
                OmegaConf.update(config, override.key_or_group, override.value())
            OmegaConf.resolve(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(f"The overrides of '{verb}' cannot be applied: {' '.join(str(error).split())}") from error
    _check_types(base, config)
    return config


def search_path() -> list[str]:
    """The override by which hydra finds the configs that lie outside Praxon."""
    outside = [_quoted(folder.as_uri().replace("%20", " ")) for folder in config_folders()[1:]]
    return [f"hydra.searchpath=[{','.join(outside)}]"] if outside else []


def help_text(verb: str, docstring: str, arguments: Sequence[str] = ()) -> str:
    """Docstring, settings with defaults and meaning, and what the groups offer; of a group, the settings of its choice."""
    asked = dict(text.split("=", 1) for text in arguments if "=" in text)
    first = _first_setting(verb)
    bare = f" [<{first[0]}>{' ...' if first[1] else ''}]" if first else ""
    lines = [docstring, "", f"usage: praxon {verb}{bare} [name=value ...]", "", "settings:"]
    text = (CONFIGS / f"{config_name(verb)}.yaml").read_text()
    own, groups = OmegaConf.create(text), _groups(verb)
    for key, value, comment in _documented(text):
        if key.partition(".")[0] not in ("defaults", "hydra", *groups) and (value or comment):
            lines.append(f"  {f'{key}={value}' if value else key:<28} {comment}".rstrip())
    used = re.findall(r"^  - (?:override )?/?(\w+): (\w+)", text, re.MULTILINE)
    if used:
        lines += ["", "groups (settings of a group are reached with a dot, e.g. training.batch_size=64):"]
        for group, usual in used:
            default = asked.get(group, usual)
            lines.append(f"  {f'{group}={default}':<28} {', '.join(options(group))}")
            if default in options(group):
                lines += _settings(group, default, own.get(group, {}))
        lines.append(f"  the settings of another choice: praxon {verb} <group>=<choice> --help")
    return "\n".join(lines)


def _documented(text: str) -> list[tuple[str, str, str]]:
    """The settings of a YAML, those one level down too: dotted key, value, and the comment behind it with the lines that go on."""
    found: list[tuple[str, str, str]] = []
    above = ""
    for line in text.splitlines():
        setting = re.match(r"^(  )?(\w+):[ ]*([^#]*?)[ ]*(?:# (.*))?$", line)
        goes_on = re.match(r"^[ ]{3,}# (.*)$", line)
        if setting:
            inner, name, value, comment = setting.groups()
            above = above if inner else name
            found.append((f"{above}.{name}" if inner else name, value, comment or ""))
        elif goes_on and found:
            found[-1] = (*found[-1][:2], f"{found[-1][2]} {goes_on[1]}")
    return found


def _settings(group: str, name: str, own: Any) -> list[str]:
    """What the config of a choice says of itself, and its settings with their comments and values, those of the verb's ``own``."""
    head, comments = _comments(option_file(group, name).read_text())
    settings = OmegaConf.merge(load_option(group, name), own)
    lines = [f"    # {line}" for line in head]
    for key in _keys(OmegaConf.to_container(settings)):
        value = OmegaConf.select(settings, key)
        if key != "_target_" and not isinstance(value, DictConfig):
            shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
            setting = f"{group}.{key}={shown}"
            lines.append(f"    {setting:<44} {comments.get(key, '')}".rstrip())
    return lines


def _comments(text: str) -> tuple[list[str], dict[str, str]]:
    """The lines of comment that a YAML begins with, and those behind its settings by dotted key."""
    head = [line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())]
    comments, parents = {}, [(-1, "")]
    for indent, key, comment in re.findall(r"^( *)([\w.-]+):(?:[^#\n]|(?<! )#)*(?:# (.*))?$", text, re.MULTILINE):
        while parents[-1][0] >= len(indent):
            parents.pop()
        name = f"{parents[-1][1]}{key}"
        parents.append((len(indent), f"{name}."))
        if comment:
            comments[name] = comment
    return head, comments


def _groups(verb: str) -> set[str]:
    """Config groups of which the verb takes a choice."""
    text = (CONFIGS / f"{config_name(verb)}.yaml").read_text()
    return set(re.findall(r"^  - (?:override )?/?(\w+): ", text, re.MULTILINE))


def config_name(verb: str) -> str:
    """Name of the config of a verb, without its ending."""
    return verb.replace(" ", "_").replace("-", "_")


def _first_setting(verb: str) -> tuple[str, bool] | None:
    """The setting that words without a name fill, and whether it takes several: the first, where it has no value of its own."""
    text = (CONFIGS / f"{config_name(verb)}.yaml").read_text()
    match = re.search(r"^(?!defaults:)(\w+):[ ]*(\S*)", text, re.MULTILINE)
    return (match[1], match[2] == "[]") if match and match[2] in ("null", "[]") else None


def expanded(verb: str, arguments: list[str]) -> list[str]:
    """``--repair`` as ``repair=true``, and bare words as the verb's first setting."""
    named = [
        (text[2:].replace("-", "_") if "=" in text else f"{text[2:].replace('-', '_')}=true")
        if text[:2] == "--"
        else text
        for text in arguments
    ]
    words = [text for text in named if "=" not in text and text[:1] not in "~+-"]
    first = _first_setting(verb)
    if not words or first is None:
        return named
    name, several = first
    if len(words) > 1 and not several:
        raise ConfigError(f"'{verb}' takes one {name}, not {len(words)}: {', '.join(words)}.")
    value = f"[{','.join(map(_quoted, words))}]" if several else _quoted(words[0])
    return [f"{name}={value}", *(text for text in named if text not in words)]


def _quoted(word: str) -> str:
    """A word that hydra's grammar takes as it is, whatever characters it has."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", word)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def parsed_overrides(overrides: list[str]) -> list[Override]:
    try:
        return list(OverridesParser.create().parse_overrides(overrides))
    except HydraException as error:
        unreadable = next((text for text in overrides if "=" not in text), "")
        if unreadable:
            raise ConfigError(f"The overrides cannot be read: '{unreadable}' is not of the form name=value.") from error
        wrong = next((text for text in overrides if not _is_readable(text)), overrides[0])
        name, _, value = wrong.partition("=")
        raise ConfigError(
            f"The setting {wrong} cannot be read; a value with quotes, commas, brackets or '=' in it needs quotes of its own, "
            f'and so does the shell: "{name}={_quoted(value)}".'
        ) from error


def _is_readable(text: str) -> bool:
    try:
        OverridesParser.create().parse_override(text)
    except HydraException:
        return False
    return True


def override_text(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _check_keys(verb: str, config: Config, overrides: list[Override], groups: set[str]) -> None:
    known = list(_keys(OmegaConf.to_container(config, resolve=False)))
    for override in overrides:
        key = override.key_or_group
        if override.is_delete():
            raise ConfigError(f"Settings of '{verb}' cannot be left out, as ~{key} asks; null is how to give none.")
        # A setting that a config does not list may be added where a class is named, which accepts it or refuses it by name.
        of_class = f"{key.rpartition('.')[0]}._target_" in known
        if override.is_add() or override.is_force_add():
            if key not in known and not of_class:
                raise ConfigError(f"'{verb}' has no setting '{key}' to add.{nearest(key, known)}")
        elif key.partition(".")[0] in groups and config.get(key.partition(".")[0]) is None:
            group = key.partition(".")[0]
            raise ConfigError(
                f"The setting '{key}' is of a {group}, and none was chosen; {group}=<name> chooses one. "
                f"Known: {', '.join(options(group))}."
            )
        elif key not in known:
            more = f" +{key}=... adds one that its class takes beyond these." if of_class else ""
            above = key.rpartition(".")[0]
            level = [name for name in known if name.rpartition(".")[0] == above and not name.endswith("._target_")]
            raise ConfigError(
                f"'{verb}' has no setting '{key}'.{nearest(key, [*known, *groups])}{more} "
                f"Settings: {', '.join(level or (name for name in known if '.' not in name))}; see praxon {verb} --help."
            )


def _keys(container: Any, prefix: str = "") -> Any:
    if isinstance(container, dict):
        for key, value in container.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _check_types(base: Config, config: Config, prefix: str = "") -> None:
    """A number stays a number: 'episodes=ten' is met here and not an hour later."""
    for key in map(str, base):
        name = f"{prefix}{key}"
        before, after = OmegaConf.select(base, key), OmegaConf.select(config, key)
        if isinstance(before, DictConfig):
            if isinstance(after, DictConfig):
                _check_types(before, after, f"{name}.")
            continue
        if isinstance(before, ListConfig) and not isinstance(after, ListConfig):
            raise ConfigError(f"Setting '{name}' is '{after}'; a list is expected, as in {name}=[{after}].")
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(type(before))
        fits = (
            isinstance(after, bool)
            if isinstance(before, bool)
            else isinstance(after, (int, float) if isinstance(before, float) else type(before))
        )
        if expected and after is not None and (not fits or (isinstance(after, bool) and not isinstance(before, bool))):
            raise ConfigError(f"Setting '{name}' is '{after}'; {expected} is expected, as in {name}={before}.")


def choice(config: Config, group: str) -> str:
    """Which config of a group was chosen: the one that differs least from what is there."""
    return min(options(group), key=lambda name: len(_changes(config, group, name)))


def task_name(task: dict[str, Any]) -> str:
    """Name of the config of a task."""
    return choice(OmegaConf.create({"task": task}), "task")


def group_overrides(config: Config, group: str) -> list[str]:
    """Overrides that give another verb the same group: the choice, and what was changed in it."""
    name = choice(config, group)
    listed = set(_keys(load_option(group, name)))
    return [
        f"{group}={name}",
        *(
            f"{'' if key in listed else '+'}{group}.{key}={'null' if value is None else value}"
            for key, value in _changes(config, group, name).items()
        ),
    ]


def _changes(config: Config, group: str, name: str) -> dict[str, Any]:
    """Settings of ``config[group]`` that are not those of the option ``name``, by dotted key."""
    option = OmegaConf.create(load_option(group, name))
    keys = {*_keys(OmegaConf.to_container(config[group])), *_keys(OmegaConf.to_container(option))}
    found = {key: (OmegaConf.select(config[group], key), OmegaConf.select(option, key)) for key in sorted(keys)}
    return {key: here for key, (here, there) in found.items() if here != there and not isinstance(here, DictConfig)}
