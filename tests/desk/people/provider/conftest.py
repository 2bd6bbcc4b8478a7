"""A desk that knows an OpenID Connect provider, and an editor who signs in by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.model.roles import Role
from service.runtime import Runtime
from tests.support.desk.pages import EMAIL
from tests.support.desk.provider import TOM, Provider, running_provider


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    running.asked.clear()
    running.instead.clear()
    return running


@pytest.fixture
def settings(settings: dict[str, str], provider: Provider) -> dict[str, str]:
    return {**settings, **provider.settings}


@pytest.fixture
def tom(runtime: Runtime) -> str:
    """The address of an editor who was invited and has no password."""
    runtime.editors.invite(EMAIL, Role.MANAGES)
    runtime.editors.invite(TOM, Role.SENDS)
    return TOM


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one network try as often as it likes."""
    monkeypatch.setattr("service.domain.people.editors._MOST_OF_NETWORK", 10_000)
