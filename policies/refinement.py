"""What a critic makes of the chunks that a policy draws: the best of many, moved a little, or drawn from chosen noise.

The policy below keeps its weights. What is learned is a value of chunks, and, in all but the first, a small actor:

    best of n      argmax over candidates of Q                               IDQL, arXiv 2304.10573
    residual       a + scale * tanh(edit(s, a))                              ResiP, arXiv 2407.16677
    edit           argmax of Q over candidates and each of them moved so     EXPO, arXiv 2507.07986
    latent noise   the chunk of noise b * tanh(actor(s))                     DSRL, arXiv 2506.15799

All are functions of state, candidates and noise, the same while acting, while learning and in a bundle.

Shapes: B batch, N candidates, S state, H rows of a chunk, A components in network units, L numbers of noise for one chunk, K knots,
E critics.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError
from praxon.policies.networks.value import CriticEnsemble, GaussianActor

Value = Callable[[Tensor, Tensor], Tensor]
"""State (M, S) and chunks (M, H, A) -> what each critic thinks of them (E, M)."""


@dataclass(frozen=True)
class Sizes:
    """Of what is refined.

    Args:
        state: S.
        rows: H.
        execute: rows of a chunk that are carried out, and that critics judge.
        components: A.
        noise: L.
    """

    state: int
    rows: int
    execute: int
    components: int
    noise: int


class Refinement(nn.Module, ABC):
    """Parent of all ways.

    Args:
        sizes: of what is refined.
        candidates: N.

    Raises:
        ConfigError: a setting that cannot be.
    """

    def __init__(self, sizes: Sizes, candidates: int) -> None:
        super().__init__()
        if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
            raise ConfigError(f"Refinement draws {candidates!r} candidates; a whole number of at least 1 is needed.")
        self.sizes, self.candidates = sizes, candidates
        self.register_buffer("informed", torch.zeros(()))

    chooses_noise: ClassVar[bool] = False
    """Whether candidates are drawn from noise that an actor chose: then what it learned is of the policy as it is."""

    informed: Tensor
    """1 once something was learned; until then the first candidate is what is done."""

    def latents(self, state_BS: Tensor, noise_BNL: Tensor, explore_BL: Tensor, exploring: bool) -> Tensor:
        """The noise (B, N, L) that candidates are drawn from."""
        return noise_BNL

    @abstractmethod
    def choose(self, value: Value, state_BS: Tensor, base_BNHA: Tensor, explore_BL: Tensor, exploring: bool) -> Tensor:
        """The chunk to be executed (B, H, A).

        Args:
            value: of chunks.
            state_BS: what critics see.
            base_BNHA: candidates, as the policy drew them.
            explore_BL: unit normal numbers.
            exploring: whether an actor samples, by these numbers, or does what it thinks best.
        """


class Acting(Refinement):
    """Parent of those with an actor."""

    actor: GaussianActor

    @property
    @abstractmethod
    def actor_size(self) -> int:
        """Components of the actor's action."""

    @abstractmethod
    def actor_value(
        self, value: Value, state_BS: Tensor, base_BNHA: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What the actor is to make large (B,), and the logarithm of the density of what it drew (B,); with gradients."""


def best_of(value: Value, state_BS: Tensor, chunks_BNHA: Tensor) -> Tensor:
    """The chunk (B, H, A) of the highest mean value; the first of equals."""
    batch, count = chunks_BNHA.shape[:2]
    states_MS = state_BS[:, None].expand(-1, count, -1).reshape(batch * count, -1)
    mean_BN = value(states_MS, chunks_BNHA.flatten(0, 1)).mean(dim=0).view(batch, count)
    chosen_B = mean_BN.argmax(dim=1)
    return chunks_BNHA[torch.arange(batch, device=chosen_B.device), chosen_B]


class BestOfN(Refinement):
    """The candidate that critics like best (IDQL, arXiv 2304.10573; implicit in Q-chunking, arXiv 2507.07969)."""

    def __init__(self, sizes: Sizes, candidates: int = 8) -> None:
        super().__init__(sizes, candidates)

    def choose(self, value: Value, state_BS: Tensor, base_BNHA: Tensor, explore_BL: Tensor, exploring: bool) -> Tensor:
        """See ``Refinement.choose``."""
        return best_of(value, state_BS, base_BNHA)


class Moving(Acting):
    """Parent of those that move chunks: an actor says by how much at a few knots, between which the move is linear.

    A move begins at nothing before the first row, so that the command stays continuous, and stays what it is behind the rows that
    are carried out.

    Args:
        sizes: of what is refined.
        candidates: N.
        scale: largest move of a component, in network units.
        knots: K.
        hidden: widths of the actor.
    """

    def __init__(
        self, sizes: Sizes, candidates: int, scale: float = 0.2, knots: int = 2, hidden: tuple[int, ...] = (256, 256)
    ) -> None:
        super().__init__(sizes, candidates)
        if not scale > 0 or not 1 <= knots <= sizes.execute:
            raise ConfigError(
                f"A chunk is to be moved by {scale} at {knots} knots; a positive size and 1 to {sizes.execute} knots are needed."
            )
        self.scale, self.knots = scale, knots
        self.actor = GaussianActor(sizes.state + sizes.execute * sizes.components, self.actor_size, hidden)
        nn.init.zeros_(self.actor.out.weight[: self.actor_size])
        nn.init.zeros_(self.actor.out.bias[: self.actor_size])
        self.register_buffer("shape_HK", ramps(sizes.rows, sizes.execute, knots), persistent=False)

    shape_HK: Tensor

    @property
    def actor_size(self) -> int:
        """K A."""
        return self.knots * self.sizes.components

    def moved(self, chunk_MHA: Tensor, raw_MD: Tensor) -> Tensor:
        """Chunks (M, H, A), moved as an actor says in numbers of [-1, 1]."""
        knots_MKA = raw_MD.view(len(raw_MD), self.knots, self.sizes.components)
        return chunk_MHA + self.scale * torch.einsum("hk,mka->mha", self.shape_HK, knots_MKA)

    def seen(self, state_MS: Tensor, chunk_MHA: Tensor) -> Tensor:
        """What the actor sees: the state, and the rows that would be carried out."""
        return torch.cat([state_MS, chunk_MHA[:, : self.sizes.execute].flatten(1)], dim=-1)

    def actor_value(
        self, value: Value, state_BS: Tensor, base_BNHA: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See ``Acting.actor_value``: the mean value of one candidate of each state, moved."""
        batch, count = base_BNHA.shape[:2]
        picked_B = torch.randint(count, (batch,), generator=generator, device=base_BNHA.device)
        chunk_BHA = base_BNHA[torch.arange(batch, device=picked_B.device), picked_B]
        raw_BD, log_density_B = self.actor.sample(self.seen(state_BS, chunk_BHA), generator)
        return value(state_BS, self.moved(chunk_BHA, raw_BD)).mean(dim=0), log_density_B


class Residual(Moving):
    """One chunk, moved: what the policy does is corrected, whatever that is (ResiP, arXiv 2407.16677, for whole chunks here)."""

    def __init__(self, sizes: Sizes, scale: float = 0.2, knots: int = 2, hidden: tuple[int, ...] = (256, 256)) -> None:
        super().__init__(sizes, 1, scale, knots, hidden)

    def choose(self, value: Value, state_BS: Tensor, base_BNHA: Tensor, explore_BL: Tensor, exploring: bool) -> Tensor:
        """See ``Refinement.choose``."""
        chunk_BHA = base_BNHA[:, 0]
        raw_BD = self.actor.drawn(self.seen(state_BS, chunk_BHA), explore_BL[:, : self.actor_size] * float(exploring))
        return self.moved(chunk_BHA, raw_BD)


class Edit(Moving):
    """The best of the candidates and of each of them moved (EXPO, arXiv 2507.07986, algorithm 1).

    Unlike there, a move has few knots instead of every component, the exploring noise is the same for all candidates, the best is
    by the mean of all critics, and what the actor learns to move are candidates instead of what was done.
    """

    def __init__(
        self,
        sizes: Sizes,
        candidates: int = 8,
        scale: float = 0.2,
        knots: int = 2,
        hidden: tuple[int, ...] = (256, 256),
    ) -> None:
        super().__init__(sizes, candidates, scale, knots, hidden)

    def choose(self, value: Value, state_BS: Tensor, base_BNHA: Tensor, explore_BL: Tensor, exploring: bool) -> Tensor:
        """See ``Refinement.choose``."""
        batch, count = base_BNHA.shape[:2]
        states_MS = state_BS[:, None].expand(-1, count, -1).reshape(batch * count, -1)
        explore_MD = explore_BL[:, None, : self.actor_size].expand(-1, count, -1).reshape(batch * count, -1)
        flat_MHA = base_BNHA.flatten(0, 1)
        raw_MD = self.actor.drawn(self.seen(states_MS, flat_MHA), explore_MD * float(exploring))
        moved_BNHA = self.moved(flat_MHA, raw_MD).view_as(base_BNHA)
        return best_of(value, state_BS, torch.cat([base_BNHA, moved_BNHA], dim=1))


class LatentNoise(Acting):
    """The chunk that the policy draws from noise which an actor chooses (DSRL, arXiv 2506.15799).

    The first candidate is drawn so; the others, from noise as it comes, teach ``noise_critics`` what noise is worth: each is fitted
    to what a critic of chunks makes of what was drawn from it (the paper's noise-aliased variant; the pairs are the candidates of
    the states that were met, which are drawn once).

    Args:
        sizes: of what is refined.
        candidates: N; 1 in serving would do, and more are drawn for the noise critic alone.
        bound: largest noise, b.
        critics: of noise; at least as many as the learner takes the smallest of.
        hidden: widths of actor and noise critics.
    """

    chooses_noise = True

    def __init__(
        self,
        sizes: Sizes,
        candidates: int = 4,
        bound: float = 1.5,
        critics: int = 5,
        hidden: tuple[int, ...] = (256, 256),
    ) -> None:
        super().__init__(sizes, candidates)
        if not bound > 0:
            raise ConfigError(f"Latent noise is bounded by {bound}; a positive number is needed.")
        self.bound = bound
        self.actor = GaussianActor(sizes.state, sizes.noise, hidden)
        self.noise_critics = CriticEnsemble(sizes.state, sizes.noise, hidden, critics)

    @property
    def actor_size(self) -> int:
        """L."""
        return self.sizes.noise

    def latents(self, state_BS: Tensor, noise_BNL: Tensor, explore_BL: Tensor, exploring: bool) -> Tensor:
        """See ``Refinement.latents``."""
        chosen_BL = self.bound * self.actor.drawn(state_BS, explore_BL * float(exploring))
        chosen_BL = torch.where(self.informed > 0, chosen_BL, noise_BNL[:, 0])
        return torch.cat([chosen_BL[:, None], noise_BNL[:, 1:]], dim=1)

    def choose(self, value: Value, state_BS: Tensor, base_BNHA: Tensor, explore_BL: Tensor, exploring: bool) -> Tensor:
        """See ``Refinement.choose``: the first."""
        return base_BNHA[:, 0]

    def actor_value(
        self, value: Value, state_BS: Tensor, base_BNHA: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See ``Acting.actor_value``: the mean value of noise; what it is of chunks, noise critics have learned."""
        raw_BL, log_density_B = self.actor.sample(state_BS, generator)
        return self.noise_critics(state_BS, self.bound * raw_BL).mean(dim=0), log_density_B


def ramps(rows: int, execute: int, knots: int) -> Tensor:
    """(rows, knots): each row's weight of every knot. Knot k lies at row (k + 1) execute / knots - 1; before them all is 0."""
    places = [(knot + 1) * execute / knots - 1 for knot in range(knots)]
    points = [-1.0, *places]
    weights = torch.zeros(rows, knots)
    for row in range(rows):
        at = min(float(row), places[-1])
        for knot in range(knots):
            before, here = points[knot], points[knot + 1]
            after = points[knot + 2] if knot + 2 < len(points) else None
            if before < at <= here:
                weights[row, knot] = (at - before) / (here - before)
            elif after is not None and here < at < after:
                weights[row, knot] = (after - at) / (after - here)
    return weights
