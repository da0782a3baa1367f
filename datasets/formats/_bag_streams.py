"""A recording as one series of values for each feature of a contract: which topic carries it, and what its messages say."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.datasets import messages
from praxon.datasets.formats._bag import Bag, Place
from praxon.datasets.formats._mcap import Topic
from praxon.datasets.formats._ros_types import Decoder
from praxon.datasets.messages import MessageError
from praxon.errors import DatasetError, nearest

TRAJECTORY_TOPIC = "joint_trajectory"
"""Last part of the name of the topic on which a joint_trajectory_controller is commanded."""


@dataclass(frozen=True)
class Wanted:
    """What a feature may be read from.

    Args:
        feature: of the contract.
        topics: message type -> name of the topic, without a leading slash; types in the order of preference.
        read: message type -> function from a message to an array; for pictures to nothing, checking what costs little.
        chosen: the name was given and stands; else it may also be the end of a longer name.
    """

    feature: Feature
    topics: Mapping[str, str]
    read: Mapping[str, Callable[[Any], Any]]
    chosen: bool

    def fits(self, topic: Topic) -> bool:
        """Whether the feature can be read from a topic of this name and type."""
        name = self.topics.get(topic.message_type)
        return name is not None and (topic.name == f"/{name}" or (not self.chosen and topic.name.endswith(f"/{name}")))


@dataclass
class Series:
    """What was found for one feature on one topic; lists have one entry for each usable message, as received.

    Args:
        topic: its topic.
        stamps_ns: [ns].
        received_ns: [ns].
        values: arrays; of pictures the places where they can be read.
        dropped: messages that could not be used, by cause.
        sentence: what was wrong with the first of those.
    """

    topic: Topic
    stamps_ns: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    sentence: str = ""


@dataclass
class Clock:
    """Times of all messages on a topic, as received; a stamp of zero is none.

    Args:
        stamps_ns: of the header [ns].
        received_ns: by the recorder [ns].
    """

    stamps_ns: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)


@dataclass
class Recording:
    """Everything that a contract needs of a bag; pictures stay where they are.

    Args:
        series: by name of the feature.
        clocks: by name of the topic.
        num_messages: on whatever topic.
    """

    series: dict[str, Series]
    clocks: dict[str, Clock]
    num_messages: int


def wanted_features(contract: PolicyContract, chosen: Mapping[str, str]) -> list[Wanted]:
    """What each feature of a contract may be read from.

    Args:
        contract: the features.
        chosen: name of a feature -> its topic, where that is not the one the policy node would read.

    Raises:
        DatasetError: a kind of feature travels in no message, or ``chosen`` names a feature that is not there.
    """
    names = [feature.name for feature in contract]
    for name in chosen:
        if name not in names:
            raise DatasetError(
                f"topics names the feature '{name}', which the contract has not.{nearest(name, names)} "
                f"Features: {', '.join(names)}."
            )
    if contract.action.kind != "joint_position":
        raise DatasetError(
            f"The action is of kind '{contract.action.kind}'; from recorded joint trajectories joint_position can be read."
        )
    observed = [_observation(feature, chosen.get(feature.name)) for feature in contract.observations]
    return [*observed, _action(contract.action, chosen.get(contract.action.name))]


def collect(bag: Bag, wanted: Sequence[Wanted], decoder: Decoder, by_receipt: bool) -> Recording:
    """Read a whole bag once.

    Args:
        bag: the recording.
        wanted: the features.
        decoder: of messages.
        by_receipt: messages are stamped with the time of receipt instead of their header's.

    Raises:
        DatasetError: a topic is missing or not the only one of its kind, or the bag is damaged.
    """
    counts: Counter[Topic] = Counter()
    readers: dict[Topic, list[tuple[Wanted, Series]]] = {}
    clocks: dict[Topic, Clock] = {}
    for stored, place in bag.messages():
        topic = stored.topic
        if topic not in readers:
            readers[topic] = [(each, Series(topic)) for each in wanted if each.fits(topic)]
            clocks[topic] = Clock()
        counts[topic] += 1
        if not readers[topic]:
            continue
        try:
            message = decoder.decode(topic, stored.data)
        except DatasetError as error:
            raise DatasetError(f"Recording '{bag.name}': {error}") from error
        stamp_ns = messages.stamp_from_message(message.header.stamp)
        clocks[topic].stamps_ns.append(stamp_ns)
        clocks[topic].received_ns.append(stored.received_ns)
        if by_receipt or stamp_ns <= 0:
            stamp_ns = stored.received_ns
        for each, series in readers[topic]:
            _read(each, series, message, stamp_ns, stored.received_ns, place)
    chosen = {each.feature.name: _chosen_series(each, readers, counts, bag.name) for each in wanted}
    used = {each.topic for each in chosen.values()}
    # One recorder writes messages as it gets them; files written by others may not be in that order.
    return Recording(
        {name: _in_order_of_receipt(each) for name, each in chosen.items()},
        {topic.name: clock for topic, clock in clocks.items() if topic in used},
        sum(counts.values()),
    )


def describe_topics(counts: Mapping[Topic, int]) -> str:
    """'/name (type, number of messages)' for every topic, in order."""
    found = sorted(f"{topic.name} ({topic.message_type}, {count} messages)" for topic, count in counts.items())
    return ", ".join(found) or "no messages at all"


# -- pieces ---------------------------------------------------------------------------------------


def _observation(feature: Feature, chosen: str | None) -> Wanted:
    if feature.kind not in messages.TOPICS:
        raise DatasetError(
            f"Feature '{feature.name}' of kind '{feature.kind}' travels in no ROS message; kinds that do: "
            f"{', '.join(messages.TOPICS)}."
        )
    topic = messages.observation_topic(feature)
    if feature.kind == "image":
        topics = {messages.IMAGE: topic, messages.COMPRESSED_IMAGE: f"{topic}/compressed"}
        read: dict[str, Callable[[Any], Any]] = {
            messages.IMAGE: partial(messages.check_image, shape=feature.shape),
            messages.COMPRESSED_IMAGE: partial(messages.check_compressed, shape=feature.shape),
        }
    elif feature.kind == "pose":
        topics = {messages.POSE: topic}
        read = {messages.POSE: partial(messages.pose_from_message, frame=feature.frame)}
    else:
        topics = {messages.JOINT_STATE: topic}
        read = {messages.JOINT_STATE: partial(messages.joints_from_message, names=feature.names)}
    return _wanted(feature, chosen, topics, read)


def _action(feature: Feature, chosen: str | None) -> Wanted:
    """Commands are trajectories; on a topic that was chosen also the joints of a leading arm, which follower arms copy."""
    topics = {messages.TRAJECTORY: TRAJECTORY_TOPIC}
    read: dict[str, Callable[[Any], Any]] = {
        messages.TRAJECTORY: partial(messages.command_from_message, names=feature.names)
    }
    if chosen is not None:
        topics[messages.JOINT_STATE] = chosen
        read[messages.JOINT_STATE] = partial(messages.joints_from_message, names=feature.names)
    return _wanted(feature, chosen, topics, read)


def _wanted(
    feature: Feature, chosen: str | None, topics: dict[str, str], read: dict[str, Callable[[Any], Any]]
) -> Wanted:
    if chosen is not None:
        topics = {message_type: chosen.lstrip("/") for message_type in topics}
    return Wanted(feature, topics, read, chosen is not None)


def _read(each: Wanted, series: Series, message: Any, stamp_ns: int, received_ns: int, place: Place) -> None:
    try:
        value = each.read[series.topic.message_type](message)
    except MessageError as error:
        series.dropped[error.cause] += 1
        series.sentence = series.sentence or str(error)
        return
    series.stamps_ns.append(stamp_ns)
    series.received_ns.append(received_ns)
    series.values.append(place if each.feature.kind == "image" else value)


def _chosen_series(
    each: Wanted,
    readers: Mapping[Topic, Sequence[tuple[Wanted, Series]]],
    counts: Mapping[Topic, int],
    bag: str,
) -> Series:
    """The one series a feature is read from: of the name itself, else of the only name that ends so; raw before compressed."""
    mine = [series for pairs in readers.values() for wanted, series in pairs if wanted is each]
    for exact in (True, False):
        for message_type, name in each.topics.items():
            fitting = [
                series
                for series in mine
                if series.topic.message_type == message_type and (not exact or series.topic.name == f"/{name}")
            ]
            if len(fitting) > 1 and not exact:
                raise DatasetError(
                    f"Recording '{bag}' has several topics for '{each.feature.name}': "
                    f"{', '.join(sorted(series.topic.name for series in fitting))}; choose with topics."
                )
            if fitting:
                return fitting[0]
    asked = " or ".join(f"/{name} ({message_type})" for message_type, name in each.topics.items())
    raise DatasetError(
        f"Recording '{bag}' has no topic for '{each.feature.name}', which is read from {asked}; "
        f"it has {describe_topics(counts)}."
    )


def _in_order_of_receipt(series: Series) -> Series:
    order = np.argsort(np.array(series.received_ns, np.int64), kind="stable").tolist()
    series.stamps_ns = [series.stamps_ns[i] for i in order]
    series.received_ns = [series.received_ns[i] for i in order]
    series.values = [series.values[i] for i in order]
    return series
