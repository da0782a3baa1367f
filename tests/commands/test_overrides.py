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


def test_settings_beyond_those_listed_are_added_where_a_class_is_named():
    asked = ["policy=debug", "+policy.encoder.backbone.num_registers=4"]
    config = compose_config("train", asked)
    assert config.policy.encoder.backbone.num_registers == 4
    assert group_overrides(config, "policy") == asked
    with pytest.raises(ConfigError, match=r"\+policy.encoder.backbone.norm=... adds one that its class takes"):
        compose_config("train", ["policy.encoder.backbone.norm=group"])
    with pytest.raises(ConfigError, match="no setting 'policy.chunk.length' to add"):
        compose_config("train", ["+policy.chunk.length=3"])
    with pytest.raises(ConfigError, match="no setting 'sed' to add. Did you mean 'seed'"):
        compose_config("train", ["+sed=3"])


def test_an_unknown_option_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="Did you mean 'panda'"):
        load_option("robot", "pandas")
