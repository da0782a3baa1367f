"""The least time a machine needs for a chunk: its operations at the measured rate, its weights at the measured bandwidth."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from praxon.policies.torch_runtime import ChunkFunction

SIDE = 1024
"""Of the matrices whose product is timed."""
COPIED = 256 * 2**20
"""Bytes that are copied: more than any cache holds."""
REPEATS = 8


@dataclass(frozen=True)
class MachineRates:
    """What this machine reaches.

    Args:
        flops: operations a second in float32, two for each multiply-add.
        bytes: moved a second between memory and processor.
    """

    flops: float
    bytes: float


def measure_rates(device: str, threads: int) -> MachineRates:
    """Time a product of large matrices and a copy of a large array; the best of several."""
    torch.set_num_threads(threads)
    left, right = torch.randn(2, SIDE, SIDE, device=device)
    source = torch.zeros(COPIED // 4, device=device)
    target = torch.empty_like(source)
    product_s = min(_timed(lambda: left @ right, device) for _ in range(REPEATS))
    copy_s = min(_timed(lambda: target.copy_(source), device) for _ in range(REPEATS))
    return MachineRates(2 * SIDE**3 / product_s, 2 * COPIED / copy_s)


def _timed(work, device: str) -> float:  # type: ignore[no-untyped-def]
    _synchronize(device)
    start = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


@torch.no_grad()
def operations(function: ChunkFunction, arguments: tuple[Tensor, ...]) -> int | None:
    """Floating point operations of one call: those of matrix products, convolutions and attention.

    ``None`` for networks that differentiate themselves: torch's counter cannot follow those.
    """
    try:
        with FlopCounterMode(display=False) as counter:
            function(*arguments)
    except RuntimeError:
        return None
    return int(counter.get_total_flops())


def weight_bytes(module: nn.Module) -> int:
    """Of every parameter."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


def floor_ms(rates: MachineRates, flops: int | None, moved: int) -> float | None:
    """The larger of computing and of reading the weights once: they stay in cache, where it is large enough, for all steps."""
    if flops is None:
        return None
    return 1e3 * max(flops / rates.flops, moved / rates.bytes)
