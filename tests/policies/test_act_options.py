"""MoE-ACT's experts and ACT-JEPA's foresight: identities and hand-computed numbers."""

import copy

import pytest
import torch
from torch.nn import functional as F

from praxon.errors import ConfigError
from praxon.policies.act import ActPolicy
from praxon.policies.build import settle_policy
from praxon.policies.networks.act_experts import ExpertHeads

NETWORK = {"width": 16, "hidden": 32, "num_heads": 2, "depth": 1, "decoder_depth": 1, "posterior_depth": 1}
ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
EXPERTS = {"num_experts": 3, "phases": "phase", "phase_weight": 0.1}
FORESIGHT = {"steps": (2, 5)}


@pytest.fixture
def act(contract, statistics_of):
    def build(**settings):
        torch.manual_seed(0)
        policy = ActPolicy(contract, encoder=ENCODER, network=NETWORK, dropout=0.0, **settings)
        policy.normalizer.fit(statistics_of(contract))
        return policy

    return build


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- experts ------------------------------------------------------------------------------------------


def test_actions_are_the_experts_mixed_by_the_gate():
    torch.manual_seed(0)
    heads = ExpertHeads(4, 2, num_experts=3)
    features = torch.randn(1, 1, 4)
    gate = (heads.gate.weight @ features[0, 0] + heads.gate.bias).softmax(0)
    each = (heads.experts.weight @ features[0, 0] + heads.experts.bias).view(3, 2)
    torch.testing.assert_close(heads(features)[0][0, 0], (gate[:, None] * each).sum(0))


def test_a_certain_gate_hears_one_expert_and_equal_experts_need_no_gate():
    torch.manual_seed(0)
    heads = ExpertHeads(4, 2, num_experts=3)
    features = torch.randn(2, 5, 4)
    heads.gate.weight.data.zero_()
    heads.gate.bias.data = torch.tensor([0.0, 100.0, 0.0])
    second = F.linear(features, heads.experts.weight[2:4], heads.experts.bias[2:4])
    torch.testing.assert_close(heads(features)[0], second)
    for rows in (slice(0, 2), slice(4, 6)):
        heads.experts.weight.data[rows] = heads.experts.weight.data[2:4]
        heads.experts.bias.data[rows] = heads.experts.bias.data[2:4]
    heads.gate.bias.data.normal_()
    torch.testing.assert_close(heads(features)[0], second)


def test_the_best_experts_share_what_the_others_lose():
    heads = ExpertHeads(4, 2, num_experts=3, top_k=2)
    logits = torch.tensor([[[0.0, 1.0, 2.0]]])
    shares = heads.shares(logits)[0, 0].tolist()
    e = torch.e
    assert shares == pytest.approx([0.0, 1 / (1 + e), e / (1 + e)])
    torch.testing.assert_close(ExpertHeads(4, 2, num_experts=3, top_k=3).shares(logits), logits.softmax(-1))


def test_the_phases_error_is_added_with_its_weight(act, batch_of):
    with_labels, without = act(experts=EXPERTS), act(experts={**EXPERTS, "phases": None})
    batch = batch_of(with_labels.contract, 4, needs=with_labels.needs())
    assert with_labels.needs().extras == ("phase",)
    assert without.needs().extras == ()
    batch["phase"] = torch.randint(0, 3, (4, 8), generator=generator())
    batch["action_is_pad"][1, 3:] = True
    tokens = with_labels.encoder(batch, with_labels.normalizer)
    latent = torch.randn(4, 32, generator=generator(1))
    logits = with_labels.experts(with_labels.network.features(with_labels.network.context(latent, tokens, None)))[1]
    likely = logits.log_softmax(-1).gather(-1, batch["phase"][..., None])[..., 0]
    expected = torch.stack([-likely[i, : 3 if i == 1 else 8].mean() for i in range(4)])
    difference = with_labels.loss(batch, generator(1)) - without.loss(batch, generator(1))
    torch.testing.assert_close(difference, 0.1 * expected, atol=1e-6, rtol=1e-4)


def test_the_gate_learns_phases_from_labels(act, batch_of):
    policy = act(experts={**EXPERTS, "phase_weight": 1.0})
    batch = batch_of(policy.contract, 6, needs=policy.needs())
    batch["phase"] = torch.arange(8).div(3, rounding_mode="floor").expand(6, 8)  # 0 0 0 1 1 1 2 2
    optimizer = torch.optim.AdamW(policy.parameters(), 4e-3)
    random = generator()
    for _ in range(120):
        optimizer.zero_grad()
        policy.loss(batch, random).mean().backward()
        optimizer.step()
    tokens = policy.encoder(batch, policy.normalizer)
    logits = policy.experts(policy.network.features(policy.network.context(torch.zeros(6, 32), tokens, None)))[1]
    assert torch.equal(logits.argmax(-1), batch["phase"])


def test_labels_without_an_expert_and_impossible_mixtures_are_refused(act, batch_of):
    policy = act(experts=EXPERTS)
    batch = batch_of(policy.contract, 2, needs=policy.needs())
    batch["phase"][0, 0] = 3
    with pytest.raises(ConfigError, match="3 experts stand for 0 to 2, and policy.experts.num_experts=4 would do"):
        policy.loss(batch, generator())
    with pytest.raises(ConfigError, match="at least 1 is needed"):
        act(experts={"num_experts": 0})
    with pytest.raises(ConfigError, match="4 best of 3 experts"):
        act(experts={**EXPERTS, "top_k": 4})


def test_the_data_decide_where_phases_come_from_and_how_many_experts_there_are(act):
    config = {"_target_": "praxon.policies.act.ActPolicy", "experts": {"num_experts": None, "phases": "auto"}}
    settled, sentence = settle_policy(config, {"phase": 5, "stage": 1}, 0.05)
    assert settled["experts"] == {"num_experts": 6, "phases": "phase"}
    assert "column phase, phases 0 to 5" in sentence
    settled, sentence = settle_policy(config, {}, 0.05)
    assert settled["experts"] == {"num_experts": None, "phases": None}
    assert "from the actions alone: there is no column phase (praxon collect phases=true" in sentence
    for asked in ({"num_experts": 7, "phases": "phase"}, {"num_experts": 3, "phases": None}):
        assert settle_policy(config | {"experts": asked}, {"phase": 5}, 0.05) == (config | {"experts": asked}, "")
    asked = {"experts": {"num_experts": None, "phases": "stage"}}
    settled, sentence = settle_policy(config | asked, {"phase": 5, "stage": 1}, 0.05)
    assert settled["experts"]["num_experts"] == 2
    assert sentence == "2 experts, one for each value of the column stage."
    assert act(experts=config["experts"]).needs().extras == ()
    assert act(experts=config["experts"]).experts.num_experts == 4


# -- foresight ----------------------------------------------------------------------------------------


def test_codes_of_now_are_those_of_the_encoder_itself(act, batch_of):
    """The target begins as a copy: shown the present as the future, its codes are the pooled memory with a zero latent."""
    policy = act(foresight=FORESIGHT)
    batch = batch_of(policy.contract, 3, needs=policy.needs())
    for feature in policy.contract.observations:
        batch[f"future.{feature.name}"] = batch[feature.name][:, None].expand(-1, 2, *batch[feature.name].shape[1:])
    codes = policy.foresight.codes(batch, policy.normalizer, 32)
    tokens = policy.encoder(batch, policy.normalizer)
    memory = policy.network.context(torch.zeros(3, 32), tokens, None).tokens_BSD
    expected = F.layer_norm(memory[:, 1:].mean(1), (16,))
    for look in (0, 1):
        torch.testing.assert_close(codes[:, look], expected)
    assert not codes.requires_grad


def test_looks_past_the_end_do_not_count(act, batch_of):
    policy = act(foresight=FORESIGHT, kl_weight=0.0)
    batch = batch_of(policy.contract, 2, needs=policy.needs())
    batch["future_steps"] = torch.tensor([[2, 3], [1, 1]])  # the episode ends 3 and 1 steps on
    losses = policy.loss(batch, generator())
    changed = {name: value.clone() for name, value in batch.items()}
    changed["future.observation.state"][0, 1] += 1.0
    changed["future.observation.state"][1] += 1.0
    assert torch.equal(policy.loss(changed, generator()), losses)
    changed["future.observation.state"][0, 0] += 1.0
    assert policy.loss(changed, generator())[0] != losses[0]
    policy.foresight.weight = 0.0
    assert policy.loss(batch, generator())[1] == losses[1]


def test_the_error_is_the_mean_distance_of_codes(act, batch_of):
    policy = act(foresight={**FORESIGHT, "weight": 3.0}, kl_weight=0.0)
    batch = batch_of(policy.contract, 2, needs=policy.needs())
    whole = policy.loss(batch, generator(1))
    memory = policy.network.context(
        torch.randn(2, 32, generator=generator(1)), policy.encoder(batch, policy.normalizer), None
    )
    foresight = policy.foresight
    predicted = foresight.code_out(foresight.predictor(*memory))
    expected = (predicted - foresight.codes(batch, policy.normalizer, 32)).abs().mean(dim=(1, 2))
    foresight.weight = 0.0
    torch.testing.assert_close(whole - policy.loss(batch, generator(1)), 3.0 * expected, atol=1e-5, rtol=1e-4)


def test_the_target_follows_slowly_and_gets_no_gradient(act, batch_of):
    policy = act(foresight={**FORESIGHT, "target_decay": 0.9})
    batch = batch_of(policy.contract, 4, needs=policy.needs())
    before = copy.deepcopy(policy.foresight.target_encoder.state_dict())
    optimizer = torch.optim.AdamW(policy.parameters(), 1e-2)
    policy.loss(batch, generator()).mean().backward()
    optimizer.step()
    targets = [*policy.foresight.target_encoder.parameters(), *policy.foresight.target_context.parameters()]
    assert all(target.grad is None and not target.requires_grad for target in targets)
    name = "state.out.weight"
    assert torch.equal(policy.foresight.target_encoder.state_dict()[name], before[name])
    policy.after_step()
    now = policy.encoder.state_dict()[name]
    assert not torch.equal(now, before[name])
    torch.testing.assert_close(
        policy.foresight.target_encoder.state_dict()[name], 0.9 * before[name] + 0.1 * now, atol=1e-7, rtol=1e-5
    )
    assert any(name.startswith("foresight.target_") for name in policy.state_dict())


def test_foresight_that_looks_nowhere_is_refused(act):
    for steps in ((), (0, 4), (4, 2), (2, 2)):
        with pytest.raises(ConfigError, match="growing numbers from 1 on are needed"):
            act(foresight={"steps": steps})
    with pytest.raises(ConfigError, match=r"decay of the target encoder is 1\.5"):
        act(foresight={**FORESIGHT, "target_decay": 1.5})
