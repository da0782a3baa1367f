"""A policy from its config: the class it names, the contract with its chunk, its keyword arguments. Its parts likewise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.base import Policy
from praxon.targets import load_target

CONTRACT_KEYS = ("chunk", "observations", "goals", "condition_on_task")
"""Entries of a policy's config that decide its contract; all others are arguments of its class."""


def build_policy(config: Mapping[str, Any], contract: PolicyContract, tasks: Sequence[str] = ()) -> Policy:
    """Build the policy of ``config`` for the data or robot of ``contract``.

    Args:
        config: ``_target_`` names a subclass of ``Policy``; ``chunk`` changes fields of the contract's chunk;
            ``observations`` lists what it sees, everything where it is None; ``goals`` lists observations of the contract
            whose value to be reached it is told, as ``goal.<observation>``; ``condition_on_task`` tells it which task is
            asked for. The rest are the class's keyword arguments.
        tasks: instructions of the data, for ``condition_on_task``.

    Raises:
        ConfigError: the class is no policy, or does not take an argument; there are no tasks to be conditioned on.
        ContractError: the chunk is impossible, or an observation is not there.
    """
    return build_policy_for(config, policy_contract(config, contract, tasks))


def build_policy_for(config: Mapping[str, Any], contract: PolicyContract) -> Policy:
    """Build the policy of ``config`` under a contract that is its own already, as in a bundle."""
    arguments = {key: value for key, value in config.items() if key not in CONTRACT_KEYS}
    policy: Policy = build_part(arguments, Policy, contract)
    return policy


def policy_contract(config: Mapping[str, Any], contract: PolicyContract, tasks: Sequence[str] = ()) -> PolicyContract:
    """What the policy of ``config`` sees and commands, of what ``contract`` offers; see ``build_policy``."""
    goals = contract.with_goals(list(config.get("goals") or ())).observations[len(contract.observations) :]
    observations = config.get("observations")
    chosen = contract if observations is None else contract.with_observations(list(observations))
    chosen = replace(chosen, observations=(*chosen.observations, *goals))
    if config.get("condition_on_task"):
        if not tasks:
            raise ConfigError("A policy can be conditioned on the task only where the data say which tasks there are.")
        chosen = chosen.with_tasks(tasks)
    return chosen.with_chunk(**(config.get("chunk") or {}))


def build_part(config: Mapping[str, Any], parent: type, *arguments: Any, **more: Any) -> Any:
    """An instance of the class that ``config["_target_"]`` names, with ``arguments`` and the config's other entries.

    Args:
        parent: nothing but a subclass of it is ever called.

    Raises:
        ConfigError: the class is no such subclass, or does not take an argument.
    """
    what = f"A {parent.__name__.lower()}"
    if not isinstance(config, Mapping) or not isinstance(config.get("_target_"), str):
        raise ConfigError(f"{what}'s config is a mapping whose _target_ names a class; got {config!r}.")
    kind = load_target(config["_target_"])
    if not (isinstance(kind, type) and issubclass(kind, parent)):
        raise ConfigError(
            f"'{config['_target_']}' is not a {parent.__name__}; {what.lower()}'s config names a subclass of {parent.__name__}."
        )
    try:
        return kind(*arguments, **{key: value for key, value in config.items() if key != "_target_"}, **more)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ConfigError(f"The {parent.__name__.lower()} '{config['_target_']}' cannot be built: {error}.") from error
