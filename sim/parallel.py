"""The same work for many seeds, in this process or in several, with the same results in the same order."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")
Worker = Callable[[int], Result]

_worker: Worker[Any] | None = None


def run_seeds(make_worker: Callable[[], Worker[Result]], seeds: Sequence[int], workers: int) -> Iterator[Result]:
    """Yield ``worker(seed)`` for each seed in order.

    Args:
        make_worker: picklable; called once per process to build what is expensive (scene, policy).
        seeds: one per episode; a result may depend on its seed and on nothing else.
        workers: processes; 1 stays in this one.
    """
    if workers <= 1:
        worker = make_worker()
        for seed in seeds:
            yield worker(seed)
        return
    # spawn: a forked child would inherit OpenGL contexts and thread pools that do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(workers, len(seeds)), _start, (make_worker,)) as pool:
        yield from pool.imap(_call, seeds)


def _start(make_worker: Callable[[], Worker[Any]]) -> None:
    global _worker
    _worker = make_worker()


def _call(seed: int) -> Any:
    assert _worker is not None
    return _worker(seed)
