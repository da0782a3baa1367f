"""Serve a policy on the robot's ROS 2 interfaces: simulated robot and policy as lifecycle nodes in their own processes.

Runs until Ctrl-C, or with episodes=N runs N unseen episodes through the graph and writes result.json.
Example: praxon serve bundle=runs/demo/bundle robot=panda
"""

import math
from pathlib import Path
from typing import Any

from praxon.commands._hydra import Config, choice, task_name
from praxon.commands._run import (
    ENGINE_EXAMPLE,
    Run,
    console,
    progress_bar,
    require,
    require_numbers,
    serving_of,
    settings_of,
    task_of,
)
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.statistics import latency_summary, success_summary


def run(config: Config) -> dict[str, Any]:
    """Serve as configured; returns what is written to result.json, empty when served until Ctrl-C."""
    require(
        config.bundle is not None,
        "No bundle was given; bundle=<folder> names a policy, as praxon train leaves in <run_dir>/bundle.",
    )
    require_numbers(config, episodes=0, seed=0, threads=1, domain_id=0)
    require(
        config.domain_id is None or config.domain_id <= 101,
        f"domain_id is {config.domain_id}; 0 to 101 are safe on every system.",
    )
    drawing = {
        "engine": settings_of(config, "engine", ENGINE_EXAMPLE),
        "serving": serving_of(config),
    }
    from praxon.policies.denoising.backends.registry import contract_of, open_runtime
    from praxon.ros_nodes import graph
    from praxon.ros_nodes.serving import robot_contract
    from praxon.ros_nodes.streams import stream
    from praxon.sim.factory import make_simulation

    bundle = Path(config.bundle)
    contract = contract_of(bundle)
    task, robot = task_name(task_of(config)), choice(config, "robot")
    common = {**drawing, "model": config.robot.model, "threads": config.threads or 0, "domain_id": config.domain_id}
    # What does not fit is refused before any process starts.
    simulation = make_simulation(task, robot, policy_contract=contract)
    contract.require(robot_contract(simulation.scene.robot, contract), f"robot '{robot}' over ROS")
    for feature in contract.observations:
        stream(feature, simulation.scene.robot)
    work = Run("serve", config)
    work.start()
    # Made here, where it may take its time, and found by the node, which has to answer in a minute.
    threads = {} if config.threads is None else {"threads": config.threads}
    open_runtime(bundle, drawing["engine"], {**drawing["serving"], **threads}).close()

    if not config.episodes:

        def ready(started: graph.Started) -> None:
            console.print(
                f"Serving [bold]{bundle}[/bold] on {robot} after {started.seconds:.1f} s, "
                f"ROS_DOMAIN_ID={started.domain_id}; Ctrl-C stops it."
            )

        console.print("Starting the nodes.")
        graph.serve(bundle, task, robot, config.seed, work.path, started=ready, **common)
        return {}

    seeds = episode_seeds(Purpose.EVALUATE, config.seed, config.episodes)
    successes = 0
    with progress_bar(f"ros {task}", config.episodes) as advance:

        def count(episode: graph.RosEpisode) -> None:
            nonlocal successes
            successes += episode.success
            advance(note=f"{successes} succeeded")

        episodes = graph.run_episodes(bundle, task, robot, seeds, work.path, count, **common)
    latencies = [value for episode in episodes for value in episode.latencies_ms]
    inference = [value for episode in episodes for value in episode.inference_ms]
    result = {
        "task": simulation.task.name,
        "robot": simulation.scene.robot.name,
        "agent": "policy",
        "bundle": config.bundle,
        "seed": config.seed,
        **success_summary(successes, len(episodes)),
        "latency_ms": latency_summary(latencies),
        "inference_ms": latency_summary(inference),
        "delays": [math.ceil(value / 1e3 / contract.chunk.control_period_s) for value in inference],
        "seconds": work.seconds,
        "episode_results": [
            {
                "seed": episode.seed,
                "success": episode.success,
                "seconds": episode.seconds,
                "overruns": episode.overruns,
                "clamps": episode.clamps,
                "drops": episode.drops,
                "metrics": episode.metrics,
            }
            for episode in episodes
        ],
        "latencies_ms": [round(value, 3) for value in latencies],
    }
    work.finish(result)
    low, high = result["interval_95"]
    console.print(
        f"over ROS 2: {successes}/{len(episodes)} succeeded (95 % interval {100 * low:.1f} to {100 * high:.1f}), "
        f"observation to command p50 {result['latency_ms']['p50']} ms, p99 {result['latency_ms']['p99']} ms."
    )
    return result
