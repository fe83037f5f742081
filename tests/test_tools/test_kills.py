"""SIGKILL at random moments: the resumed trainings end as the uninterrupted one."""

import pytest

from tests.helpers.kill_test import kills


@pytest.mark.full
def test_killed_trainings_are_resumed_to_the_bit(server, tmp_path):
    """At a save and at any moment; ``python -m tests.helpers.kill_test`` does 40."""
    records = list(kills(server, 2, seed=1, folder=tmp_path))
    assert len(records) == 2
    assert all(record.identical for record in records), records
    # A kill that left nothing to go on from would test nothing.
    assert any(record.resumed_from.startswith('iter_') for record in records)
