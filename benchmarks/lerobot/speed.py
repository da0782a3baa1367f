"""Random windows from LeRobot's dataset through a DataLoader, block by block as the benchmark asks.

Request: root, deltas, backend (or null), workers, batch_size. Each line of input is a list of frame indices; the answer
is how many seconds it took to get them all, in batches, as tensors. Settings are those of LeRobot's training script:
workers are started once and kept, four batches are fetched ahead for each. Pictures stay bytes (``return_uint8``), which
is LeRobot's faster way.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from answer import answer, request
from lerobot.datasets.lerobot_dataset import LeRobotDataset

PREFETCH = 4


class GivenOrder(torch.utils.data.Sampler[int]):
    """The indices of the next block."""

    def __init__(self) -> None:
        self.indices: list[int] = []

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def main() -> None:
    """Answer blocks until the input ends."""
    asked = request()
    dataset = LeRobotDataset(
        "local/speed",
        root=asked["root"],
        delta_timestamps=asked["deltas"],
        video_backend=asked["backend"],
        return_uint8=True,
    )
    order = GivenOrder()
    settings: dict[str, Any] = {}
    if asked["workers"]:
        settings = {"prefetch_factor": PREFETCH, "persistent_workers": True, "multiprocessing_context": "spawn"}
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=asked["batch_size"], sampler=order, num_workers=asked["workers"], **settings
    )
    answer({"ready": True, "frames": len(dataset)})
    for line in sys.stdin:
        order.indices = json.loads(line)
        count = 0
        began = time.perf_counter()
        for batch in loader:
            count += len(batch["action"])
        answer({"seconds": time.perf_counter() - began, "samples": count})
    os._exit(0)


if __name__ == "__main__":
    main()
