"""The scorers of PTR: who tells the one that belongs to a sample from those that do not.

``ConsequenceScorer`` is the paper's: from what the policy saw and the recorded chunk, which of many later observations followed?
It learns by contrast, and knows a noisy chunk as well as a sound one where the context alone gives the consequence away.

``ChunkScorer`` asks the other way round: from what the policy saw and what followed, which of many recorded chunks led there?
It learns to predict the chunk, so that noise, which cannot be predicted, moves a chunk away from its own prediction.

Neither steers the policy: what they read of it are constants. Nothing of them is needed when the policy acts.

Shapes: B batch, C candidates, H size of the context, T rows of a chunk, N action size in the network, D consequence, d candidate.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.learning.ptr.scores import Identified, rank_loss
from praxon.learning.ptr.standard import Standard

NORM_EPS = 1e-6
LARGEST_LOGIT = 20.0

Seen = Mapping[str, Tensor]
"""Of each sample: ``context`` (B, H), ``chunk`` (B, T, N), ``consequence`` (B, D), ``valid`` (B,) bool."""


class Scorer(nn.Module, ABC):
    """Parent of scorers.

    Args:
        consequence_size: D.
        candidate_size: d.
    """

    def __init__(self, consequence_size: int, candidate_size: int) -> None:
        super().__init__()
        self.standard = Standard(consequence_size)
        self.candidate_size = candidate_size

    @abstractmethod
    def candidates(self, seen: Seen) -> Tensor:
        """What of each sample is to be told from that of others (B, d), without gradients."""

    @abstractmethod
    def query(self, seen: Seen) -> Tensor:
        """What each sample's own candidate should look like (B, d)."""

    @abstractmethod
    def similarity(self, query: Tensor, candidate: Tensor) -> Tensor:
        """How well they fit, the larger the better; over the last axis, others broadcast."""

    @abstractmethod
    def loss(self, seen: Seen, query_BD: Tensor, candidate_BD: Tensor, found: Identified, draw: "Draw") -> Tensor:
        """What it learns from (B,).

        Args:
            query_BD, candidate_BD: of the samples.
            found: what the logits of the whole pool said.
            draw: logits of other queries, and a shift that gives no sample its own.
        """


class Draw:
    """What a scorer's loss may draw.

    Args:
        shift: by which samples are rolled to meet another's chunk.
        logits: similarities -> logits.
    """

    def __init__(self, shift: int, logits: Callable[[Tensor], Tensor]) -> None:
        self.shift, self.logits = shift, logits


class ConsequenceScorer(Scorer):
    """Queries for consequences, compared by the angle.

    Args:
        context_size: H.
        chunk_shape: (T, N).
        consequence_size: D.
        width: of the hidden layers.
        id_weight, rank_weight: of identification, and of the loss that makes the chunk matter.
    """

    def __init__(
        self,
        context_size: int,
        chunk_shape: tuple[int, int],
        consequence_size: int,
        width: int = 128,
        id_weight: float = 0.05,
        rank_weight: float = 0.25,
    ) -> None:
        super().__init__(consequence_size, consequence_size)
        flat = chunk_shape[0] * chunk_shape[1]
        self.id_weight, self.rank_weight = id_weight, rank_weight
        self.chunk = nn.Sequential(nn.Flatten(), nn.Linear(flat, width), nn.GELU(), nn.Linear(width, width))
        self.context = nn.LayerNorm(context_size)
        self.answer = nn.Sequential(
            nn.Linear(context_size + width, 2 * width), nn.GELU(), nn.Linear(2 * width, consequence_size)
        )

    def candidates(self, seen: Seen) -> Tensor:
        """Consequences, standardised, of unit length."""
        return unit(self.standard(seen["consequence"]))

    def query(self, seen: Seen) -> Tensor:
        """See ``Scorer.query``."""
        return self._answer(seen, seen["chunk"])

    def _answer(self, seen: Seen, chunk_BTN: Tensor) -> Tensor:
        return unit(self.answer(torch.cat([self.context(seen["context"]), self.chunk(chunk_BTN)], dim=1)))

    def similarity(self, query: Tensor, candidate: Tensor) -> Tensor:
        """The cosine."""
        return (query * candidate).sum(dim=-1)

    def loss(self, seen: Seen, query_BD: Tensor, candidate_BD: Tensor, found: Identified, draw: Draw) -> Tensor:
        """Identification, and that another sample's chunk fits worse."""
        other_BD = self._answer(seen, seen["chunk"].roll(draw.shift, dims=0))
        matched_B, permuted_B = (draw.logits(self.similarity(each, candidate_BD)) for each in (query_BD, other_BD))
        return -self.id_weight * found.log_posterior_B + self.rank_weight * rank_loss(matched_B, permuted_B)


class ChunkScorer(Scorer):
    """Predictions of chunks, compared by the squared distance.

    Args:
        context_size: H.
        chunk_shape: (T, N).
        consequence_size: D.
        width: of the hidden layers.
    """

    def __init__(
        self, context_size: int, chunk_shape: tuple[int, int], consequence_size: int, width: int = 128
    ) -> None:
        flat = chunk_shape[0] * chunk_shape[1]
        super().__init__(consequence_size, flat)
        self.context = nn.LayerNorm(context_size)
        self.predict = nn.Sequential(
            nn.Linear(context_size + consequence_size, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, flat),
        )

    def candidates(self, seen: Seen) -> Tensor:
        """Recorded chunks."""
        return seen["chunk"].flatten(1)

    def query(self, seen: Seen) -> Tensor:
        """See ``Scorer.query``."""
        predicted: Tensor = self.predict(
            torch.cat([self.context(seen["context"]), self.standard(seen["consequence"])], dim=1)
        )
        return predicted

    def similarity(self, query: Tensor, candidate: Tensor) -> Tensor:
        """The mean squared distance, negative."""
        return -(query - candidate).square().mean(dim=-1)

    def loss(self, seen: Seen, query_BD: Tensor, candidate_BD: Tensor, found: Identified, draw: Draw) -> Tensor:
        """The squared error of the prediction."""
        return -self.similarity(query_BD, candidate_BD)


def unit(values_BD: Tensor) -> Tensor:
    """Divided by their length."""
    return F.normalize(values_BD, dim=-1, eps=NORM_EPS)


def logits(similarity: Tensor, temperature: float) -> Tensor:
    """d = similarity / temperature, no larger than 20 either way."""
    return (similarity / temperature).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
