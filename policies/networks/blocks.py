"""The blocks of a network by name, and who decides whether a block is run.

A network runs each of its blocks through a function that it is handed, ``run(name, compute)``. The one used by default
computes; others keep what was computed, or give back what a block gave at an earlier denoising step (block-wise caching). What
is skipped is decided by Python while the network is traced, so that a compiled or captured loop has no branch for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Compute = Callable[[], Tensor]
Run = Callable[[str, Compute], Tensor]


@dataclass(frozen=True)
class BlockName:
    """A block that may be skipped.

    Args:
        name: as handed to ``run``, in the order of execution.
        feed_forward: whether its output depends on nothing but the residual stream at its own position, unnormalised inside:
            the kind that amplifies an error of the blocks before it (BAC, arXiv 2506.13456).
    """

    name: str
    feed_forward: bool


def under(prefix: str, run: Run) -> Run:
    """``run`` for a network inside another, whose blocks are named behind ``prefix``."""
    return lambda name, block: run(prefix + name, block)


def run_all(name: str, compute: Compute) -> Tensor:
    """Run every block."""
    return compute()
