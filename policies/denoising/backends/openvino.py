"""OpenVINO: the same graph, compiled for x86 processors, in bfloat16 where they multiply it. No torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from praxon.policies.portable import GraphRuntime, Portable
from praxon.policies.runtime import PlannedRows

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoRuntime(GraphRuntime):
    """A portable policy run by OpenVINO.

    Args:
        portable: the policy.
        threads: of one inference.
        precision: float32, bfloat16 or float16.
        cache: folder of this user for compiled graphs; ``None`` keeps none.
    """

    name = "openvino"

    def __init__(self, portable: Portable, threads: int, precision: str, cache: Path | None) -> None:
        import openvino

        super().__init__(portable)
        core = openvino.Core()
        if cache is not None:
            core.set_property({"CACHE_DIR": str(cache)})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        }
        self._request = core.compile_model(core.read_model(portable.graph, b""), "CPU", settings).create_infer_request()
        self._names = portable.inputs.names

    def chunks(
        self, window: Mapping[str, np.ndarray], noise: np.ndarray, plan: PlannedRows | None = None
    ) -> np.ndarray:
        """See ``Runtime.chunks``."""
        arguments = dict(zip(self._names, self.arguments(window, noise, plan), strict=True))
        results = self._request.infer(arguments, share_inputs=True)
        return np.array(results[0])  # the request's own memory is written again by the next chunk
