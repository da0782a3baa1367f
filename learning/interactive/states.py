"""States: observations and actions as rows of numbers of about unit scale, for the small networks that learn beside a policy."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.datasets.statistics import feature_statistics
from praxon.errors import ContractError
from praxon.policies.normalizer import Normalizer, is_numeric


class States:
    """The numeric observations of a contract one after another, and its actions, both normalised.

    Pictures, point clouds, goals and the choice of a task are left out.

    Args:
        contract: of the policy.

    Raises:
        ContractError: nothing that it observes is numeric.

    Attributes:
        names: of the observations, in order.
        size: S, of a state.
        action_size: A.
    """

    def __init__(self, contract: PolicyContract) -> None:
        features = [each for each in contract.observations if is_numeric(each) and not each.is_goal]
        if not features:
            seen = ", ".join(f"{each.name} ({each.kind})" for each in contract.observations)
            raise ContractError(
                f"A gate that learns needs joints, poses or other vectors, and this policy observes {seen or 'nothing'} alone; "
                "a gate that does not learn, such as gate=stalled, would do."
            )
        self.names = tuple(each.name for each in features)
        self.size, self.action_size = sum(each.size for each in features), contract.action.size
        self._action = contract.action.name
        self._normalizer = Normalizer(contract.with_observations(self.names))

    def fit(self, columns: Mapping[str, np.ndarray]) -> None:
        """Take centres and spreads from columns (N, *shape) of all observations and the action, physical units."""
        self._normalizer.fit({name: feature_statistics(columns[name]) for name in (*self.names, self._action)})

    def states(self, columns: Mapping[str, np.ndarray]) -> Tensor:
        """(N, S) of columns (N, *shape)."""
        parts = [self._normalizer.normalize(name, torch.tensor(columns[name])) for name in self.names]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def actions(self, actions_NA: np.ndarray) -> Tensor:
        """(N, A)."""
        return self._normalizer.normalize(self._action, torch.tensor(actions_NA))
