"""Overrides: which option was chosen, and how another verb is given the same."""

import pytest

from praxon.commands._hydra import choice, compose_config, group_overrides
from praxon.errors import ConfigError
from praxon.targets import load_option, options


@pytest.mark.parametrize("group", ["policy", "task", "robot"])
def test_every_choice_is_recognised(group):
    verb = {"policy": "train", "task": "collect", "robot": "collect"}[group]
    for name in options(group):
        config = compose_config(verb, [f"{group}={name}"])
        assert choice(config, group) == name
        assert group_overrides(config, group) == [f"{group}={name}"]


def test_changes_within_a_group_are_passed_on():
    config = compose_config("train", ["policy=debug", "policy.network.width=48", "policy.chunk.horizon=12"])
    overrides = group_overrides(config, "policy")
    assert overrides == ["policy=debug", "policy.chunk.horizon=12", "policy.network.width=48"]
    assert compose_config("train", overrides).policy == config.policy


def test_an_unknown_option_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="Did you mean 'panda'"):
        load_option("robot", "pandas")
