"""What inference delay costs: a marker that jumps, or drifts and jumps, and chunks that come late by 0 to 8 control steps.

The same weights and the same starts for every way of going from one chunk to the next; training-time chunking has weights of its
own, trained as long on the same data. Before, once:

    praxon collect task=pick_place task.moving='{speed:0.02,jump:0.08,jump_s:3}' episodes=200 run_dir=runs/rtc/demonstrations
    praxon train policy=flow dataset=runs/rtc/demonstrations/dataset steps=10000 run_dir=runs/rtc/flow
    praxon train policy=flow policy.prefix_delays=[1,1,1,1,1,1,1,1,1] dataset=runs/rtc/demonstrations/dataset steps=10000 \\
        run_dir=runs/rtc/prefix

usage: python benchmarks/real_time_chunking.py [--folder runs/rtc] [--episodes 100] [--workers 2] [--ways ...] [--delays ...]

Evaluations that are there already, in <folder>/evaluations, are not done again. Keeps results/real_time_chunking.json.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _record import record

from praxon.contract import Chunk, Observation
from praxon.policies.agent import ChunkAgent, DelayedRunner, Outcome
from praxon.policies.chunking import ObservationHistory
from praxon.policies.denoising.backends.registry import open_runtime
from praxon.policies.runtime import Runtime
from praxon.robots.base import Agent
from praxon.robots.loop import Tick
from praxon.sim.episode import Simulation
from praxon.sim.factory import make_world, task_config
from praxon.sim.parallel import run_seeds
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.statistics import success_summary

MOTIONS = {
    "jumps": {"jump": 0.08, "jump_s": 3.0},
    "drifts and jumps": {"speed": 0.02, "jump": 0.08, "jump_s": 3.0},
}
DELAYS = (0, 1, 2, 4, 8)


@dataclass(frozen=True)
class Way:
    """A way of going from one chunk to the next.

    Args:
        weights: folder of the training.
        engine: settings of the engine.
        blend: ticks over which a new chunk fades in.
        ensemble: decay of temporal ensembling; ``None``: chunks take over from each other.
        waits: whether the robot stands still while a chunk is computed.
        backend: that computes chunks.
    """

    weights: str = "flow"
    engine: Mapping[str, Any] | None = None
    blend: int = 0
    ensemble: float | None = None
    waits: bool = False
    backend: str = "openvino"


WAYS = {
    "synchronous": Way(waits=True),
    "naive asynchronous": Way(),
    "cross-fade": Way(blend=2),
    "temporal ensembling": Way(ensemble=0.01),
    "guided": Way(engine={"method": "guided"}, backend="eager"),
    "identity": Way(engine={"method": "identity"}),
    "warm start": Way(engine={"method": "warm_start", "start": 0.5}),
    "training-time": Way(weights="prefix"),
    "training-time, cross-fade": Way(weights="prefix", blend=2),
}


class Counted(DelayedRunner):
    """A delayed runner that counts the chunks it has handed out."""

    handed_out = 0

    def collect(self) -> Outcome | None:
        outcome = super().collect()
        self.handed_out += outcome is not None
        return outcome


class SynchronousAgent:
    """Executes its chunk, stands still while the next is computed, goes on with that chunk's first row."""

    def __init__(self, runtime: Runtime, delay: int, chunk: Chunk) -> None:
        self.runtime, self.delay, self.chunk, self.handed_out = runtime, delay, chunk, 0
        self._history = ObservationHistory(chunk.num_obs_steps)
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Start an episode."""
        self._history.reset()
        self._generator = np.random.default_rng(0 if seed is None else seed)
        self._rows: np.ndarray | None = None
        self._next, self._left, self._held = 0, 0, None
        self._coming: np.ndarray | None = None

    def act(self, observation: Observation, preview: int = 4) -> np.ndarray | None:
        """See ``ChunkAgent.act``."""
        self._history.append(observation)
        if self._coming is None and (self._rows is None or self._next >= self.chunk.num_execute):
            noise = self.runtime.draw_noise(1, self._generator)
            self._coming = self.runtime.chunks(self._history.window(), noise)[0].astype(np.float64)
            self._left = self.delay
        if self._coming is not None:
            if self._left > 0:
                self._left -= 1
                return None if self._held is None else np.repeat(self._held[None], 1 + preview, axis=0)
            self._rows, self._coming, self._next = self._coming, None, 0
            self.handed_out += 1
        assert self._rows is not None
        rows = self._rows[np.minimum(np.arange(self._next, self._next + 1 + preview), len(self._rows) - 1)]
        self._held = rows[0]
        self._next += 1
        return rows


@dataclass(frozen=True)
class Episode:
    """What came of an episode.

    Args:
        solved: whether the cube was put onto the marker.
        seconds: simulated.
        changed: share of the steps that the safety filter changed.
        jumps: largest change of a joint's asked velocity at each seam, as a share of its velocity limit.
        speeds: largest asked velocity of a joint at each seam, likewise.
        jerk: root mean square of the commanded jerk over joints and steps [rad/s^3].
    """

    solved: bool
    seconds: float
    changed: float
    jumps: list[float]
    speeds: list[float]
    jerk: float


class Seams:
    """Subscriber: what is asked where one chunk takes over from another, and how smooth what is commanded is."""

    def __init__(self, world: Simulation, counter: Any) -> None:
        spec = world.scene.robot
        self._arm = np.array([joint.unit == "rad" for joint in spec.joints])
        self._limit = spec.limit("velocity")[self._arm]
        self._period_s, self._counter = world.contract.chunk.control_period_s, counter
        self._count = counter.handed_out
        self._asked: list[np.ndarray] = []
        self._commanded: list[np.ndarray] = []
        self._seams: list[int] = []
        self._began = False

    def __call__(self, tick: Tick) -> None:
        """Take note of a step."""
        if self._counter.handed_out != self._count:
            self._count = self._counter.handed_out
            if self._began:  # the first chunk follows no other
                self._seams.append(len(self._asked))
            self._began = True
        asked = tick.command.positions[0] if tick.action is None else tick.action
        self._asked.append(np.asarray(asked)[self._arm])
        self._commanded.append(tick.command.positions[0][self._arm])

    def jumps(self) -> tuple[list[float], list[float]]:
        """Changes of velocity and velocities at the seams, as shares of the limits."""
        asked = np.array(self._asked)
        velocity = np.diff(asked, axis=0) / self._period_s
        inside = [seam for seam in self._seams if 2 <= seam < len(asked)]
        speeds = [float((np.abs(velocity[seam - 1]) / self._limit).max()) for seam in inside]
        jumps = [float((np.abs(velocity[seam - 1] - velocity[seam - 2]) / self._limit).max()) for seam in inside]
        return jumps, speeds

    def jerk(self) -> float:
        """Root mean square [rad/s^3]."""
        third = np.diff(np.array(self._commanded), n=3, axis=0) / self._period_s**3
        return float(np.sqrt(np.mean(third**2))) if len(third) else 0.0


def runtime_of(folder: Path, way: Way) -> Runtime:
    """What draws the chunks."""
    return open_runtime(folder / way.weights / "bundle", dict(way.engine or {}), {"backend": way.backend})


def worker(folder: Path, way: Way, delay: int, motion: str) -> Any:
    """What runs the episode of a seed."""
    runtime = runtime_of(folder, way)
    if way.ensemble is not None:
        chunk = replace(runtime.contract.chunk, num_execute=1, ensemble=way.ensemble)
        runtime.contract = replace(runtime.contract, chunk=chunk)
    config = {**task_config("pick_place"), "moving": MOTIONS[motion]}
    world = make_world(config, policy_contract=runtime.contract)
    assert isinstance(world, Simulation)
    agent: Agent
    counter: Any
    if way.waits:
        agent = counter = SynchronousAgent(runtime, delay, runtime.contract.chunk)
    else:
        counter = Counted(delay)
        agent = ChunkAgent(runtime, world.contract, counter, blend_steps=way.blend)

    def run(seed: int) -> Episode:
        seams = Seams(world, counter)
        result = world.run(agent, seed, [seams])
        return Episode(result.success, result.seconds, result.clamped, *seams.jumps(), seams.jerk())

    return run


def evaluation(folder: Path, name: str, delay: int, motion: str, seeds: list[int], workers: int) -> dict[str, Any]:
    """Figures of one way at one delay, where the marker moves so."""
    runtime_of(folder, WAYS[name]).close()  # exported once, before several processes ask for it
    episodes = list(run_seeds(partial(worker, folder, WAYS[name], delay, motion), seeds, workers))
    jumps = [jump for episode in episodes for jump in episode.jumps]
    speeds = [speed for episode in episodes for speed in episode.speeds]
    return {
        "motion": motion,
        "way": name,
        "delay": delay,
        **success_summary(sum(episode.solved for episode in episodes), len(episodes)),
        "solved": [episode.solved for episode in episodes],
        "mean_seconds": round(float(np.mean([episode.seconds for episode in episodes])), 3),
        "changed_by_the_filter": round(float(np.mean([episode.changed for episode in episodes])), 4),
        "seams": len(jumps),
        "seam_velocity_jump": {f"p{q}": round(float(np.percentile(jumps, q)), 4) for q in (50, 95, 100)},
        "seams_over_the_velocity_limit": int(sum(speed > 1.0 for speed in speeds)),
        "jerk_rms": round(float(np.mean([episode.jerk for episode in episodes])), 1),
    }


def main() -> None:
    """Evaluate what is not there yet, keep everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/rtc"), help="with flow/bundle and prefix/bundle")
    parser.add_argument("--episodes", type=int, default=100, help="paired starts of each evaluation")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS), help="those to evaluate")
    parser.add_argument("--motions", nargs="*", default=list(MOTIONS), choices=list(MOTIONS), help="of the marker")
    parser.add_argument("--delays", nargs="*", type=int, default=list(DELAYS), help="control steps")
    asked = parser.parse_args()
    kept = asked.folder / "evaluations"
    kept.mkdir(parents=True, exist_ok=True)
    seeds = episode_seeds(Purpose.EVALUATE, 0, asked.episodes)
    rows = []
    for motion, name, delay in product(asked.motions, asked.ways, asked.delays):
        path = kept / f"{motion}-{name}-{delay}-{asked.episodes}.json".replace(" ", "_").replace(",", "")
        if not path.exists():
            path.write_text(json.dumps(evaluation(asked.folder, name, delay, motion, seeds, asked.workers)))
        rows.append(json.loads(path.read_text()))
        print(
            f"{motion}, {name}, delay {delay}: {rows[-1]['successes']}/{asked.episodes}, "
            f"jump p95 {rows[-1]['seam_velocity_jump']['p95']:.2f}, jerk {rows[-1]['jerk_rms']:.0f}",
            flush=True,
        )
    steps = {
        weights: json.loads((asked.folder / weights / "result.json").read_text())["steps"]
        for weights in ("flow", "prefix")
    }
    shared = {"task": "pick_place", "motions": MOTIONS, "control_period_s": 0.05, "seed": 0, "training_steps": steps}
    print(record("real_time_chunking", {**shared, "rows": rows}))


if __name__ == "__main__":
    main()
