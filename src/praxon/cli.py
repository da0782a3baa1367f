"""The command `praxon`: one verb per file in commands/, one config per verb in configs/.

A verb joins by existing: ``commands/<verb>.py`` with a docstring and ``run(config)``, and ``configs/<verb>.yaml``. A folder
``commands/<group>/`` gathers verbs of one kind: ``praxon <group> <verb>``, with ``configs/<group>_<verb>.yaml``.
"""

import ast
import logging
import os
import sys
from pathlib import Path

from praxon import __version__
from praxon.errors import ConfigError, PraxonError, nearest

COMMANDS = Path(__file__).parent / "commands"


def verbs(folder: Path = COMMANDS) -> dict[str, Path]:
    """Verb -> file, or folder for a group of verbs."""
    found = [path for path in sorted(folder.iterdir()) if not path.name.startswith("_")]
    return {
        path.stem.replace("_", "-"): path for path in found if path.suffix == ".py" or (path / "__init__.py").is_file()
    }


def main() -> None:
    """Entry point of the console command."""
    # Threads that wait for each other by spinning make a step ten times slower as soon as a core is busy with something else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one verb; returns the exit status: 0 done, 1 refused with a sentence, 130 interrupted."""
    if arguments[:1] in (["-V"], ["--version"]):
        print(f"praxon {__version__}")
        return 0
    verb = arguments[0] if arguments else ""
    logging.getLogger("praxon").addHandler(logging.NullHandler())
    try:
        path, verb, overrides = find_verb(arguments)
        if path.is_dir():
            print(_overview(path, verb))
            return 0
        from praxon.commands._hydra import compose_config, help_text

        if {"-h", "--help"} & set(overrides):
            print(help_text(verb, _docstring(path), overrides))
            return 0
        config = compose_config(verb, overrides)
        from importlib import import_module

        module = ".".join(path.relative_to(COMMANDS).with_suffix("").parts)
        import_module(f"praxon.commands.{module}").run(config)
    except PraxonError as error:
        return _refused(verb, str(error))
    except OSError as error:
        return _refused(verb, f"The system refused '{error.filename or 'a file'}': {error.strerror or error}.")
    except KeyboardInterrupt as interrupt:
        print(f"praxon {verb}: interrupted. {interrupt}".rstrip(), file=sys.stderr)
        return 130
    return 0


def _refused(verb: str, sentence: str) -> int:
    logging.getLogger("praxon").error(sentence)
    print(f"praxon {verb}: {sentence}", file=sys.stderr)
    return 1


def find_verb(arguments: list[str]) -> tuple[Path, str, list[str]]:
    """File of the verb, or the folder whose verbs are asked for; the verb in words; what follows it."""
    path, words, rest = COMMANDS, "", list(arguments)
    while path.is_dir() and rest and rest[0] not in ("-h", "--help", "help"):
        known, word = verbs(path), rest.pop(0)
        if word not in known:
            where = f"'{words}' has no verb" if words else "There is no verb"
            raise ConfigError(f"{where} '{word}'.{nearest(word, known)} Verbs: {', '.join(known)}.")
        path, words = known[word], f"{words} {word}".strip()
    return path, words, rest


def _docstring(path: Path) -> str:
    """Read without importing: a list of verbs should not load what the verbs need."""
    file = path / "__init__.py" if path.is_dir() else path
    return ast.get_docstring(ast.parse(file.read_text())) or ""


def _overview(folder: Path, words: str) -> str:
    head = (
        _docstring(folder)
        or "praxon: robot policies trained in MuJoCo, judged in a digital twin, served as ROS 2 nodes"
    )
    usage = f"praxon {words}".rstrip()
    lines = [head, "", f"usage: {usage} <verb> [name=value ...]", f"       {usage} <verb> --help", "", "verbs:"]
    for verb, path in verbs(folder).items():
        inner = f" ({', '.join(verbs(path))})" if path.is_dir() else ""
        lines.append(f"  {verb:<10}{_docstring(path).partition(chr(10))[0]}{inner}".rstrip())
    return "\n".join(lines)
