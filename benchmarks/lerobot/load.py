"""Loads a dataset with LeRobot's own class and keeps everything it gives as arrays.

Request: root, loads: a list of {out (.npz), backend, deltas (feature -> seconds, or null), episodes (or null)}.
"""

from typing import Any

import numpy as np
import torch
from answer import answer, request
from lerobot.datasets.compute_stats import get_feature_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main() -> None:
    """Load, keep, answer."""
    asked = request()
    answer({"loads": [load(asked["root"], wanted) for wanted in asked["loads"]]})


def load(root: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """Everything of every item into a file; what the metadata say."""
    dataset = LeRobotDataset(
        "local/exchange",
        root=root,
        episodes=wanted["episodes"],
        delta_timestamps=wanted["deltas"],
        video_backend=wanted["backend"],
    )
    columns: dict[str, list[Any]] = {}
    for number in range(len(dataset)):
        for name, value in dataset[number].items():
            columns.setdefault(name, []).append(value)
    tasks = columns.pop("task")
    arrays = {f"item/{name}": stacked(values) for name, values in columns.items()}
    for feature, statistics in (dataset.meta.stats or {}).items():
        arrays |= {f"stats/{feature}/{name}": np.asarray(value) for name, value in statistics.items()}
    if wanted["deltas"] is None:
        arrays |= own_statistics(arrays)
    np.savez(wanted["out"], **arrays)
    return {
        "tasks": tasks,
        "episodes": dataset.num_episodes,
        "frames": dataset.num_frames,
        "fps": dataset.fps,
        "robot_type": dataset.meta.robot_type,
        "features": list(dataset.features),
    }


def stacked(values: list[Any]) -> np.ndarray:
    """One array of all items; pictures, which LeRobot scales to [0, 1], as the bytes they were, which is exact."""
    whole = torch.stack([torch.as_tensor(value) for value in values])
    if whole.dtype == torch.float32 and whole.dim() >= 4 and whole.shape[-3] == 3:
        pictures = (whole * 255).round().to(torch.uint8)
        if not torch.allclose(pictures.float() / 255, whole, atol=1e-7, rtol=0):
            raise ValueError("pictures are no multiples of 1/255")
        return pictures.movedim(-3, -1).contiguous().numpy()
    return whole.numpy()


def own_statistics(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What LeRobot's own code computes from the columns that it loaded."""
    found = {}
    for key, values in arrays.items():
        name = key.removeprefix("item/")
        if key.startswith("item/") and values.dtype.kind == "f" and values.ndim <= 2:
            rows = values.reshape(len(values), -1)
            for statistic, value in get_feature_stats(rows, axis=0, keepdims=False).items():
                found[f"own/{name}/{statistic}"] = np.asarray(value)
    return found


if __name__ == "__main__":
    main()
