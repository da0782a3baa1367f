"""Evaluate a policy in simulation on unseen starts.

Writes result.json with success, Wilson interval, latency and every episode; video=true films a success and a failure.
Example: praxon eval bundle=runs/lift-flow/bundle task=lift episodes=50 seed=7
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from praxon.commands._hydra import Config
from praxon.commands._run import (
    ENGINE_EXAMPLE,
    Run,
    console,
    plain,
    progress_bar,
    require,
    require_numbers,
    serving_of,
    settings_of,
    task_of,
)
from praxon.contract import Chunk
from praxon.policies.runtime import EARLY
from praxon.robots.base import Agent
from praxon.sim.factory import make_world
from praxon.sim.parallel import Worker, run_seeds
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.skill import skilled_expert
from praxon.sim.statistics import latency_summary, success_summary
from praxon.sim.video import FrameRecorder, Video
from praxon.sim.world import EpisodeResult, World

AGENTS = ("policy", "expert", "hold")
PAUSE_S = 0.7
"""How long a video stands still after an episode [s]."""


@dataclass(frozen=True)
class Evaluated:
    """One evaluated episode and the latency of each inference in it [ms]."""

    result: EpisodeResult
    latencies_ms: list[float]


@dataclass
class Evaluator:
    """A world, who acts in it, the inference latencies as they come [s], and of a policy how chunks are drawn and what they are."""

    world: World
    agent: Agent
    latencies_s: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    chunk: Chunk | None = None

    def __call__(self, seed: int) -> Evaluated:
        """Run the episode of a seed."""
        self.latencies_s.clear()
        result = self.world.run(self.agent, seed)
        return Evaluated(result, [1e3 * seconds for seconds in self.latencies_s])


def evaluator(
    task: dict[str, Any],
    robot: dict[str, Any],
    agent: str,
    bundle: str | None,
    engine: dict[str, Any],
    serving: dict[str, Any],
    delay: int,
    skill: float = 1.0,
) -> Evaluator:
    """Build what runs episodes; called once in each process."""
    if agent != "policy":
        world = make_world(task, robot)
        return Evaluator(world, world.idle() if agent == "hold" else skilled_expert(world, skill), [])
    from praxon.policies.agent import ChunkAgent, DelayedRunner
    from praxon.policies.denoising.backends.registry import open_runtime

    runtime = open_runtime(Path(str(bundle)), engine, serving)
    world = make_world(task, robot, policy_contract=runtime.contract)
    runner = DelayedRunner(delay)
    policy_agent = ChunkAgent(runtime, world.contract, runner)
    policy_agent.warm_up(world.first_observation(0))
    performer = world.performer(policy_agent)
    return Evaluator(world, performer, runner.latencies_s, runtime.settings, runtime.contract.chunk)


def run(config: Config) -> dict[str, Any]:
    """Evaluate as configured; returns what is written to result.json."""
    require_numbers(config, episodes=1, seed=0, workers=1, threads=1, delay=0)
    require(config.agent in AGENTS, f"There is no agent '{config.agent}'. Agents: {', '.join(AGENTS)}.")
    require(
        config.agent != "policy" or config.bundle is not None,
        "No bundle was given; bundle=<folder> names a policy, agent=expert or agent=hold need none.",
    )
    engine = settings_of(config, "engine", ENGINE_EXAMPLE)
    serving = serving_of(config)
    for name, chosen in (("engine", engine), ("serving", serving)):
        require(not chosen or config.agent == "policy", f"{name} is of a policy, and agent={config.agent} is none.")
    require(config.skill is not None, "skill is null; a number from 0 to 1 is needed.")
    require(config.skill == 1 or config.agent == "expert", f"skill is of the expert, and agent={config.agent} is none.")
    if config.threads is not None:
        serving = {"threads": config.threads, **serving}
    make = partial(
        evaluator,
        task_of(config),
        plain(config.robot),
        config.agent,
        config.bundle,
        engine,
        serving,
        config.delay,
        config.skill,
    )
    here = make()
    if here.chunk is not None:
        _warn_of_short_chunks(here.chunk, config.delay, here.settings["engine"].get("method") in EARLY)
    work = Run("eval", config)
    work.start()
    (work.path / "video.mp4").unlink(missing_ok=True)  # of an earlier evaluation into the same folder
    seeds = episode_seeds(Purpose.EVALUATE, config.seed, config.episodes)
    episodes: list[Evaluated] = []
    successes = 0
    in_process: Callable[[], Worker[Evaluated]] = (lambda: here) if config.workers <= 1 else make
    with progress_bar(f"eval {here.world.contract.task}", config.episodes) as advance:
        for evaluated in run_seeds(in_process, seeds, config.workers):
            episodes.append(evaluated)
            successes += evaluated.result.success
            advance(note=f"{successes}/{len(episodes)} succeeded")

    results = [evaluated.result for evaluated in episodes]
    result = {
        "task": here.world.contract.task,
        "robot": here.world.contract.robot,
        "agent": config.agent,
        "bundle": config.bundle if config.agent == "policy" else None,
        "engine": here.settings.get("engine", {}),
        "serving": here.settings.get("serving", {}),
        "delay": config.delay,
        **({"skill": config.skill} if config.agent == "expert" else {}),
        "seed": config.seed,
        **success_summary(successes, len(results)),
        "latency_ms": latency_summary([value for evaluated in episodes for value in evaluated.latencies_ms]),
        "metrics": _mean_metrics(results),
        "mean_steps": round(float(np.mean([episode.steps for episode in results])), 2),
        "seconds": work.seconds,
        "episode_results": [_without_time(episode) for episode in results],
        "latencies_ms": [round(value, 3) for evaluated in episodes for value in evaluated.latencies_ms],
    }
    if config.video:
        result["video"] = film(here, results, work.path / "video.mp4")
    work.finish(result)
    low, high = result["interval_95"]
    console.print(
        f"{config.agent}: {successes}/{len(results)} succeeded, {100 * result['success_rate']:.1f} % "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f}); {work.path / 'result.json'}"
    )
    return result


def film(evaluate: Evaluator, results: list[EpisodeResult], path: Path) -> list[dict[str, Any]]:
    """Run one success and one failure again with a camera; returns what the video shows, in order."""
    problem = evaluate.world.filming_problem()
    if problem:
        console.print(f"No video: {problem}", markup=False)
        return []
    chosen = [next((r for r in results if r.success == success), None) for success in (True, False)]
    fps = max(1, round(1 / evaluate.world.contract.chunk.control_period_s))
    shown: list[dict[str, Any]] = []
    video: Video | None = None
    for episode in filter(None, chosen):
        recorder = FrameRecorder(evaluate.world)
        again = evaluate.world.run(evaluate.agent, episode.seed, [recorder])
        recorder.close()
        height, width, _ = recorder.pictures[0].shape
        video = video or Video(path, fps, height, width)
        still = [recorder.pictures[-1]] * round(PAUSE_S * fps)
        for picture in [*recorder.pictures, *still]:
            video.add(picture)
        shown.append({"seed": episode.seed, "success": again.success, "seconds": again.seconds})
    if video is not None:
        video.close()
    return shown


def _warn_of_short_chunks(chunk: Chunk, delay: int, early: bool) -> None:
    # One chunk is computed at a time: the next is asked for when the rows are used, or where that is early as soon as it can be.
    needed = max(chunk.num_execute, 2 * delay) if early else delay + max(chunk.num_execute, delay)
    if delay and needed > chunk.horizon:
        console.print(
            f"[yellow]short chunks[/yellow]: with {delay} steps of delay and {chunk.num_execute} rows executed a chunk has to last "
            f"{needed} rows, and has {chunk.horizon}; the last is held meanwhile. Longer chunks (policy.chunk.horizon) would do."
        )


def _mean_metrics(results: list[EpisodeResult]) -> dict[str, float]:
    return {
        f"mean_{name}": round(float(np.mean([episode.metrics[name] for episode in results])), 5)
        for name in results[0].metrics
    }


def _without_time(episode: EpisodeResult) -> dict[str, Any]:
    """Everything that is the same on every run of the same seed."""
    return {key: value for key, value in asdict(episode).items() if key != "wall_s"}
