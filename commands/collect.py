"""Record demonstrations of a task by its scripted expert.

Leaves <run_dir>/dataset in LeRobot's v3.0 layout, carrying the contract, and result.json with the expert's success.
resume=true goes on after Ctrl-C or a crash, to the same data; with a larger episodes= it adds to a finished collection.
Example: praxon collect task=lift episodes=50 run_dir=runs/lift
"""

from functools import partial
from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._ledger import Ledger
from praxon.commands._run import Run, console, log, plain, progress_bar, require, require_numbers
from praxon.errors import DatasetError
from praxon.sim.factory import make_simulation
from praxon.sim.parallel import Worker, run_seeds
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import Demonstration, record_episode
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.statistics import success_summary

ATTEMPTS_PER_EPISODE = 3
LEDGER = "meta/collection.jsonl"


def demonstrator(
    task: dict[str, Any],
    robot: dict[str, Any],
    period_s: float,
    cameras: list[str],
    image_size: list[int],
    perturbation_rad: float,
    linger_s: float,
) -> Worker[Demonstration]:
    """A function from a seed to one demonstration."""
    simulation = make_simulation(task, robot, period_s, cameras, image_size)
    expert = simulation.task.expert(simulation.scene, period_s)
    agent = PerturbedAgent(expert, simulation.scene.robot, perturbation_rad, period_s)

    def demonstrate(seed: int) -> Demonstration:
        return record_episode(simulation, agent, seed, linger_s)

    return demonstrate


def run(config: Config) -> dict[str, Any]:
    """Collect as configured; returns what is written to result.json."""
    require_numbers(config, episodes=1, seed=0, workers=1, perturbation_rad=0, linger_s=0)
    require(config.control_hz > 0, f"control_hz is {config.control_hz}; a positive rate is needed.")
    from praxon.datasets.lerobot_writer import LeRobotWriter

    work = Run("collect", config)
    task, robot = plain(config.task), plain(config.robot)
    make = partial(
        demonstrator,
        task,
        robot,
        1 / config.control_hz,
        list(config.cameras),
        list(config.image_size),
        config.perturbation_rad,
        config.linger_s,
    )
    described = make_simulation(task, robot, 1 / config.control_hz, list(config.cameras), list(config.image_size))
    seeds = episode_seeds(Purpose.COLLECT, config.seed, ATTEMPTS_PER_EPISODE * config.episodes)
    root = work.path / "dataset"
    require(
        config.resume or not root.exists(),
        f"run_dir '{work.path}' already holds a collection; resume=true continues it, another run_dir starts a new one.",
    )
    require(
        not config.resume or root.exists(),
        f"There is no collection to continue in run_dir '{work.path}'; resume=false starts one.",
    )
    settings = {key: config[key] for key in ("seed", "perturbation_rad", "keep_failures", "linger_s")}
    with (
        LeRobotWriter(
            root,
            described.contract,
            described.task.instruction,
            described.scene.robot.name,
            metadata={"collect": settings},
            codec=config.codec,
            resume=config.resume,
        ) as writer,
        Ledger(root / LEDGER) as ledger,
        progress_bar(f"collect {described.task.name}", config.episodes) as advance,
    ):
        work.start()
        attempts = len(ledger.lines)
        successes = sum(line["success"] for line in ledger.lines)
        kept = sum(line["episode"] is not None for line in ledger.lines)
        try:
            for demonstration in run_seeds(make, seeds[attempts:], config.workers) if kept < config.episodes else ():
                keep = demonstration.result.success or config.keep_failures
                # Killed between writing an episode and noting it, the run finds it there already, the same to the bit.
                if keep and kept == writer.num_episodes:
                    writer.add_episode(demonstration.frames, demonstration.stamps_ns)
                ledger.add({"success": bool(demonstration.result.success), "episode": kept if keep else None})
                attempts, successes, kept = attempts + 1, successes + demonstration.result.success, kept + keep
                advance(completed=kept, note=f"{successes}/{attempts} succeeded")
                if kept == config.episodes:
                    break
        except KeyboardInterrupt:
            hint = f"{writer.num_episodes} episodes are safe; resume=true run_dir={work.path} goes on."
            raise KeyboardInterrupt(hint) from None
    if kept < config.episodes:
        raise DatasetError(
            f"Only {kept} of {config.episodes} demonstrations of '{described.task.name}' succeeded in {attempts} attempts; "
            "a smaller perturbation_rad, or keep_failures=true, would keep more."
        )
    result = {
        "task": described.task.name,
        "robot": described.scene.robot.name,
        "dataset": str(root),
        "episodes": kept,
        "frames": writer.num_frames,
        "seed": config.seed,
        **success_summary(successes, attempts, prefix="expert_"),
        "seconds": work.seconds,
    }
    work.finish(result)
    log.info("kept %d of %d episodes", kept, attempts)
    console.print(f"{kept} episodes, {writer.num_frames} frames in [bold]{root}[/bold]; expert {successes}/{attempts}.")
    return result
