"""The learning rate over a run: linear warm-up, then a cosine to zero."""

import math


def learning_rate_factor(step: int, progress: float, warmup_steps: int) -> float:
    """Factor on the peak learning rate.

    Args:
        step: optimiser steps done, from 0.
        progress: fraction of the run that is over, in [0, 1], by steps or by time.
        warmup_steps: steps of the linear rise.
    """
    warmup = min((step + 1) / (warmup_steps + 1), 1.0)
    return warmup * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
