"""A reader who wants no receipts gets messages without a token, so that nothing can be reported.

Not even by Safari, which shows an alert by itself.
"""

from __future__ import annotations

import json

import pytest

from service.model.notifications import Audience, Notification, State
from service.model.payload import Payload
from service.model.preferences import NO_QUIET
from service.model.time.clocks import QUARTER
from tests.support.processes.installation import Installation, content
from tests.support.push_service import Message, PushService
from tests.support.seeded import around_now, choose, reader_of, shown

READERS = 40
UNTRACKED = range(0, READERS, 3)


@pytest.fixture
def reading(installation: Installation) -> Installation:
    """An installation with a worker, a clock, and readers of which some want no receipts."""
    installation.seed(READERS)
    choose(installation, UNTRACKED, receipts=False)
    installation.worker()
    installation.clock()
    return installation


def tokens_in(messages: list[Message]) -> dict[int, object]:
    """The token that each browser got."""
    found = {reader_of(message): shown(message)["data"]["receipt"] for message in messages}
    assert len(found) == len(messages)
    return found


def assert_only_the_others_report(
    installation: Installation, messages: list[Message], *ids: int
) -> None:
    tokens = tokens_in(messages)
    assert set(tokens) == set(range(READERS))
    for number, token in tokens.items():
        if number in UNTRACKED:
            assert token is None
        else:
            opened = installation.runtime.tokens.open_receipt(str(token))
            assert opened is not None
            assert opened[0] in ids
            assert opened[1] == installation.reader(number)


def test_alert_has_no_token_for_untracked_readers(reading: Installation, push: PushService) -> None:
    id = reading.publish()
    reading.over(id)
    assert reading.outcomes(id) == {"accepted": READERS}
    assert_only_the_others_report(reading, push.received, id)


def test_held_alerts_have_no_token_for_untracked_readers(
    reading: Installation, push: PushService
) -> None:
    choose(reading, range(READERS), quiet=around_now())
    ids = [reading.publish(title=title) for title in ("One", "Two")]
    for id in ids:
        reading.over(id)
    assert push.received == [], "both are held"
    choose(reading, range(READERS), quiet=NO_QUIET)
    (quarter,) = reading.runtime.store.held_alerts.due(1 << 40)
    reading.runtime.publishing.wake_readers(quarter * QUARTER, "https://paper.example")
    (wave,) = reading.runtime.publishing.waves(9)
    reading.over(wave.id)
    assert_only_the_others_report(reading, push.received, wave.id)


def test_message_without_a_token_is_otherwise_the_same() -> None:
    quote = 'He said: "receipt":"" and "receipt":null'
    one = Notification(
        7, content(quote, lang="en"), Audience(everyone=True), State.SENT, 0.0, "", reporting=0.5
    )
    payload = Payload(one, "https://push.example")
    bare, whole = (json.loads(payload.carrying(token)) for token in (None, "r" * 22))
    assert bare["notification"]["data"].pop("receipt") is None
    assert whole["notification"]["data"].pop("receipt") == "r" * 22
    assert bare == whole
    assert whole["notification"]["title"] == quote
