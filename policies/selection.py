"""One chunk out of many: N noises are drawn in one batch, at little more than the cost of one, and a selector keeps the best.

Imports no torch: candidates are arrays, whoever drew them.

Shapes: N candidates, T rows of a chunk, A components of the action.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from praxon.contract import PolicyContract
from praxon.errors import ConfigError
from praxon.policies.runtime import PlannedRows, Runtime

Window = Mapping[str, np.ndarray]


class Selector(ABC):
    """Says how good each candidate is."""

    @abstractmethod
    def scores(self, chunks_NTA: np.ndarray, window: Window, plan: PlannedRows | None) -> np.ndarray:
        """Of each candidate (N,), the larger the better.

        Args:
            chunks_NTA: physical units.
            window: the observation that they were drawn for.
            plan: what the chunk before says of the same instants; none at the beginning.
        """

    def close(self) -> None:  # noqa: B027  (most selectors hold nothing)
        """Release what the selector holds."""


class Coherence(Selector):
    """Nearest to what was planned before: the backward half of bidirectional decoding (Liu et al., arXiv 2408.17355).

    Without a plan all candidates are equal.

    Args:
        decay: weight of a row over that of the row before it (0.5 in the paper's scripts).

    Raises:
        ConfigError: a decay not within 0 and 1.
    """

    def __init__(self, decay: float = 0.5) -> None:
        if not 0.0 < decay <= 1.0:
            raise ConfigError(f"The decay of coherence lies above 0 and at most at 1; got {decay}.")
        self.decay = decay

    def scores(self, chunks_NTA: np.ndarray, window: Window, plan: PlannedRows | None) -> np.ndarray:
        """See ``Selector.scores``: minus the weighted mean distance to the plan, where it has any weight."""
        if plan is None or not plan.weights_T.any():
            return np.zeros(len(chunks_NTA))
        weights_T = self.decay ** np.arange(len(plan.weights_T)) * (plan.weights_T > 0)
        distance_NT = np.linalg.norm(chunks_NTA - plan.actions_TA, axis=-1)
        return -(distance_NT @ (weights_T / weights_T.sum()))


class Contrast(Selector):
    """Near to what the policy draws often, and far from what a weak one draws: the forward half of bidirectional decoding.

    Of the candidates, and of as many chunks of a weaker checkpoint, those are good that come nearest to the plan: one in ``mode``,
    all where there is no plan. The score of a good candidate is (Liu et al., arXiv 2408.17355, forward contrast)

        mean distance to the good chunks of the weak policy - mean distance to the other good candidates

    and that of the rest -inf. Both halves together are ``Sum([(Coherence(), 1.0), (Contrast(...), 1.0)])``. A distance is the mean
    over the rows of the norm of their difference, in physical units, as that of ``Coherence``.

    Args:
        weak: draws for the same robot with chunks of the same length. Its noise is drawn once, so that what is selected depends
            on candidates and observation alone.
        samples: chunks drawn from it.
        mode: one in how many is good (3 in the paper's scripts, with 15 candidates).
        decay: see ``Coherence``.
        seed: of the weak policy's noise.

    Raises:
        ConfigError: samples or mode below 1, or a decay not within 0 and 1.
    """

    def __init__(self, weak: Runtime, samples: int, mode: int = 3, decay: float = 0.5, seed: int = 0) -> None:
        for name, value in (("samples", samples), ("mode", mode)):
            if value < 1:
                raise ConfigError(f"Contrast needs {name} of at least 1; got {value}.")
        self.weak, self.mode, self.backward = weak, mode, Coherence(decay)
        self._noise = weak.draw_noise(samples, np.random.default_rng(seed))

    def scores(self, chunks_NTA: np.ndarray, window: Window, plan: PlannedRows | None) -> np.ndarray:
        """See ``Selector.scores``."""
        drawn_MTA = self.weak.chunks(window, self._noise, plan if self.weak.continues else None)
        drawn_MTA = same_signs(drawn_MTA, chunks_NTA[0], self.weak.contract)
        good, weak = self._good(chunks_NTA, window, plan), self._good(drawn_MTA, window, plan)
        scores_N = np.full(len(chunks_NTA), -np.inf)
        if len(good):
            near_GG = _distances(chunks_NTA[good], chunks_NTA[good])
            far_GM = _distances(chunks_NTA[good], drawn_MTA[weak])
            # The distance to itself is 0 and is not counted.
            scores_N[good] = far_GM.sum(axis=1) / max(len(weak), 1) - near_GG.sum(axis=1) / max(len(good) - 1, 1)
        return scores_N

    def close(self) -> None:
        """Close the weak runtime."""
        self.weak.close()

    def _good(self, chunks_NTA: np.ndarray, window: Window, plan: PlannedRows | None) -> np.ndarray:
        """Indices of the finite chunks that come nearest to the plan."""
        finite = np.flatnonzero(np.isfinite(chunks_NTA).all(axis=(1, 2)))
        if plan is None or not plan.weights_T.any():
            return finite
        nearest_first = np.argsort(-self.backward.scores(chunks_NTA[finite], window, plan), kind="stable")
        return finite[nearest_first[: max(len(chunks_NTA) // self.mode, 1)]]


def _distances(one_NTA: np.ndarray, other_MTA: np.ndarray) -> np.ndarray:
    """Mean distance of the rows (N, M)."""
    distances: np.ndarray = np.linalg.norm(one_NTA[:, None] - other_MTA[None], axis=-1).mean(axis=-1)
    return distances


def same_signs(chunks_NTA: np.ndarray, reference_TA: np.ndarray, contract: PolicyContract) -> np.ndarray:
    """Chunks whose quaternions point where those of the reference do: q and -q are one rotation, but far apart as numbers."""
    if contract.action.kind != "pose":
        return chunks_NTA
    along_NT = (chunks_NTA[..., 3:7] * reference_TA[..., 3:7]).sum(axis=-1)
    turned = chunks_NTA.copy()
    turned[..., 3:7] *= np.where(along_NT < 0, -1.0, 1.0)[..., None].astype(chunks_NTA.dtype)
    return turned


class Value(Selector):
    """What a critic makes of each candidate.

    Args:
        critic: (chunks (N, T, A), window) -> value of each (N,) in the eyes of every critic of an ensemble (E, N).
        pessimism: standard deviations of the ensemble that are taken off its mean.
    """

    def __init__(self, critic: Callable[[np.ndarray, Window], np.ndarray], pessimism: float = 0.0) -> None:
        self.critic, self.pessimism = critic, pessimism

    def scores(self, chunks_NTA: np.ndarray, window: Window, plan: PlannedRows | None) -> np.ndarray:
        """See ``Selector.scores``."""
        values_EN = np.atleast_2d(self.critic(chunks_NTA, window))
        return values_EN.mean(axis=0) - self.pessimism * values_EN.std(axis=0)


class Sum(Selector):
    """A weighted sum of selectors: a value that is not bought by changing one's mind at every chunk.

    Args:
        parts: selectors and their weights.
    """

    def __init__(self, parts: Sequence[tuple[Selector, float]]) -> None:
        self.parts = list(parts)

    def scores(self, chunks_NTA: np.ndarray, window: Window, plan: PlannedRows | None) -> np.ndarray:
        """See ``Selector.scores``."""
        each = [weight * selector.scores(chunks_NTA, window, plan) for selector, weight in self.parts]
        return np.sum(each, axis=0)

    def close(self) -> None:
        """Close every part."""
        for selector, _ in self.parts:
            selector.close()


class SelectingRuntime(Runtime):
    """Draws N candidates for each chunk and keeps the best.

    Its noise is that of all candidates, so that a chunk depends on weights, observation and noise alone.

    Args:
        runtime: draws the candidates; one that is made for fixed shapes is made for N.
        candidates: N.
        selector: of the best; the first of equals.

    Raises:
        ConfigError: fewer than one candidate.
    """

    def __init__(self, runtime: Runtime, candidates: int, selector: Selector) -> None:
        if candidates < 1:
            raise ConfigError(f"At least one candidate is drawn; got {candidates}.")
        self.runtime, self.candidates, self.selector = runtime, candidates, selector
        self.contract: PolicyContract = runtime.contract
        self.noise_shape = (candidates, *runtime.noise_shape)
        self.name, self.digest = runtime.name, runtime.digest
        self.early = runtime.early
        self.continues = True  # a selector may look at the plan where the runtime does not

    def chunks(self, window: Window, noise: np.ndarray, plan: PlannedRows | None = None) -> np.ndarray:
        """See ``Runtime.chunks``."""
        best = []
        for noises in noise:
            drawn_NTA = self.runtime.chunks(window, noises, plan if self.runtime.continues else None)
            known = plan is not None and plan.weights_T.any()
            reference_TA = plan.actions_TA if plan is not None and known else drawn_NTA[0]
            drawn_NTA = same_signs(drawn_NTA, reference_TA, self.contract)
            scores_N = self.selector.scores(drawn_NTA, window, plan)
            # What is not finite is never better than anything.
            scores_N = np.where(np.isfinite(drawn_NTA).all(axis=(1, 2)) & np.isfinite(scores_N), scores_N, -np.inf)
            best.append(drawn_NTA[int(np.argmax(scores_N))])
        return np.stack(best)

    def close(self) -> None:
        """Close the runtime that draws, and the selector."""
        self.runtime.close()
        self.selector.close()
