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
        self.continues = True  # a selector may look at the plan where the runtime does not

    def chunks(self, window: Window, noise: np.ndarray, plan: PlannedRows | None = None) -> np.ndarray:
        """See ``Runtime.chunks``."""
        best = []
        for noises in noise:
            drawn_NTA = self.runtime.chunks(window, noises, plan if self.runtime.continues else None)
            scores_N = self.selector.scores(drawn_NTA, window, plan)
            # What is not finite is never better than anything.
            scores_N = np.where(np.isfinite(drawn_NTA).all(axis=(1, 2)) & np.isfinite(scores_N), scores_N, -np.inf)
            best.append(drawn_NTA[int(np.argmax(scores_N))])
        return np.stack(best)

    def close(self) -> None:
        """Close the runtime that draws."""
        self.runtime.close()
