"""Prefetching: the next batch is gathered on a thread while the current one is trained on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from praxon.datasets.sampler import Sampler


class Windows(Protocol):
    """Training samples by index, as ``praxon.datasets.windows.Windows`` provides them."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, *, draw: int = 0) -> dict[str, np.ndarray]: ...


class Prefetcher:
    """Batches in the sampler's order, one ahead. The sampler is touched by the thread alone, so the order is fixed.

    Args:
        windows: samples.
        sampler: order.
        device: where the tensors are placed.
        share: indices of a batch -> those of the parts in which this process computes it.
        drawn: batches that were drawn before, in the part of the training that is being continued.
    """

    def __init__(
        self,
        windows: Windows,
        sampler: Sampler,
        device: torch.device,
        share: Callable[[np.ndarray], list[np.ndarray]] = lambda indices: [indices],
        drawn: int = 0,
    ) -> None:
        self._windows, self._sampler, self._device, self._share = windows, sampler, device, share
        self._drawn = drawn
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="praxon-prefetch")
        self._ahead: Future[tuple[list[dict[str, Tensor]], dict[str, Any]]] = self._executor.submit(self._load)

    def next(self) -> tuple[list[dict[str, Tensor]], dict[str, Any]]:
        """The parts of the next batch and the sampler's state right after it, from which a resumed run continues."""
        parts, state = self._ahead.result()
        self._ahead = self._executor.submit(self._load)
        return [{k: v.to(self._device, non_blocking=True) for k, v in part.items()} for part in parts], state

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _load(self) -> tuple[list[dict[str, Tensor]], dict[str, Any]]:
        parts = [self._tensors(indices) for indices in self._share(self._sampler.next())]
        self._drawn += 1
        return parts, self._sampler.state_dict()

    def _tensors(self, indices: np.ndarray) -> dict[str, Tensor]:
        arrays = self._windows.batch(indices, draw=self._drawn)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self._device.type == "cuda":
            with torch.cuda.device(self._device):  # a new thread is on the first GPU
                tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return tensors
