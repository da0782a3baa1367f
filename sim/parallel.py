"""The same work for many seeds, in this process or in several, with the same results in the same order."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

Result = TypeVar("Result")
Worker = Callable[[int], Result]

_worker_here: Callable[[], Worker[Any]] | None = None


def run_seeds(make_worker: Callable[[], Worker[Result]], seeds: Sequence[int], workers: int) -> Iterator[Result]:
    """Yield ``worker(seed)`` for each seed in order.

    Args:
        make_worker: picklable; called once per process to build what is expensive (scene, policy).
        seeds: one per episode; a result may depend on its seed and on nothing else.
        workers: processes; 1 stays in this one.
    """
    workers = min(workers, len(seeds))
    if workers <= 1:
        worker = make_worker()
        for seed in seeds:
            yield worker(seed)
        return
    # spawn: a forked child would inherit OpenGL contexts and thread pools that do not survive a fork.
    context = multiprocessing.get_context("spawn")
    ahead = 2 * workers  # enough to keep everybody busy, few enough that finished episodes do not pile up here
    with context.Pool(workers, _start, (make_worker,)) as pool:
        waiting = iter(seeds)
        pending = deque(pool.apply_async(_call, (seed,)) for seed in islice(waiting, ahead))
        while pending:
            yield pending.popleft().get()
            pending.extend(pool.apply_async(_call, (seed,)) for seed in islice(waiting, 1))


def _start(make_worker: Callable[[], Worker[Any]]) -> None:
    global _worker_here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Made at the first seed: what is raised there is answered, what is raised here makes the pool start over for ever.
    _worker_here = cache(make_worker)


def _call(seed: int) -> Any:
    assert _worker_here is not None
    return _worker_here()(seed)
