"""Split a dataset into several by episodes, in a random order that the seed fixes, or by names, ranges and numbers.

A part is a share (train: 0.9), a split that the dataset has (valid: valid), a range (first: '0:50') or numbers
(mine: [0,3,5]); shares divide what the other parts leave. Each part becomes a dataset of its own below out.
Example: praxon data split runs/lift/dataset out=data/lift parts="{train: 0.9, valid: 0.1}"
Example: praxon data split runs/lift/dataset out=data/lift parts="{good: [0,3,5]}"
Example, all but two episodes: praxon data split runs/lift/dataset out=data/lift parts="{kept: 1.0}" drop=[2,7]
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from omegaconf import DictConfig

from praxon.commands._hydra import Config
from praxon.commands._run import console, plain, progress_bar, require
from praxon.commands.data._tables import new_folder, open_dataset
from praxon.commands.data._writing import write_dataset
from praxon.commands.data.convert import stored_codec
from praxon.datasets.conversion import copy_episodes
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.selection import select_episodes

PARTS = {"train": 0.9, "valid": 0.1}


def run(config: Config) -> dict[str, Any]:
    """Split as configured; returns which episodes went where."""
    dataset = open_dataset(config.dataset, "split")
    out = new_folder(config.out, "out=<folder>")
    require(
        config.parts is None or isinstance(config.parts, DictConfig),
        f"Setting 'parts' is '{config.parts}'; names and shares are expected, as in parts='{{train: 0.9, valid: 0.1}}'.",
    )
    parts = divide(dataset, PARTS if config.parts is None else plain(config.parts), config.seed, list(config.drop))
    digest, codec = dataset.digest(), stored_codec(dataset)
    with progress_bar("split", sum(map(len, parts.values()))) as advance:
        for name, episodes in parts.items():
            source = {"name": dataset.root.name, "sha256": digest, "episodes": episodes, "metadata": dataset.metadata}
            with write_dataset(out / name, dataset, {"split": source}, codec, config.pack) as writer:
                copy_episodes(dataset, writer, episodes, advance)
            console.print(f"{writer.num_episodes} episodes, {writer.num_frames} frames in [bold]{out / name}[/bold].")
    return {"parts": parts}


def divide(dataset: LeRobotDataset, asked: dict[str, Any], seed: int, drop: Sequence[int] = ()) -> dict[str, list[int]]:
    """Episodes of each part, in rising order; ``ConfigError`` where parts overlap, are empty or shares exceed one."""
    require(bool(asked), "No parts were given; parts='{train: 0.9, valid: 0.1}' names two.")
    for name in asked:
        require(str(name).isidentifier(), f"Part '{name}' would be a folder; letters, digits and _ are expected.")
    shares = {name: float(value) for name, value in asked.items() if isinstance(value, float) or value in (0, 1)}
    require(
        all(share > 0 for share in shares.values()) and sum(shares.values()) <= 1 + 1e-9,
        f"The shares {shares} must be positive and together at most 1.",
    )
    where = str(dataset.root)
    parts = {
        name: sorted(select_episodes(value, dataset.num_episodes, dataset.splits, where))
        for name, value in asked.items()
        if name not in shares
    }
    if drop:
        drop = select_episodes(drop, dataset.num_episodes, dataset.splits, where)
    taken = [*drop, *(episode for episodes in parts.values() for episode in episodes)]
    require(
        len(set(taken)) == len(taken),
        f"The parts {', '.join(parts)} share episodes, or have dropped ones; each episode goes to one part.",
    )
    left = np.array(sorted(set(range(dataset.num_episodes)) - set(taken)), np.int64)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(left)
    edges = np.round(np.cumsum([0, *shares.values()]) * len(left)).astype(int)
    for (name, share), start, stop in zip(shares.items(), edges[:-1], edges[1:], strict=True):
        require(stop > start, f"Part '{name}' of {share:g} would be empty: {len(left)} episodes are to be divided.")
        parts[name] = sorted(map(int, order[start:stop]))
    return {name: parts[name] for name in asked}
