"""A policy from its config: the class it names, the contract with its chunk, its keyword arguments. Its parts likewise."""

from collections.abc import Mapping
from typing import Any

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.base import Policy
from praxon.targets import load_target


def build_policy(config: Mapping[str, Any], contract: PolicyContract) -> Policy:
    """Build the policy of ``config`` for the data or robot of ``contract``.

    Args:
        config: ``_target_`` names a subclass of ``Policy``, ``chunk`` changes fields of the contract's chunk, the rest
            are the class's keyword arguments.

    Raises:
        ConfigError: the class is no policy, or does not take an argument.
        ContractError: the chunk is impossible.
    """
    arguments = {key: value for key, value in config.items() if key != "chunk"}
    policy: Policy = build_part(arguments, Policy, contract.with_chunk(**config.get("chunk", {})))
    return policy


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
