"""onnxruntime: one graph, no torch. On CPUs, and on GPUs through its CUDA and TensorRT providers where they are installed."""

from collections.abc import Mapping

import numpy as np

from praxon.policies.portable import GraphRuntime, Portable
from praxon.policies.runtime import PlannedRows

PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
"""The fastest first; what is not installed is left out."""


class OnnxRuntime(GraphRuntime):
    """A portable policy run by onnxruntime.

    Args:
        portable: the policy.
        threads: of one inference.
    """

    name = "onnx"

    def __init__(self, portable: Portable, threads: int = 1) -> None:
        import onnxruntime

        super().__init__(portable)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin between chunks would take the processor from the control loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        there = onnxruntime.get_available_providers()
        providers = [name for name in PROVIDERS if name in there]
        self._session = onnxruntime.InferenceSession(portable.graph, options, providers=providers)

    def chunks(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> np.ndarray:
        """See ``Runtime.chunks``."""
        arguments = dict(zip(self.inputs.names, self.arguments(window, noise, plan), strict=True))
        chunks: np.ndarray = self._session.run(None, arguments)[0]
        return chunks
