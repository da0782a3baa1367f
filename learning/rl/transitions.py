"""Decisions as a learner needs them: states, chunks in network units, and candidates drawn from the policy below for every state.

Candidates cost more than anything else in learning, and stay what they are as long as the policy below does. So they are drawn
once, and transitions go to a journal of their own, from which a learner that was killed goes on.

Shapes: T steps of an episode, O observation steps, M states, N candidates, H rows of a chunk, A components.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from praxon.learning.rl.decisions import Decision
from praxon.learning.rl.journal import record_dtype
from praxon.learning.rl.refining import BASE, LATENT, NEXT_BASE, refinement_shapes
from praxon.learning.rl.replay import SCALARS, ReplayBuffer
from praxon.policies.refined import RefinedPolicy

EPISODE, START, EXPERT = "episode", "start", "expert"
AT_ONCE = 64
"""States whose candidates are drawn in one go."""


def transition_dtype(policy: RefinedPolicy) -> np.dtype:
    """Of a transition in a journal."""
    sizes = policy.sizes
    shapes: dict[str, tuple[int, ...]] = {
        "state": (sizes.state,),
        "action": (sizes.execute * sizes.components,),
        "next_state": (sizes.state,),
    }
    shapes |= refinement_shapes(policy) | dict.fromkeys(SCALARS, ())
    numbers = [(name, "<i4", ()) for name in (EPISODE, START, EXPERT)]
    return record_dtype([*numbers, *((name, "<f4", shape) for name, shape in shapes.items())])


def new_buffer(policy: RefinedPolicy, capacity: int) -> ReplayBuffer:
    """A replay buffer of such transitions."""
    sizes = policy.sizes
    return ReplayBuffer(capacity, sizes.state, sizes.execute * sizes.components, refinement_shapes(policy))


def window_at(columns: Mapping[str, np.ndarray], names: Sequence[str], step: int, steps: int) -> dict[str, np.ndarray]:
    """The observation window (O, *shape) at a step of an episode, which repeats its first observation before it."""
    rows = np.maximum(np.arange(step - steps + 1, step + 1), 0)
    return {name: np.asarray(columns[name])[rows] for name in names}


def transitions_of(
    policy: RefinedPolicy,
    columns: Mapping[str, np.ndarray],
    decisions: Sequence[Decision],
    episode: int,
    generator: torch.Generator,
) -> Iterator[dict[str, Any]]:
    """The transitions of an episode's decisions, in order, as ``transition_dtype`` has them.

    Args:
        policy: whose states and candidates they are.
        columns: of the episode (T, ...).
        decisions: of it.
        episode: its number.
        generator: of the candidates' noise.
    """
    if not decisions:
        return
    names = [feature.name for feature in policy.contract.observations]
    steps = policy.contract.chunk.num_obs_steps
    places = sorted({place for decision in decisions for place in (decision.start, decision.end)})
    states, latents, bases = [], [], []
    with torch.inference_mode():
        for first in range(0, len(places), AT_ONCE):
            windows = [window_at(columns, names, place, steps) for place in places[first : first + AT_ONCE]]
            window = {name: torch.from_numpy(np.stack([each[name] for each in windows])) for name in names}
            noise = policy.noise(len(windows), generator)
            state_MS, latent_MNL, base_MNHA, _ = policy.propose(window, noise)
            states.append(state_MS)
            latents.append(latent_MNL)
            bases.append(base_MNHA)
        every_state, every_latent, every_base = (torch.cat(parts).numpy() for parts in (states, latents, bases))
        rows = {place: row for row, place in enumerate(places)}
        starts = [window_at(columns, names, decision.start, steps) for decision in decisions]
        window = {name: torch.from_numpy(np.stack([each[name] for each in starts])) for name in names}
        chunks = torch.from_numpy(np.stack([_whole(policy, decision.chunk) for decision in decisions])).float()
        inside = policy.encode_actions({**window, policy.contract.action.name: chunks})
        action_MD = inside[:, : policy.sizes.execute].flatten(1).numpy()
    for index, decision in enumerate(decisions):
        here, there = rows[decision.start], rows[decision.end]
        yield {
            EPISODE: episode,
            START: decision.start,
            EXPERT: int(decision.expert),
            "state": every_state[here],
            "action": action_MD[index],
            "next_state": every_state[there],
            "reward": decision.reward,
            "discount": decision.discount,
            "mask": decision.mask,
            BASE: every_base[here],
            NEXT_BASE: every_base[there],
            LATENT: every_latent[here],
        }


def _whole(policy: RefinedPolicy, chunk: np.ndarray) -> np.ndarray:
    """The rows that are executed, and the last one held to the end of the horizon."""
    rows = np.minimum(np.arange(policy.contract.chunk.horizon), len(chunk) - 1)
    return chunk[rows]
