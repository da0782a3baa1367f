"""The command `praxon`: one verb per file in commands/, one config per verb in configs/.

A verb joins by existing: ``commands/<verb>.py`` with a docstring and ``run(config)``, and ``configs/<verb>.yaml``.
"""

import ast
import logging
import os
import sys
from pathlib import Path

from praxon import __version__
from praxon.errors import ConfigError, PraxonError, nearest

COMMANDS = Path(__file__).parent / "commands"


def verbs() -> dict[str, Path]:
    """Verb -> file."""
    return {
        path.stem.replace("_", "-"): path for path in sorted(COMMANDS.glob("*.py")) if not path.stem.startswith("_")
    }


def main() -> None:
    """Entry point of the console command."""
    # Threads that wait for each other by spinning make a step ten times slower as soon as a core is busy with something else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one verb; returns the exit status: 0 done, 1 refused with a sentence, 130 interrupted."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"praxon {__version__}")
        return 0
    verb, *overrides = arguments
    logging.getLogger("praxon").addHandler(logging.NullHandler())
    try:
        known = verbs()
        if verb not in known:
            raise ConfigError(f"There is no verb '{verb}'.{nearest(verb, known)} Verbs: {', '.join(known)}.")
        from praxon.commands._hydra import compose_config, help_text

        if {"-h", "--help"} & set(overrides):
            print(help_text(verb, ast.get_docstring(ast.parse(known[verb].read_text())) or ""))
            return 0
        config = compose_config(verb, overrides)
        from importlib import import_module

        import_module(f"praxon.commands.{known[verb].stem}").run(config)
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


def _overview() -> str:
    lines = ["praxon: robot policies trained in MuJoCo, judged in a digital twin, served as ROS 2 nodes", ""]
    lines += ["usage: praxon <verb> [name=value ...]", "       praxon <verb> --help", "", "verbs:"]
    for verb, path in verbs().items():
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines.append(f"  {verb:<10}{docstring.splitlines()[0] if docstring else ''}")
    return "\n".join(lines)
