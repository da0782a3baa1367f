"""What recordings say of themselves: reward, success, and how often an expert took over."""

import numpy as np

from praxon.datasets.measures.measured import Measure, Measured, Recorded, over_episodes

RETURN = Measure("return", "1", 1, "sum of the rewards")
SUCCESS = Measure("success", "1", 1, "1 where any frame says that the task is done")
INTERVENTION_SHARE = Measure("intervention_share", "1", 0, "share of the frames in which an expert drove")


def measure_labels(dataset: Recorded) -> list[Measured]:
    """The measures above, each where the dataset has the column it is read from."""
    kinds = (
        (RETURN, "next.reward", np.sum),
        (SUCCESS, "next.success", np.max),
        (INTERVENTION_SHARE, "is_intervention", np.mean),
    )
    found = []
    for measure, name, function in kinds:
        if name in dataset.columns:
            frames = dataset.columns[name].reshape(-1).astype(np.float32)
            found.append(Measured(measure, over_episodes(function, frames, dataset), frames))
    return found
