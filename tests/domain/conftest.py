"""Strict scripts; feeds of a newspaper's web server, and what our processes make of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.client import Client
from tests.support.network.newspaper import Newspaper
from tests.support.newsroom.feeds import Watched
from tests.support.redis_servers.strict_scripts import be_strict


@pytest.fixture(autouse=True)
def strict_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No script touches a key again that it has emptied."""
    be_strict(monkeypatch)


@pytest.fixture
def watched(client: Client, paper: Newspaper, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(client.runtime, paper, monkeypatch)


@pytest.fixture
def watched_with(
    client_with: Callable[..., Client], paper: Newspaper, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Watched]:
    return lambda **settings: Watched(client_with(**settings).runtime, paper, monkeypatch)
