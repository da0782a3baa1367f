"""Samples per second at random frames, ours beside LeRobot's dataset on the same files in the same run.

A sample is what a policy trains on: two observations and a chunk of sixteen actions with its padding mask, in batches of
64. State only, and with two cameras of 96x96; the pictures once in the files of our writer, once gathered into few large
ones, and once in files that LeRobot's own writer made (AV1). LeRobot runs in an environment and a process of its own with
the settings of its training script, pictures as bytes and every decoder kept open; of its decoders and numbers of workers
the fastest is taken. We run in one process. Blocks of the two alternate, and so do blocks of LeRobot and our whole
passes; ratios are medians.

Ours is told three times: ``decoding`` with a picture cache too small to give anything twice, ``first pass`` over all frames
with an empty cache of the usual size and the files not in memory, and ``later passes``. LeRobot keeps no pictures, so its
figure is the same in all three. Our memory is read after each of ten passes.

usage: python benchmarks/dataset_throughput.py [--folder FOLDER] [--only CASE ...] [--blocks N] [--passes N]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _record import record
from lerobot_environment import ANSWER, HELPERS, Environment, arguments, make_newest

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder else tells its settings for every file

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.packing import pack
from praxon.datasets.windows import Windows

sys.path.insert(0, str(HELPERS))
from frames import CAMERAS, JOINTS, make_frame

EPISODES, LENGTH, FPS, SIZE = 100, 200, 20, 96
BATCH = 64
CHUNK = Chunk(horizon=16, num_execute=8, num_obs_steps=2, control_period_s=1 / FPS)
WORKERS = (0, 2)
NO_CACHE = 1  # bytes
CASES = {"state": "state", "video": "h264", "video packed": "h264", "video by LeRobot": "av1"}
GOALS = {"state": 3.0, "video": 1.5, "video packed": 1.5, "video by LeRobot": 1.5}


def main() -> None:
    """Measure every case, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--blocks", type=int, default=9, help="that are compared (default: %(default)s)")
    parser.add_argument("--passes", type=int, default=10, help="over which memory is read (default: %(default)s)")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    environment = make_newest(folder)
    result: dict[str, Any] = {
        "lerobot": environment.facts,
        "frames": EPISODES * LENGTH,
        "batch": BATCH,
        "observations": CHUNK.num_obs_steps,
        "actions": CHUNK.horizon,
        "cases": {},
    }
    for case in asked.only:
        root = make_data(folder / "throughput", case, environment, folder / "cache")
        found = measure(root, case, environment, folder / "cache", asked.blocks, asked.passes)
        result["cases"][case] = found
        print(f"{case}: {json.dumps(found)}", flush=True)
    if asked.only == list(CASES):
        print(f"kept in {record('dataset_throughput', result).name}")


# -- data -------------------------------------------------------------------------------------------------


def make_data(folder: Path, case: str, environment: Environment, cache: Path) -> Path:
    """The dataset of a case, made once."""
    root = folder / case.replace(" ", "_").lower()
    if (root / "meta/stats.json").is_file():
        return root
    print(f"making {EPISODES} episodes of {LENGTH} frames in {root}", flush=True)
    shutil.rmtree(root, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if case == "video packed":
        pack(LeRobotDataset(make_data(folder, "video", environment, cache)), root)
    elif case == "video by LeRobot":
        request = {"root": str(root), "out": None, "pictures": "av1", "lengths": [LENGTH] * EPISODES, "fps": FPS}
        environment.call("write.py", {**request, "size": SIZE, "streaming": True, "small_files": False}, cache)
    else:
        write_ours(root, pictures=case == "video")
    return root


def write_ours(root: Path, pictures: bool) -> None:
    """State and action, and two cameras where they are wanted."""
    state = Feature("observation.state", "vector", (7,), tuple(JOINTS))
    cameras = [Feature(name, "image", (SIZE, SIZE, 3), dtype="uint8") for name in CAMERAS] if pictures else []
    contract = PolicyContract("arm", "move", (state, *cameras), Feature("action", "vector", (7,), tuple(JOINTS)), CHUNK)
    names = [feature.name for feature in contract]
    rng = np.random.default_rng(0)
    with LeRobotWriter(root, contract, "move", "arm") as writer:
        for episode in range(EPISODES):
            with writer.open_episode() as recorder:
                for number in range(LENGTH):
                    frame = make_frame(rng, episode, number, SIZE if pictures else 2)
                    recorder.add({name: frame[name] for name in names}, round(number * 1e9 / FPS))


def forget_files(root: Path) -> None:
    """Ask the system to drop the files from its memory, so that the first pass reads them from disk."""
    for path in root.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


# -- measuring --------------------------------------------------------------------------------------------


class TheirSide:
    """LeRobot in its process."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self._answer()

    def seconds(self, indices: np.ndarray) -> float:
        """How long these frames take."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(indices.tolist()) + "\n")
        self._process.stdin.flush()
        found = self._answer()
        if found["samples"] != len(indices):
            raise RuntimeError(f"LeRobot gave {found['samples']} samples of {len(indices)}.")
        return float(found["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return dict(json.loads(line[len(ANSWER) :]))
        raise RuntimeError("LeRobot's side ended before it answered.")


@contextmanager
def their_side(environment: Environment, request: dict[str, Any], cache: Path) -> Iterator[TheirSide]:
    """Started, and ended by the end of its input."""
    process = environment.start("speed.py", request, cache)
    try:
        yield TheirSide(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def measure(root: Path, case: str, environment: Environment, cache: Path, blocks: int, passes: int) -> dict[str, Any]:
    """All figures of one case."""
    rng = np.random.default_rng(0)
    cameras = CAMERAS if case != "state" else ()
    observed, ahead = ["observation.state", *cameras], ["action"]
    if case == "video by LeRobot":  # what else it holds and we give too
        observed += ["observation.force", "observation.matrix"]
        ahead += ["is_intervention"]
    deltas = {name: [-1 / FPS, 0.0] for name in observed}
    deltas |= {name: [i / FPS for i in range(CHUNK.horizon)] for name in ahead}
    request: dict[str, Any] = {"root": str(root), "deltas": deltas, "batch_size": BATCH}
    calibration = calibrate(environment, request, cache, rng, bool(cameras))
    best = max(calibration, key=lambda name: calibration[name])
    backend, workers = best.split(", ")
    request |= {"backend": backend if cameras else None, "workers": int(workers.split()[0])}
    num_frames = EPISODES * LENGTH
    their_block = min(num_frames, max(10, round(2 * calibration[best] / BATCH)) * BATCH)  # about two seconds
    decoding = Windows(LeRobotDataset(root, cache_bytes=NO_CACHE), CHUNK)
    our_block = min(num_frames, their_block * (4 if cameras else 20))
    with their_side(environment, request, cache) as theirs:
        theirs.seconds(rng.integers(0, num_frames, 2 * BATCH * max(1, request["workers"])))
        run_ours(decoding, rng.integers(0, num_frames, 2 * BATCH))
        rates = []
        for _ in range(blocks):
            their_rate = their_block / theirs.seconds(rng.integers(0, num_frames, their_block))
            our_rate = our_block / run_ours(decoding, rng.integers(0, num_frames, our_block))
            rates.append((our_rate, their_rate))
        del decoding
        ours, lerobots = (np.array(column) for column in zip(*rates, strict=True))
        whole = passes_over(root, theirs, their_block, rng, passes)
    return {
        "goal": GOALS[case],
        "lerobot": {"settings": best, "samples_per_s": spread(lerobots), "tried": calibration},
        "decoding" if cameras else "ours": {"samples_per_s": spread(ours), "ratio": spread(ours / lerobots)},
        **whole,
    }


def passes_over(
    root: Path, theirs: TheirSide, their_block: int, rng: np.random.Generator, passes: int
) -> dict[str, Any]:
    """Whole passes with the usual cache, the first from disk, each after a block of LeRobot's; memory after each."""
    rates, ratios, memory = [], [], []
    windows: Windows | None = None
    opened_s = 0.0
    for _ in range(passes):
        their_rate = their_block / theirs.seconds(rng.integers(0, EPISODES * LENGTH, their_block))
        if windows is None:
            forget_files(root)
            began = time.perf_counter()
            windows = Windows(LeRobotDataset(root), CHUNK)
            opened_s = time.perf_counter() - began
        rates.append(len(windows) / run_ours(windows, rng.permutation(len(windows))))
        ratios.append(rates[-1] / their_rate)
        memory.append(resident_mb())
    return {
        "first_pass": {
            "samples_per_s": round(rates[0]),
            "ratio": float(f"{ratios[0]:.3g}"),
            "opened_s": round(opened_s, 2),
        },
        "later_passes": {
            "samples_per_s": spread(np.array(rates[1:] or rates)),
            "ratio": spread(np.array(ratios[1:] or ratios)),
        },
        "memory_mb_after_each_pass": memory,
        "memory_growth_after_second_pass_percent": round(100 * (memory[-1] / memory[min(1, passes - 1)] - 1), 1),
    }


def calibrate(
    environment: Environment, request: dict[str, Any], cache: Path, rng: np.random.Generator, pictures: bool
) -> dict[str, float]:
    """Samples per second of LeRobot with each decoder and number of workers, from a short block."""
    found = {}
    for backend in environment.facts["backends"] if pictures else ["no pictures"]:
        for workers in WORKERS:
            asked = {**request, "backend": backend if pictures else None, "workers": workers}
            count = (10 if pictures else 40) * BATCH
            with their_side(environment, asked, cache) as theirs:
                theirs.seconds(rng.integers(0, EPISODES * LENGTH, 4 * BATCH))
                seconds = [theirs.seconds(rng.integers(0, EPISODES * LENGTH, count)) for _ in range(2)]
            found[f"{backend}, {workers} workers"] = round(count / min(seconds), 1)
    return found


def run_ours(windows: Windows, indices: np.ndarray) -> float:
    """Seconds for these frames in batches."""
    began = time.perf_counter()
    for start in range(0, len(indices), BATCH):
        windows.batch(indices[start : start + BATCH])
    return time.perf_counter() - began


def spread(values: np.ndarray) -> dict[str, Any]:
    """Median, quartiles."""
    low, middle, high = (float(f"{q:.4g}") for q in np.percentile(values, [25, 50, 75]))
    return {"median": middle, "quartiles": [low, high]}


def resident_mb() -> int:
    """Memory of this process [MB], as the system counts it; the peak where it does not tell the present."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return round(int(line.split()[1]) / 1024)
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
