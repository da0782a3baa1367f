"""Train a policy on demonstrations.

Leaves <run_dir>/bundle, ready for praxon eval and praxon serve, with checkpoints, metrics.jsonl and TensorBoard files
beside it. Where task= or robot= is given, the dataset must be of it. Ctrl-C saves a checkpoint; resume=true continues
from the last one, after a crash as well. Under torchrun or accelerate launch several processes share every batch; with -m
and settings that have several values, each combination is trained: praxon train -m policy=flow,act seed=0,1 dataset=...
Example: praxon train policy=flow task=lift dataset=runs/lift/dataset minutes=3 run_dir=runs/lift-flow
"""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from praxon import __version__
from praxon.commands._hydra import Config
from praxon.commands._run import Run, console, plain, progress_bar, require, require_numbers
from praxon.commands._windows import joined_windows, source_names
from praxon.contract import Feature, PolicyContract, observed_name
from praxon.targets import load_target, options

PROGRESS_STEPS = 1000


def run(config: Config) -> dict[str, Any]:
    """Train as configured; returns what is written to result.json."""
    require(
        config.dataset is not None,
        "No dataset was given; dataset=<folder> names demonstrations, such as praxon collect leaves in <run_dir>/dataset.",
    )
    run_dir = Path(str(config.run_dir)) if config.run_dir else None
    require_numbers(config, steps=1, minutes=1e-3, seed=0, threads=1)
    begun = run_dir is not None and (run_dir / "checkpoints").exists()
    require(
        not begun or config.resume,
        f"run_dir '{run_dir}' already holds a training; resume=true continues it, another run_dir starts a new one.",
    )
    require(
        begun or not config.resume,
        f"There is no training to continue in run_dir '{run_dir}'; resume=false starts one.",
    )
    import torch

    from praxon.datasets.joined import joined_digest, joined_statistics, require_alike
    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.datasets.selection import select_episodes
    from praxon.learning.distributed import Processes
    from praxon.learning.fitting import fit_normalizer
    from praxon.learning.trainer import StepReport, Trainer
    from praxon.learning.weighting import Sources, Uniform
    from praxon.policies.build import build_policy, policy_contract, settle_policy
    from praxon.policies.bundle import save_bundle
    from praxon.policies.networks.pretrained import load_pretrained

    processes = Processes.join(config.training.device)
    console.quiet = not processes.is_main
    begun = processes.from_main(begun)
    folders = [str(folder) for folder in (config.dataset if _is_list(config.dataset) else [config.dataset])]
    require(bool(folders), "The list of datasets is empty; dataset=[<folder>,<folder>] names two.")
    datasets = [LeRobotDataset(Path(folder)) for folder in folders]
    contract = datasets[0].contract
    tasks = list(dict.fromkeys(task for each in datasets for task in each.tasks))
    seen = policy_contract(plain(config.policy), contract, tasks).observations
    require_alike(datasets, [observed_name(feature.name) for feature in seen if feature.kind != "task"])
    _require_same(config, contract)
    asked = list(config.episodes) if _is_list(config.episodes) else config.episodes
    episodes = [select_episodes(asked, len(each), each.splits, str(each.root)) for each in datasets]
    work = Run("train", config) if processes.is_main else None
    folder = Path(processes.from_main(str(work.path) if work else None))
    torch.set_num_threads(config.threads)

    policy_config, settled = settle_policy(
        plain(config.policy), _whole_number_columns(datasets), contract.chunk.control_period_s
    )
    torch.manual_seed(config.seed)
    policy = build_policy(policy_config, contract, tasks)
    if not begun:
        load_pretrained(policy)
    weighting = _weighting(config)
    needs = policy.needs()
    for each in datasets:
        lacking = set(needs.extras) - {feature.name for feature in each.extra_features}
        require(
            not lacking,
            f"The policy learns from the column {', '.join(sorted(lacking))}, which '{each.root}' has not; {needs.hint}.",
        )
    windows = joined_windows(
        policy, datasets, episodes, weighting.future(policy) or needs.future, config.hindsight, config.seed
    )
    fit_normalizer(policy, joined_statistics(windows.parts), windows)
    trainer = Trainer(**plain(config.training), steps=config.steps, minutes=config.minutes, seed=config.seed)
    digest = joined_digest(datasets)
    sampling = plain(config.sampling)
    make_sampler = load_target(sampling["_target_"])
    settings = {key: value for key, value in sampling.items() if key != "_target_"}
    sampler = make_sampler(windows, trainer.batch_size, config.seed, **settings)
    identity = {"policy": policy_config, "dataset": digest, "episodes": episodes, "sampling": sampling}
    sources = Sources(source_names(folders), datasets, windows.frames)
    if type(weighting) is not Uniform:
        identity["weighting"] = plain(config.weighting)
    if any(feature.is_goal for feature in policy.contract.observations):
        identity["hindsight"] = config.hindsight

    parameters = sum(parameter.numel() for parameter in policy.parameters())
    console.print(
        f"{_name(policy_config)} with {parameters:,} parameters, {len(windows):,} windows of {sum(map(len, episodes))} episodes"
        + (f", in {processes.count} processes" if processes.count > 1 else "")
    )
    if settled:
        console.print(settled)
    for line in (
        *policy.remarks(),
        *weighting.remarks(config.steps),
        *_untold_goals(seen, [each.contract for each in datasets]),
    ):
        console.print(line, markup=False)
    with progress_bar(f"train {_name(policy_config)}", PROGRESS_STEPS, percent=True) as advance:

        def show(report: StepReport) -> None:
            if work is not None and not begun and report.step == 1:
                work.start()
            if report.step % 10 == 0 or report.progress >= 1:
                advance(completed=PROGRESS_STEPS * report.progress, note=f"step {report.step}, loss {report.loss:.4f}")

        try:
            trained = trainer.fit(
                policy,
                windows,
                folder,
                config=identity,
                weighting=weighting,
                sampler=sampler,
                sources=sources,
                on_step=show,
            )
        except KeyboardInterrupt:
            saved = (folder / "checkpoints").exists()
            hint = f"resume=true run_dir={folder} continues this training." if saved else "Nothing was trained yet."
            raise KeyboardInterrupt(hint) from None
    processes.leave()
    if work is None:
        return {}

    result = {
        "task": contract.task,
        "robot": contract.robot,
        "policy": _name(policy_config),
        "bundle": str(folder / "bundle"),
        "dataset": folders if len(folders) > 1 else folders[0],
        "dataset_digest": digest,
        "episodes": sum(map(len, episodes)),
        "frames": len(windows),
        "parameters": parameters,
        "steps": trained.step,
        "loss": trained.loss,
        "seed": config.seed,
        "processes": processes.count,
        "training_seconds": round(trained.elapsed_s, 2),
        "seconds": work.seconds,
    }
    recipe = {"policy": policy_config, "training": plain(config.training), "sampling": sampling, "seed": config.seed}
    if "weighting" in identity:
        recipe["weighting"] = identity["weighting"]
    save_bundle(folder / "bundle", policy, recipe, card=_card(result))
    work.finish(result)
    console.print(f"{trained.step} steps in {trained.elapsed_s:.0f} s; bundle in [bold]{folder / 'bundle'}[/bold].")
    return result


def _require_same(config: Config, contract: PolicyContract) -> None:
    """Where task= or robot= was given, the dataset must be of it, joints in the robot's order and units included."""
    from praxon.sim.factory import task_name

    for group in ("task", "robot"):
        found, chosen = getattr(contract, group), config.get(group)
        if chosen is None:
            continue
        name = task_name(plain(chosen)) if group == "task" else load_target(chosen["_target_"]).name
        require(name == found, f"The dataset '{config.dataset}' is of {group} '{found}', not '{name}'.")
        if group == "robot":
            target = load_target(chosen["_target_"])
            for feature in contract:
                same = (feature.names, feature.unit) == (target.joint_names, target.unit)
                require(
                    feature.kind != "joint_position" or same,
                    f"Feature '{feature.name}' of the dataset '{config.dataset}' has the joints {', '.join(feature.names)} "
                    f"[{feature.unit}]; robot '{target.name}' has {', '.join(target.joint_names)} [{target.unit}].",
                )


def _weighting(config: Config) -> Any:
    """The weighting that was chosen."""
    from praxon.learning.weighting import Weighting
    from praxon.policies.build import build_part

    return build_part(plain(config.weighting), Weighting)


def _whole_number_columns(datasets: list[Any]) -> dict[str, int]:
    """Largest value of each whole-number column beyond the contract that all datasets have."""
    import numpy as np

    names = [
        {f.name for f in each.extra_features if np.issubdtype(np.dtype(f.dtype), np.integer) and f.size == 1}
        for each in datasets
    ]
    return {name: max(int(each.columns[name].max()) for each in datasets) for name in sorted(set.intersection(*names))}


def _untold_goals(seen: Sequence[Feature], contracts: Sequence[PolicyContract]) -> list[str]:
    """A sentence for each task of ours that cannot tell the policy the goals it is trained with."""
    from praxon.sim.factory import make_robot, make_task
    from praxon.sim.registration import own_tasks

    goals = [feature for feature in seen if feature.is_goal]
    ours, robots = own_tasks(), options("robot")
    found = []
    for task, robot in dict.fromkeys((each.task, each.robot) for each in contracts):
        if not goals or task not in ours or robot not in robots:
            continue
        there = make_task(task, make_robot(robot))
        untold = [observed_name(feature.name) for feature in goals if not there.knows(feature)]
        if untold:
            found.append(
                f"The task '{task}' cannot tell where {', '.join(untold)} shall get to: praxon eval will refuse this policy "
                f"there. It tells the poses of {', '.join(there.goals) or 'nothing'}."
            )
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, ListConfig))


def _name(policy_config: dict[str, Any]) -> str:
    return str(policy_config["_target_"]).rpartition(".")[2]


def _card(result: dict[str, Any]) -> str:
    """What a person should know about the bundle; holds nothing that differs between equal runs."""
    import torch

    rows = {
        "task": result["task"],
        "robot": result["robot"],
        "policy": f"{result['policy']}, {result['parameters']} parameters",
        "demonstrations": f"{result['episodes']} episodes, {result['frames']} frames",
        "dataset SHA-256": result["dataset_digest"],
        "training": f"{result['steps']} steps, seed {result['seed']}",
        "versions": f"praxon {__version__}, torch {torch.__version__}, python {platform.python_version()}",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"# {result['policy']} for {result['task']} on {result['robot']}\n\n| | |\n| --- | --- |\n{table}\n"
