"""The family of errors a user may meet. Each message is one sentence: what was asked, what was found, what would be right."""

import difflib
from collections.abc import Iterable


class PraxonError(Exception):
    """Parent of every error whose message is written for the user; the command line prints it without a traceback.

    Attributes:
        everywhere: whether every process of a training that several share meets it, as with a wrong setting; False where it
            may be a single one's, as with the samples that it computes.
    """

    everywhere = True


class ConfigError(PraxonError):
    """A setting, override or config name does not exist or is out of range."""


class ContractError(PraxonError):
    """Two sides do not agree on what goes in and out of a policy."""


class BundleError(PraxonError):
    """A bundle is missing, incomplete, changed or unreadable."""


class DatasetError(PraxonError):
    """A dataset is missing, incomplete or not what it claims to be."""


class CheckpointError(PraxonError):
    """A training checkpoint is missing, unreadable, or belongs to another run."""


class RobotError(PraxonError):
    """A robot, its model or its state is not what the specification says."""


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' for the closest known name, or an empty string when none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""
