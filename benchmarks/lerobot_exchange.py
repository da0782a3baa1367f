"""Datasets across LeRobot, both ways, with its own classes: tensors, pictures, windows and statistics compared.

Ours to theirs: a dataset of our writer is loaded by LeRobot. Theirs to ours: LeRobot's writer makes one (v3.0 with
several files and folders, v2.1) and we read it. In both cases everything that LeRobot gives for every frame, with and
without delta_timestamps, is held against what we give.

usage: python benchmarks/lerobot_exchange.py [--folder FOLDER] [--only CASE ...]
"""

import argparse
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from lerobot_environment import HELPERS, Environment, arguments, make_newest, make_v21

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder else tells its settings for every file

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.packing import pack
from praxon.datasets.windows import Windows

sys.path.insert(0, str(HELPERS))
from frames import CAMERAS, JOINTS, features, make_frame, task_of

LENGTHS, FPS, SIZE = (20, 7, 13, 21, 20, 9), 10, 96
CHUNK = Chunk(horizon=16, num_execute=8, num_obs_steps=2, control_period_s=1 / FPS)
AHEAD = ("action", "next.reward", "is_intervention")
QUANTILES = ("q01", "q10", "q50", "q90", "q99")
OURS = ("h264", "av1", "h264_lossless", "png", "h264 packed", "av1 packed")
THEIRS = ("av1", "h264", "av1 streaming", "png", "v2.1 av1", "v2.1 png")


def main() -> None:
    """Run every case, print, keep; the exit status says whether all agreed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    parser.add_argument("--only", nargs="*", default=None, metavar="CASE", help="e.g. 'theirs av1'")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    newest = make_newest(folder)
    old = make_v21(folder, newest)
    cases = [f"ours {name}" for name in OURS] + [f"theirs {name}" for name in THEIRS]
    result: dict[str, Any] = {"lerobot": newest.facts, "lerobot_v21": old.facts, "cases": {}}
    for case in asked.only or cases:
        side, _, kind = case.partition(" ")
        environment = old if "v2.1" in kind else newest
        root = folder / "exchange" / case.replace(" ", "_")
        for path in (root, root.with_suffix(".npz")):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        try:
            if side == "ours":
                write_ours(root, kind)
            else:
                write_theirs(root, kind, environment, folder / "cache")
            found = {"files": count_files(root), **compare(root, environment, folder / "cache")}
            if kind.endswith("png") or kind == "h264_lossless":
                found["pictures_equal_to_written"] = equal_to_written(root)
            found["agrees"] = agrees(found)
        except Exception as error:  # the other cases are still wanted
            traceback.print_exc()
            found = {"agrees": False, "error": f"{type(error).__name__}: {error}"[:500]}
        result["cases"][case] = found
        print(f"{case}: {'agrees' if found['agrees'] else 'DIFFERS'} {found}", flush=True)
    result["all_agree"] = all(case["agrees"] for case in result["cases"].values())
    if asked.only is None:
        print(f"kept in {record('lerobot_exchange', result).name}")
    sys.exit(not result["all_agree"])


# -- the two writers --------------------------------------------------------------------------------------


def contract() -> tuple[PolicyContract, tuple[Feature, ...]]:
    """What the made-up robot sees and does, and the features beyond that."""
    observations: list[Feature] = []
    extra: list[Feature] = []
    for name, entry in features("av1", SIZE).items():
        if name == "action":
            continue
        if name in CAMERAS:
            observations.append(Feature(name, "image", (SIZE, SIZE, 3), dtype="uint8", source=name.rpartition(".")[2]))
        else:
            feature = Feature(name, "vector", entry["shape"], tuple(entry["names"] or ()), entry["dtype"])
            (observations if name.startswith("observation.") else extra).append(feature)
    action = Feature("action", "vector", (7,), tuple(JOINTS))
    return PolicyContract("arm", "several", tuple(observations), action, CHUNK), tuple(extra)


def write_ours(root: Path, kind: str) -> None:
    """Our writer's dataset, frame by frame, and what was written beside it; ``packed`` is gathered into few files."""
    codec, _, packed = kind.partition(" ")
    whole, extra = contract()
    rng = np.random.default_rng(0)
    target = root.with_name(f"{root.name}_single") if packed else root
    shutil.rmtree(target, ignore_errors=True)
    kept: dict[str, list[np.ndarray]] = {}
    with LeRobotWriter(target, whole, "several", "arm", extra_features=extra, codec=codec) as writer:
        for episode, length in enumerate(LENGTHS):
            frames = [make_frame(rng, episode, number, SIZE) for number in range(length)]
            for frame in frames:
                for name, value in frame.items():
                    kept.setdefault(name, []).append(value)
            if episode == 1:  # one instruction for each frame
                columns = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
                writer.add_episode(columns, task=[task_of(episode, number) for number in range(length)])
                continue
            with writer.open_episode(task_of(episode, 0)) as recorder:
                for number, frame in enumerate(frames):
                    recorder.add(frame, round(number * 1e9 / FPS))
    if packed:
        # A file holds about two episodes.
        pack(LeRobotDataset(target), root, data_mb=0.03, video_mb=0.03)
        shutil.rmtree(target)
    np.savez(root.with_suffix(".npz"), **{name: np.stack(values) for name, values in kept.items()})


def write_theirs(root: Path, kind: str, environment: Environment, cache: Path) -> None:
    """LeRobot's writer's dataset."""
    codec = next(name for name in ("av1", "h264", "png") if name in kind)
    request: dict[str, Any] = {
        "root": str(root),
        "out": str(root.with_suffix(".npz")),
        "pictures": codec,
        "lengths": LENGTHS,
    }
    request |= {"fps": FPS, "size": SIZE, "streaming": "streaming" in kind, "small_files": True}
    environment.call("write.py", request, cache)


def count_files(root: Path) -> dict[str, int]:
    """Files and chunk folders by kind."""
    kinds = {"data": "data/**/*.parquet", "videos": "videos/**/*.mp4", "chunks": "data/chunk-*"}
    return {name: len(list(root.glob(pattern))) for name, pattern in kinds.items()}


# -- the comparison ---------------------------------------------------------------------------------------


def compare(root: Path, environment: Environment, cache: Path) -> dict[str, Any]:
    """Everything LeRobot gives beside everything we give."""
    ours = LeRobotDataset(root)
    observed = [feature.name for feature in ours.contract.observations]
    deltas = {name: [-1 / FPS, 0.0] for name in observed} | {
        name: [i / FPS for i in range(CHUNK.horizon)] for name in AHEAD
    }
    backends = environment.facts["backends"]
    loads = [{"backend": b, "deltas": d, "episodes": None} for b in backends for d in (None, deltas)]
    loads += [{"backend": backends[-1], "deltas": None, "episodes": [1, 3]}]
    for number, load in enumerate(loads):
        load["out"] = str(root.with_name(f"{root.name}_{number}.npz"))
    told = environment.call("load.py", {"root": str(root), "loads": loads}, cache)["loads"]
    found: dict[str, Any] = {"frames": ours.num_frames, "episodes": ours.num_episodes, "pictures": {}}
    differing: list[str] = []
    for load, metadata in zip(loads, told, strict=True):
        path = Path(str(load["out"]))
        with np.load(path) as file:
            theirs = {name: file[name] for name in file.files}
        path.unlink()
        items = {name.removeprefix("item/"): values for name, values in theirs.items() if name.startswith("item/")}
        if load["episodes"]:
            chosen = np.concatenate([np.arange(ours.num_frames)[ours.episode_slice(e)] for e in load["episodes"]])
        else:
            chosen = np.arange(ours.num_frames)
        expected = windows(ours, items) if load["deltas"] else columns(ours, items, chosen)
        pictures = found["pictures"].setdefault(str(load["backend"]), {"max_difference": 0, "pixels_equal": 1.0})
        for name, values in items.items():
            differing += hold_against(name, values, expected.get(name), pictures)
        differing += [f"{name} missing" for name in set(expected) - set(items)]
        texts = [ours.tasks[number] for number in ours.columns["task_index"][chosen]]
        differing += ["task"] if texts != metadata["tasks"] else []
        if load["deltas"] is None and load["episodes"] is None:
            differing += metadata_differences(ours, metadata)
            found["statistics"] = statistics(ours, theirs)
    return found | {"differing": sorted(set(differing))}


def columns(ours: LeRobotDataset, items: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    """What each item should hold: the stored columns, and pictures."""
    found = {name: values[chosen] for name, values in ours.columns.items()}
    return found | {name: ours.frames(name, chosen) for name in CAMERAS if name in items}


def windows(ours: LeRobotDataset, items: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with windows in place of the features that were asked for with delta_timestamps."""
    chosen = np.arange(ours.num_frames)
    batch = Windows(ours, CHUNK, extras=AHEAD[1:]).batch(chosen)
    found = columns(ours, items, chosen) | {name: batch[name] for name in AHEAD}
    found |= {f"{name}_is_pad": batch["action_is_pad"] for name in AHEAD}
    for feature in ours.contract.observations:
        found |= {feature.name: batch[feature.name], f"{feature.name}_is_pad": batch["observation_is_pad"]}
    return found


def hold_against(name: str, theirs: np.ndarray, expected: np.ndarray | None, pictures: dict[str, Any]) -> list[str]:
    """Names of what differs; pictures are counted instead."""
    if expected is None:
        return [f"{name} unknown to us"]
    if theirs.dtype == np.uint8 and theirs.ndim >= 4:
        if theirs.shape != expected.shape:
            return [f"{name} shape {theirs.shape} {expected.shape}"]
        difference = np.abs(theirs.astype(np.int16) - expected)
        pictures["max_difference"] = max(pictures["max_difference"], int(difference.max()))
        pictures["pixels_equal"] = min(pictures["pixels_equal"], round(float((difference == 0).mean()), 6))
        return []
    # LeRobot gives a feature of shape [1] without that axis, and float64 columns as float32.
    same_kind = theirs.dtype == expected.dtype or (theirs.dtype, expected.dtype) == (np.float32, np.float64)
    if not same_kind or theirs.size != expected.size:
        return [f"{name} {theirs.dtype}{theirs.shape} {expected.dtype}{expected.shape}"]
    return [] if np.array_equal(theirs.reshape(-1), expected.astype(theirs.dtype).reshape(-1)) else [name]


def metadata_differences(ours: LeRobotDataset, told: dict[str, Any]) -> list[str]:
    """Counts, rate, robot and feature names."""
    names = {feature.name for feature in (*ours.contract, *ours.extra_features)}
    pairs = {
        "episodes": (ours.num_episodes, told["episodes"]),
        "frames": (ours.num_frames, told["frames"]),
        "fps": (ours.fps, told["fps"]),
        "robot_type": (ours.robot_type, told["robot_type"]),
        "features": (names - set(told["features"]), set()),
    }
    return [f"{name} {mine} {theirs}" for name, (mine, theirs) in pairs.items() if mine != theirs]


def statistics(ours: LeRobotDataset, theirs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Largest difference of stored statistics, as LeRobot loads them, and of those that LeRobot's code computes.

    Differences are in parts of the feature's range. LeRobot's quantiles are estimates, of one episode at a time, so
    they are told apart. LeRobot's own statistics of a matrix lose its first axis (``other_shape``).
    """
    found = {"stored": 0.0, "stored_quantiles": 0.0, "stored_pictures": 0.0, "computed": 0.0, "computed_quantiles": 0.0}
    other_shape = set()
    for key, value in theirs.items():
        source, _, rest = key.partition("/")
        feature, _, name = rest.rpartition("/")
        if source not in ("stats", "own") or feature not in ours.statistics or name not in ours.statistics[feature]:
            continue
        mine = ours.statistics[feature]
        if feature in CAMERAS and name == "count":
            continue  # of pictures that were looked at; each side samples its own
        if name != "count" and np.size(mine[name]) != value.size:
            other_shape.add(feature)
            continue
        scale = 1.0 if name == "count" else float(np.max(np.asarray(mine["max"]) - np.asarray(mine["min"]))) or 1.0
        difference = float(np.max(np.abs(np.asarray(mine[name], float).reshape(-1) - value.reshape(-1)))) / scale
        place = {"stats": "stored", "own": "computed"}[source]
        if feature in CAMERAS and source == "stats":
            place = "stored_pictures"
        elif name in QUANTILES:
            place += "_quantiles"
        found[place] = max(found[place], float(f"{difference:.3g}"))
    return {**found, "other_shape": sorted(other_shape)}


def equal_to_written(root: Path) -> bool:
    """Pictures that were stored without loss are those that went in."""
    ours = LeRobotDataset(root)
    with np.load(root.with_suffix(".npz")) as written:
        return all(np.array_equal(ours.frames(name, np.arange(ours.num_frames)), written[name]) for name in CAMERAS)


def agrees(found: dict[str, Any]) -> bool:
    """Tensors equal to the bit, pictures too where the same decoder's version gives them; statistics to rounding."""
    pictures = max(backend["max_difference"] for backend in found["pictures"].values())
    exact = not found["differing"] and found["statistics"]["stored"] < 1e-6 and found["statistics"]["computed"] < 1e-6
    return exact and pictures <= 2 and found.get("pictures_equal_to_written", True)


if __name__ == "__main__":
    main()
