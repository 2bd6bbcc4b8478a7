"""A push service, and a transport that trusts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.network.peers import KEY, WAIT
from tests.support.push_service import PushService
from workers.http.transport import Transport


@pytest.fixture
def push() -> Iterator[PushService]:
    with PushService() as service:
        service.accept_any(KEY.public)
        yield service


@pytest.fixture
def transport(push: PushService) -> Iterator[Transport]:
    transport = Transport(ca_bundle=push.ca_file, timeout=WAIT)
    yield transport
    transport.close()
