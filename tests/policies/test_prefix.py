"""How many actions are given in training: as often as asked, and as often as a log says."""

import json

import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.build import settle_policy
from praxon.policies.prefix import PrefixTraining, delay_weights


def test_delays_are_drawn_as_often_as_asked_and_the_others_averaged():
    prefix = PrefixTraining([1, 0, 3], 8)
    given = prefix.draw(torch.zeros(4000, 8, 1), torch.Generator().manual_seed(0))
    counts = given.sum(dim=1)
    assert set(counts.tolist()) == {0, 2}
    assert (counts == 2).float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert given[counts == 2][0].tolist() == [True, True] + [False] * 6
    weights = prefix.count(given)
    torch.testing.assert_close(weights.mean(dim=1), torch.ones(4000))
    assert not weights[given].any()


@pytest.mark.parametrize("delays", [[], [0, 0], [-1, 2], [float("inf")], 3, ["a"]])
def test_weights_that_are_no_distribution_are_refused(delays):
    with pytest.raises(ConfigError, match="the weight of each"):
        PrefixTraining(delays, 8)


def test_a_log_becomes_a_distribution(tmp_path):
    log = tmp_path / "status.json"
    log.write_text(json.dumps({"inference_ms": [10.0, 49.0, 51.0, 120.0]}))  # at 20 Hz: 1, 1, 2 and 3 steps
    assert delay_weights(log, 0.05) == [0.0, 0.5, 0.25, 0.25]
    log.write_text(json.dumps({"delays": [0, 0, 2, 2]}))
    assert delay_weights(log, 0.05) == [0.5, 0.0, 0.5]
    config = {"_target_": "praxon.policies.flow_matching.FlowMatchingPolicy", "prefix_delays": str(log)}
    settled, sentence = settle_policy(config, {}, 0.05)
    assert settled["prefix_delays"] == [0.5, 0.0, 0.5]
    assert sentence.endswith("in control steps: 0: 50 %, 1: 0 %, 2: 50 %.")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("{}", "holds neither delays, a list"),
        ('{"inference_ms": {"p50": 3.0}}', "holds neither delays, a list"),
        ('{"delays": [-1]}', "negative"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused(tmp_path, content, sentence):
    log = tmp_path / "log.json"
    if content is not None:
        log.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        delay_weights(log, 0.05)
