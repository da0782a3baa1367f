"""Choosing episodes in a word: a split's name, a range, or numbers."""

from collections.abc import Mapping, Sequence

from praxon.errors import DatasetError, nearest


def select_episodes(
    asked: str | int | Sequence[int] | None, num_episodes: int, splits: Mapping[str, Sequence[int]], where: str
) -> list[int]:
    """Episodes as asked: None for all, ``valid`` for a split, ``0:50`` for a range, ``[0, 3]`` or ``7`` for numbers.

    Raises:
        DatasetError: there is no such split or episode in ``where``.
    """
    if asked is None:
        return list(range(num_episodes))
    if isinstance(asked, str) and asked in splits:
        numbers = list(splits[asked])
    elif isinstance(asked, str):
        first, colon, last = asked.partition(":")
        start, stop = first or "0", last or str(num_episodes)
        if not colon and first.isdecimal():
            start, stop = first, str(int(first) + 1)
        elif not colon or not (start.isdecimal() and stop.isdecimal()):
            raise DatasetError(
                f"'{where}' has no split '{asked}'.{nearest(asked, splits)} Splits: {', '.join(splits) or 'none'}; "
                f"a range like 0:{num_episodes} or numbers like [0,3] would do too."
            )
        numbers = list(range(int(start), min(int(stop), num_episodes + 1)))  # one too many is enough to refuse
    else:
        numbers = [asked] if isinstance(asked, (int, float)) else list(asked)
    wrong = [number for number in numbers if type(number) is not int or not 0 <= number < num_episodes]
    if wrong or not numbers:
        raise DatasetError(
            f"Episodes {', '.join(map(str, wrong[:5])) or '(none)'} were asked of '{where}', which has 0 to {num_episodes - 1}."
        )
    return numbers
