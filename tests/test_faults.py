"""A small part of ``make test-faults``: kills, damaged files and signals that are really made, in children."""

import os

import pytest

from tests.forked import forked

pytestmark = [pytest.mark.process, pytest.mark.long, forked]

if hasattr(os, "fork"):
    from tests.faults import kills, mutations, surroundings
    from tests.faults.children import warm
    from tests.faults.kinds import KINDS, world


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Inputs and finished runs."""
    warm()
    made = tmp_path_factory.mktemp("faults")
    world(made)
    return made


@pytest.mark.parametrize("name", ["cross-entropy", "features"])
def test_a_killed_run_goes_on_to_the_same_bytes(root, name):
    kind = next(kind for kind in KINDS if kind.name == name)
    (tally,) = kills.kills(root, 2, kinds=(kind,))
    assert not tally.lost
    assert tally.counts["died"] > 0


def test_what_a_server_answered_survives_its_death(root):
    assert not kills.answered(root, 1).lost


def test_damaged_files_are_found_or_do_no_harm(root):
    readers = tuple(reader for reader in mutations.READERS if reader.name in ("noise", "clean", "predict"))
    found = mutations.mutations(root, 12, readers=readers)
    assert sum(tally.tries for tally in found) == 12
    assert not [text for tally in found for text in tally.lost]


def test_signals_finish_the_epoch_and_say_which_they_were(root):
    tally = surroundings.signals(root, 1, after=4)
    assert not tally.lost
    assert {"code 130", "code 143", "code 129"} <= set(tally.counts)


def test_a_pipe_whose_reader_goes_away_is_silent(root):
    assert not surroundings.pipe(root).lost


def test_too_little_memory_is_one_error(root):
    tally = surroundings.out_of_memory(root, (16,))
    assert not tally.lost
    assert tally.counts == {"code 2": tally.tries}
