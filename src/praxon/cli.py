"""The command `praxon`: one verb per file in commands/, one config per verb in configs/.

A verb joins by existing: ``commands/<verb>.py`` with a docstring and ``run(config)``, and ``configs/<verb>.yaml``. A folder
``commands/<group>/`` gathers verbs of one kind: ``praxon <group> <verb>``, with ``configs/<group>_<verb>.yaml``.
``--path <folder>`` adds policies, tasks and robots from outside, as the environment variable PRAXON_PATH does.
"""

import ast
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from praxon import __version__
from praxon.errors import ConfigError, PraxonError, nearest
from praxon.targets import PATH, outside

COMMANDS = Path(__file__).parent / "commands"


def verbs(folder: Path = COMMANDS) -> dict[str, Path]:
    """Verb -> file, or folder for a group of verbs."""
    found = [path for path in sorted(folder.iterdir()) if not path.name.startswith("_")]
    return {
        path.stem.rstrip("_").replace("_", "-"): path
        for path in found
        if path.suffix == ".py" or (path / "__init__.py").is_file()
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
    _fresh_logs()
    try:
        arguments, folders = _without_path(arguments)
        verb = arguments[0] if arguments else ""
        with _path_extended(folders):
            path, verb, overrides = find_verb(arguments)
            _run_verb(path, verb, overrides)
    except PraxonError as error:
        return _refused(verb, str(error), error.everywhere)
    except OSError as error:
        return _refused(verb, f"The system refused '{error.filename or 'a file'}': {error.strerror or error}.")
    except KeyboardInterrupt as interrupt:
        if os.environ.get("RANK", "0") == "0":  # of several processes one says it
            print(f"praxon {verb}: interrupted. {interrupt}".rstrip(), file=sys.stderr)
        return 130
    return 0


class Aloud(logging.Handler):
    """Prints what takes its time while nothing else is seen to happen."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message."""
        print(record.getMessage(), flush=True)


def _fresh_logs() -> None:
    """What is refused now must not be written into the log of a run that this process did before."""
    log, slow = logging.getLogger("praxon"), logging.getLogger("praxon.policies")
    for logger, handler in ((log, logging.NullHandler()), (slow, Aloud())):
        for old in logger.handlers[:]:
            logger.removeHandler(old)
            old.close()
        logger.addHandler(handler)
    slow.setLevel(logging.INFO)


def _run_verb(path: Path, verb: str, overrides: list[str]) -> None:
    if path.is_dir():
        print(_overview(path, verb))
        return
    from praxon.commands._hydra import compose_config, help_text

    if {"-h", "--help"} & set(overrides):
        print(help_text(verb, _docstring(path), overrides))
        return
    module = "praxon.commands." + ".".join(path.relative_to(COMMANDS).with_suffix("").parts)
    if {"-m", "--multirun"} & set(overrides):
        from praxon.commands._sweep import sweep

        sweep(verb, module, [text for text in overrides if text not in ("-m", "--multirun")])
        return
    config = compose_config(verb, overrides)
    from importlib import import_module

    import_module(module).run(config)


def _without_path(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments without ``--path <folder>``, and the folders."""
    rest, folders = [], []
    waiting = iter(arguments)
    for text in waiting:
        if text == "--path":
            folder = next(waiting, "")
            if not folder:
                raise ConfigError("--path needs a folder: --path <folder>.")
            folders.append(folder)
        elif text.startswith("--path="):
            folders.append(text.removeprefix("--path="))
        else:
            rest.append(text)
    return rest, folders


@contextmanager
def _path_extended(folders: list[str]) -> Iterator[None]:
    """PRAXON_PATH with these folders in front, for this process and those that it starts."""
    before = os.environ.get(PATH)
    if folders:
        whole = [*(str(Path(text).expanduser().absolute()) for text in folders), *([before] if before else [])]
        os.environ[PATH] = os.pathsep.join(whole)
    try:
        outside()
        yield
    finally:
        if folders:
            os.environ.pop(PATH)
            if before is not None:
                os.environ[PATH] = before


def _refused(verb: str, sentence: str, everywhere: bool = False) -> int:
    """Say it: of several processes, the first of each machine, unless the others may not have met it."""
    if everywhere and os.environ.get("LOCAL_RANK", "0") != "0":
        return 1
    logging.getLogger("praxon").error(sentence)
    place = os.environ.get("RANK", "0")
    print(f"praxon {verb}{'' if place == '0' else f' (process {place})'}: {sentence}", file=sys.stderr)
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
    width = max(map(len, verbs(folder))) + 1
    for verb, path in verbs(folder).items():
        inner = f" ({', '.join(verbs(path))})" if path.is_dir() else ""
        lines.append(f"  {verb:<{width}}{_docstring(path).partition(chr(10))[0]}{inner}".rstrip())
    return "\n".join(lines)
