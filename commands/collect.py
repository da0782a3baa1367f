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
from praxon.robots.base import Agent
from praxon.sim.expert import ScriptedExpert
from praxon.sim.factory import make_world
from praxon.sim.parallel import Worker, run_seeds
from praxon.sim.perturbation import PerturbedAgent
from praxon.sim.recording import PHASE, REWARD, SUCCESS, Demonstration, record_episode
from praxon.sim.seeds import Purpose, episode_seeds
from praxon.sim.skill import skilled_expert
from praxon.sim.statistics import success_summary

ATTEMPTS_PER_EPISODE = 3
LEDGER = "meta/collection.jsonl"


def demonstrator(
    task: dict[str, Any],
    robot: dict[str, Any],
    period_s: float | None,
    cameras: list[str],
    image_size: list[int],
    perturbation_rad: float,
    perturbation: float,
    linger_s: float,
    phases: bool,
    offered: dict[str, Any],
    skill: float,
    rewards: bool,
) -> Worker[Demonstration]:
    """A function from a seed to one demonstration."""
    world = make_world(task, robot, period_s, cameras, image_size, **offered)
    heights = world.push_heights(perturbation_rad, perturbation)
    expert = world.expert()
    agent = PerturbedAgent(skilled_expert(world, skill, expert), heights, world.contract.chunk.control_period_s)
    phased = expert if phases and isinstance(expert, ScriptedExpert) else None

    def demonstrate(seed: int) -> Demonstration:
        return record_episode(world, agent, seed, linger_s, phased, rewards)

    return demonstrate


def run(config: Config) -> dict[str, Any]:
    """Collect as configured; returns what is written to result.json."""
    require_numbers(config, num_points=1, episodes=1, seed=0, workers=1, perturbation_rad=0, perturbation=0, linger_s=0)
    require(
        config.control_hz is None or (isinstance(config.control_hz, (int, float)) and config.control_hz > 0),
        f"control_hz is {config.control_hz}; a positive rate is needed.",
    )
    require(config.skill is not None, "skill is null; a number from 0 to 1 is needed.")
    size = list(config.image_size)
    require(
        len(size) == 2 and all(isinstance(pixels, int) and pixels >= 1 for pixels in size),
        f"image_size is {size}; height and width of at least 1 are needed, as in image_size=[84,84].",
    )
    from praxon.datasets.lerobot_writer import LeRobotWriter

    work = Run("collect", config)
    task, robot = plain(config.task), plain(config.robot)
    period_s = 1 / config.control_hz if config.control_hz else None
    offered = {"action": config.action, "tool_pose": config.tool_pose}
    if config.point_clouds:
        offered |= {"point_clouds": list(config.point_clouds), "num_points": config.num_points}
    make = partial(
        demonstrator,
        task,
        robot,
        period_s,
        list(config.cameras),
        size,
        config.perturbation_rad,
        config.perturbation,
        config.linger_s,
        config.phases,
        offered,
        config.skill,
        config.rewards,
    )
    world = make_world(task, robot, period_s, list(config.cameras), size, **offered)
    name = world.contract.task
    # Asked before anything is written, for both may refuse.
    expert, _ = world.expert(), world.push_heights(config.perturbation_rad, config.perturbation)
    skilled_expert(world, config.skill, expert)
    phases = _phases(name, expert) if config.phases else ()
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
    settings = {key: config[key] for key in ("seed", "perturbation_rad", "perturbation", "keep_failures", "linger_s")}
    if config.skill != 1:
        settings["skill"] = config.skill
    with (
        LeRobotWriter(
            root,
            world.contract,
            world.instruction,
            world.contract.robot,
            extra_features=[*([PHASE] if phases else []), *([REWARD, SUCCESS] if config.rewards else [])],
            metadata={"collect": settings, **({"phases": list(phases)} if phases else {})},
            codec=config.codec,
            resume=config.resume,
        ) as writer,
        Ledger(root / LEDGER) as ledger,
        progress_bar(f"collect {name}", config.episodes) as advance,
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
            f"Only {kept} of {config.episodes} demonstrations of '{name}' succeeded in {attempts} attempts; "
            "smaller pushes, or keep_failures=true, would keep more."
        )
    result = {
        "task": name,
        "robot": world.contract.robot,
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


def _phases(task: str, expert: Agent) -> tuple[str, ...]:
    """Names of the phases that the scripted expert tells; ``ConfigError`` where it tells none."""
    phases = expert.phases if isinstance(expert, ScriptedExpert) else ()
    require(bool(phases), f"The expert of '{task}' tells no phases to record; phases=false collects without.")
    return phases
