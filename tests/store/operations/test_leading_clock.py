"""Which clock leads, and how long ago one did its work."""

from __future__ import annotations

import pytest

from tests.support.processes.installation import Installation

pytestmark = pytest.mark.redis


def test_of_two_clocks_one_leads(installation: Installation) -> None:
    lead = installation.runtime.store.installation.lead
    assert [lead("one", 4000), lead("other", 4000), lead("one", 4000)] == [True, False, True]


def test_clock_that_died_before_redis_was_set_back_leads_no_more(
    installation: Installation,
) -> None:
    store = installation.runtime.store
    assert store.installation.lead("one", 4000)
    # What is left of it then: a lease and a time that are three hours ahead.
    store.redis.pexpire("{g}:clock", 10_804_000)
    store.redis.incrby("{g}:clock:ticked", 10_800)
    assert store.installation.clock_age() == pytest.approx(10_800, abs=60), "an alarm goes off"
    assert store.installation.lead("other", 4000)
    assert store.installation.clock_age() < 60
