"""A policy from its config: the class it names, the contract with its chunk, its keyword arguments. Its parts likewise."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from praxon.contract import PolicyContract
from praxon.errors import ConfigError, nearest
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


def settle_policy(config: Mapping[str, Any], columns: Mapping[str, int], period_s: float) -> tuple[dict[str, Any], str]:
    """See ``Policy.settled``, of the class that ``config`` names.

    Raises:
        ConfigError: the class is no policy.
    """
    settled: tuple[dict[str, Any], str] = _class_of(config, Policy).settled(config, columns, period_s)
    return settled


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

    An entry that is None and that the class does not take is left out: a config lists what may be set, and another class
    can be chosen by ``_target_`` alone.

    Args:
        parent: nothing but a subclass of it is ever called.

    Raises:
        ConfigError: the class is no such subclass, or does not take an argument.
    """
    kind = _class_of(config, parent)
    taken = settings_of(kind, len(arguments))
    settings = {key: value for key, value in config.items() if key != "_target_"}
    if taken is not None:
        settings = {key: value for key, value in settings.items() if value is not None or key in taken}
        for key in settings:
            if key not in taken:
                known = [name for name in taken if name not in more]
                raise ConfigError(
                    f"The {parent.__name__.lower()} '{config['_target_']}' cannot be built: it has no setting '{key}'."
                    f"{nearest(key, known)} Settings: {', '.join(known)}. A setting that was meant for another class is left "
                    "out by null."
                )
    try:
        return kind(*arguments, **settings, **more)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ConfigError(f"The {parent.__name__.lower()} '{config['_target_']}' cannot be built: {error}.") from error


def _class_of(config: Mapping[str, Any], parent: type) -> Any:
    """The subclass of ``parent`` that the config names."""
    what = f"A {parent.__name__.lower()}"
    if not isinstance(config, Mapping) or not isinstance(config.get("_target_"), str):
        raise ConfigError(f"{what}'s config is a mapping whose _target_ names a class; got {config!r}.")
    kind = load_target(config["_target_"])
    if not (isinstance(kind, type) and issubclass(kind, parent)):
        raise ConfigError(
            f"'{config['_target_']}' is not a {parent.__name__}; {what.lower()}'s config names a subclass of {parent.__name__}."
        )
    return kind


def settings_of(kind: type, filled: int = 0) -> list[str] | None:
    """Names of the keyword arguments of a class, those included that it hands to its parents as ``**options``.

    Args:
        filled: how many leading arguments are given by position.

    Returns:
        None where a class takes whatever it is given.
    """
    names: dict[str, None] = {}
    for each in kind.__mro__:
        if "__init__" not in vars(each):
            continue
        if each is object or each.__module__.startswith("torch."):
            break
        parameters = list(inspect.signature(vars(each)["__init__"]).parameters.values())[1:]
        by_position = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:filled]
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names |= dict.fromkeys(name for name in named if name not in by_position)
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return list(names)
    return None
