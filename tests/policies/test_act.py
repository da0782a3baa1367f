"""ACT: layers against torch's own, the latent's divergence, what is masked, dropout, the encoder's positions."""

import math

import pytest
import torch
from torch import nn

from praxon.errors import ConfigError
from praxon.policies.act import ActPolicy
from praxon.policies.networks.act_layers import KEEP_ALL, Attention, DecoderLayer, Dropout, EncoderLayer
from praxon.policies.networks.act_network import ActNetwork, Posterior, sine_positions

TINY = {"width": 16, "hidden": 32, "num_heads": 2, "depth": 1, "decoder_depth": 1, "posterior_depth": 1}
ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}


@pytest.fixture
def act(contract, statistics_of):
    def build(**settings):
        torch.manual_seed(0)
        settings = {"network": {**TINY, "latent_size": 4}, "dropout": 0.0, **settings}
        policy = ActPolicy(contract, encoder=ENCODER, **settings)
        policy.normalizer.fit(statistics_of(contract))
        return policy

    return build


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- layers -------------------------------------------------------------------------------------------


def test_attention_is_torchs_with_the_same_weights():
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.projections.weight.data, torch.randn(48)
    ours.projections.bias.data = theirs.in_proj_bias.data
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    query, key, value = torch.randn(3, 5, 16), torch.randn(3, 7, 16), torch.randn(3, 7, 16)
    allowed = torch.rand(3, 7, generator=generator()) > 0.4
    allowed[:, 0] = True
    expected, _ = theirs(query, key, value, key_padding_mask=~allowed)
    torch.testing.assert_close(ours(query, key, value, KEEP_ALL, allowed), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_layers_without_positions_are_torchs_with_the_same_weights(pre_norm):
    """Our positions enter queries and keys alone; with none, a layer is ``torch.nn``'s."""
    torch.manual_seed(0)
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    shared = {"d_model": 16, "nhead": 4, "dim_feedforward": 24, "dropout": 0.0, "batch_first": True}
    encoder = EncoderLayer(16, 4, 24, pre_norm)
    theirs = nn.TransformerEncoderLayer(**shared, norm_first=pre_norm)
    copied(theirs, encoder, {"self_attn": "attention", "norm1": "attention_norm", "norm2": "mlp_norm"})
    torch.testing.assert_close(encoder(x, torch.zeros(1, 5, 16), KEEP_ALL), theirs(x), atol=1e-6, rtol=1e-5)

    decoder = DecoderLayer(16, 4, 24, pre_norm)
    theirs = nn.TransformerDecoderLayer(**shared, norm_first=pre_norm)
    names = {"self_attn": "self_attention", "multihead_attn": "cross_attention"}
    copied(theirs, decoder, names | {"norm1": "self_norm", "norm2": "cross_norm", "norm3": "mlp_norm"})
    found = decoder(x, torch.zeros(5, 16), memory, memory, KEEP_ALL)
    torch.testing.assert_close(found, theirs(x, memory), atol=1e-6, rtol=1e-5)


def copied(theirs: nn.Module, ours: nn.Module, names: dict[str, str]) -> None:
    inner = {"in_proj_": "projections.", "out_proj.": "out."}
    names = {f"{there}.": f"{here}." for there, here in names.items()} | {
        "linear1": "mlp.inner",
        "linear2": "mlp.outer",
    }
    state = {}
    for name in theirs.state_dict():
        new = name
        for there, here in {**names, **inner}.items():
            new = new.replace(there, here)
        state[name] = ours.state_dict()[new]
    theirs.load_state_dict(state)


def test_dropout_keeps_the_mean_and_comes_from_its_generator():
    ones = torch.ones(200, 500)
    dropped = Dropout(0.1, generator(3))(ones)
    share = (dropped == 0).float().mean().item()
    assert abs(share - 0.1) < 4 * math.sqrt(0.09 / ones.numel())
    assert dropped.max().item() == pytest.approx(1 / 0.9)
    assert torch.equal(dropped, Dropout(0.1, generator(3))(ones))
    assert not torch.equal(dropped, Dropout(0.1, generator(4))(ones))
    assert Dropout(0.1)(ones) is ones
    assert Dropout(0.0, generator(3))(ones) is ones


def test_attention_without_dropout_equals_attention_written_out():
    """The two ways to compute it agree: dropping a share that rounds to nothing changes nothing."""
    torch.manual_seed(0)
    attention, x = Attention(16, 2), torch.randn(2, 6, 16)
    allowed = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    plain = attention(x, x, x, KEEP_ALL, allowed)
    torch.testing.assert_close(attention(x, x, x, Dropout(1e-12, generator()), allowed), plain, atol=1e-6, rtol=1e-5)


def test_sine_positions_by_hand():
    positions = sine_positions(3, 4)
    assert positions[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    expected = [math.sin(2.0), math.cos(2.0), math.sin(0.02), math.cos(0.02)]
    assert positions[2].tolist() == pytest.approx(expected)


# -- the latent ---------------------------------------------------------------------------------------


def test_divergence_by_hand():
    assert Posterior(torch.zeros(2, 3), torch.zeros(2, 3)).divergence().tolist() == [0.0, 0.0]
    mean, variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 4.0]])
    expected = 0.5 * 1.0 + 0.5 * (4.0 - 1.0 - math.log(4.0))
    assert Posterior(mean, variance.log()).divergence().item() == pytest.approx(expected)


def test_divergence_is_torchs_and_samples_have_its_moments():
    torch.manual_seed(0)
    posterior = Posterior(torch.randn(4, 5), torch.randn(4, 5))
    normal = torch.distributions.Normal(posterior.mean_BZ, (0.5 * posterior.log_variance_BZ).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(posterior.divergence(), expected)
    many = Posterior(*(x[:1].expand(40_000, -1) for x in posterior)).sample(generator())
    assert ((many.mean(0) - posterior.mean_BZ[0]).abs() < 5 * normal.stddev[0] / 200).all()
    torch.testing.assert_close(many.std(0), normal.stddev[0], rtol=0.02, atol=0)


def test_the_posterior_does_not_look_at_padding(act, batch_of):
    policy = act()
    nn.init.normal_(policy.network.posterior_out.weight)
    batch = batch_of(policy.contract, 2)
    batch["action_is_pad"][:, 5:] = True
    changed = {**batch, "action": batch["action"].clone()}
    changed["action"][:, 5:] += 3.0
    losses = [policy.loss(each, generator()) for each in (batch, changed)]
    assert torch.equal(*losses)
    changed["action"][:, 4] += 3.0
    assert not torch.equal(losses[0], policy.loss(changed, generator()))


def test_padding_counts_where_it_is_asked_to(act, batch_of):
    policy = act(mask_padding=False)
    batch = batch_of(policy.contract, 2)
    batch["action_is_pad"][:, 5:] = True
    changed = {**batch, "action": batch["action"].clone()}
    changed["action"][:, 5:] += 3.0
    assert (policy.loss(changed, generator()) > policy.loss(batch, generator()) + 0.1).all()


def test_loss_is_absolute_error_plus_weighted_divergence(act, batch_of):
    """From its parts; the posterior starts as the standard normal, where the divergence is zero."""
    policy = act(kl_weight=10.0)
    batch = batch_of(policy.contract, 3)
    action = policy.encode_actions(batch)
    state = policy.normalizer.normalize("observation.state", batch["observation.state"][:, -1])
    posterior = policy.network.posterior(action, batch["action_is_pad"], state)
    assert posterior.divergence().abs().max() == 0

    latent = torch.randn(3, 4, generator=generator(7))
    tokens = policy.encoder(batch, policy.normalizer)
    features = policy.network.features(policy.network.context(latent, tokens, None))
    expected = (policy.head(features) - action).abs().mean(dim=(1, 2))
    torch.testing.assert_close(policy.loss(batch, generator(7)), expected)

    nn.init.constant_(policy.network.posterior_out.bias, 1.0)  # mean 1, variance e, in four components
    divergence = 4 * 0.5 * (1 + math.e - 1 - 1)
    with_it = policy.loss(batch, generator(7))
    policy.kl_weight = 0.0
    torch.testing.assert_close(with_it - policy.loss(batch, generator(7)), torch.full((3,), 10 * divergence))


def test_a_latent_is_drawn_only_where_it_is_asked_for(act, batch_of):
    window = batch_of(act().contract, 2)
    for settings, deterministic in (({}, True), ({"latent_scale": 1.0}, False), ({"variational": False}, True)):
        policy = act(**settings).eval()
        chunks = [policy.sample(window, policy.noise(2, generator(seed))) for seed in (0, 1)]
        assert policy.deterministic == deterministic == torch.equal(*chunks)


def test_two_modes_become_one_between_them_without_a_latent_and_two_with_one(act, batch_of):
    """One observation, two chunks +1 and -1: L1 alone gives neither, the latent tells them apart."""
    policy = act(kl_weight=0.01, latent_scale=1.0)
    batch = {
        name: value[:1].repeat(32, *[1] * (value.ndim - 1)) for name, value in batch_of(policy.contract, 1).items()
    }
    batch["action"] = torch.ones_like(batch["action"]) * torch.tensor([1.0, -1.0]).repeat(16)[:, None, None]
    optimizer = torch.optim.AdamW(policy.parameters(), 4e-3)
    random = generator()
    for _ in range(150):
        optimizer.zero_grad()
        policy.loss(batch, random).mean().backward()
        optimizer.step()
    policy.eval()
    with torch.inference_mode():
        chunks = policy.sample(batch, policy.noise(32, random)).mean(dim=(1, 2))
    assert (chunks > 0.7).sum() >= 6
    assert (chunks < -0.7).sum() >= 6
    assert ((chunks.abs() - 1).abs() < 0.3).sum() >= 24


# -- network ------------------------------------------------------------------------------------------


def test_positions_enter_attention_but_not_values():
    """With one token beside the latent and positions moved together, softmax weights change; with equal tokens nothing can."""
    torch.manual_seed(0)
    network = ActNetwork(3, 8, 16, 0, **TINY, latent_size=4)
    context = network.context
    latent, tokens = torch.zeros(1, 4), torch.randn(1, 3, 16)
    positions = torch.randn(3, 16)
    here = context(latent, tokens, positions).tokens_BSD
    assert not torch.allclose(here, context(latent, tokens, torch.zeros(3, 16)).tokens_BSD, atol=1e-3)
    # Tokens and positions permuted together: the encoded tokens are permuted.
    order = torch.tensor([2, 0, 1])
    there = context(latent, tokens[:, order], positions[order]).tokens_BSD
    torch.testing.assert_close(there[:, 1:], here[:, 1:][:, order], atol=1e-5, rtol=1e-5)
    # Equal values everywhere are averaged to themselves, whatever the weights that positions give.
    equal = torch.ones(1, 4, 16)
    layer = context.encoder.layers[0].attention
    spread = layer(equal + torch.randn(1, 4, 16), equal + torch.randn(1, 4, 16), equal, KEEP_ALL)
    torch.testing.assert_close(spread, spread[:, :1].expand_as(spread))


def test_tokens_of_another_width_are_brought_to_the_networks(act, batch_of, contract, statistics_of):
    policy = ActPolicy(contract, encoder={**ENCODER, "width": 24}, network=TINY)
    policy.normalizer.fit(statistics_of(contract))
    assert policy.sample(batch_of(contract, 2), policy.noise(2, generator())).shape == (2, 8, 3)


def test_refused_in_one_sentence(act):
    with pytest.raises(ConfigError, match=r"dropout is 1\.0; a share from 0 to below 1"):
        act(dropout=1.0)
    with pytest.raises(ConfigError, match="width of 18 cannot be split over 4 attention heads"):
        act(network={**TINY, "width": 18, "num_heads": 4})
    with pytest.raises(ConfigError, match=r"Did you mean 'small'|Sizes: small, base"):
        act(network={"size": "smal"})


def test_base_has_the_published_shape():
    """With the state-only interface of ALOHA (14 joints, chunks of 100): 40.2 million parameters, as LeRobot counts them."""
    with torch.device("meta"):
        network = ActNetwork(14, 100, 512, 14, size="base")
        extra = nn.ModuleList([nn.Linear(14, 512), nn.Linear(14, 512), nn.Linear(512, 14)])
    count = sum(p.numel() for module in (network, extra) for p in module.parameters()) + 2 * 512
    assert round(count / 1e6, 1) == 40.2
