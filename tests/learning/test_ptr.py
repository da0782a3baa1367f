"""PTR: scores and weights by hand, the pool, what it leaves alone, and that it finds corrupted samples."""

import math

import numpy as np
import pytest
import torch

from praxon.errors import ConfigError
from praxon.learning.ptr.controller import BETAS, RATIOS, TEMPERATURES, Controller
from praxon.learning.ptr.pool import TargetQueue, others_of_batch
from praxon.learning.ptr.scorer import LARGEST_LOGIT, logits
from praxon.learning.ptr.scores import identify, rank_loss, weigh
from praxon.learning.ptr.weighting import PosteriorTransitionReweighting
from praxon.learning.weighting import Sources, effective_share, normalised

CPU = torch.device("cpu")


def everything(count, candidates):
    return torch.ones(count, candidates, dtype=torch.bool)


@pytest.mark.parametrize("candidates", [2, 64, 193])
def test_a_scorer_that_cannot_tell_gives_weight_one(candidates):
    found = identify(torch.full((3, candidates), 7.0), everything(3, candidates))
    torch.testing.assert_close(found.score_B, torch.zeros(3), atol=2e-6, rtol=0)
    torch.testing.assert_close(weigh(found.score_B, 1.5, 0.25, 4.0), torch.ones(3), atol=2e-6, rtol=0)


def test_scores_by_hand():
    found = identify(torch.tensor([[math.log(3.0), 0.0, 0.0]]), everything(1, 3))
    assert found.score_B.item() == pytest.approx(math.log(3 / 5 * 3))
    assert found.margin_B.item() == pytest.approx(math.log(3))
    assert found.correct_B.item()
    # A candidate that is not allowed is not there: p = 3 / 4 of two.
    found = identify(torch.tensor([[math.log(3.0), 9.0, 0.0]]), torch.tensor([[True, False, True]]))
    assert found.score_B.item() == pytest.approx(math.log(3 / 4 * 2))
    alone = identify(torch.tensor([[2.0, 9.0]]), torch.tensor([[True, False]]))
    assert (alone.score_B.item(), alone.margin_B.item()) == (0.0, 0.0)


def test_weights_are_bounded_mixed_and_constant():
    scores = torch.tensor([-50.0, 0.0, 1.5 * math.log(2), 50.0], requires_grad=True)
    torch.testing.assert_close(weigh(scores, 1.5, 0.25, 4.0), torch.tensor([0.25, 1.0, 2.0, 4.0]))
    torch.testing.assert_close(weigh(scores, 1.5, 0.25, 4.0, alpha=0.5), torch.tensor([0.625, 1.0, 1.5, 2.5]))
    assert torch.equal(weigh(scores, 1.5, 0.25, 4.0, alpha=0.0), torch.ones(4))
    assert not weigh(scores, 1.5, 0.25, 4.0).requires_grad


def test_the_score_of_a_sure_scorer_is_the_logarithm_of_the_pool():
    sure = torch.zeros(1, 80)
    sure[0, 0] = LARGEST_LOGIT
    assert identify(sure, everything(1, 80)).score_B.item() == pytest.approx(math.log(80), abs=1e-6)
    torch.testing.assert_close(logits(torch.tensor([1.0, -1.0]), 0.03), torch.tensor([20.0, -20.0]))


def test_the_loss_of_ranks():
    assert rank_loss(torch.tensor([2.0]), torch.tensor([2.0])).item() == pytest.approx(math.log(2))
    assert rank_loss(torch.tensor([9.0]), torch.tensor([-9.0])).item() == pytest.approx(
        math.log1p(math.exp(-18)), rel=1e-3
    )


def test_self_normalised_weights_and_what_they_are_worth():
    weights = torch.tensor([4.0, 1.0, 1.0, 2.0])
    assert normalised(weights).mean().item() == pytest.approx(1.0)
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert (normalised(weights) * losses).mean().item() == pytest.approx((weights * losses).sum().item() / 8.0)
    assert effective_share(weights) == pytest.approx(8.0**2 / (4 * 22))
    assert effective_share(torch.full((7,), 3.0)) == pytest.approx(1.0)


# -- the pool ---------------------------------------------------------------------------------------------------------


def filled(length=8, frames=()):
    queue = TargetQueue(length, 2, 1, CPU)
    for frame in frames:
        queue.push(
            torch.full((1, 2), float(frame), requires_grad=True),
            torch.full((1, 1), float(frame)),
            torch.tensor([frame]),
        )
    return queue


def test_the_queue_is_first_in_first_out_and_holds_constants():
    queue = filled(4, [10, 20, 30, 40, 50, 60])
    assert sorted(queue.index_Q.tolist()) == [30, 40, 50, 60]
    assert not queue.targets_QD.requires_grad
    assert len(queue) == 4
    again = filled(4)
    again.load_tensors(queue.tensors())
    for each in (queue, again):
        each.push(torch.zeros(1, 2), torch.zeros(1, 1), torch.tensor([70]))
    assert again.index_Q.tolist() == queue.index_Q.tolist()
    assert sorted(again.index_Q.tolist()) == [40, 50, 60, 70]


def test_a_sample_never_meets_its_own_consequence_or_one_beside_it():
    queue = filled(8, [10, 14, 30, 50])
    drawn, exists = queue.draw(4, torch.zeros(2, 1), torch.tensor([12, 30]), 4, 0.0, torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 4, 2)
    assert sorted(drawn[0, exists[0], 0].tolist()) == [30.0, 50.0]
    assert sorted(drawn[1, exists[1], 0].tolist()) == [10.0, 14.0, 50.0]
    near = others_of_batch(torch.tensor([0, 4, 5, 100]), torch.tensor([True, True, True, False]), 4)
    assert near.tolist() == [
        [False, False, True, False],
        [False, False, False, False],
        [True, False, False, False],
        [True, True, True, False],
    ]


def test_hard_ones_come_from_the_nearest_places():
    queue = filled(100, range(100, 200))
    places, index = torch.tensor([[150.2]]), torch.tensor([5000])
    drawn, exists = queue.draw(8, places, index, 4, 0.5, torch.Generator().manual_seed(0))
    found = drawn[0, :, 0].tolist()
    assert exists.all()
    assert len(set(found)) == 8
    assert {149.0, 150.0, 151.0, 152.0} <= set(found)
    easy, _ = queue.draw(8, places, index, 4, 0.0, torch.Generator().manual_seed(0))
    assert not {149.0, 150.0, 151.0, 152.0} <= set(easy[0, :, 0].tolist())


def test_frames_that_end_alike_are_no_wrong_consequences_of_each_other(toy):
    weighting = PosteriorTransitionReweighting(steps_ahead=16)
    weighting.begin(toy.toy_policy(), Sources())
    # Of an episode of 20 frames, all that look past its end see the last: 4 to 19.
    index = torch.arange(4, 20)
    assert not others_of_batch(index, torch.ones(16, dtype=torch.bool), weighting._apart).any()


# -- the controller ---------------------------------------------------------------------------------------------------


def test_the_controller_is_conservative_while_the_scorer_is_weak_and_sharpens_a_strong_one():
    weak = Controller(every=1)
    weak.observe(0.01, 0.0)
    assert (weak.temperature, weak.beta, weak.hard_ratio) == (pytest.approx(0.1212), pytest.approx(1.515), 0.0)
    strong = Controller(every=1)
    strong.observe(0.4, 0.2)
    assert (strong.temperature, strong.beta) == (pytest.approx(0.1194), pytest.approx(1.4925))
    assert strong.hard_ratio == pytest.approx(0.5 * 0.3 / 0.4)
    unsure = Controller(every=1)
    unsure.observe(0.4, 0.05)  # identified, but hardly
    assert (unsure.temperature, unsure.beta) == (0.12, 1.5)
    for _ in range(3000):
        weak.observe(0.0, -1.0)
        strong.observe(1.0, 5.0)
    assert (weak.temperature, weak.beta, weak.hard_ratio) == (TEMPERATURES[1], BETAS[1], RATIOS[0])
    assert (strong.temperature, strong.beta, strong.hard_ratio) == (TEMPERATURES[0], BETAS[0], RATIOS[1])
    fixed = Controller(adaptive=False, every=1)
    fixed.observe(1.0, 5.0)
    assert (fixed.temperature, fixed.beta, fixed.hard_ratio) == (0.12, 1.5, 0.0)


# -- beside a policy --------------------------------------------------------------------------------------------------


def trained(toy, folder, weighting, windows, **settings):
    policy = toy.toy_policy()
    toy.toy_trainer(**settings).fit(policy, windows, folder, weighting=weighting)
    return policy


def test_alpha_zero_is_plain_training_to_the_bit(toy, tmp_path):
    windows = toy.Walks()
    plain = trained(toy, tmp_path / "plain", None, windows)
    weighting = PosteriorTransitionReweighting(alpha=0.0, warmup=2)
    same = trained(toy, tmp_path / "ptr", weighting, windows)
    assert toy.losses_in(tmp_path / "plain") == toy.losses_in(tmp_path / "ptr")
    for one, other in zip(plain.parameters(), same.parameters(), strict=True):
        assert torch.equal(one, other)
    assert weighting.step == 20
    other = trained(toy, tmp_path / "alpha", PosteriorTransitionReweighting(alpha=1.0, warmup=2), windows)
    assert not torch.equal(next(other.parameters()), next(same.parameters()))


def test_samples_without_a_future_count_one_and_teach_the_scorer_nothing(toy, tmp_path):
    weighting = PosteriorTransitionReweighting(warmup=0)
    trained(toy, tmp_path / "a", weighting, toy.Walks(futures=False))
    trained(toy, tmp_path / "b", None, toy.Walks())
    assert toy.losses_in(tmp_path / "a") == toy.losses_in(tmp_path / "b")
    assert len(weighting.queue) == 0
    fresh = PosteriorTransitionReweighting(warmup=0)
    fresh.begin(toy.toy_policy(), Sources())
    for one, other in zip(weighting.scorer.parameters(), fresh.scorer.parameters(), strict=True):
        assert torch.equal(one, other)


def test_no_gradient_passes_between_scorer_and_policy(toy):
    policy = toy.toy_policy().train()
    weighting = PosteriorTransitionReweighting(warmup=0)
    weighting.begin(policy, Sources())
    batch = {k: torch.from_numpy(v) for k, v in toy.Walks().batch(np.arange(16)).items()}
    seen = weighting.read(batch)
    assert not any(value.requires_grad for value in seen.values())
    losses = policy.loss(batch, torch.Generator().manual_seed(0))
    weights = weighting(seen, losses.detach())
    assert not weights.requires_grad
    assert all(parameter.grad is None for parameter in policy.parameters())
    after = [parameter.clone() for parameter in weighting.scorer.parameters()]
    before = [parameter.grad.clone() for parameter in weighting.scorer.parameters()]
    (weights * losses).mean().backward()
    for parameter, gradient, value in zip(weighting.scorer.parameters(), before, after, strict=True):
        assert torch.equal(parameter.grad, gradient)
        assert torch.equal(parameter, value)


def test_training_that_was_cut_short_goes_on_to_the_same_weights(toy, tmp_path):
    windows = toy.Walks()
    settings = {"warmup": 3, "adapt_every": 2}
    whole = trained(toy, tmp_path / "whole", PosteriorTransitionReweighting(**settings), windows)

    def stop(report):
        if report.step == 12:
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        toy.toy_trainer().fit(
            toy.toy_policy(),
            windows,
            tmp_path / "cut",
            weighting=PosteriorTransitionReweighting(**settings),
            on_step=stop,
        )
    again = PosteriorTransitionReweighting(**settings)
    rest = trained(toy, tmp_path / "cut", again, windows)
    assert again.step == 20
    assert toy.losses_in(tmp_path / "cut") == toy.losses_in(tmp_path / "whole")
    for one, other in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(one, other)


def test_corrupted_samples_weigh_less_and_the_action_matters(toy, tmp_path):
    windows = toy.Walks(corrupted=100)
    weighting = PosteriorTransitionReweighting(warmup=100)
    policy = trained(toy, tmp_path / "run", weighting, windows, steps=600, batch_size=64)
    assert not policy.training
    batch = {k: torch.from_numpy(v) for k, v in windows.batch(np.arange(400)).items()}
    seen = weighting.read(batch)
    scores = weighting.scores(seen, draws=4)
    weights = weighting.weights_of(scores)
    assert weights.min() >= 0.25
    assert weights.max() <= 4.0
    assert weights[:100].mean() < 0.6 * weights[100:].mean()
    shuffled = {**seen, "chunk": seen["chunk"].roll(1, dims=0)}
    assert weighting.scores(shuffled, draws=4)[100:].mean() < scores[100:].mean() - 0.5


def test_centred_scores_scatter_about_one_where_all_are_told_apart():
    scores = torch.tensor([3.0, 3.5, 4.0, torch.nan])
    weighting = PosteriorTransitionReweighting(centred=True)
    weighting.median = 3.5
    torch.testing.assert_close(weighting.weights_of(scores)[:3], torch.tensor([math.exp(-1 / 3), 1.0, math.exp(1 / 3)]))
    plain = PosteriorTransitionReweighting()
    assert plain.weights_of(scores).tolist() == [4.0, 4.0, 4.0, 1.0]


def test_the_log_says_what_the_weights_do(toy, tmp_path):
    weighting = PosteriorTransitionReweighting(warmup=2)
    trained(toy, tmp_path, weighting, toy.Walks())
    found = weighting.metrics()
    assert {"effective_share", "saturated", "identified", "weight/data", "temperature", "beta", "score"} <= set(found)
    assert 0 < found["effective_share"] <= 1
    assert found["weight/data"] > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alpha": 1.5}, "alpha is 1.5; a share from 0"),
        ({"least": 2.0}, "Weights from 2.0 to 4.0"),
        ({"most": 0.5}, "Weights from 0.25 to 0.5"),
        ({"beta": 0.0}, "beta is 0.0; a number above 0"),
        ({"queue": 0}, "queue is 0; a whole number of at least 1"),
        ({"steps_ahead": 0}, "steps_ahead is 0"),
        ({"warmup": -1}, "warmup is -1; a whole number of at least 0"),
        ({"ema": 2.0}, "ema is 2.0"),
        ({"width": "x"}, "width is x"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        PosteriorTransitionReweighting(**settings)


def test_mean_weights_by_source():
    class Recorded:
        def __init__(self, lengths):
            self.episode_lengths = np.array(lengths)

    sources = Sources(("clean", "noisy", "none"), (Recorded([3, 2]), Recorded([4]), Recorded([1])))
    found = sources.means(torch.tensor([0, 4, 5, 8]), torch.tensor([1.0, 2.0, 5.0, 7.0]))
    assert found == {"clean": 1.5, "noisy": 6.0}
