"""CUDA graphs: the whole of ``Policy.sample`` captured once and replayed, without a kernel launch from Python.

Buffers are static: inputs are copied into them, the graph is replayed, the chunks are copied into pinned memory. Nothing is
allocated, and the host waits once, for the result.
"""

import numpy as np
import torch
from torch import Tensor

from praxon.policies.bundle import Bundle
from praxon.policies.denoising.backends.registry import Serving
from praxon.policies.denoising.tracing import require_fixed
from praxon.policies.torch_runtime import TorchRuntime, matmul_precision

WARM_UPS = 3
"""Calls before the capture: libraries choose their algorithms and allocate in the first."""


class CudaGraphRuntime(TorchRuntime):
    """A bundle's function captured for one number of chunks.

    Args:
        bundle: whose policy is captured.
        serving: how; its device is the first GPU unless it names another.
    """

    name = "cuda_graph"

    def __init__(self, bundle: Bundle, serving: Serving) -> None:
        device = torch.device("cuda" if serving.device == "cpu" else serving.device)
        require_fixed(bundle.policy)
        super().__init__(bundle.policy.to(device), serving.precision)
        self.batch = serving.batch
        self._device = device
        self._inputs = self.function.examples(serving.batch)
        with torch.no_grad(), torch.cuda.device(device), matmul_precision(serving.precision):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    self.function(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._output: Tensor = self.function(*self._inputs)
        self._host = torch.empty_like(self._output, device="cpu").pin_memory()

    def call(self, arrays: list[Tensor]) -> np.ndarray:
        """See ``TorchRuntime.call``."""
        with torch.cuda.device(self._device):
            for static, array in zip(self._inputs, arrays, strict=True):
                static.copy_(array, non_blocking=True)
            self._graph.replay()
            self._host.copy_(self._output, non_blocking=True)
            torch.cuda.current_stream().synchronize()
        return self._host.numpy().copy()
