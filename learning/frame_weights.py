"""Weights that are known before training begins: of trajectories, by their return, and of frames, by measures of quality.

They multiply the loss; ``sampling=quality`` draws frames in proportion to the same weights instead. Trajectory weighting is that of
Hong et al., ICLR 2023 (``datasets/quality_weights.py``). All datasets of a training are weighed as one.
"""

from collections.abc import Callable, Sequence

import numpy as np

from praxon.datasets.concatenated import Concatenated
from praxon.datasets.quality import measure
from praxon.datasets.quality_weights import advantage_weights, return_weights, weights
from praxon.errors import ConfigError, nearest
from praxon.learning.table_weights import TableWeights
from praxon.learning.weighting import Sources

SCORES: dict[str, Callable[..., np.ndarray]] = {"return": return_weights, "advantage": advantage_weights}


class FrameWeights(TableWeights):
    """Weights from a table of all frames, whose mean over those that are trained on is one.

    Args:
        scores: ``return`` or ``advantage``, of whole trajectories; or names of measures of quality, as ``praxon data info``
            prints them.
        temperature: of the softmax over frames; the lower, the more the best are preferred.
        scale: of measures, ``episode`` or ``frame``.
        least_effective_share: the temperature is raised until as large a share of the frames counts.

    Raises:
        ConfigError: no score.
    """

    def __init__(
        self,
        scores: str | Sequence[str] = "return",
        temperature: float = 0.1,
        scale: str = "episode",
        least_effective_share: float = 0.2,
    ) -> None:
        super().__init__()
        if not scores:
            raise ConfigError(f"weighting.scores is {scores}; {', '.join(SCORES)} or names of measures are needed.")
        self.scores, self.temperature, self.scale = scores, temperature, scale
        self.least_effective_share = least_effective_share

    def weigh(self, sources: Sources) -> np.ndarray:
        """See ``TableWeights.weigh``.

        Raises:
            ConfigError: a score that does not exist.
            DatasetError: the datasets lack what the score needs.
        """
        dataset = Concatenated(sources.datasets)
        if isinstance(self.scores, str):
            if self.scores not in SCORES:
                raise ConfigError(
                    f"There is no score '{self.scores}': {', '.join(SCORES)}, or a list of measures.{nearest(self.scores, SCORES)}"
                )
            return SCORES[self.scores](dataset, self.temperature, self.least_effective_share)
        return weights(
            measure(dataset),
            list(self.scores),
            self.temperature,
            self.scale,
            least_effective_share=self.least_effective_share,
        )
