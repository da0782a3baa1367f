"""What an actor has still to do, read from its journal: the same whether or not it was killed."""

import numpy as np

from praxon.learning.interactive.records import IS_INTERVENTION
from praxon.learning.rl.actor import EPISODE, Done, Quota

STEPS = np.dtype([(EPISODE, "i4"), (IS_INTERVENTION, "i8", (1,))])


def journal(*labels, length=4):
    """Episodes with so many steps of the expert each."""
    steps = np.zeros(length * len(labels), STEPS)
    steps[EPISODE] = np.repeat(np.arange(len(labels)), length)
    for number, each in enumerate(labels):
        steps[IS_INTERVENTION][number * length : number * length + each] = 1
    return steps


def test_practice_begins_with_the_episode_after_the_last_label():
    quota = Quota(labels=5, env_steps=100, practice=3)
    assert Done.before(journal(), quota) == Done(labels=0, episodes=0, practised=0)
    assert Done.before(journal(3, 1), quota) == Done(labels=4, episodes=2, practised=0)
    assert Done.before(journal(3, 4), quota) == Done(labels=7, episodes=2, practised=0)
    assert Done.before(journal(3, 4, 0, 0), quota) == Done(labels=7, episodes=4, practised=2)
    assert Done.before(journal(3, 1), quota).helped(quota)
    assert not Done.before(journal(3, 4), quota).helped(quota)


def test_what_was_done_is_counted_alike_from_the_journal_and_on_the_way():
    quota, labels, done = Quota(labels=5, env_steps=100, practice=3), (2, 0, 3, 0, 0), Done()
    for number, each in enumerate(labels):
        assert done == Done.before(journal(*labels[:number]), quota)
        done.add(each, quota)
    assert done == Done(labels=5, episodes=5, practised=2)
