"""The bundle: the directory that training produces and everything else consumes.

    model.safetensors   weights and normaliser buffers (EMA weights where the trainer kept them)
    contract.yaml       what goes in and out
    config.yaml         the resolved configuration; ``policy`` holds the class path and its keyword arguments
    engine.yaml         how samples are drawn (solver, steps); under ``measured`` what that costs
    card.md             data, results, seeds, versions
    manifest.json       format version and the SHA-256 of each file

A bundle is complete or it is not there, and it is read only if every hash matches. Nothing in it is ever unpickled.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import yaml

from praxon.contract import PolicyContract
from praxon.errors import BundleError, ConfigError, ContractError
from praxon.policies.base import Policy
from praxon.policies.build import build_policy_for
from praxon.policies.denoising.block_cache import CacheSchedule
from praxon.policies.manifest import read_manifested, write_manifested
from praxon.policies.portable import is_portable

FORMAT_VERSION = 1
NOT_SETTINGS = ("measured", "serving")
"""Entries of engine.yaml that do not change what is drawn: what it costs, and how it is best computed."""
FILES = ("model.safetensors", "contract.yaml", "config.yaml", "engine.yaml", "card.md")


@dataclass(frozen=True)
class Bundle:
    """A policy ready to serve, in evaluation mode, with all that is known about it.

    Args:
        digest: SHA-256 of the manifest, which names every file's: the bundle's identity.
        weights: SHA-256 of the weights.
    """

    policy: Policy
    contract: PolicyContract
    config: dict[str, Any]
    engine: dict[str, Any]
    card: str
    digest: str
    weights: str
    path: Path


def save_bundle(
    path: Path, policy: Policy, config: Mapping[str, Any], engine: Mapping[str, Any] | None = None, card: str = ""
) -> str:
    """Write a bundle; one already at ``path`` is replaced once the new one is complete.

    Args:
        path: directory to write; its parents are made.
        policy: whose weights are written.
        config: resolved configuration of plain containers; ``config["policy"]`` is what ``load_bundle`` rebuilds from.
        engine: ``engine.yaml``; the policy's own settings when ``None``.
        card: Markdown for people.

    Returns:
        The digest.

    Raises:
        BundleError: the path holds something else, or the file system refused; an old bundle is then as it was.
    """
    settings = policy.engine_settings() if engine is None else engine
    return _write(Path(path), safetensors.torch.save(_tensors(policy)), policy.contract, config, settings, card)


def save_engine(bundle: Bundle, engine: Mapping[str, Any], path: Path | None = None) -> str:
    """Write a bundle again with another ``engine.yaml``, in its own place or another; returns the new digest.

    Its weights stay the same file to the byte: cache schedules and densities name them by its hash.

    Raises:
        BundleError: see ``save_bundle``; or the weights are no longer those that were loaded.
    """
    weights = (bundle.path / "model.safetensors").read_bytes()
    if hashlib.sha256(weights).hexdigest() != bundle.weights:
        raise BundleError(
            f"The weights of bundle '{bundle.path}' have changed since they were loaded; load them again."
        )
    out = Path(bundle.path if path is None else path)
    return _write(out, weights, bundle.contract, bundle.config, engine, bundle.card)


def load_bundle(path: Path) -> Bundle:
    """Read a bundle, verify every hash, rebuild the policy.

    Raises:
        BundleError: the directory or a file is missing, changed, truncated or of another version; the policy class is
            unknown or no ``Policy``; the weights do not fit it.
    """
    path = Path(path)
    if not path.is_dir():
        raise BundleError(f"There is no bundle at '{path}'; 'praxon train' writes one.")
    if is_portable(path):
        raise BundleError(
            f"'{path}' is a portable policy, whose steps are fixed; eval and serve take it, the rest needs the bundle that it was "
            "made from."
        )
    digest, contents = read_manifested(path, FILES, FORMAT_VERSION, "bundle")
    config, engine = (_mapping(path / name, contents[name]) for name in ("config.yaml", "engine.yaml"))
    try:
        contract = PolicyContract.from_dict(_mapping(path / "contract.yaml", contents["contract.yaml"]))
    except ContractError as error:
        raise BundleError(f"The bundle '{path}' has a contract that cannot be used: {error}") from error
    policy = _policy(path, config, contract)
    _load_weights(path, policy, contents["model.safetensors"])
    weights = hashlib.sha256(contents["model.safetensors"]).hexdigest()
    try:
        policy.configure_engine({key: value for key, value in engine.items() if key not in NOT_SETTINGS})
        if engine.get("cache") is not None:
            CacheSchedule.from_dict(engine["cache"]).require_weights(weights)
    except ConfigError as error:
        raise BundleError(f"The bundle '{path}' has an engine.yaml that cannot be used: {error}") from error
    card = contents["card.md"].decode(errors="replace")
    return Bundle(policy.eval(), contract, config, engine, card, digest, weights, path)


# -- reading ------------------------------------------------------------------------------------------


def _mapping(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"'{path}' is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(data, dict):
        raise BundleError(f"'{path}' holds no mapping.")
    return data


def _policy(path: Path, config: Mapping[str, Any], contract: PolicyContract) -> Policy:
    """A policy of the class and keyword arguments in the configuration; nothing but a ``Policy`` is ever called."""
    described = config.get("policy")
    if not isinstance(described, dict) or not isinstance(described.get("_target_"), str):
        raise BundleError(f"The config.yaml of bundle '{path}' names no policy class under policy._target_.")
    try:
        # The contract of the bundle is the policy's own: chunk, observations and goals are in it.
        return build_policy_for(described, contract)
    except (ConfigError, ContractError, TypeError, ValueError) as error:
        raise BundleError(f"The policy of bundle '{path}' cannot be built: {error}") from error


def _load_weights(path: Path, policy: Policy, content: bytes) -> None:
    try:
        tensors = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise BundleError(f"The weights of bundle '{path}' are unreadable: {error}.") from error
    wanted = policy.state_dict()
    for name in sorted(wanted.keys() | tensors.keys()):
        has, needs = (tuple(side[name].shape) if name in side else None for side in (tensors, wanted))
        if has != needs:
            raise BundleError(
                f"The weights of bundle '{path}' do not fit its policy: '{name}' is {has or 'absent'} in the file, "
                f"{needs or 'absent'} in the policy."
            )
    policy.load_state_dict(tensors)


# -- writing ------------------------------------------------------------------------------------------


def _write(
    path: Path,
    weights: bytes,
    contract: PolicyContract,
    config: Mapping[str, Any],
    engine: Mapping[str, Any],
    card: str,
) -> str:
    contents = {
        "model.safetensors": weights,
        "contract.yaml": _yaml(contract.to_dict()),
        "config.yaml": _yaml(dict(config)),
        "engine.yaml": _yaml(dict(engine)),
        "card.md": card.encode(),
    }
    return write_manifested(path, contents, FORMAT_VERSION, "bundle")


def _tensors(policy: Policy) -> dict[str, Any]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in policy.state_dict().items()}


def _yaml(data: Any) -> bytes:
    try:
        return yaml.safe_dump(data, sort_keys=False).encode()
    except yaml.YAMLError as error:
        raise BundleError(f"A bundle holds plain values only: {error}.") from error
