"""kill -9 at random moments while two cameras are recorded: what is lost, and whether pictures stay with their numbers.

A recorder, a process of its own, adds frames one by one at their times and says when an episode is finished. It is
killed; then everything finished must read back whole, every picture must show the episode and the frame of its row, and
the next recorder goes on in the same folder, of which the killed one knows nothing. After some kills the recorder may
end in peace, and the next folder is begun.

usage: python benchmarks/dataset_crash.py [--kills N] [--seed N] [--keep FOLDER]
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from _record import record

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.errors import DatasetError

CAMERAS = ("observation.images.front", "observation.images.wrist")
SIZE, BLOCKS, DARK, BRIGHT = 96, 4, 50, 200
FPS = 100  # fast, so that many frames, episodes and ends of episodes lie within a second
KILLS_PER_FOLDER, LONGEST_S = 10, 2.0
SHARE_AT_START = 0.2  # of the kills may fall while the folder is opened
WHILE = {
    "ready": "opening the folder",
    "recording": "recording frames",
    "finishing": "finishing an episode",
    "finished": "between episodes",
}
STATE = Feature("observation.state", "vector", (3,), ("run", "episode", "frame"))
CONTRACT = PolicyContract(
    "arm",
    "record",
    (STATE, *(Feature(name, "image", (SIZE, SIZE, 3), dtype="uint8") for name in CAMERAS)),
    Feature("action", "vector", (3,), ("run", "episode", "frame")),
    Chunk(control_period_s=1 / FPS),
)


# -- the recorder -----------------------------------------------------------------------------------------


def record_episodes(root: Path, run: int, episodes: int | None) -> None:
    """Record in the folder until killed, or a number of episodes; says on the way where it is."""
    say("ready")
    if not sys.stdin.readline():
        return  # nobody is there any more
    rng = np.random.default_rng(run)
    with LeRobotWriter(root, CONTRACT, "record", resume=True) as writer:
        last = None if episodes is None else writer.num_episodes + episodes
        while writer.num_episodes != last:
            number, length = writer.num_episodes, int(rng.integers(8, 20))
            say(f"recording {number}")
            with writer.open_episode() as episode:
                for frame in range(length):
                    numbers = np.array([run, number, frame], np.float32)
                    pictures = {name: draw(number, frame, camera) for camera, name in enumerate(CAMERAS)}
                    episode.add({"observation.state": numbers, "action": numbers, **pictures}, time.monotonic_ns())
                    time.sleep(1 / FPS)
                say(f"finishing {number}")
            say(f"finished {number} {run} {length}")
        say("closing")
    say("closed")


def draw(episode: int, frame: int, camera: int) -> np.ndarray:
    """A picture of dark and bright blocks: one byte of the episode's number, one of the frame's; inverted for the second."""
    bits = np.unpackbits(np.array([episode % 256, frame], np.uint8)).astype(bool) ^ bool(camera)
    blocks = np.where(bits, BRIGHT, DARK).astype(np.uint8).reshape(BLOCKS, BLOCKS)
    return np.repeat(np.kron(blocks, np.ones((SIZE // BLOCKS, SIZE // BLOCKS), np.uint8))[..., None], 3, axis=2)


def read_blocks(pictures: np.ndarray, camera: int) -> np.ndarray:
    """(N, 2) the numbers in pictures (N, height, width, 3); -1 where a block is neither dark nor bright."""
    side = SIZE // BLOCKS
    grey = pictures.reshape(len(pictures), BLOCKS, side, BLOCKS, side, 3).mean(axis=(2, 4, 5)).reshape(-1, BLOCKS**2)
    clear = (np.minimum(np.abs(grey - DARK), np.abs(grey - BRIGHT)) < 20).all(axis=1)
    bits = (grey > (DARK + BRIGHT) / 2) ^ bool(camera)
    return np.where(clear[:, None], np.packbits(bits, axis=1).astype(int), -1)


def say(line: str) -> None:
    """To the process that will kill us."""
    print(line, flush=True)


# -- the killer -------------------------------------------------------------------------------------------


class Recorder:
    """A recorder process, started ahead so that its imports cost no time, and what it has said."""

    def __init__(self, root: Path, run: int, episodes: int | None = None) -> None:
        command = [sys.executable, __file__, "--record", str(root), str(run), str(episodes or 0)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.errors = ""
        self._threads = [
            threading.Thread(target=self._listen, args=(self._process.stdout,)),
            threading.Thread(target=self._complain, args=(self._process.stderr,)),
        ]
        for thread in self._threads:
            thread.start()

    def begin(self, wait: bool = False) -> None:
        """Let it record; ``wait`` until it has opened the folder and its first episode."""
        self._await(1)
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        if wait:
            self._await(2)

    def kill(self) -> str:
        """kill -9 this one process; what it was doing then."""
        os.kill(self._process.pid, signal.SIGKILL)
        self.wait()
        return self.lines[-1].split()[0]

    def wait(self) -> int:
        """Its end; everything it said is in ``lines``."""
        code = self._process.wait()
        for thread in self._threads:
            thread.join()
        return code

    def finished(self) -> dict[int, tuple[int, int]]:
        """episode -> (run, length) of those it called finished."""
        rows = [line.split() for line in self.lines if line.startswith("finished ")]
        return {int(row[1]): (int(row[2]), int(row[3])) for row in rows}

    def _await(self, lines: int) -> None:
        while len(self.lines) < lines and self._process.poll() is None:
            time.sleep(0.001)

    def _listen(self, stream: TextIO) -> None:
        self.lines.extend(line.strip() for line in stream if line.endswith("\n"))

    def _complain(self, stream: TextIO) -> None:
        self.errors = stream.read()


def verify(root: Path, finished: dict[int, tuple[int, int]]) -> dict[str, int]:
    """Finished episodes that are lost, not whole, or misaligned; episodes there beyond those that were called finished."""
    found = {"lost": 0, "not_whole": 0, "misaligned": 0, "beyond": 0}
    try:
        dataset = LeRobotDataset(root)
    except DatasetError as error:
        if finished:
            print(f"  {error}")
        return {**found, "lost": len(finished)}
    found["lost"] = sum(episode >= dataset.num_episodes for episode in finished)
    found["beyond"] = dataset.num_episodes - len(finished) + found["lost"]
    for episode in range(dataset.num_episodes):
        where = dataset.episode_slice(episode)
        rows = np.arange(where.start, where.stop)
        state = dataset.columns["observation.state"][where]
        run, length = finished.get(episode, (int(state[0, 0]), len(rows)))
        numbers = np.stack([np.full(length, run), np.full(length, episode), np.arange(length)], axis=1)
        stamps = dataset.columns["stamp_ns"][where]
        whole = np.array_equal(state, numbers) and np.array_equal(dataset.columns["action"][where], numbers)
        if not whole or (np.diff(stamps) <= 0).any():
            found["not_whole"] += 1
            continue
        try:
            shown = [read_blocks(dataset.frames(name, rows), camera) for camera, name in enumerate(CAMERAS)]
        except DatasetError as error:
            print(f"  {error}")
            found["not_whole"] += 1
            continue
        expected = np.stack([np.full(length, episode % 256), np.arange(length)], axis=1)
        found["misaligned"] += not all(np.array_equal(numbers, expected) for numbers in shown)
    return found


def one_folder(root: Path, kills: int, seed: int, chance: random.Random) -> dict[str, Any]:
    """Kill recorders of one folder so many times, then let one end."""
    totals: Counter[str] = Counter()
    moments: Counter[str] = Counter()
    finished: dict[int, tuple[int, int]] = {}
    recorder = Recorder(root, seed)
    for kill in range(kills):
        following = Recorder(root, seed + kill + 1, None if kill + 1 < kills else 2)
        recorder.begin(wait=chance.random() > SHARE_AT_START)
        time.sleep(chance.uniform(0, LONGEST_S))
        moments[WHILE[recorder.kill()]] += 1
        finished |= recorder.finished()
        totals["resume_refused"] += "Error" in recorder.errors
        found = verify(root, finished)
        totals.update(found)
        if found["beyond"]:  # its entry was there, only the word was not out yet
            dataset = LeRobotDataset(root)
            for episode in range(len(finished), dataset.num_episodes):
                first = dataset.episode_slice(episode).start
                run = int(dataset.columns["observation.state"][first, 0])
                finished[episode] = (run, int(dataset.episode_lengths[episode]))
        if any(found[name] for name in ("lost", "not_whole", "misaligned")) or recorder.errors:
            print(f"  after kill {kill + 1} in '{root}': {found} {recorder.errors[-500:]}", flush=True)
        recorder = following
    recorder.begin()
    code = recorder.wait()
    finished |= recorder.finished()
    totals.update(verify(root, finished))
    resumed = code == 0 and len(recorder.finished()) == 2 and (root / "meta/stats.json").is_file()
    if not resumed:
        print(f"  the last recorder of '{root}' did not end in peace: {recorder.errors[-500:]}")
    left = sum(path.name.startswith(".") for path in root.rglob("*"))
    return {"totals": totals, "moments": moments, "finished": len(finished), "resumed": resumed, "left_behind": left}


def main() -> None:
    """Kill, print, keep; the exit status says whether anything finished was lost."""
    if sys.argv[1:2] == ["--record"]:
        folder, run, episodes = sys.argv[2:5]
        record_episodes(Path(folder), int(run), int(episodes) or None)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="an empty folder for the recordings, instead of a temporary one")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    began = time.perf_counter()
    totals: Counter[str] = Counter()
    moments: Counter[str] = Counter()
    finished, folders = 0, []
    with tempfile.TemporaryDirectory() as temporary:
        for first in range(0, asked.kills, KILLS_PER_FOLDER):
            kills = min(KILLS_PER_FOLDER, asked.kills - first)
            root = (asked.keep or Path(temporary)) / f"recording_{first:03d}"
            told = one_folder(root, kills, asked.seed * 100_000 + 100 * first, chance)
            folders.append(told)
            totals.update(told["totals"])
            moments.update(told["moments"])
            finished += told["finished"]
            print(f"{first + kills} kills, {finished} episodes finished, {dict(totals)}", flush=True)
    result = {
        "kills": asked.kills,
        "while": dict(moments),
        "episodes_finished": finished,
        **{name: totals[name] for name in ("lost", "not_whole", "misaligned", "resume_refused")},
        "committed_before_the_word_was_out": totals["beyond"],
        "folders": len(folders),
        "folders_resumed_and_closed": sum(told["resumed"] for told in folders),
        "files_left_behind_at_the_end": sum(told["left_behind"] for told in folders),
        "seconds": round(time.perf_counter() - began),
    }
    print(result)
    if asked.kills >= 100:
        print(f"kept in {record('dataset_crash', result).name}")
    bad = any(result[name] for name in ("lost", "not_whole", "misaligned", "resume_refused"))
    sys.exit(bad or result["folders_resumed_and_closed"] != result["folders"])


if __name__ == "__main__":
    main()
