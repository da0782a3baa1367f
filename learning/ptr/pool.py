"""The pool of wrong consequences: the other samples of the batch, and a queue of earlier ones.

arXiv 2603.16542: a first-in first-out queue of 1024 targets, of which at most 64 are drawn for each sample. Consequences of
frames near the sample's own in the recording look like its own and are left out of both.

Shapes: B batch, Q entries of the queue, K drawn of it, d size of a target, P size of a place.
"""

import torch
from torch import Tensor


class TargetQueue:
    """The latest consequences, first in first out, as constants.

    Args:
        length: most that are kept.
        size: d.
        place_size: P.
        device: where they are kept.
    """

    def __init__(self, length: int, size: int, place_size: int, device: torch.device) -> None:
        self.targets_QD = torch.zeros(length, size, device=device)
        self.places_QP = torch.zeros(length, place_size, device=device)
        self.index_Q = torch.full((length,), -1, dtype=torch.int64, device=device)
        self._next = 0

    def __len__(self) -> int:
        return int((self.index_Q >= 0).sum())

    @torch.no_grad()
    def push(self, targets_BD: Tensor, places_BP: Tensor, index_B: Tensor) -> None:
        """Add consequences; the oldest make room.

        Args:
            targets_BD: of the samples.
            places_BP: where the robot and everything it sees were when the chunk began, normalised.
            index_B: the frame of each in the recording.
        """
        length = len(self.index_Q)
        targets_BD, places_BP, index_B = targets_BD[-length:], places_BP[-length:], index_B[-length:]
        rows = (self._next + torch.arange(len(index_B), device=self.index_Q.device)) % length
        self.targets_QD[rows], self.places_QP[rows], self.index_Q[rows] = targets_BD, places_BP, index_B
        self._next = (self._next + len(index_B)) % length

    def draw(
        self, count: int, places_BP: Tensor, index_B: Tensor, apart: int, hard_ratio: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """For each sample, ``count`` consequences that are not its own: targets (B, K, d), and which of them exist (B, K).

        Args:
            count: K.
            places_BP: of the samples.
            index_B: their frames.
            apart: frames that lie no further from the sample's than this are left out.
            hard_ratio: share of those drawn that are taken from the nearest places: the hardest to tell apart.
            generator: of the others, on the processor.
        """
        allowed_BQ = (self.index_Q >= 0) & ((self.index_Q - index_B[:, None]).abs() > apart)
        order_BQ = torch.rand(allowed_BQ.shape, generator=generator).to(allowed_BQ.device)
        num_hard = round(hard_ratio * count)
        if num_hard:
            distance_BQ = torch.cdist(places_BP, self.places_QP).masked_fill(~allowed_BQ, torch.inf)
            nearest_BK = distance_BQ.topk(min(num_hard, distance_BQ.shape[1]), largest=False).indices
            order_BQ.scatter_add_(1, nearest_BK, torch.full_like(nearest_BK, 2, dtype=order_BQ.dtype))
        order_BQ = order_BQ.masked_fill(~allowed_BQ, -1.0)
        drawn = order_BQ.topk(min(count, order_BQ.shape[1]), dim=1)
        return self.targets_QD[drawn.indices], drawn.values >= 0

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is kept."""
        return {
            "targets": self.targets_QD,
            "places": self.places_QP,
            "index": self.index_Q,
            "next": torch.tensor(self._next),
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Continue from ``tensors``."""
        for name, held in (("targets", self.targets_QD), ("places", self.places_QP), ("index", self.index_Q)):
            held.copy_(tensors[name])
        self._next = int(tensors["next"])


def others_of_batch(index_B: Tensor, valid_B: Tensor, apart: int) -> Tensor:
    """Which samples' consequences are wrong ones for which: (B, B), row by row.

    Args:
        index_B: frames of the samples.
        valid_B: which have a consequence.
        apart: frames that lie no further apart are left out.
    """
    return ((index_B[:, None] - index_B).abs() > apart) & valid_B
