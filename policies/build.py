"""A policy from its config: the class it names, the contract with its chunk, its keyword arguments."""

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
    arguments = {key: value for key, value in config.items() if key not in ("_target_", "chunk")}
    kind = load_target(str(config["_target_"]))
    if not (isinstance(kind, type) and issubclass(kind, Policy)):
        raise ConfigError(f"'{config['_target_']}' is not a Policy; a policy's config names a subclass of Policy.")
    try:
        return kind(contract.with_chunk(**config.get("chunk", {})), **arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ConfigError(f"The policy '{config['_target_']}' cannot be built: {error}.") from error
