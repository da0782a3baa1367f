"""Prefetching: the next batch is gathered on a thread while the current one is trained on."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from praxon.datasets.sampler import Sampler


class Windows(Protocol):
    """Training samples by index, as ``praxon.datasets.windows.Windows`` provides them."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]: ...


class Prefetcher:
    """Batches in the sampler's order, one ahead. The sampler is touched by the thread alone, so the order is fixed.

    Args:
        windows: samples.
        sampler: order.
        device: where the tensors are placed.
    """

    def __init__(self, windows: Windows, sampler: Sampler, device: torch.device) -> None:
        self._windows, self._sampler, self._device = windows, sampler, device
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="praxon-prefetch")
        self._ahead: Future[tuple[dict[str, Tensor], dict[str, Any]]] = self._executor.submit(self._load)

    def next(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The next batch and the sampler's state right after it, from which a resumed run continues."""
        batch, state = self._ahead.result()
        self._ahead = self._executor.submit(self._load)
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}, state

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        arrays = self._windows.batch(self._sampler.next())
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self._device.type == "cuda":
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return tensors, self._sampler.state_dict()
