"""What augmentation by symmetry is worth: few demonstrations of pick_place, the same carried over, and as many real ones.

The same policy is trained for the same number of steps on each set and evaluated on the same unseen starts.

usage: OMP_NUM_THREADS=1 python benchmarks/augmentation.py [folder for the runs]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from _record import record

from praxon.commands._hydra import compose_config
from praxon.commands.collect import run as collect
from praxon.commands.data.augment import run as augment
from praxon.commands.eval import run as evaluate
from praxon.commands.train import run as train
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter

TASK = "pick_place"
FEW, MANY = 10, 100
STEPS = 2000
STARTS = 100


def main() -> None:
    """Collect, augment, train and evaluate; print and keep."""
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        folder.mkdir(parents=True, exist_ok=True)
        _run(folder)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            _run(Path(temporary))


def _run(folder: Path) -> None:
    collected = folder / "collected"
    collect(compose_config("collect", [f"task={TASK}", f"episodes={MANY}", f"run_dir={collected}"]))
    few = folder / "few"
    _join(few, (collected / "dataset", FEW))
    overrides = [f"dataset={few}", f"out={folder / 'copies'}", f"per_episode={MANY // FEW - 1}"]
    augmented = augment(compose_config("data augment", overrides))
    _join(folder / "augmented", (few, FEW), (folder / "copies", augmented["episodes"]))
    arms = {
        f"{FEW} demonstrations": few,
        "augmented": folder / "augmented",
        f"{MANY} demonstrations": collected / "dataset",
    }
    kept = ("episodes", "replay_attempts", "replay_success_rate", "replay_interval_95", "rejected")
    record(
        "augmentation",
        {
            "task": TASK,
            "policy": "flow",
            "steps": STEPS,
            "augment": {key: augmented[key] for key in kept},
            "arms": {name: _arm(folder, number, root) for number, (name, root) in enumerate(arms.items())},
        },
    )


def _arm(folder: Path, number: int, root: Path) -> dict[str, Any]:
    """Train on one dataset and evaluate."""
    run_dir = folder / f"train{number}"
    overrides = ["policy=flow", f"dataset={root}", f"steps={STEPS}", "training.tensorboard=false", f"run_dir={run_dir}"]
    trained = train(compose_config("train", overrides))
    overrides = [f"bundle={run_dir / 'bundle'}", f"episodes={STARTS}", "seed=1", f"run_dir={folder / f'eval{number}'}"]
    result = evaluate(compose_config("eval", overrides))
    return {
        "dataset": {"episodes": trained["episodes"], "frames": trained["frames"]},
        "training_seconds": trained["training_seconds"],
        **{key: result[key] for key in ("episodes", "successes", "success_rate", "interval_95")},
    }


def _join(out: Path, *parts: tuple[Path, int]) -> None:
    """The first episodes of each dataset in one."""
    first = LeRobotDataset(parts[0][0])
    with LeRobotWriter(out, first.contract, TASK, first.contract.robot) as writer:
        for root, count in parts:
            dataset = LeRobotDataset(root)
            for episode in range(count):
                rows = dataset.episode_slice(episode)
                writer.add_episode({feature.name: dataset.columns[feature.name][rows] for feature in dataset.contract})


if __name__ == "__main__":
    main()
