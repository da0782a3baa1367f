"""Running a policy on a robot through the ROS 2 graph, from a process that imports no ROS: episodes, or until stopped.

Importing this raises ``ConfigError`` where ROS 2 is not installed.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import praxon.ros_nodes.needs_ros  # noqa: F401  (one sentence where ROS 2 is missing)
from praxon.errors import RobotError
from praxon.ros_nodes.processes import Child

CONDUCTOR = "praxon.ros_nodes.episodes"
STOP_S = 25.0
"""How long the conductor may take to stop the nodes [s]."""


@dataclass(frozen=True)
class Started:
    """A graph that is ready.

    Args:
        seconds: it took to start both nodes, configure them and let the simulation run [s].
        domain_id: ROS_DOMAIN_ID with which other tools join it.
        processes: process ids by node.
    """

    seconds: float
    domain_id: int
    processes: dict[str, int]


@dataclass(frozen=True)
class RosEpisode:
    """How an episode over ROS went.

    Args:
        seed: that fixed its start.
        success: whether the task was solved before the time limit.
        seconds: simulated time from the first command [s].
        latencies_ms: of every control step, from the observation's stamp to its command on the wire [ms].
        inference_ms: wall time of every inference [ms].
        overruns: control steps missed.
        metrics: largest and smallest task figures seen.
        clamps: control steps the safety filter changed, by cause.
        drops: messages the policy could not use, by cause.
        refused_chunks: chunks that were not finite.
    """

    seed: int
    success: bool
    seconds: float
    latencies_ms: list[float]
    inference_ms: list[float]
    overruns: int
    metrics: dict[str, float] = field(default_factory=dict)
    clamps: dict[str, int] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    refused_chunks: int = 0


def run_episodes(
    bundle: Path,
    task: str,
    robot: str,
    seeds: Sequence[int],
    run_dir: Path,
    progress: Callable[[RosEpisode], None] = lambda episode: None,
    model: str = "own",
    threads: int = 0,
    domain_id: int | None = None,
    started: Callable[[Started], None] = lambda graph: None,
    engine: Mapping[str, Any] | None = None,
    serving: Mapping[str, Any] | None = None,
) -> list[RosEpisode]:
    """Run one episode per seed: simulated robot and policy as lifecycle nodes in their own processes.

    Args:
        bundle: the policy.
        task, robot: names of configs.
        seeds: of the episodes; each gives the start that the simulation gives.
        run_dir: takes the logs of the processes.
        progress: called after each episode.
        model: source of the robot's model, 'own' or 'menagerie'.
        threads: of inference; 0: as the bundle says.
        domain_id: ROS_DOMAIN_ID; default the environment's, else a free one.
        started: called once everything is ready.
        engine, serving: how chunks are drawn and computed, where it is not as the bundle says.

    Raises:
        RobotError: one sentence on what a node refused, or on the process that died.
    """
    episodes: list[RosEpisode] = []

    def collect(episode: RosEpisode) -> None:
        episodes.append(episode)
        progress(episode)

    arguments = ["--seeds", ",".join(map(str, seeds)), *_drawing(engine, serving)]
    _conduct(bundle, task, robot, arguments, run_dir, model, threads, domain_id, started, collect)
    return episodes


def serve(
    bundle: Path,
    task: str,
    robot: str,
    seed: int,
    run_dir: Path,
    model: str = "own",
    threads: int = 0,
    domain_id: int | None = None,
    started: Callable[[Started], None] = lambda graph: None,
    engine: Mapping[str, Any] | None = None,
    serving: Mapping[str, Any] | None = None,
) -> None:
    """Let the policy act from the start of ``seed`` until Ctrl-C; arguments and errors as in ``run_episodes``."""
    arguments = ["--seed", str(seed), *_drawing(engine, serving)]
    _conduct(bundle, task, robot, arguments, run_dir, model, threads, domain_id, started, lambda _: None)


def _drawing(engine: Mapping[str, Any] | None, serving: Mapping[str, Any] | None) -> list[str]:
    chosen = {"--engine": engine, "--serving": serving}
    return [part for name, value in chosen.items() if value for part in (name, json.dumps(dict(value)))]


def _conduct(
    bundle: Path,
    task: str,
    robot: str,
    arguments: Sequence[str],
    run_dir: Path,
    model: str,
    threads: int,
    domain_id: int | None,
    started: Callable[[Started], None],
    finished: Callable[[RosEpisode], None],
) -> None:
    """Start the conductor, hand on what it says, and stop it whatever happens."""
    run_dir.mkdir(parents=True, exist_ok=True)
    common = ["--bundle", str(bundle), "--task", task, "--robot", robot, "--model", model]
    common += ["--threads", str(threads), "--run-dir", str(run_dir)]
    log = run_dir / "episodes.log"
    environment = dict(os.environ)
    if domain_id is not None:
        environment["ROS_DOMAIN_ID"] = str(domain_id)
    conductor = Child(CONDUCTOR, [*common, *arguments], log, environment, pipe_output=True)
    try:
        for line in conductor.output:
            event = json.loads(line)
            kind = event.pop("event")
            if kind == "active":
                started(Started(**event))
            elif kind == "episode":
                finished(RosEpisode(**event))
            elif kind == "error":
                raise RobotError(event["message"])
        conductor.wait(STOP_S)
        if conductor.returncode != 0:
            raise RobotError(f"The graph ended with status {conductor.returncode}; {conductor.tail()}")
    finally:
        conductor.stop(interrupt_s=STOP_S)
