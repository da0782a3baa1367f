"""What studies of several trainings share: verbs run once, the start of an improvement, evaluations in pairs on the same starts."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def praxon(*arguments: str) -> None:
    """Run a verb."""
    subprocess.run([sys.executable, "-m", "praxon", *arguments], check=True)


def once(folder: Path, *arguments: str) -> dict[str, Any]:
    """The result.json of a verb's run in ``folder``, done now, gone on with, or found."""
    result = folder / "result.json"
    if not result.exists():
        begun = any((folder / name).exists() for name in ("checkpoints", "dataset", "rounds"))
        resume = ["resume=true"] if begun else []
        praxon(*arguments, *resume, f"run_dir={folder}")
    return dict(json.loads(result.read_text()))


def begun(folder: Path, task: str, skill: float, seed: int) -> Path:
    """The folder, with ten demonstrations of an expert of that skill and the policy that was trained on them."""
    collect = [f"task={task}", "tool_pose=true", "episodes=10", f"skill={skill}", f"seed={100 + seed}", "rewards=true"]
    once(folder / "ten", "collect", *collect)
    train = [f"dataset={folder / 'ten' / 'dataset'}", "policy=flow", "steps=1500", f"seed={seed}"]
    once(folder / "start", "train", *train, "training.tensorboard=false")
    return folder


def successes(results: Sequence[dict[str, Any]]) -> list[bool]:
    """Of all episodes of several evaluations, one after another."""
    return [bool(episode["success"]) for result in results for episode in result["episode_results"]]


def difference(one: Sequence[bool], other: Sequence[bool]) -> dict[str, Any]:
    """How much more often ``other`` solved the same starts, with the interval of paired differences."""
    won = sum(b and not a for a, b in zip(one, other, strict=True))
    lost = sum(a and not b for a, b in zip(one, other, strict=True))
    mean = (won - lost) / len(one)
    spread = 1.96 * math.sqrt(max((won + lost) / len(one) - mean**2, 0.0) / len(one))
    return {
        "won": won,
        "lost": lost,
        "difference": round(mean, 4),
        "difference_interval_95": [round(mean - spread, 4), round(mean + spread, 4)],
    }
