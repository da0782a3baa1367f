"""Turn a LeRobot checkpoint (diffusion or act) into a bundle: the same weights, the same chunks.

Reads config.json, model.safetensors and the processors; nothing is unpickled, LeRobot need not be installed.
Example: praxon import lerobot path=outputs/train/act/checkpoints/last dataset=data/so101 out=runs/act/bundle
"""

from pathlib import Path
from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._run import Run, console, require, require_numbers


def run(config: Config) -> dict[str, Any]:
    """Import as configured; returns what is written to result.json."""
    require(config.path is not None, "No checkpoint was given; path=<folder> names LeRobot's pretrained_model.")
    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.policies.bundle import save_bundle
    from praxon.policies.lerobot.checkpoint import read_checkpoint
    from praxon.policies.lerobot.convert import KINDS, bare_contract, convert

    checkpoint = read_checkpoint(Path(str(config.path)), KINDS)
    given = [name for name in ("robot", "task", "control_hz") if config[name] is not None]
    if config.dataset is not None:
        require(not given, f"The dataset says its {', '.join(given)}; leave that out, or leave dataset= out.")
        contract = LeRobotDataset(Path(str(config.dataset))).contract
    else:
        missing = [name for name in ("robot", "task", "control_hz") if name not in given]
        require(
            not missing,
            f"A checkpoint does not say its {', '.join(missing)}: dataset=<folder> names a dataset of the same features, or "
            "give robot=, task= and control_hz=.",
        )
        require_numbers(config, control_hz=1e-3)
        contract = bare_contract(checkpoint, str(config.robot), str(config.task), 1 / config.control_hz)
    converted = convert(checkpoint, contract)
    policy = converted.policy
    work = Run("import", config)
    work.start()
    out = Path(str(config.out)) if config.out is not None else work.path / "bundle"
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    chunk = policy.contract.chunk
    result = {
        "bundle": str(out),
        "checkpoint": str(checkpoint.path),
        "kind": checkpoint.kind,
        "robot": contract.robot,
        "task": contract.task,
        "parameters": parameters,
        "horizon": chunk.horizon,
        "num_execute": chunk.num_execute,
        "num_obs_steps": chunk.num_obs_steps,
    }
    recipe = {"policy": converted.config, "imported": {"from": "LeRobot", "kind": checkpoint.kind}}
    save_bundle(out, policy, recipe, card=_card(result))
    work.finish(result)
    console.print(
        f"LeRobot's {checkpoint.kind} policy, {parameters:,} parameters, chunks of {chunk.horizon} with {chunk.num_execute} "
        f"executed; bundle in [bold]{out}[/bold]."
    )
    return result


def _card(result: dict[str, Any]) -> str:
    rows = "\n".join(f"| {key} | {value} |" for key, value in result.items() if key not in ("bundle", "checkpoint"))
    return f"# {result['kind']} for {result['task']} on {result['robot']}, imported from LeRobot\n\n| | |\n| --- | --- |\n{rows}\n"
