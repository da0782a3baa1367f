"""Makes the environments in which LeRobot itself runs: its newest version, and the last one that writes format v2.1.

LeRobot needs its own versions of torch, numpy and others, so it is installed beside us and called as a program. On
Linux it brings PyTorch with CUDA, about 5.5 GB; where pip knows an index of CPU builds (PIP_EXTRA_INDEX_URL), less.

usage: python benchmarks/lerobot_environment.py [--folder FOLDER]
"""

import argparse
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HELPERS = Path(__file__).parent / "lerobot"
PYTHONS = ("3.13", "3.12")
NEWEST = "lerobot[dataset,diffusion]>=0.6"
# The last release that writes v2.1. It only needs other versions of datasets and what that asks for; the rest it takes
# from the newest one's environment.
V21 = ("lerobot==0.3.3", "datasets==3.6.0", "fsspec==2025.3.0", "dill==0.3.8", "multiprocess==0.70.16")
ANSWER = "ANSWER "
LINE_BY_LINE = ("speed.py", "chunks.py")
"""Helpers that go on while they are asked; nobody reads their errors meanwhile."""


@dataclass(frozen=True)
class Environment:
    """An installed LeRobot.

    Args:
        python: its interpreter.
        libraries: folder with FFmpeg's shared libraries for torchcodec, where the system has none.
        facts: versions, the video backends that load, where FFmpeg comes from.
    """

    python: Path
    libraries: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """Environment variables of a helper: offline, quiet, with FFmpeg where it was found."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        # Without a bound LeRobot keeps every decoder open, which is its faster way where there are many files.
        fast = {"LEROBOT_VIDEO_DECODER_CACHE_SIZE": "none"}
        quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "SVT_LOG": "1", "TOKENIZERS_PARALLELISM": "false"}
        path = [str(self.libraries)] if self.libraries else []
        path += [known["LD_LIBRARY_PATH"]] if known.get("LD_LIBRARY_PATH") else []
        return known | fast | quiet | ({"LD_LIBRARY_PATH": ":".join(path)} if path else {})

    def start(self, helper: str, request: dict[str, Any], cache: Path) -> subprocess.Popen:
        """A helper of ``benchmarks/lerobot`` as a process whose answers are lines of its output.

        Args:
            helper: file name.
            request: what it shall do, its only argument, as JSON.
            cache: folder in which LeRobot keeps what it unpacks.
        """
        homes = {"HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache / "datasets"), "HF_LEROBOT_HOME": str(cache)}
        return subprocess.Popen(
            [str(self.python), str(HELPERS / helper), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if helper in LINE_BY_LINE else subprocess.PIPE,
            text=True,
            cwd=cache if cache.is_dir() else None,
            env=self.variables() | homes,
        )

    def call(self, helper: str, request: dict[str, Any], cache: Path) -> dict[str, Any]:
        """Run a helper to its end; its last answer. A failure carries the end of what it printed."""
        cache.mkdir(parents=True, exist_ok=True)
        process = self.start(helper, request, cache)
        output, errors = process.communicate()
        answers = [line[len(ANSWER) :] for line in output.splitlines() if line.startswith(ANSWER)]
        if process.returncode or not answers:
            raise RuntimeError(f"LeRobot's side failed in {helper}:\n{(output + errors)[-3000:]}")
        return dict(json.loads(answers[-1]))


def default_folder() -> Path:
    """Where the environments are kept unless another folder is named."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "praxon" / "benchmarks"


def make_newest(folder: Path) -> Environment:
    """The newest LeRobot, installed once."""
    root = folder / "lerobot"
    python = root / "bin" / "python"
    ready = root / "ready.json"
    asked = json.loads(ready.read_text()).get("asked", "") if ready.is_file() else None
    if asked != NEWEST:
        if asked is None:
            _make(root)
        print(f"installing {NEWEST} into {root} (several GB on Linux)", flush=True)
        _pip(python, "install", NEWEST)
    libraries = _ffmpeg(root, python)
    environment = Environment(python, libraries)
    facts = environment.call("versions.py", {}, folder / "cache") | {"asked": NEWEST}
    facts["ffmpeg"] = "of the PyAV wheel" if libraries else "of the system"
    ready.write_text(json.dumps(facts, indent=1) + "\n")
    return Environment(python, libraries, facts)


def make_v21(folder: Path, newest: Environment) -> Environment:
    """The last LeRobot that writes v2.1, on top of the newest one's environment."""
    root = folder / "lerobot-v21"
    python = root / "bin" / "python"
    ready = root / "ready.json"
    if not ready.is_file():
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run([str(newest.python), "-m", "venv", str(root)], check=True)
        _pip(python, "install", "--no-deps", *V21)
        (_packages(root) / "newest.pth").write_text(f"{_packages(folder / 'lerobot')}\n")
    facts = Environment(python, newest.libraries).call("versions.py", {}, folder / "cache")
    ready.write_text(json.dumps(facts, indent=1) + "\n")
    return Environment(python, newest.libraries, facts)


def find_python() -> str:
    """An interpreter that LeRobot runs on, from the path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in PYTHONS:
        found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}*/bin/python"), reverse=True)]
        for candidate in filter(None, found):
            probe = f"import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
            if subprocess.run([str(candidate), "-c", probe], capture_output=True, check=False).returncode == 0:
                return str(candidate)
    raise SystemExit(
        f"LeRobot needs Python {' or '.join(PYTHONS)}; none was found on the path or among pyenv's versions."
    )


def _make(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([find_python(), "-m", "venv", str(root)], check=True)


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"'{' '.join(arguments)}' failed:\n{result.stderr[-2000:]}")


def _packages(root: Path) -> Path:
    return next(root.glob("lib/python*/site-packages"))


def _ffmpeg(root: Path, python: Path) -> Path | None:
    """torchcodec, LeRobot's faster decoder, needs FFmpeg as shared libraries: the system's, else those inside PyAV."""
    folder = root / "ffmpeg"
    if Environment(python).call("versions.py", {}, root.parent / "cache")["backends"][:1] == ["torchcodec"]:
        return None
    folder.mkdir(exist_ok=True)
    for library in _packages(root).glob("av.libs/lib*"):
        # libavutil-0a1b2c3d.so.59.39.100 -> libavutil.so.59, the name under which others look for it
        match = re.fullmatch(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]+(\.so\.\d+)[.\d]*", library.name)
        link = folder / (match[1] + match[2]) if match else None
        if link is not None and not link.is_symlink():
            link.symlink_to(library)
    return folder


def arguments(parser: argparse.ArgumentParser) -> None:
    """``--folder``, common to the benchmarks beside LeRobot."""
    parser.add_argument(
        "--folder",
        type=Path,
        default=default_folder(),
        help="for LeRobot's environments and data (default: %(default)s)",
    )


def main() -> None:
    """Make both, print what they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    folder = parser.parse_args().folder.resolve()
    newest = make_newest(folder)
    for environment in (newest, make_v21(folder, newest)):
        print(f"{environment.python}: {json.dumps(environment.facts)}")


if __name__ == "__main__":
    main()
