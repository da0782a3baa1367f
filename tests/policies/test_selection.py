"""The best of many: by hand, as served, and steering on a Gaussian and a quadratic value whose answer is known."""

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.policies.build import build_policy
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.policies.denoising.backends.registry import Serving, make_runtime, open_runtime
from praxon.policies.denoising.export import export
from praxon.policies.denoising.samplers import FlowSampler
from praxon.policies.denoising.steering import Steering, steered
from praxon.policies.runtime import PlannedRows, Runtime
from praxon.policies.selection import Coherence, Contrast, SelectingRuntime, Sum, Value


class Echo(Runtime):
    """Chunks that are their noise."""

    def __init__(self, contract, continues=False):
        self.contract, self.continues = contract, continues
        self.noise_shape = (contract.chunk.horizon, contract.action.size)
        self.plans = []

    def chunks(self, window, noise, plan=None):
        self.plans.append(plan)
        return noise


def test_coherence_by_hand():
    plan = PlannedRows(np.zeros((3, 2)), np.array([1.0, 0.5, 0.0]))
    chunks = np.zeros((3, 3, 2))
    chunks[0, 0] = (3.0, 4.0)  # 5 from the plan in the first row
    chunks[1, 1] = (3.0, 4.0)  # 5 in the second, which counts half
    chunks[2, 2] = (30.0, 40.0)  # where there is no plan
    np.testing.assert_allclose(Coherence(0.5).scores(chunks, {}, plan), [-10 / 3, -5 / 3, 0.0])
    assert not Coherence().scores(chunks, {}, None).any()
    with pytest.raises(ConfigError, match="above 0 and at most at 1; got 0"):
        Coherence(0.0)


def test_the_best_of_the_candidates_is_kept_and_what_is_not_finite_never(contract):
    critic = Value(lambda chunks, window: np.stack([chunks[:, 0, 0], 3 * chunks[:, 0, 0]]))
    runtime = SelectingRuntime(Echo(contract), 5, critic)
    noise = runtime.draw_noise(2, np.random.default_rng(0))
    assert noise.shape == (2, 5, 8, 3)
    noise[0, 1, 3, 0] = np.nan
    noise[0, 1, 0, 0] = 100.0
    drawn = runtime.chunks({}, noise)
    finite = [0, 2, 3, 4]
    assert np.array_equal(drawn[0], noise[0, finite[int(noise[0, finite, 0, 0].argmax())]])
    assert np.array_equal(drawn[1], noise[1, int(noise[1, :, 0, 0].argmax())])
    with pytest.raises(ConfigError, match="At least one candidate"):
        SelectingRuntime(Echo(contract), 0, critic)


def test_pessimism_prefers_what_critics_agree_on(contract):
    values = np.array([[1.0, 2.0], [1.0, 0.5]])
    assert Value(lambda chunks, window: values).scores(np.zeros((2, 8, 3)), {}, None).argmax() == 1
    assert Value(lambda chunks, window: values, 1.0).scores(np.zeros((2, 8, 3)), {}, None).argmax() == 0
    both = Sum([(Value(lambda chunks, window: values), 2.0), (Coherence(), 1.0)])
    np.testing.assert_allclose(both.scores(np.zeros((2, 8, 3)), {}, None), [2.0, 2.5])


def test_a_selector_sees_the_plan_that_the_runtime_does_not_take(contract):
    echo = Echo(contract)
    runtime = SelectingRuntime(echo, 3, Coherence())
    noise = runtime.draw_noise(1, np.random.default_rng(0))
    plan = PlannedRows(noise[0, 2].copy(), np.ones(8))
    assert np.array_equal(runtime.chunks({}, noise, plan)[0], noise[0, 2])
    assert echo.plans == [None]


def gaussian(sampler, mean, spread):
    """The ideal velocity for data ~ N(mean, spread^2)."""

    def evaluate(x, index):
        alpha, sigma = sampler.path(index)
        gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
        return sampler.prediction(x, mean + gain * (x - alpha * mean), index)

    return evaluate


def test_steering_moves_the_mean_towards_the_peak_of_a_value_and_not_at_all_without_strength():
    sampler = FlowSampler("euler", 20)
    evaluate = gaussian(sampler, 0.0, 0.5)
    noise = torch.randn(4000, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = sampler.run(evaluate, noise)

    def value(chunk):
        return -0.5 * (chunk - 0.4).square().sum(dim=(1, 2))

    none = sampler.run(steered(evaluate, sampler, value, beta=float("inf")), noise)
    assert torch.equal(none, plain)
    shifts = [
        (sampler.run(steered(evaluate, sampler, value, beta, largest_slope=1e9), noise) - plain).mean().item()
        for beta in (8.0, 4.0, 2.0)
    ]
    assert 0 < shifts[0] < shifts[1] < shifts[2] < 0.4
    # A slope is cut to its largest: 0.1 / beta, added on at most the whole path.
    cut = sampler.run(steered(evaluate, sampler, value, 1.0, largest_slope=0.1), noise) - plain
    assert cut.abs().max() < 0.1
    with pytest.raises(ConfigError, match="beta and a largest slope above 0"):
        steered(evaluate, sampler, value, 0.0)


# -- contrast -----------------------------------------------------------------------------------------------------------


class Always(Echo):
    """The same chunks whatever the noise."""

    def __init__(self, contract, chunks):
        super().__init__(contract)
        self.drawn, self.closed = chunks, False

    def chunks(self, window, noise, plan=None):
        self.plans.append(plan)
        return self.drawn

    def close(self):
        self.closed = True


def constant(*values):
    """Chunks (N, 8, 3) whose first component is everywhere the value, so that distances are differences of values."""
    chunks = np.zeros((len(values), 8, 3))
    chunks[..., 0] = np.array(values)[:, None]
    return chunks


def test_contrast_by_hand(contract):
    """At 0 and 1 the policy draws, at 4 the weak one does, and at 10 both do."""
    weak = Always(contract, constant(4.0, 4.0, 10.0, 10.0))
    contrast = Contrast(weak, samples=4, mode=2)
    scores = contrast.scores(constant(0.0, 1.0, 1.0, 10.0), {}, None)
    # Mean distance to the weak ones (7, 6, 6, 3) less that to the three others.
    np.testing.assert_allclose(scores, [7 - 12 / 3, 6 - 10 / 3, 6 - 10 / 3, 3 - 28 / 3])
    # With a plan at 0 the nearer half of either is good: 0 and 1 of the candidates, 4 and 4 of the weak ones.
    plan = PlannedRows(np.zeros((8, 3)), np.ones(8))
    scores = contrast.scores(constant(0.0, 1.0, 5.0, 10.0), {}, plan)
    np.testing.assert_allclose(scores[:2], [4 - 1, 3 - 1])
    assert np.isneginf(scores[2:]).all()
    assert weak.plans == [None, None]
    SelectingRuntime(Echo(contract), 4, Sum([(contrast, 1.0)])).close()
    assert weak.closed


def test_a_candidate_that_is_not_finite_spoils_no_other(contract):
    contrast = Contrast(Always(contract, constant(4.0, np.nan)), samples=2)
    np.testing.assert_allclose(contrast.scores(constant(0.0, np.inf, 1.0), {}, None), [4 - 1, -np.inf, 3 - 1])
    for name, settings in (("samples", {"samples": 0}), ("mode", {"samples": 2, "mode": 0})):
        with pytest.raises(ConfigError, match=f"Contrast needs {name} of at least 1; got 0"):
            Contrast(Echo(contract), **settings)


def test_both_halves_of_bidirectional_decoding_in_one_sum(contract):
    """The plan allows 1 and 2; of the two the weak policy stands at 1."""
    plan = PlannedRows(constant(1.5)[0], np.ones(8))
    both = Sum([(Coherence(), 1.0), (Contrast(Always(contract, constant(1.0, 1.0, 1.0, 1.0)), 4, mode=2), 1.0)])
    assert both.scores(constant(-6.0, 1.0, 2.0, 9.0), {}, plan).argmax() == 2


# -- as served ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def make(contract, statistics_of, tmp_path):
    def bundle(name, seed=0, of=contract, **options):
        config = {
            "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
            "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
            "network": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
            "steps": 3,
            **options,
        }
        torch.manual_seed(seed)
        policy = build_policy(config, of)
        policy.normalizer.fit(statistics_of(policy.contract))
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save_bundle(tmp_path / name, policy, {"policy": config})
        return load_bundle(tmp_path / name)

    return bundle


def window_of(contract, batch_of):
    batch = batch_of(contract, 1)
    return {feature.name: batch[feature.name].numpy() for feature in contract.observations}


def test_serving_draws_the_candidates_and_keeps_the_best(make, contract, batch_of):
    bundle, window = make("one"), window_of(contract, batch_of)
    runtime = open_runtime(bundle.path, serving={"candidates": 5, "selection": {"coherence": {"decay": 1.0}}})
    noise = runtime.draw_noise(1, np.random.default_rng(0))
    assert noise.shape == (1, 5, 8, 3)
    assert runtime.digest == bundle.digest
    candidates = make_runtime(bundle, Serving(batch=5)).chunks(window, noise[0])
    for wanted in (3, 1):
        plan = PlannedRows(candidates[wanted], np.ones(8, np.float32))
        np.testing.assert_allclose(runtime.chunks(window, noise, plan)[0], candidates[wanted], atol=1e-6)
    np.testing.assert_allclose(runtime.chunks(window, noise)[0], candidates[0], atol=1e-6)


def test_serving_contrasts_with_a_weak_bundle(make, contract, batch_of):
    bundle, weak, window = make("one"), make("weak", seed=1), window_of(contract, batch_of)
    runtime = open_runtime(
        bundle.path, serving={"candidates": 4, "selection": {"contrast": {"bundle": str(weak.path), "mode": 2}}}
    )
    noise = runtime.draw_noise(1, np.random.default_rng(0))
    candidates = make_runtime(bundle, Serving()).chunks(window, noise[0])
    contrast = Contrast(make_runtime(weak, Serving()), 4, mode=2)
    best = contrast.scores(candidates, window, None).argmax()
    np.testing.assert_allclose(runtime.chunks(window, noise)[0], candidates[best], atol=1e-6)
    with pytest.raises(ConfigError, match="compares with a weaker policy"):
        open_runtime(bundle.path, serving={"candidates": 4, "selection": {"contrast": 1}})
    other = make("other", of=contract.with_chunk(horizon=16))
    with pytest.raises(ConfigError, match="does not fit the policy that is served: horizon: policy 16, here 8"):
        open_runtime(bundle.path, serving={"candidates": 4, "selection": {"contrast": {"bundle": str(other.path)}}})


def test_a_portable_policy_selects_too_but_not_by_density(make, contract, batch_of, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    bundle, window = make("one", steps=1), window_of(contract, batch_of)
    export(bundle, tmp_path / "portable", batch=3)
    runtime = open_runtime(tmp_path / "portable", serving={"candidates": 3, "selection": {"coherence": 1}})
    noise = runtime.draw_noise(1, np.random.default_rng(0))
    wanted = make_runtime(bundle, Serving()).chunks(window, noise[0])
    np.testing.assert_allclose(runtime.chunks(window, noise)[0], wanted[0], atol=1e-4)
    with pytest.raises(ConfigError, match="density looks inside the network; it needs the bundle"):
        open_runtime(tmp_path / "portable", serving={"candidates": 3, "selection": {"density": 1}})


@pytest.mark.parametrize(
    ("serving", "sentence"),
    [
        ({"candidates": 16}, r"Of 16 candidates one must be chosen.* selection=\{coherence:1\}"),
        ({"selection": {"coherence": 1}}, "selection by coherence needs several candidates, and there is 1"),
        ({"candidates": 0, "selection": {"coherence": 1}}, "candidates is a whole number of at least 1; got 0"),
        ({"candidates": 2.5, "selection": {"coherence": 1}}, "candidates is a whole number of at least 1; got 2.5"),
        ({"candidates": 4, "selection": "coherence"}, r"gives selectors their weights, such as \{coherence:1\}"),
        ({"candidates": 4, "selection": {"coherense": 1}}, "'coherense' does not exist.* Did you mean 'coherence'"),
        ({"candidates": 4, "selection": {"coherence": {"decai": 1}}}, "no setting 'decai'.* Did you mean 'decay'"),
        (
            {"candidates": 4, "selection": {"coherence": {"decay": "x"}}},
            "decay of selector 'coherence' is a number .*; got 'x'",
        ),
        (
            {"candidates": 4, "selection": {"contrast": {"bundle": 3}}},
            "bundle of selector 'contrast' is a folder; got 3",
        ),
        (
            {"candidates": 4, "selection": {"contrast": {"bundle": "a", "mode": 0}}},
            "mode .* whole number of at least 1; got 0",
        ),
        ({"candidates": 4, "selection": {"coherence": 0}}, "weight of selector 'coherence' is a number above 0; got 0"),
        (
            {"candidates": 4, "selection": {"density": None}},
            "weight of selector 'density' is a number above 0; got None",
        ),
    ],
)
def test_a_selection_that_cannot_be_is_one_sentence(serving, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Serving(**serving)


def test_a_batch_of_another_size_than_the_candidates_is_refused(make):
    with pytest.raises(ConfigError, match="The batch is 3, and 4 candidates are drawn at once"):
        make_runtime(make("one"), Serving(batch=3, candidates=4, selection={"coherence": 1}))


# -- an engine that is steered ------------------------------------------------------------------------------------------


def test_the_samples_of_a_policy_move_uphill_and_not_at_all_without_strength(make, contract, batch_of):
    policy = make("one", steps=8).policy
    batch = batch_of(contract, 1)
    window = {feature.name: batch[feature.name] for feature in contract.observations}
    noise = policy.noise(16, torch.Generator().manual_seed(0))

    def value(chunk_BTA):  # network units
        return -(chunk_BTA - 2.0).square().sum(dim=(1, 2))

    def drawn(steer):
        policy.engine.steer = steer
        with torch.no_grad():
            chunk = policy.sample(window, noise)
        return policy.encode_actions({**window, "action": chunk})

    plain = drawn(None)
    assert torch.equal(drawn(Steering(value, float("inf"))), plain)
    values = [value(drawn(Steering(value, beta, largest_slope=3.0))) for beta in (8.0, 4.0, 2.0)]
    for before, after in zip([value(plain), *values], values, strict=False):
        assert (after > before).all()
    # A choice of how samples are drawn leaves the steering as it is.
    steered_chunks = drawn(Steering(value, 2.0))
    policy.configure_engine({"steps": 8})
    with torch.no_grad():
        assert torch.equal(policy.encode_actions({**window, "action": policy.sample(window, noise)}), steered_chunks)
    with pytest.raises(ConfigError, match="beta and a largest slope above 0"):
        Steering(value, -1.0)
