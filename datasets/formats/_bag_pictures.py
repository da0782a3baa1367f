"""Pictures of an episode that stay in the recording until they are sliced."""

from typing import Any

import numpy as np

from praxon.contract import Feature
from praxon.datasets import messages
from praxon.datasets.formats._bag import Bag
from praxon.datasets.formats._bag_streams import Series
from praxon.datasets.formats._ros_types import Decoder
from praxon.datasets.messages import MessageError
from praxon.errors import DatasetError

_DECODE = {
    messages.IMAGE: messages.image_from_message,
    messages.COMPRESSED_IMAGE: messages.compressed_from_message,
}


class BagPictures:
    """(T, height, width, 3) uint8 by shape and slicing; memory is taken for what is sliced.

    Args:
        bag: where they are.
        decoder: of messages.
        series: the messages.
        rows: (T,) which of the messages each frame holds.
        feature: their feature.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, bag: Bag, decoder: Decoder, series: Series, rows: np.ndarray, feature: Feature) -> None:
        self._bag, self._decoder, self._topic, self._feature = bag, decoder, series.topic, feature
        self._places = [series.values[row] for row in rows.tolist()]

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, height, width, 3)."""
        return (len(self._places), *self._feature.shape)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: Any) -> np.ndarray:
        if not isinstance(key, slice):
            return self._picture(self._places[key])
        places = self._places[key]
        pictures = np.empty((len(places), *self._feature.shape), np.uint8)
        for i, place in enumerate(places):
            # A picture that is held over several ticks is decoded once.
            pictures[i] = pictures[i - 1] if i and place == places[i - 1] else self._picture(place)
        return pictures

    def _picture(self, place: Any) -> np.ndarray:
        message = self._decoder.decode(self._topic, self._bag.read(place))
        try:
            return _DECODE[self._topic.message_type](message, self._feature.shape)
        except MessageError as error:
            raise DatasetError(f"Recording '{self._bag.name}', {self._topic.name}: {error}") from error
