"""Posterior-Transition Reweighting: samples count by whether what was seen after them follows from them.

Zhang et al., arXiv 2603.16542 (``scores`` has the equations). A scorer learns, beside the policy, to tell what belongs to a sample
from what belongs to others: in the paper, the observation that followed. Where it can, the sample counts more; where anything
could have followed, about one; where others' fits better, less. No reward, and no likelihood of the policy, is needed.

    observation --policy's encoder-------------> context
    recorded chunk ----------------------------> chunk         scorer --> similarities to own and others'
    later observation --averaged encoder-------> consequence             --> posterior --> score --> weight

Deviations from the paper: the scorer does not steer the policy's encoder; it reads the clean chunk; consequences are standardised
before they are compared, since those of joint positions would all point the same way; there are no belief tokens. With
``identify=chunk`` (ours) the scorer asks which of many chunks led to the consequence; see ``scorer``.

Shapes: B batch, H context, T rows, N action size, S tokens, D consequence, d candidate, P place.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from praxon.errors import ConfigError
from praxon.learning.ema import Ema
from praxon.learning.optimizer import load_optimizer, make_optimizer, optimizer_tensors
from praxon.learning.ptr.controller import Controller
from praxon.learning.ptr.pool import TargetQueue, others_of_batch
from praxon.learning.ptr.scorer import ChunkScorer, ConsequenceScorer, Draw, Scorer, logits
from praxon.learning.ptr.scores import Identified, identify, weigh
from praxon.learning.weighting import Sources, Weighting, effective_share, normalised
from praxon.policies.base import Policy
from praxon.policies.networks.encoders import Encoder
from praxon.policies.normalizer import is_numeric

FUTURE = "future."
IDENTIFIED = ("consequence", "chunk")


class PosteriorTransitionReweighting(Weighting):
    """PTR; see above.

    Args:
        identify: ``consequence``, as published, or ``chunk``.
        steps_ahead: control steps from the observation to its consequence; the chunk's length where ``None``.
        alpha: share of the weight that is PTR's; 0 trains plainly.
        least, most: w_min and w_max.
        warmup: steps during which every sample counts one, while the scorer learns.
        temperature, beta: of logits and of weights, to begin with.
        adaptive: whether the controller changes them.
        adapt_every: steps between its changes.
        queue: earlier consequences that are kept.
        queue_negatives: most that are drawn of them for a sample.
        id_weight, rank_weight: of the scorer's two losses.
        ema: largest decay of the averaged encoder.
        learning_rate: of the scorer.
        width: of the scorer's hidden layers.
        centred: scores less their running median: weights then scatter about one even where all consequences are told apart.
        seed: of the scorer's weights and of what is drawn.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        *,
        identify: str = "consequence",
        steps_ahead: int | None = None,
        alpha: float = 1.0,
        least: float = 0.25,
        most: float = 4.0,
        warmup: int = 500,
        temperature: float = 0.12,
        beta: float = 1.5,
        adaptive: bool = True,
        adapt_every: int = 10,
        queue: int = 1024,
        queue_negatives: int = 64,
        id_weight: float = 0.05,
        rank_weight: float = 0.25,
        ema: float = 0.999,
        learning_rate: float = 1e-3,
        width: int = 128,
        centred: bool = False,
        seed: int = 0,
    ) -> None:
        if identify not in IDENTIFIED:
            raise ConfigError(f"What is identified is one of {', '.join(IDENTIFIED)}; got '{identify}'.")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha}; a share from 0 (plain training) to 1 is needed.")
        if not 0 < least <= 1 <= most:
            raise ConfigError(
                f"Weights from {least} to {most} were asked for; least lies in (0, 1], most at or above 1."
            )
        for name, value in {"temperature": temperature, "beta": beta, "learning_rate": learning_rate}.items():
            if not value > 0:
                raise ConfigError(f"{name} is {value}; a number above 0 is needed.")
        counts = {"queue": queue, "queue_negatives": queue_negatives, "adapt_every": adapt_every, "width": width}
        counts |= {"steps_ahead": 1 if steps_ahead is None else steps_ahead, "warmup": 1 if warmup == 0 else warmup}
        for name, number in counts.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ConfigError(f"{name} is {number}; a whole number of at least {int(name != 'warmup')} is needed.")
        if not 0 <= ema < 1:
            raise ConfigError(f"ema is {ema}; a decay from 0 to below 1 is needed.")
        self.identify = identify
        self.steps_ahead, self.alpha, self.least, self.most, self.warmup = steps_ahead, alpha, least, most, warmup
        self.controller = Controller(temperature, beta, every=adapt_every, adaptive=adaptive)
        self._queue_length, self._queue_negatives = queue, queue_negatives
        self._id_weight, self._rank_weight, self._ema_decay = id_weight, rank_weight, ema
        self._learning_rate, self._width, self.centred, self.seed = learning_rate, width, centred, seed
        self.step, self.median, self.mean_weight = 0, 0.0, 1.0
        self._metrics: dict[str, float] = {}

    def future(self, policy: Policy) -> int | tuple[int, ...] | None:
        """The policy's own look ahead where it has one, of several the furthest; the chunk's length else."""
        own = policy.needs().future
        wanted = policy.contract.chunk.horizon if self.steps_ahead is None else self.steps_ahead
        if own is not None and self.steps_ahead is not None and own != self.steps_ahead:
            raise ConfigError(
                f"The policy looks {own} steps ahead itself, so that weighting.steps_ahead cannot be {self.steps_ahead}; null is."
            )
        return wanted if own is None else own

    def remarks(self, steps: int) -> tuple[str, ...]:
        """That it never comes to weights of its own."""
        if steps > self.warmup:
            return ()
        return (
            f"The first {self.warmup} steps of PTR are a warm-up in which every sample counts one, and there are {steps}: this "
            "is plain training (weighting.warmup=<steps>).",
        )

    def begin(self, policy: Policy, sources: Sources) -> None:
        """See ``Weighting.begin``."""
        encoder = getattr(policy, "encoder", None)
        if not isinstance(encoder, Encoder):
            raise ConfigError(f"{type(policy).__name__} has no encoder of observations, which PTR needs.")
        self.policy, self._encoder, self._sources = policy, encoder, sources
        self._teacher = copy.deepcopy(encoder).eval().requires_grad_(False)
        self._average = Ema(encoder, max_decay=self._ema_decay)
        # Nearer frames may have the same consequence: those before an episode's end all have its last.
        furthest = self.future(policy)
        looks = furthest if isinstance(furthest, tuple) else (furthest or 0,)
        self._apart = max(policy.contract.chunk.horizon, *looks)
        lead = policy.needs().lead
        shape = (lead + policy.contract.chunk.horizon, policy.actions.size)
        place = sum(feature.size for feature in policy.contract.observations if is_numeric(feature))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.scorer = self._make_scorer(encoder.width, shape).to(policy.device)
        self.queue = TargetQueue(self._queue_length, self.scorer.candidate_size, place, policy.device)
        self._optimizer = make_optimizer(self.scorer, self._learning_rate, (0.9, 0.999), 0.01)

    @torch.no_grad()
    def read(self, part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Context (B, H), chunk (B, T, N), consequence (B, d) before it is standardised, place (B, P), validity and frame."""
        policy = self.policy
        later = {name.removeprefix(FUTURE): value for name, value in part.items() if name.startswith(FUTURE)}
        steps = part["future_steps"]
        if steps.ndim > 1:  # several looks: the furthest
            later, steps = {name: value[:, -1] for name, value in later.items()}, steps[:, -1]
        places = [
            policy.normalizer.normalize(feature.name, part[feature.name][:, -1]).flatten(1)
            for feature in policy.contract.observations
            if is_numeric(feature)
        ]
        count = len(part["index"])
        return {
            "context": self._encoder(part, policy.normalizer).float().mean(dim=1),
            "chunk": policy.encode_actions(part).float(),
            "consequence": self._teacher(later, policy.normalizer).float().mean(dim=1),
            "place": torch.cat([steps.new_zeros(count, 0, dtype=torch.float32), *places], dim=1).float(),
            "valid": steps > 0,
            "index": part["index"],
        }

    def __call__(self, seen: Mapping[str, Tensor], losses: Tensor) -> Tensor:
        """Weights of the batch, and one step of the scorer."""
        self._follow()
        seen = {name: seen[name] for name in ("context", "chunk", "consequence", "place", "valid", "index")}
        valid_B = seen["valid"]
        if valid_B.any():
            self.scorer.standard.update(seen["consequence"][valid_B])
        with torch.no_grad():
            candidate_BD = self.scorer.candidates(seen)
        with torch.enable_grad():
            score_B = self._learn(seen, candidate_BD)
        self.queue.push(candidate_BD[valid_B], seen["place"][valid_B], seen["index"][valid_B])
        self.step += 1
        weight_B = self._weights(score_B, valid_B)
        normal_B = normalised(weight_B)
        if self.step > self.warmup:
            self.mean_weight += (float(weight_B.mean()) - self.mean_weight) / min(self.step - self.warmup, 100)
        self._metrics |= {
            "effective_share": effective_share(weight_B),
            "saturated": float((weight_B >= 1 + self.alpha * (self.most - 1) - 1e-4).float().mean())
            if self.alpha
            else 0.0,
            **{f"weight/{name}": value for name, value in self._sources.means(seen["index"], normal_B).items()},
        }
        return normal_B.to(losses.dtype)

    @torch.no_grad()
    def scores(self, seen: Mapping[str, Tensor], draws: int = 1) -> Tensor:
        """Scores T (B,) of samples that ``read`` read, against a pool of the queue alone, NaN where nothing followed.

        Args:
            draws: pools over which the score is averaged.
        """
        query_BD, candidate_BD = self.scorer.query(seen), self.scorer.candidates(seen)
        found = []
        for draw in range(draws):
            generator = torch.Generator().manual_seed(self.seed + draw)
            drawn_BKD, exists_BK = self._drawn(seen, generator, self.controller.hard_ratio)
            found.append(self._identified(query_BD, candidate_BD, [drawn_BKD], [exists_BK]).score_B)
        score_B = torch.stack(found).mean(dim=0)
        return score_B.masked_fill(~seen["valid"], torch.nan)

    def judge(self, seen: Mapping[str, Tensor], draws: int = 1) -> tuple[Tensor, Tensor]:
        """See ``Weighting.judge``; weights as shares of the mean that they had in training lately."""
        score_B = self.scores(seen, draws)
        return self.weights_of(score_B) / self.mean_weight, score_B

    def weights_of(self, score_B: Tensor) -> Tensor:
        """The weight of each score; 1 where it is NaN."""
        centre = self.median if self.centred else 0.0
        weight_B = weigh(score_B - centre, self.controller.beta, self.least, self.most, self.alpha)
        return torch.where(score_B.isnan(), 1.0, weight_B)

    def _make_scorer(self, width: int, chunk_shape: tuple[int, int]) -> Scorer:
        if self.identify == "chunk":
            return ChunkScorer(width, chunk_shape, width, self._width)
        return ConsequenceScorer(width, chunk_shape, width, self._width, self._id_weight, self._rank_weight)

    def _weights(self, score_B: Tensor, valid_B: Tensor) -> Tensor:
        if self.step <= self.warmup:
            return torch.ones_like(score_B)
        return self.weights_of(score_B.masked_fill(~valid_B, torch.nan))

    def _drawn(
        self, seen: Mapping[str, Tensor], generator: torch.Generator, hard_ratio: float
    ) -> tuple[Tensor, Tensor]:
        places, index = seen["place"], seen["index"]
        return self.queue.draw(self._queue_negatives, places, index, self._apart, hard_ratio, generator)

    def _identified(
        self, query_BD: Tensor, candidate_BD: Tensor, others: list[Tensor], allowed: list[Tensor]
    ) -> Identified:
        """What the logits of the sample's own candidate and of ``others``, each (B, C, d) or (1, C, d), say."""
        own_B = self.scorer.similarity(query_BD, candidate_BD)
        similar_BC = torch.cat(
            [own_B[:, None], *(self.scorer.similarity(query_BD[:, None], each) for each in others)], dim=1
        )
        allowed_BC = torch.cat([torch.ones_like(allowed[0][:, :1]), *allowed], dim=1)
        return identify(logits(similar_BC, self.controller.temperature), allowed_BC)

    def _learn(self, seen: Mapping[str, Tensor], candidate_BD: Tensor) -> Tensor:
        """One step of the scorer on this batch; the scores it gave before."""
        generator = torch.Generator().manual_seed(_mixed(self.seed, self.step))
        valid_B, count, temperature = seen["valid"], len(candidate_BD), self.controller.temperature
        query_BD = self.scorer.query(seen)
        drawn_BKD, exists_BK = self._drawn(seen, generator, self.controller.hard_ratio)
        wrong_BB = others_of_batch(seen["index"], valid_B, self._apart)
        found = self._identified(query_BD, candidate_BD, [candidate_BD[None], drawn_BKD], [wrong_BB, exists_BK])
        score_B = found.score_B.detach()
        if not valid_B.any() or count < 2:
            return score_B
        draw = Draw(
            int(torch.randint(1, count, (), generator=generator)), lambda similarity: logits(similarity, temperature)
        )
        loss = self.scorer.loss(seen, query_BD, candidate_BD, found, draw)[valid_B].mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        accuracy = float(found.correct_B[valid_B].float().mean())
        margin = float(found.margin_B[valid_B].detach().mean())
        self.controller.observe(accuracy, margin)
        self.median += (float(score_B[valid_B].median()) - self.median) * (0.02 if self.step else 1.0)
        self._metrics = {
            "identified": accuracy,
            "margin": margin,
            "score": float(score_B[valid_B].mean()),
            "scorer_loss": float(loss.detach()),
            "temperature": temperature,
            "beta": self.controller.beta,
            "hard_ratio": self.controller.hard_ratio,
        }
        return score_B

    def _follow(self) -> None:
        """Move the averaged encoder towards the policy's, which has been stepped since."""
        if self.step:
            self._average.update(self._encoder)
            self._average.copy_to(self._teacher)

    # -- what survives ----------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """See ``Weighting.metrics``."""
        return self._metrics

    def state_dict(self) -> dict[str, Any]:
        """See ``Weighting.state_dict``."""
        return {
            "step": self.step,
            "median": self.median,
            "mean_weight": self.mean_weight,
            "ema_updates": self._average.updates,
            "controller": self.controller.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Weighting.load_state_dict``."""
        self.step, self.median, self.mean_weight = state["step"], state["median"], state["mean_weight"]
        self._average.updates = state["ema_updates"]
        self.controller.load_state_dict(state["controller"])

    def tensors(self) -> dict[str, Tensor]:
        """See ``Weighting.tensors``."""
        groups = {
            "scorer": self.scorer.state_dict(),
            "optimizer": optimizer_tensors(self._optimizer, self.scorer),
            "average": self._average.tensors(),
            "queue": self.queue.tensors(),
        }
        return {f"{group}.{name}": tensor for group, found in groups.items() for name, tensor in found.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """See ``Weighting.load_tensors``."""
        groups: dict[str, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            group, _, name = path.partition(".")
            groups.setdefault(group, {})[name] = tensor
        self.scorer.load_state_dict(groups["scorer"])
        load_optimizer(self._optimizer, self.scorer, groups.get("optimizer", {}))
        self._average.load(groups["average"], self._average.updates)
        self._average.copy_to(self._teacher)
        self.queue.load_tensors(groups["queue"])


def _mixed(seed: int, step: int) -> int:
    """One seed of two numbers."""
    return (seed * 1_000_003 + step) % 2**63
