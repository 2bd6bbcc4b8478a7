"""All scripts of the store are strict in these tests."""

from __future__ import annotations

import pytest

from tests.support.redis_servers.strict_scripts import be_strict


@pytest.fixture(autouse=True)
def strict_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No script touches a key again that it has emptied."""
    be_strict(monkeypatch)
