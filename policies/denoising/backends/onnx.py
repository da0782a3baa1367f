"""onnxruntime: one graph, no torch. On CPUs, and on GPUs through its CUDA and TensorRT providers where they are installed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from praxon.policies.portable import GraphRuntime, Portable
from praxon.policies.runtime import PlannedRows

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


class OnnxRuntime(GraphRuntime):
    """A portable policy run by onnxruntime.

    Args:
        portable: the policy.
        threads: of one inference on a CPU.
        device: cpu, cuda or cuda:N.
        engines: folder of this user for what TensorRT builds; ``None`` keeps nothing.
    """

    name = "onnx"

    def __init__(self, portable: Portable, threads: int = 1, device: str = "cpu", engines: Path | None = None) -> None:
        import onnxruntime

        super().__init__(portable)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin between chunks would take the processor from the control loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        there = onnxruntime.get_available_providers()
        providers = [(name, chosen) for name, chosen in providers_for(device, engines) if name in there]
        self._session = onnxruntime.InferenceSession(portable.graph, options, providers=providers)

    def chunks(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> np.ndarray:
        """See ``Runtime.chunks``."""
        arguments = dict(zip(self.inputs.names, self.arguments(window, noise, plan), strict=True))
        chunks: np.ndarray = self._session.run(None, arguments)[0]
        return chunks


def providers_for(device: str, engines: Path | None = None) -> list[tuple[str, dict[str, Any]]]:
    """onnxruntime's providers and their options, the fastest first."""
    if device == "cpu":
        return [(CPU, {})]
    index = int(device.partition(":")[2] or 0)
    kept = {} if engines is None else {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(engines)}
    return [(TENSORRT, {"device_id": index, **kept}), (CUDA, {"device_id": index, "use_tf32": 0}), (CPU, {})]
