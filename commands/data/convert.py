"""Convert a recording of another format into a dataset.

Formats: LeRobot v3.0, v2.1 and v2.0, robomimic HDF5, zarr replay buffers of diffusion_policy, Minari, MCAP and rosbag2.
What a format does not say is given: fps, task, robot, and for bags the contract that chooses topics.
Example: praxon data convert square.hdf5 out=data/square
Example: praxon data convert pusht.zarr.zip out=data/pusht fps=10 task="push the T onto its mark"
Example: praxon data convert bags/ out=data/kitchen contract=kitchen.yaml task="open the drawer"
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from praxon.commands._hydra import Config
from praxon.commands._run import console, plain, progress_bar, require
from praxon.commands.data._tables import new_folder
from praxon.commands.data._writing import write_dataset
from praxon.contract import PolicyContract
from praxon.datasets.conversion import copy_episodes, find_format, open_source
from praxon.datasets.selection import select_episodes
from praxon.datasets.source import Source


def run(config: Config) -> dict[str, Any]:
    """Convert as configured; returns what was written."""
    require(config.path is not None, "Nothing was given; praxon data convert <path> out=<folder> names a recording.")
    path = Path(str(config.path))
    out = new_folder(config.out, "out=<folder>")
    require(
        config.options is None or isinstance(config.options, DictConfig),
        f"Setting 'options' is '{config.options}'; names and values are expected, as in options='{{time: receive}}'.",
    )
    settings = {key: config[key] for key in ("fps", "robot", "task")} | (
        plain(config.options) if config.options else {}
    )
    if config.contract is not None:
        settings["contract"] = PolicyContract.load(Path(str(config.contract)))
    name, _ = find_format(path, config.format)
    source = open_source(path, name, settings)
    asked = list(config.episodes) if isinstance(config.episodes, ListConfig) else config.episodes
    episodes = select_episodes(asked, len(source), source.splits, str(path))
    codec = config.codec or stored_codec(source)
    metadata = {**source.metadata, "converted": {"from": path.name, "format": name}}
    with (
        write_dataset(out, source, metadata, codec, config.pack) as writer,
        progress_bar(f"convert {name}", len(episodes)) as advance,
    ):
        copy_episodes(source, writer, episodes, advance)
    for key, reason in getattr(source, "left_out", source.metadata.get("left_out") or {}).items():
        console.print(f"left out: {key} ({reason})", markup=False)
    for sentence in getattr(source, "warnings", list)():
        console.print(sentence, markup=False)
    result = {"dataset": str(out), "format": name, "episodes": writer.num_episodes, "frames": writer.num_frames}
    console.print(f"{writer.num_episodes} episodes, {writer.num_frames} frames in [bold]{out}[/bold].")
    return result


def stored_codec(source: Source) -> str:
    """The codec in which the pictures of a source are, so that they are copied and not compressed again; h264 for others."""
    from praxon.datasets.lerobot_format import PNG
    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.datasets.video_file import VideoReader, available_codecs

    if not isinstance(source, LeRobotDataset):
        return "h264"
    found = set()
    for entry in source.index.features.values():
        if entry.dtype == "image" and entry.name not in source.left_out:
            found.add(PNG)
        elif entry.dtype == "video" and entry.name not in source.left_out:
            found.add(VideoReader(source.index.videos[entry.name].files[0], source.fps).index.coding)
    return found.pop() if len(found) == 1 and found <= {PNG, *available_codecs()} else "h264"
