"""What an actor has still to do, read from its journal: the same whether or not it was killed."""

import numpy as np
import pytest

from praxon.learning.interactive.records import IS_INTERVENTION
from praxon.learning.rl.actor import EPISODE, Done, Quota

STEPS = np.dtype([(EPISODE, "i4"), (IS_INTERVENTION, "i8", (1,))])
QUOTA = Quota(labels=5, env_steps=100, episodes=4, practice=3)


def journal(*labels, length=4):
    """Episodes with so many steps of the expert each."""
    steps = np.zeros(length * len(labels), STEPS)
    steps[EPISODE] = np.repeat(np.arange(len(labels)), length)
    for number, each in enumerate(labels):
        steps[IS_INTERVENTION][number * length : number * length + each] = 1
    return steps


def done(*labels, discarded=()):
    return Done.before(journal(*labels), set(discarded), QUOTA)


def test_practice_begins_with_the_episode_after_the_last_label():
    assert done() == Done()
    assert done(3, 1) == Done(labels=4, helped=2)
    assert done(3, 1).with_help(QUOTA)
    assert done(3, 4) == Done(labels=7, helped=2)
    assert not done(3, 4).with_help(QUOTA)
    assert done(3, 4, 0, 0) == Done(labels=7, helped=2, practised=2)
    assert not done(3, 4, 0, 0).over(QUOTA)
    assert done(3, 4, 0, 0, 0).over(QUOTA)


def test_a_policy_that_needs_no_help_practises_all_the_same():
    assert done(0, 0, 0, 0) == Done(helped=4)
    assert not done(0, 0, 0, 0).with_help(QUOTA)
    assert done(0, 0, 0, 0, 0, 0, 0) == Done(helped=4, practised=3)
    assert done(0, 0, 0, 0, 0, 0, 0).over(QUOTA)


def test_a_discarded_episode_counts_for_nothing_and_begins_again_from_its_start():
    found = done(2, 4, 1, discarded=[1])
    assert found == Done(labels=3, helped=2, discarded=1)
    assert (found.start, found.episode) == (2, 3)
    assert found.with_help(QUOTA)


@pytest.mark.parametrize("discarded", [(), (1, 2)])
def test_what_was_done_is_counted_alike_from_the_journal_and_on_the_way(discarded):
    labels, found = (2, 0, 3, 1, 0, 0), Done()
    for number, each in enumerate(labels):
        assert found == done(*labels[:number], discarded=discarded)
        assert found.episode == number
        found.add(0 if found.helped and not found.with_help(QUOTA) else each, number in discarded, QUOTA)
