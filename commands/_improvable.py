"""What praxon improve refuses before anything is done, in one sentence each."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from praxon.commands._hydra import Config
from praxon.commands._learner import save_start
from praxon.commands._run import console, require, require_numbers

if TYPE_CHECKING:
    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.learning.interactive.gates import Gate
    from praxon.learning.interactive.methods import Method
    from praxon.policies.bundle import Bundle
    from praxon.sim.world import World


def require_improvable(
    config: Config,
    method: "Method",
    gate: "Gate | None",
    start: "Bundle",
    world: "World",
    demonstrations: Sequence["LeRobotDataset"],
) -> None:
    """Whether a bundle can be improved so, whatever the method.

    Raises:
        ConfigError: it cannot.
    """
    from praxon.learning.interactive.gates import Gate
    from praxon.learning.interactive.records import record_features

    if method.online is None:
        require(
            getattr(start.policy, "movable", True),
            f"This bundle's critics see as the policy below does, or choose its noise, and {method.name} would train it anew; "
            "rlif and hil_serl with refit=false leave it as it is.",
        )
    if gate is not None:
        gate.require(start.contract, demonstrations, world)
        require(
            method.online is None or type(gate).prepare is Gate.prepare,
            f"The gate {type(gate).__name__} learns between rounds, and {method.name} learns within; gate=stalled would do.",
        )
    if not demonstrations:
        console.print(
            "No demonstrations were given (dataset=<folder>): what the expert does from now on is all that is learned from."
        )
    recorded = {each.name for each in record_features(world.contract, start.contract.chunk.num_execute)}
    lacking = set(start.policy.needs().extras) - recorded
    require(
        not lacking,
        f"This policy learns from the column {', '.join(sorted(lacking))}, which is not recorded while it is watched.",
    )
    if start.engine.get("cache") is not None:
        console.print("The bundle's cache schedule is of its weights, and left out; praxon calibrate makes another.")
    require(
        "density" not in ((start.engine.get("serving") or {}).get("selection") or {}),
        "This bundle chooses by a density of its own weights, which training changes; serving={candidates:1} first.",
    )


def require_learnable(
    config: Config,
    method: "Method",
    start: "Bundle",
    demonstrations: Sequence["LeRobotDataset"],
    trained_below: bool,
) -> None:
    """What actor or learner of a method that learns while it acts would refuse after the first evaluation.

    Raises:
        ConfigError: they would.
    """
    from praxon.policies.bundle import load_bundle
    from praxon.policies.refined import RefinedPolicy

    for name in ("env_steps", "practice"):
        require(config[name] is not None, f"{name} is null; a number is needed.")
    require_numbers(config, env_steps=1, practice=0)
    made = [feature.name for feature in start.contract.observations if feature.is_goal or feature.kind == "task"]
    require(
        not made,
        f"This policy is told {', '.join(made)}, which is not recorded while it is watched; {method.name} takes policies "
        "that see observations alone.",
    )
    if method.online is not None and method.online.prefer_interventions:
        for dataset in demonstrations:
            require(
                "next.success" in dataset.columns,
                f"The demonstrations in '{dataset.root}' do not say whether they were solved, and {method.name} is paid "
                "for that; praxon collect rewards=true records it.",
            )
    with tempfile.TemporaryDirectory() as folder:
        save_start(config, start, Path(folder) / "bundle")
        refined = load_bundle(Path(folder) / "bundle").policy
    assert isinstance(refined, RefinedPolicy)
    require(
        refined.movable or not trained_below,
        "The policy below cannot be trained anew here: critics see pictures as it does, or the actor chooses its noise; "
        "refit=false leaves it as it is.",
    )
    if isinstance(start.policy, RefinedPolicy):
        console.print("This bundle is refined already: refinement, critics and widths are its own.")
