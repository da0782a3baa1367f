"""The agent: a policy at work. Observations in, at every tick the action that belongs to it and a preview of the next.

Inference runs in a runner: at once in simulation, on a thread of its own where a control loop may not wait. Either way
a chunk carries the stamp of the observation it was computed from, and steps that latency has spent are dropped. Where the
runtime continues chunks (real-time chunking), each is drawn so that it agrees with what the robot will have done by
the time it arrives, and where that gains (``Runtime.early``) is asked for as much earlier as the latest were late.
Imports no torch.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from praxon.contract import Observation, PolicyContract
from praxon.errors import ContractError
from praxon.policies.chunking import ChunkExecutor, ObservationHistory, soft_mask
from praxon.policies.runtime import PlannedRows, Runtime

Job = Callable[[], np.ndarray]

REMEMBERED_DELAYS = 10
"""Chunks whose delays say how late the next may come (arXiv 2506.07339, section 4)."""


@dataclass(frozen=True)
class Outcome:
    """What a job returned, under the tag it was submitted with."""

    chunk_HA: np.ndarray
    tag: tuple[int, int]


class Runner(ABC):
    """Runs one inference at a time. ``latencies_s`` holds the wall times of the most recent ones [s]."""

    def __init__(self) -> None:
        self.latencies_s: deque[float] = deque(maxlen=4096)

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a job is running or its outcome has not been collected."""

    @abstractmethod
    def submit(self, job: Job, tag: tuple[int, int]) -> None:
        """Take a job on; only when not busy."""

    @abstractmethod
    def collect(self) -> Outcome | None:
        """The outcome, once, when there is one. Raises what the job raised."""

    def discard(self) -> None:  # noqa: B027  (what a thread is at comes with the tag of its episode, and is dropped then)
        """Forget what was submitted, where that is possible."""

    def close(self) -> None:  # noqa: B027  (most runners hold nothing)
        """Release what the runner holds."""

    def _timed(self, job: Job) -> np.ndarray:
        start = time.perf_counter()
        chunk_HA = job()
        self.latencies_s.append(time.perf_counter() - start)
        return chunk_HA


class InlineRunner(Runner):
    """Computes in the caller's thread, at once: simulation, where time waits."""

    def __init__(self) -> None:
        super().__init__()
        self._outcome: Outcome | None = None

    @property
    def busy(self) -> bool:
        return self._outcome is not None

    def submit(self, job: Job, tag: tuple[int, int]) -> None:
        self._outcome = Outcome(self._timed(job), tag)

    def collect(self) -> Outcome | None:
        outcome, self._outcome = self._outcome, None
        return outcome

    def discard(self) -> None:
        self._outcome = None


class DelayedRunner(InlineRunner):
    """Computes at once and hands the outcome out some ticks later: latency in simulation.

    Args:
        delay: ticks between the observation and the first tick that can use its chunk.
    """

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay, self._left = delay, 0

    def submit(self, job: Job, tag: tuple[int, int]) -> None:
        super().submit(job, tag)
        self._left = self.delay

    def collect(self) -> Outcome | None:
        if self._outcome is not None and self._left > 0:
            self._left -= 1
            return None
        return super().collect()


class ThreadRunner(Runner):
    """Computes on a thread of its own and never makes the caller wait: robots, where time does not."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._job: tuple[Job, tuple[int, int]] | None = None
        self._running = False
        self._result: Outcome | BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="praxon-inference", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        with self._changed:
            return self._job is not None or self._running or self._result is not None

    def submit(self, job: Job, tag: tuple[int, int]) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError("A job was submitted to a runner that is closed.")
            self._job = (job, tag)
            self._changed.notify_all()

    def collect(self) -> Outcome | None:
        with self._changed:
            result, self._result = self._result, None
        if isinstance(result, BaseException):
            raise result
        return result

    def wait(self, timeout_s: float) -> bool:
        """Wait until an outcome is there; false when the time ran out. For tests and warm-up, not for control loops."""
        with self._changed:
            return self._changed.wait_for(lambda: self._result is not None, timeout_s)

    def close(self) -> None:
        """End the thread after the job it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._job is not None)
                if self._closed or self._job is None:
                    return
                (job, tag), self._job, self._running = self._job, None, True
            result: Outcome | BaseException
            try:
                result = Outcome(self._timed(job), tag)
            except BaseException as error:  # handed to the caller by collect()
                result = error
            with self._changed:
                self._result, self._running = result, False
                self._changed.notify_all()


class ChunkAgent:
    """Window, inference and execution of one policy on one robot.

    An episode's chunks depend on the weights, the observations and the seed alone: the noise of each chunk is drawn
    here, in order, from a generator that ``reset`` seeds.

    Args:
        runtime: draws the chunks.
        contract: what the robot offers; refused with both sides listed unless the policy fits.
        runner: where inference runs; inline when ``None``.
        seed: of the noise.
        blend_steps: ticks over which a new chunk fades in.

    Raises:
        ContractError: the policy does not fit.
    """

    def __init__(
        self,
        runtime: Runtime,
        contract: PolicyContract,
        runner: Runner | None = None,
        seed: int = 0,
        blend_steps: int = 2,
    ) -> None:
        runtime.contract.require(contract, f"robot '{contract.robot}'")
        self.runtime, self.contract = runtime, runtime.contract
        self.runner = runner if runner is not None else InlineRunner()
        self.refused_chunks = 0  # chunks with a component that was not finite, since construction
        self.delays: deque[int] = deque(maxlen=REMEMBERED_DELAYS)  # of the latest chunks, in ticks
        self._seed, self._episode = seed, 0
        self._history = ObservationHistory(self.contract.chunk.num_obs_steps)
        quaternion = slice(3, 7) if self.contract.action.kind == "pose" else None
        self._executor = ChunkExecutor(self.contract.chunk, blend_steps, quaternion)
        self._period_ns = round(self.contract.chunk.control_period_s * 1e9)
        self._generator = np.random.default_rng(seed)
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Start an episode: forget observations and chunks, seed the noise (with the constructor's seed by default)."""
        self._episode += 1
        self.runner.discard()
        self.delays.clear()
        self._history.reset()
        self._executor.reset()
        self._generator = np.random.default_rng(self._seed if seed is None else seed)

    def restart(self) -> None:
        """Forget all chunks, and go on with what was seen: somebody else was in control."""
        self._episode += 1
        self.runner.discard()
        self._executor.reset()

    def act(self, observation: Observation, preview: int = 4) -> np.ndarray | None:
        """The action of the observation's tick and of ``preview`` following ones.

        Args:
            observation: newest observation; stamps grow by about one control period per call.
            preview: further rows, for feed-forward and for bridging a missed tick.

        Returns:
            (1 + preview, A) float64 in physical units, or ``None`` while there is no chunk yet.

        Raises:
            ContractError: a feature is missing or has another shape or type than the contract says.
            Exception: whatever inference raised.
        """
        stamp_ns = observation.stamp_ns
        self._history.append(self._checked(observation))
        self._collect(stamp_ns)
        ahead = self._expected_delay if self.runtime.early else 0
        if self._executor.due(stamp_ns, ahead) and not self.runner.busy:
            self.runner.submit(self._inference(stamp_ns), (self._episode, stamp_ns))
            self._collect(stamp_ns)
        return self._executor.actions(stamp_ns, 1 + preview)

    def begins(self, stamp_ns: int) -> bool:
        """Whether the live chunk's first row is that of this instant."""
        return self._executor.begins(stamp_ns)

    def rest(self, stamp_ns: int) -> np.ndarray:
        """What would be executed from this instant on if no other chunk came, (T, A); asking changes nothing.

        Raises:
            ContractError: there is no chunk.
        """
        return self._executor.rest(stamp_ns)

    def exhausted(self, stamp_ns: int) -> bool:
        """Whether the live chunk has no row for this instant, so that its last row is being held."""
        return self._executor.exhausted(stamp_ns)

    def warm_up(self, observation: Observation) -> float:
        """One inference in the caller's thread whose chunk is thrown away, and a reset: the first one is always slow.

        Returns:
            Its wall time [s].
        """
        self._history.reset()
        self._history.append(self._checked(observation))
        start = time.perf_counter()
        self._inference(observation.stamp_ns)()
        self.reset()
        return time.perf_counter() - start

    def close(self) -> None:
        """Close the runner, then the runtime."""
        self.runner.close()
        self.runtime.close()

    def _checked(self, observation: Observation) -> Observation:
        for feature in self.contract.observations:
            if feature.name not in observation.features:
                raise ContractError(
                    f"The observation lacks '{feature.name}'. It holds: {', '.join(observation.features) or 'nothing'}."
                )
            feature.check(observation.features[feature.name])
        return Observation(
            observation.stamp_ns, {f.name: observation.features[f.name] for f in self.contract.observations}
        )

    def _inference(self, stamp_ns: int) -> Job:
        window = self._history.window()
        noise = self.runtime.draw_noise(1, self._generator)
        plan = self._plan(stamp_ns) if self.runtime.continues else None
        return lambda: self.runtime.chunks(window, noise, plan)[0].astype(np.float64)

    @property
    def _expected_delay(self) -> int:
        """How late the next chunk will be at worst, judged by the latest ones [ticks]."""
        return max(self.delays, default=0)

    def _plan(self, stamp_ns: int) -> PlannedRows | None:
        """What the live chunk says of the instants of the next, which is expected as late as the latest ones were at worst."""
        horizon = self.contract.chunk.horizon
        rows, known = self._executor.planned(stamp_ns)
        if rows is None or not known:
            return None
        delay = min(self._expected_delay, known)
        return PlannedRows(rows, np.array(soft_mask(delay, horizon - known, horizon), dtype=np.float32))

    def _collect(self, now_ns: int) -> None:
        outcome = self.runner.collect()
        if outcome is None:
            return
        episode, stamp_ns = outcome.tag
        if episode != self._episode:
            return  # computed for an episode that is over
        if not np.isfinite(outcome.chunk_HA).all():
            self.refused_chunks += 1
            return
        self.delays.append(round((now_ns - stamp_ns) / self._period_ns))
        self._executor.add(outcome.chunk_HA, stamp_ns)
