"""Seeds of episodes: one number from the user gives as many as are needed, and purposes never share any."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What episodes are for: one bit, so that seeds of different purposes are never equal."""

    COLLECT = 0
    EVALUATE = 1


def episode_seeds(purpose: Purpose, seed: int, count: int) -> list[int]:
    """``count`` seeds in [0, 2^31), the first ones the same whatever the count; the purpose is their lowest bit."""
    state = np.random.SeedSequence([int(purpose), seed]).generate_state(count, np.uint32)
    return [int(value) >> 2 << 1 | int(purpose) for value in state]
