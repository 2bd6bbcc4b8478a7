"""A subscribed browser, and a sender of many messages at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.push_service import PushService, Subscription
from tests.support.push_service.senders import OURS, Http2


@pytest.fixture
def browser(push: PushService) -> Subscription:
    return push.subscribe(OURS.public, plain=True)


@pytest.fixture
def http2(push: PushService) -> Iterator[Http2]:
    client = Http2(push.ca_file)
    yield client
    client.multi.close()
