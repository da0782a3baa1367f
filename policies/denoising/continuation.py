"""Real-time chunking: a new chunk that continues the one the robot is executing.

While a chunk is being computed the robot moves on. The first d rows of the new chunk belong to instants that will have passed when
it arrives, and are fixed: the robot will have executed the old chunk there. Rows further on are planned by the old chunk as well,
and the less sure the later they are. Sampling then is inpainting.

- ``guided`` (Black et al., arXiv 2506.07339): at every evaluation the clean chunk that the network expects is pulled towards
  the plan through the network, by the pseudo-inverse guidance of Song et al. (ICLR 2023).
- ``identity``: the same without differentiating the network, as in LeRobot: nearly free, and no longer the paper's.
- ``prefix`` (Black et al., arXiv 2512.05964): the fixed rows are handed to the network as they are, with the time of clean
  data. For networks whose actions have times of their own, trained with ``policy.prefix``.

Shapes: B batch, T action tokens, A action size.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from praxon.policies.denoising.samplers import Evaluate, Sampler


class Plan(NamedTuple):
    """What is planned already for the instants of the chunk to be drawn.

    Args:
        actions_BTA: in the units of whoever is asked: physical for a policy, those of the network for the engine. Rows of
            weight 0 may hold anything finite.
        weights_BT: 1 where the action is fixed, less where it is wanted, 0 where there is no plan.
    """

    actions_BTA: Tensor
    weights_BT: Tensor


def guided(
    evaluate: Evaluate, sampler: Sampler, plan: Plan, limit: float = 5.0, through_network: bool = True
) -> Evaluate:
    """The network's answer, pulled towards a plan.

    On the straight path x = (1 - t) e + t a with expected clean chunk a'(x) and its Jacobian J, equations 1 to 4 of
    arXiv 2506.07339:

        a' <- a' + (1 - t) min(limit, (t^2 + (1 - t)^2) / (t (1 - t)), 1 / step) J^T W (Y - a')

    The last bound is ours: a step of length d moves what is expected by d times the pull, and with few steps a larger one would go
    beyond the plan.

    Every other path alpha a + sigma e is the straight one at t = alpha / (alpha + sigma), scaled by alpha + sigma.

    Args:
        evaluate: as handed to ``Sampler.run``.
        sampler: whose network answers.
        plan: Y and W, in the units of the network.
        limit: largest strength of the pull (beta; more than 5 gains nothing and adds acceleration).
        through_network: J of the network; else of what the sampler makes of its answer, as if that were constant.
    """
    weights_BT1 = plan.weights_BT[..., None]
    times = [alpha / (alpha + sigma) for alpha, sigma in map(sampler.path, range(len(sampler.times)))]

    def corrected(x_BTA: Tensor, index: int) -> Tensor:
        alpha, sigma = sampler.path(index)
        time = times[index]
        step = min((later for later in times if later > time + 1e-9), default=1.0) - time
        strength = min(limit, 1.0 / max(step, 1e-9))
        if 0.0 < time < 1.0:
            strength = min(strength, (time**2 + (1.0 - time) ** 2) / (time * (1.0 - time)))

        def clean(x_BTA: Tensor) -> Tensor:
            return sampler.clean(x_BTA, evaluate(x_BTA, index), index)

        if through_network:
            clean_BTA, pull_back = torch.func.vjp(clean, x_BTA)[:2]
            (pull_BTA,) = pull_back(weights_BT1 * (plan.actions_BTA - clean_BTA))
            pull_BTA = (alpha + sigma) * pull_BTA
        else:
            clean_BTA = clean(x_BTA)
            pull_BTA = weights_BT1 * (plan.actions_BTA - clean_BTA)
        return sampler.prediction(x_BTA, clean_BTA + (1.0 - time) * strength * pull_BTA, index)

    return corrected


def overwritten(x_BTA: Tensor, plan: Plan) -> Tensor:
    """``x_BTA`` with the plan's actions where they are fixed."""
    return torch.where(fixed_rows(plan)[..., None], plan.actions_BTA.to(x_BTA.dtype), x_BTA)


def fixed_rows(plan: Plan) -> Tensor:
    """Which rows are fixed (B, T)."""
    return plan.weights_BT >= 1.0
