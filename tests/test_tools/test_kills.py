"""SIGKILL at random moments: the resumed trainings end as the uninterrupted one."""

import pytest

from tests.helpers.kill_test import CONFIG, PHASES, kills


@pytest.mark.full
@pytest.mark.parametrize(('config', 'runs'), [(CONFIG, 2), (PHASES, 1)], ids=['joint', 'phases'])
def test_killed_trainings_are_resumed_to_the_bit(server, tmp_path, config, runs):
    """At a save and at any moment; ``python -m tests.helpers.kill_test`` does 40."""
    records = list(kills(server, runs, 1, tmp_path, config))
    assert len(records) == runs
    assert all(record.identical for record in records), records
    # A kill that left nothing to go on from would test nothing.
    assert any(record.resumed_from.startswith('iter_') for record in records)
