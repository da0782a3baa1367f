"""Labels by hand, what can be learned and what cannot, the rule of holding, and classifiers that belong to one contract alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.joined import JoinedWindows
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.windows import Windows
from praxon.errors import BundleError, ConfigError, ContractError
from praxon.learning.rl.success import (
    ClassifierSettings,
    Hold,
    LearnedReward,
    SuccessClassifier,
    calibrate,
    load_classifier,
    probabilities,
    solved_now,
    train_classifier,
)
from praxon.learning.rl.success_figures import Unseen, balanced_accuracy, curve, figures, reliability, split_episodes

torch.set_num_threads(1)
ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
SETTINGS = ClassifierSettings(ENCODER, hidden=32, threshold=0.85, hold=2)
CONTRACT = PolicyContract(
    "arm",
    "slide",
    (Feature("observation.state", "vector", (2,), ("x", "y"), unit="m"),),
    Feature("action", "vector", (1,)),
)
CAMERA = Feature("observation.images.front", "image", (16, 16, 3), dtype="uint8", source="front")
EPISODES, LENGTH = 16, 20


def recorded(root, contract=CONTRACT):
    """Episodes in which x grows from 0 to 1, and the task is solved from 0.7 on in every second; in the others x stays below."""
    rng = np.random.default_rng(0)
    with LeRobotWriter(
        root, contract, "slide", extra_features=[Feature("next.success", "vector", (1,), dtype="int64")], codec="png"
    ) as writer:
        for episode in range(EPISODES):
            x = np.linspace(0, 1 if episode % 2 == 0 else 0.6, LENGTH + 1)
            frames = {
                "observation.state": np.stack([x[:-1], rng.normal(size=LENGTH)], axis=1).astype(np.float32),
                "action": np.zeros((LENGTH, 1), np.float32),
                "next.success": (x[1:] > 0.7).astype(np.int64)[:, None],
            }
            if CAMERA in contract.observations:
                bright = np.where(x[:-1] > 0.7, 200, 60)[:, None, None, None]
                frames[CAMERA.name] = (bright + rng.integers(-9, 10, (LENGTH, *CAMERA.shape))).astype(np.uint8)
            writer.add_episode(frames)
    return LeRobotDataset(root)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("success") / "data")


def windows_of(dataset, episodes, contract=CONTRACT):
    return JoinedWindows([Windows(dataset, Chunk(), list(episodes), contract=contract)])


def labels_of(dataset):
    return solved_now(dataset.columns["next.success"], dataset.episode_lengths)


def trained(dataset, solved, contract=CONTRACT, episodes=range(8), **settings):
    torch.manual_seed(0)
    classifier = SuccessClassifier(contract, replace(SETTINGS, **settings))
    windows = windows_of(dataset, episodes, contract)
    train_classifier(classifier, windows, solved[windows.frames], 150, batch_size=32, learning_rate=1e-2)
    return classifier


def judged(classifier, dataset, solved, contract=CONTRACT):
    windows = windows_of(dataset, range(8, EPISODES), contract)
    return Unseen(
        probabilities(classifier, windows), solved[windows.frames], dataset.episode_lengths[8:], np.arange(8) % 2 == 0
    )


@pytest.fixture(scope="module")
def classifier(dataset):
    return trained(dataset, labels_of(dataset))


# -- labels -------------------------------------------------------------------------------------------------------------


def test_a_state_is_solved_if_the_step_before_it_solved_it():
    # Solved after its third step, lost again, solved by the last step, whose outcome nobody saw; then another episode.
    after = np.array([0, 0, 1, 1, 0, 1, 0, 0])
    assert solved_now(after[:, None], np.array([6, 2])).tolist() == [
        False,
        False,
        False,
        True,
        True,
        False,
        False,
        False,
    ]


def test_an_episode_that_ends_as_it_is_solved_shows_nothing_solved():
    assert not solved_now(np.array([0, 0, 1, 0, 0]), np.array([3, 2])).any()


# -- what is learned ----------------------------------------------------------------------------------------------------


def test_what_can_be_told_is_told_in_unseen_episodes(dataset, classifier):
    solved = labels_of(dataset)
    unseen = judged(classifier, dataset, solved)
    assert balanced_accuracy(unseen) == 1.0
    found = figures(unseen, 0.5, 2)
    assert found["precision"]["rate"] == found["recall"]["rate"] == 1.0
    assert found["unsolved_episodes_called_solved"]["count"] == 0
    assert found["solved_episodes_found"]["count"] == found["solved_episodes_found"]["of"] == 4
    assert found["solved_episodes_called_too_early"]["count"] == 0


def test_labels_that_mean_nothing_are_told_no_better_than_by_chance(dataset):
    solved = np.random.default_rng(1).permutation(labels_of(dataset))
    unseen = judged(trained(dataset, solved), dataset, solved)
    # Of 160 frames 24 or so are solved: the standard deviation of chance is about 0.06.
    assert balanced_accuracy(unseen) == pytest.approx(0.5, abs=0.18)


def test_pictures_alone_will_do(tmp_path):
    contract = replace(CONTRACT, observations=(*CONTRACT.observations, CAMERA))
    dataset = recorded(tmp_path / "data", contract)
    seen = contract.with_observations([CAMERA.name])
    encoder = {**ENCODER, "image_tokens": "summary", "augmentation": {"crop": 0.9, "brightness": 0.1}}
    solved = labels_of(dataset)
    unseen = judged(trained(dataset, solved, seen, encoder=encoder), dataset, solved, seen)
    assert balanced_accuracy(unseen) == 1.0


def test_the_same_seed_gives_the_same_classifier(dataset, classifier):
    again = trained(dataset, labels_of(dataset)).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in classifier.state_dict().items())


def test_samples_of_one_kind_are_refused(dataset):
    windows = windows_of(dataset, range(8))
    with pytest.raises(ConfigError, match="0 solved and 160 unsolved"):
        train_classifier(SuccessClassifier(CONTRACT, SETTINGS), windows, np.zeros(160, bool), 1)


def test_the_temperature_undoes_what_is_too_sure(dataset, monkeypatch):
    """Logits of +-6 that are right in 3 of 4 frames: the honest logit is ln 3, and the temperature 6 / ln 3."""
    classifier = SuccessClassifier(CONTRACT, SETTINGS)
    solved = np.tile([True, True, True, False, False, False, False, True], 5)
    logit = torch.tensor([6.0, 6, 6, 6, -6, -6, -6, -6]).repeat(5)
    monkeypatch.setattr(classifier, "forward", lambda window: logit)
    windows = windows_of(dataset, range(2))  # 40 frames
    assert calibrate(classifier, windows, solved) == pytest.approx(6 / np.log(3), rel=0.02)
    assert classifier.probability({}).max().item() == pytest.approx(0.75, abs=0.01)
    assert calibrate(classifier, windows, logit.numpy() > 0) == 1.0  # right everywhere: not made surer
    assert calibrate(classifier, windows, np.zeros(40, bool)) == 1.0


# -- on disk ------------------------------------------------------------------------------------------------------------


def test_what_was_saved_gives_the_same_probabilities_to_the_bit(dataset, classifier, tmp_path):
    classifier.temperature.fill_(1.7)
    classifier.save(tmp_path / "c", {"seed": 0})
    again = load_classifier(tmp_path / "c")
    windows = windows_of(dataset, range(EPISODES))
    np.testing.assert_array_equal(probabilities(again, windows), probabilities(classifier, windows))
    assert again.settings == classifier.settings
    assert again.contract == classifier.contract
    classifier.temperature.fill_(1.0)


@pytest.mark.parametrize("name", ["classifier.safetensors", "classifier.json"])
def test_a_byte_that_changed_is_noticed(classifier, tmp_path, name):
    classifier.save(tmp_path / "c", {})
    content = bytearray((tmp_path / "c" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "c" / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}.*SHA-256 has changed"):
        load_classifier(tmp_path / "c")


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(BundleError, match="no success classifier at .*praxon classifier dataset="):
        load_classifier(tmp_path / "c")


def test_another_contract_is_refused_listing_both_sides(classifier):
    turned = Feature("observation.state", "vector", (2,), ("y", "x"), unit="m")
    with pytest.raises(ContractError, match=r"names of 'observation.state': classifier \[x, y\], here \[y, x\]"):
        LearnedReward(classifier, replace(CONTRACT, observations=(turned,)))
    with pytest.raises(ContractError, match="task: classifier 'slide', here 'lift'"):
        LearnedReward(classifier, replace(CONTRACT, task="lift"))
    # Who looks at more, or acts in another way, is judged all the same.
    other = Feature("action", "joint_position", (3,), ("a", "b", "c"), unit="rad")
    LearnedReward(classifier, replace(CONTRACT, observations=(*CONTRACT.observations, CAMERA), action=other))


# -- the reward ---------------------------------------------------------------------------------------------------------


def test_holding_by_hand():
    rule = Hold(0.85, 3)
    told = [0.9, 0.9, 0.5, 0.9, 0.85, 0.9, 0.9, 0.9, 0.9, float("nan"), 0.9]
    #        1    2    -    1    -     1    2    3!   4!   -             1      (0.85 is not above 0.85)
    assert [rule(each) for each in told] == [False] * 7 + [True, True] + [False] * 2
    rule(0.9)
    rule.reset()
    assert [rule(0.9) for _ in range(3)] == [False, False, True]
    assert Hold(0.5, 1)(0.51)


def test_an_actor_is_paid_while_the_state_holds(classifier):
    reward = LearnedReward(classifier, CONTRACT)

    def told(*places):
        return [reward({"observation.state": np.array([x, 0.0], np.float32), "more": np.zeros(1)}) for x in places]

    assert told(0.2, 0.95, 0.95, 0.95, 0.2) == [(0, False), (0, False), (1, True), (1, True), (0, False)]
    assert reward.probability < 0.5
    told(0.95)
    reward.reset()
    assert told(0.95) == [(0.0, False)]


def test_settings_out_of_range_are_refused():
    for wrong in ({"threshold": 1.0}, {"hold": 0}, {"dropout": 1.0}, {"hidden": 0}):
        with pytest.raises(ConfigError, match=f"classifier's {next(iter(wrong))} is"):
            replace(SETTINGS, **wrong)


# -- figures ------------------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    """Solved and found, but called too early; never solved but called; never solved, a flicker alone; solved by its last step."""
    unseen = Unseen(
        np.array([0.9, 0.9, 0.9, 0.2, 0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.1, 0.2, 0.2]),
        np.array([False, False, True, True, True, True, *[False] * 8]),
        np.array([6, 3, 3, 2]),
        np.array([True, False, False, True]),
    )
    found = figures(unseen, 0.85, 2)
    counts = {name: (each["count"], each["of"]) for name, each in found.items() if name != "threshold"}
    assert counts == {
        "precision": (3, 8),
        "recall": (3, 4),
        "false_positive_frames": (5, 10),
        "unsolved_episodes_called_solved": (1, 2),
        "solved_episodes_found": (1, 1),
        "solved_episodes_called_too_early": (1, 2),
    }
    # Wilson's interval of 3 in 4, computed by hand: (0.75 + 3.8415 / 8 -+ 1.96 sqrt(0.1875 / 4 + 3.8415 / 64)) / (1 + 3.8415 / 4).
    assert found["recall"]["interval_95"] == pytest.approx([0.3006, 0.9544], abs=2e-4)
    assert figures(unseen, 0.85, 3)["unsolved_episodes_called_solved"]["count"] == 0
    thresholds = [row["recall"]["count"] for row in curve(unseen, 1)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] == 4
    assert thresholds[-1] == 0


def test_reliability_weighs_both_kinds_alike():
    unseen = Unseen(np.full(10, 0.72), np.arange(10) < 2, np.array([10]), np.array([True]))
    assert reliability(unseen) == [{"probability": 0.72, "solved": 0.5, "frames": 10}]


def test_episodes_are_dealt_once_and_both_kinds_to_everyone():
    solved = np.arange(40) % 4 == 0
    parts = split_episodes(solved, 0.25, 0.15, seed=3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(40))
    assert [(int(solved[part].sum()), int((~solved[part]).sum())) for part in parts] == [(6, 18), (2, 4), (2, 8)]
    assert all(np.array_equal(a, b) for a, b in zip(parts, split_episodes(solved, 0.25, 0.15, seed=3), strict=True))
    known, calibrating, judging = split_episodes(np.array([True, True]), 0.25, 0.15, seed=0)
    assert (len(known), len(calibrating), len(judging)) == (1, 0, 1)
