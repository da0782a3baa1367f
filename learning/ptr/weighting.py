"""Posterior-Transition Reweighting: samples count by whether what was seen after them follows from them.

Zhang et al., arXiv 2603.16542 (``scores`` has the equations). A scorer learns, beside the policy, to pick the observation that
followed a chunk out of a pool of others, from what the policy saw and the chunk. Where it can, the sample counts more; where
anything could have followed, about one; where the others fit better, less. No reward, and no likelihood of the policy, is needed.

    sample --policy's encoder--> context --+
    recorded chunk --action encoder--------+--query--> cosines --> posterior --> score --> weight
    later observation --averaged encoder, standardised--> target, and those of the pool

Deviations from the paper, where small policies made them necessary: the scorer does not steer the policy's encoder; its action
encoder reads the clean chunk; targets are standardised before they are made unit vectors, since those of joint positions would
all point the same way; there are no belief tokens.

Shapes: B batch, H context, T rows, N action size, S tokens, D width, d target, P place.
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
from praxon.learning.ptr.scorer import Scorer, logits, unit
from praxon.learning.ptr.scores import identify, rank_loss, weigh
from praxon.learning.ptr.standard import Standard
from praxon.learning.weighting import Sources, Weighting, effective_share, normalised
from praxon.policies.base import Policy
from praxon.policies.networks.encoders import Encoder
from praxon.policies.normalizer import is_numeric

FUTURE = "future."


class PosteriorTransitionReweighting(Weighting):
    """PTR; see above.

    Args:
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
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha}; a share from 0 (plain training) to 1 is needed.")
        if not 0 < least <= 1 <= most:
            raise ConfigError(
                f"Weights from {least} to {most} were asked for; least lies in (0, 1], most at or above 1."
            )
        for name, value in {"temperature": temperature, "beta": beta, "learning_rate": learning_rate}.items():
            if not value > 0:
                raise ConfigError(f"{name} is {value}; a number above 0 is needed.")
        for name, number in {"queue": queue, "queue_negatives": queue_negatives, "adapt_every": adapt_every}.items():
            if number < 1:
                raise ConfigError(f"{name} is {number}; at least 1 is needed.")
        self.steps_ahead, self.alpha, self.least, self.most, self.warmup = steps_ahead, alpha, least, most, warmup
        self.controller = Controller(temperature, beta, every=adapt_every, adaptive=adaptive)
        self._queue_length, self._queue_negatives = queue, queue_negatives
        self._id_weight, self._rank_weight, self._ema_decay = id_weight, rank_weight, ema
        self._learning_rate, self._width, self.centred, self.seed = learning_rate, width, centred, seed
        self.step, self.median = 0, 0.0
        self._metrics: dict[str, float] = {}

    def future(self, policy: Policy) -> int | tuple[int, ...] | None:
        """The policy's own look ahead where it has one, of several the furthest; the chunk's length else."""
        own = policy.needs().future
        wanted = self.steps_ahead or policy.contract.chunk.horizon
        if own is not None and self.steps_ahead is not None and own != self.steps_ahead:
            raise ConfigError(
                f"The policy looks {own} steps ahead itself, so that weighting.steps_ahead cannot be {self.steps_ahead}; null is."
            )
        return wanted if own is None else own

    def begin(self, policy: Policy, sources: Sources) -> None:
        """See ``Weighting.begin``."""
        encoder = getattr(policy, "encoder", None)
        if not isinstance(encoder, Encoder):
            raise ConfigError(f"{type(policy).__name__} has no encoder of observations, which PTR needs.")
        self.policy, self._encoder, self._sources = policy, encoder, sources
        self._teacher = copy.deepcopy(encoder).eval().requires_grad_(False)
        self._average = Ema(encoder, max_decay=self._ema_decay)
        lead = policy.needs().lead
        shape = (lead + policy.contract.chunk.horizon, policy.actions.size)
        place = sum(feature.size for feature in policy.contract.observations if is_numeric(feature))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.scorer = Scorer(encoder.width, shape, encoder.width, self._width).to(policy.device)
        self.standard = Standard(encoder.width).to(policy.device)
        self.queue = TargetQueue(self._queue_length, encoder.width, place, policy.device)
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
        consequence_BD = seen["consequence"]
        if valid_B.any():
            self.standard.update(consequence_BD[valid_B])
        target_BD = unit(self.standard(consequence_BD))
        with torch.enable_grad():
            score_B = self._learn(seen, target_BD)
        self.queue.push(target_BD[valid_B], seen["place"][valid_B], seen["index"][valid_B])
        self.step += 1
        weight_B = self._weights(score_B, valid_B)
        self._metrics |= {
            "effective_share": effective_share(weight_B),
            "saturated": float((weight_B >= 1 + self.alpha * (self.most - 1)).float().mean()) if self.alpha else 0.0,
            **{f"weight/{name}": value for name, value in self._sources.means(seen["index"], weight_B).items()},
        }
        return normalised(weight_B).to(losses.dtype)

    @torch.no_grad()
    def scores(self, seen: Mapping[str, Tensor], draws: int = 1) -> Tensor:
        """Scores T (B,) of samples that ``read`` read, against a pool of the queue alone, NaN where nothing followed.

        Args:
            draws: pools over which the score is averaged.
        """
        target_BD = unit(self.standard(seen["consequence"]))
        query_BD = self.scorer(seen["context"], seen["chunk"])
        found = []
        for draw in range(draws):
            drawn_BKD, exists_BK = self._drawn(seen, torch.Generator().manual_seed(self.seed + draw), 0.0)
            cosine_BC = torch.cat(
                [(query_BD * target_BD).sum(dim=1)[:, None], torch.einsum("bd,bkd->bk", query_BD, drawn_BKD)], dim=1
            )
            own_B1 = torch.ones_like(exists_BK[:, :1])
            allowed_BC = torch.cat([own_B1, exists_BK], dim=1)
            found.append(identify(logits(cosine_BC, self.controller.temperature), allowed_BC).score_B)
        score_B = torch.stack(found).mean(dim=0)
        return score_B.masked_fill(~seen["valid"], torch.nan)

    def judge(self, seen: Mapping[str, Tensor], draws: int = 1) -> tuple[Tensor, Tensor]:
        """See ``Weighting.judge``."""
        score_B = self.scores(seen, draws)
        return self.weights_of(score_B), score_B

    def weights_of(self, score_B: Tensor) -> Tensor:
        """The weight of each score; 1 where it is NaN."""
        centre = self.median if self.centred else 0.0
        weight_B = weigh(score_B - centre, self.controller.beta, self.least, self.most, self.alpha)
        return torch.where(score_B.isnan(), 1.0, weight_B)

    def _weights(self, score_B: Tensor, valid_B: Tensor) -> Tensor:
        if self.step <= self.warmup:
            return torch.ones_like(score_B)
        return self.weights_of(score_B.masked_fill(~valid_B, torch.nan))

    def _drawn(
        self, seen: Mapping[str, Tensor], generator: torch.Generator, hard_ratio: float
    ) -> tuple[Tensor, Tensor]:
        apart = self.policy.contract.chunk.horizon
        return self.queue.draw(self._queue_negatives, seen["place"], seen["index"], apart, hard_ratio, generator)

    def _learn(self, seen: Mapping[str, Tensor], target_BD: Tensor) -> Tensor:
        """One step of the scorer on this batch; the scores it gave before."""
        generator = torch.Generator().manual_seed(_mixed(self.seed, self.step))
        valid_B, count = seen["valid"], len(target_BD)
        action_BW = self.scorer.action(seen["chunk"])
        query_BD = self.scorer.answer(seen["context"], action_BW)
        drawn_BKD, exists_BK = self._drawn(seen, generator, self.controller.hard_ratio)
        matched_B = (query_BD * target_BD).sum(dim=1)
        cosine_BC = torch.cat(
            [matched_B[:, None], query_BD @ target_BD.T, torch.einsum("bd,bkd->bk", query_BD, drawn_BKD)], dim=1
        )
        apart = self.policy.contract.chunk.horizon
        wrong_BB = others_of_batch(seen["index"], valid_B, apart)
        allowed_BC = torch.cat([torch.ones_like(exists_BK[:, :1]), wrong_BB, exists_BK], dim=1)
        temperature = self.controller.temperature
        found = identify(logits(cosine_BC, temperature), allowed_BC)
        if valid_B.any() and count > 1:
            shift = int(torch.randint(1, count, (), generator=generator))  # no sample keeps its own action
            other_BD = self.scorer.answer(seen["context"], action_BW.roll(shift, dims=0))
            permuted_B = logits((other_BD * target_BD).sum(dim=1), temperature)
            ranked_B = rank_loss(logits(matched_B, temperature), permuted_B)
            loss = -self._id_weight * found.log_posterior_B[valid_B].mean()
            loss = loss + self._rank_weight * ranked_B[valid_B].mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            accuracy = float(found.correct_B[valid_B].float().mean())
            margin = float(found.margin_B[valid_B].detach().mean())
            score_B = found.score_B.detach()[valid_B]
            self.controller.observe(accuracy, margin)
            self.median += (float(score_B.median()) - self.median) * (1.0 if not self.step else 0.02)
            self._metrics = {
                "identified": accuracy,
                "margin": margin,
                "score": float(score_B.mean()),
                "action_matters": float(
                    (matched_B.detach() > (other_BD * target_BD).sum(dim=1).detach())[valid_B].float().mean()
                ),
                "temperature": temperature,
                "beta": self.controller.beta,
                "hard_ratio": self.controller.hard_ratio,
            }
        return found.score_B.detach()

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
            "ema_updates": self._average.updates,
            "controller": self.controller.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``Weighting.load_state_dict``."""
        self.step, self.median = state["step"], state["median"]
        self._average.updates = state["ema_updates"]
        self.controller.load_state_dict(state["controller"])

    def tensors(self) -> dict[str, Tensor]:
        """See ``Weighting.tensors``."""
        groups = {
            "scorer": self.scorer.state_dict(),
            "optimizer": optimizer_tensors(self._optimizer, self.scorer),
            "average": self._average.tensors(),
            "standard": self.standard.state_dict(),
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
        load_optimizer(self._optimizer, self.scorer, groups["optimizer"])
        self._average.load(groups["average"], self._average.updates)
        self._average.copy_to(self._teacher)
        self.standard.load_state_dict(groups["standard"])
        self.queue.load_tensors(groups["queue"])


def _mixed(seed: int, step: int) -> int:
    """One seed of two numbers."""
    return (seed * 1_000_003 + step) % 2**63
