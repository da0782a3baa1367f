"""The portable form of a policy: one graph from observation and noise to chunk, for computers without torch. Imports none.

chunk.onnx      the whole of ``Policy.sample``: normaliser, encoder, every denoising step, actions in physical units
contract.yaml   what goes in and out, as in the bundle it was made from
inputs.json     names, shapes and types of the graph's inputs, the shape of the noise, the bundle's identity
manifest.json   format version and the SHA-256 of each file
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from praxon.contract import PolicyContract
from praxon.errors import BundleError, ContractError
from praxon.policies.manifest import read_manifested, write_manifested
from praxon.policies.runtime import EARLY, PlannedRows, Runtime

FORMAT_VERSION = 1
GRAPH = "chunk.onnx"
FILES = (GRAPH, "contract.yaml", "inputs.json")
NOISE, PLAN_ACTIONS, PLAN_WEIGHTS = "noise", "plan.actions", "plan.weights"


@dataclass(frozen=True)
class Inputs:
    """What the graph takes, in order: the noise, the observation features, then the plan where it continues chunks.

    Args:
        batch: chunks that are drawn at once.
        noise_shape: of one sample.
        features: names of the observation features.
        continues: whether a plan is taken.
        engine: how samples are drawn, as in a bundle's ``engine.yaml``.
        bundle: identity of the bundle that it was made from.
    """

    batch: int
    noise_shape: tuple[int, ...]
    features: tuple[str, ...]
    continues: bool
    engine: Mapping[str, Any]
    bundle: str

    @property
    def names(self) -> list[str]:
        """Of the graph's inputs."""
        return [NOISE, *self.features, *((PLAN_ACTIONS, PLAN_WEIGHTS) if self.continues else ())]

    def to_bytes(self) -> bytes:
        """JSON."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Inputs":
        """The inverse of ``to_bytes``."""
        data = json.loads(content)
        return cls(
            int(data["batch"]),
            tuple(data["noise_shape"]),
            tuple(data["features"]),
            bool(data["continues"]),
            dict(data["engine"]),
            str(data["bundle"]),
        )


@dataclass(frozen=True)
class Portable:
    """A portable policy, read and verified.

    Args:
        contract: of the policy.
        inputs: of the graph.
        graph: ONNX.
        digest: identity of the directory.
        path: of the directory.
    """

    contract: PolicyContract
    inputs: Inputs
    graph: bytes
    digest: str
    path: Path


def is_portable(path: Path) -> bool:
    """Whether a directory holds a portable policy rather than a bundle."""
    return (path / GRAPH).is_file()


def save_portable(path: Path, contract: PolicyContract, inputs: Inputs, graph: bytes) -> str:
    """Write a portable policy; returns its identity.

    Raises:
        BundleError: see ``write_manifested``.
    """
    contents = {
        GRAPH: graph,
        "contract.yaml": yaml.safe_dump(contract.to_dict(), sort_keys=False).encode(),
        "inputs.json": inputs.to_bytes(),
    }
    return write_manifested(path, contents, FORMAT_VERSION, "portable policy")


def load_portable(path: Path) -> Portable:
    """Read a portable policy and verify every hash.

    Raises:
        BundleError: it is missing, changed, or of another version.
    """
    if not path.is_dir():
        raise BundleError(f"There is no portable policy at '{path}'; 'praxon export' writes one.")
    digest, contents = read_manifested(path, FILES, FORMAT_VERSION, "portable policy")
    try:
        contract = PolicyContract.from_dict(yaml.safe_load(contents["contract.yaml"]))
        inputs = Inputs.from_bytes(contents["inputs.json"])
    except (ContractError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise BundleError(f"The portable policy '{path}' cannot be used: {error}") from error
    return Portable(contract, inputs, contents[GRAPH], digest, path)


class GraphRuntime(Runtime):
    """Parent of the runtimes of a portable policy: arrays of fixed shape in the graph's order.

    Args:
        portable: whose graph is run.
    """

    def __init__(self, portable: Portable) -> None:
        self.contract, self.inputs, self.digest = portable.contract, portable.inputs, portable.inputs.bundle
        self.noise_shape, self.continues = portable.inputs.noise_shape, portable.inputs.continues
        self.batch, self.early = portable.inputs.batch, portable.inputs.engine.get("method") in EARLY
        chunk = self.contract.chunk
        rows, size = chunk.horizon, self.contract.action.size
        self._no_plan = (np.zeros((1, rows, size), np.float32), np.zeros((1, rows), np.float32))

    def arguments(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None
    ) -> list[np.ndarray]:
        """The graph's inputs.

        Raises:
            ConfigError: see ``Runtime.require_inputs``.
        """
        self.require_inputs(window, noise, plan)
        arrays = [noise, *(window[name] for name in self.inputs.features)]
        if self.continues:
            actions, weights = self._no_plan
            if plan is not None:
                actions = np.ascontiguousarray(plan.actions_TA[None], np.float32)
                weights = np.ascontiguousarray(plan.weights_T[None], np.float32)
            arrays += [actions, weights]
        return arrays
