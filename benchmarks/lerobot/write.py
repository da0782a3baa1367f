"""Writes a dataset with LeRobot's own writer and keeps what it was given as arrays.

Request: root, out (.npz, or null), pictures ("av1", "h264" or "png"), lengths (frames of each episode), fps, size,
streaming (encode as frames come), small_files.
"""

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
from answer import answer, request
from frames import features, make_frame, task_of
from lerobot.datasets.lerobot_dataset import LeRobotDataset

SMALL_MB = 0.012


def main() -> None:
    """Write, keep, answer."""
    asked = request()
    new = "rgb_encoder" in inspect.signature(LeRobotDataset.create).parameters  # v3.0, LeRobot 0.6 or newer
    dataset = LeRobotDataset.create(
        repo_id="local/exchange",
        fps=asked["fps"],
        root=asked["root"],
        robot_type="arm",
        features=features(asked["pictures"], asked["size"]),
        use_videos=asked["pictures"] != "png",
        **(writer_settings(asked) if new else {}),
    )
    if new and asked["small_files"]:
        # So small that several episodes share a file, files fill up, and so do the folders that hold them.
        dataset.meta.update_chunk_settings(
            chunks_size=2, data_files_size_in_mb=SMALL_MB / 3, video_files_size_in_mb=SMALL_MB
        )
    kept: dict[str, list[Any]] = {}
    tasks = []
    rng = np.random.default_rng(0)
    for episode, length in enumerate(asked["lengths"]):
        for number in range(length):
            frame = make_frame(rng, episode, number, asked["size"])
            for name, value in frame.items() if asked["out"] else ():
                kept.setdefault(name, []).append(value)
            task = task_of(episode, number)
            tasks.append(task)
            if new:
                dataset.add_frame({**frame, "task": task})
            else:
                dataset.add_frame(dict(frame), task=task)
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()
    if asked["out"]:
        np.savez(asked["out"], **{name: np.stack(values) for name, values in kept.items()})
    files = [path for path in Path(asked["root"]).rglob("*") if path.is_file()]
    count = {kind: sum(path.suffix == kind for path in files) for kind in (".parquet", ".mp4", ".png")}
    answer({"tasks": tasks, "files": count})
    # Encoders of some versions keep threads that would end the interpreter with an error after the work is done.
    os._exit(0)


def writer_settings(asked: dict[str, Any]) -> dict[str, Any]:
    """Encoder and buffers; AV1 is LeRobot's default and left alone."""
    from lerobot.configs import RGBEncoderConfig

    encoder = RGBEncoderConfig(vcodec="h264") if asked["pictures"] == "h264" else None
    return {"rgb_encoder": encoder, "metadata_buffer_size": 2, "streaming_encoding": asked["streaming"]}


if __name__ == "__main__":
    main()
