"""A bundle made ready to act on one robot: loaded, checked against what the robot offers, warmed up. No ROS."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from praxon.contract import Feature, Observation, PolicyContract
from praxon.errors import ContractError
from praxon.policies.agent import ChunkAgent, Outcome, ThreadRunner
from praxon.policies.denoising.backends.registry import open_runtime
from praxon.robots.spec import RobotSpec

WARM_UPS = 3
"""Inferences before the first that counts; the first two are slow, the third is not."""

ChunkListener = Callable[[np.ndarray, int], None]


class ServedPolicy:
    """The policy of a bundle on a robot.

    Args:
        path: of the bundle.
        spec: the robot.
        threads: of one inference; 0: as the bundle says.
        seed: of the noise.
        on_chunk: called in the control thread with each chunk (horizon, num_joints) and the stamp of its observation.
        engine: how chunks are drawn, where it is not as the bundle says.
        serving: how they are computed, likewise; entries of ``Serving``.

    Raises:
        BundleError, ConfigError, ContractError: one sentence on why this bundle cannot serve here.
    """

    def __init__(
        self,
        path: Path,
        spec: RobotSpec,
        threads: int,
        seed: int,
        on_chunk: ChunkListener,
        engine: Mapping[str, Any] | None = None,
        serving: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.runtime = open_runtime(path, engine, {**({"threads": threads} if threads else {}), **(serving or {})})
        self.contract = self.runtime.contract
        self.contract.require(robot_contract(spec, self.contract), f"robot '{spec.name}'")
        self.runner = _Announcing(on_chunk)
        self.agent = ChunkAgent(self.runtime, self.contract, self.runner, seed)
        self.warm_up_s = [self.agent.warm_up(_plausible(spec, self.contract)) for _ in range(WARM_UPS)]

    def inference_ms(self) -> Sequence[float]:
        """Wall times of the latest inferences [ms]."""
        return [1e3 * seconds for seconds in list(self.runner.latencies_s)]

    def close(self) -> None:
        """End the inference thread."""
        self.agent.close()


def robot_contract(spec: RobotSpec, wanted: PolicyContract) -> PolicyContract:
    """What a robot offers over ROS to a policy with the contract ``wanted``.

    Joints come and go in the robot's order and units, poses in its base frame. Objects and cameras are topics: whether
    somebody publishes them is seen when the policy is activated.
    """

    def offered(feature: Feature) -> Feature:
        if feature.kind == "joint_position":
            count = len(spec.joint_names)
            return replace(feature, shape=(count,), names=spec.joint_names, unit=spec.unit, frame="")
        if feature.kind == "pose":
            return replace(feature, frame=spec.base_frame)
        return feature

    if wanted.action.kind != "joint_position":
        raise ContractError(
            f"The policy commands '{wanted.action.kind}'; over ROS robot '{spec.name}' takes joint_position of "
            f"{', '.join(spec.joint_names)}. praxon eval runs policies that command poses."
        )
    return replace(
        wanted, robot=spec.name, observations=tuple(map(offered, wanted.observations)), action=offered(wanted.action)
    )


def _plausible(spec: RobotSpec, contract: PolicyContract) -> Observation:
    """An observation to warm up with: the robot at home, objects at its base, cameras dark."""
    values = {
        "joint_position": np.array(spec.home, dtype=np.float32),
        "pose": np.array([0, 0, 0, 1, 0, 0, 0], dtype=np.float32),
    }
    features = {
        feature.name: values.get(feature.kind, np.zeros(feature.shape, feature.dtype))
        for feature in contract.observations
    }
    return Observation(0, features)


class _Announcing(ThreadRunner):
    """A thread runner that shows each chunk to a listener when the agent takes it."""

    def __init__(self, listener: ChunkListener) -> None:
        super().__init__()
        self._listener = listener

    def collect(self) -> Outcome | None:
        outcome = super().collect()
        if outcome is not None:
            _, stamp_ns = outcome.tag
            self._listener(outcome.chunk_HA, stamp_ns)
        return outcome
