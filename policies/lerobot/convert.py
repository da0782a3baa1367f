"""A LeRobot checkpoint as a policy of ours: config, contract, weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.errors import BundleError, ContractError
from praxon.policies.base import Policy
from praxon.policies.build import build_policy
from praxon.policies.lerobot import act, diffusion
from praxon.policies.lerobot.checkpoint import ACTION, LeRobotCheckpoint
from praxon.policies.lerobot.encoders import ENVIRONMENT, STATE

KINDS = {"diffusion": diffusion, "act": act}


class Converted(NamedTuple):
    """A policy and the config that builds it."""

    policy: Policy
    config: dict[str, Any]


def bare_contract(checkpoint: LeRobotCheckpoint, robot: str, task: str, control_period_s: float) -> PolicyContract:
    """What a checkpoint says about its features: shapes, and no names, units or frames."""
    return PolicyContract(
        robot,
        task,
        tuple(_feature(checkpoint, name) for name in checkpoint.shapes if name != ACTION),
        _feature(checkpoint, ACTION),
        Chunk(control_period_s=control_period_s),
    )


def convert(checkpoint: LeRobotCheckpoint, contract: PolicyContract) -> Converted:
    """The policy, in evaluation mode.

    Args:
        checkpoint: what was read.
        contract: of the data or robot; features that the checkpoint does not read are left out.

    Raises:
        ContractError: a feature is missing or has another shape.
        BundleError: settings that are not supported, or weights that do not fit them.
    """
    contract = _fitting(checkpoint, contract)
    try:
        config = KINDS[checkpoint.kind].policy_config(checkpoint)
        policy = build_policy(config, contract)
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"The config.json of '{checkpoint.path}' has a setting of the wrong kind: {error}."
        ) from error
    try:
        state = KINDS[checkpoint.kind].weights(checkpoint) | _scales(checkpoint, policy)
    except KeyError as error:
        raise BundleError(f"The weights of '{checkpoint.path}' hold no {error}, which its policy has.") from error
    wanted = policy.state_dict()
    for name in sorted(wanted.keys() | state.keys()):
        has, needs = (tuple(side[name].shape) if name in side else None for side in (state, wanted))
        if has != needs:
            raise BundleError(
                f"The weights of '{checkpoint.path}' do not fit its config.json: '{name}' is {has or 'absent'} there and "
                f"{needs or 'absent'} in the policy that the settings describe."
            )
    policy.load_state_dict(state)
    return Converted(policy.eval(), config)


def _fitting(checkpoint: LeRobotCheckpoint, contract: PolicyContract) -> PolicyContract:
    """The contract narrowed to what the checkpoint reads, in LeRobot's order of cameras."""
    strange = [
        name for name, kind in checkpoint.types.items() if kind != "VISUAL" and name not in (STATE, ENVIRONMENT, ACTION)
    ]
    if strange:
        raise BundleError(f"'{checkpoint.path}' lists '{strange[0]}', which LeRobot's {checkpoint.kind} does not read.")
    if checkpoint.kind == "diffusion" and STATE not in checkpoint.shapes:
        raise BundleError(f"'{checkpoint.path}' has no '{STATE}', without which its policy cannot be run.")
    if contract.action.kind == "pose":
        raise ContractError(
            f"'{ACTION}' is a tool pose in the contract, whose rotation policies here hold as six numbers and LeRobot's do "
            "not; checkpoints that command joints or plain vectors can be imported."
        )
    observations = []
    for name, shape in checkpoint.shapes.items():
        feature = contract.feature(name)
        ours = (shape[1], shape[2], shape[0]) if checkpoint.types[name] == "VISUAL" else shape
        if feature.shape != ours:
            raise ContractError(
                f"'{name}' has shape {feature.shape} in the contract; the checkpoint '{checkpoint.path}' was trained on {ours}."
            )
        if name != ACTION:
            observations.append(feature)
    return replace(contract, observations=tuple(observations))


def _scales(checkpoint: LeRobotCheckpoint, policy: Policy) -> dict[str, Tensor]:
    """The normaliser's buffers and the statistics of pictures."""
    found: dict[str, Tensor] = {}
    for name, scale in checkpoint.scales.items():
        if checkpoint.types[name] != "VISUAL":
            key = f"normalizer.features.{name.replace('.', '/')}"
            found |= {f"{key}.center": scale.center, f"{key}.spread": scale.spread}
    wanted: Mapping[str, Tensor] = policy.state_dict()
    for name in wanted:
        if name.endswith(".hemisphere"):
            found[name] = torch.tensor([1.0, 0.0, 0.0, 0.0])  # quaternions as they come, w >= 0
    for statistic, values in (("mean_NC", "center"), ("std_NC", "spread")):
        rows = [getattr(checkpoint.scales[name], values).flatten() for name in checkpoint.cameras]
        found[f"encoder.pictures.{statistic}"] = torch.stack(rows) if rows else torch.zeros(0, 3)
    return found


def _feature(checkpoint: LeRobotCheckpoint, name: str) -> Feature:
    shape = checkpoint.shapes[name]
    if checkpoint.types[name] == "VISUAL":
        return Feature(name, "image", (shape[1], shape[2], shape[0]), dtype="uint8", source=name.rpartition(".")[2])
    return Feature(name, "vector", shape)
