"""Feeds that a newspaper's web server has, and what our processes make of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.client import Client
from tests.support.network.newspaper import Newspaper
from tests.support.newsroom.feeds import Watched


@pytest.fixture
def watched(client: Client, paper: Newspaper, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(client.runtime, paper, monkeypatch)


@pytest.fixture
def watched_with(
    client_with: Callable[..., Client], paper: Newspaper, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Watched]:
    return lambda **settings: Watched(client_with(**settings).runtime, paper, monkeypatch)
