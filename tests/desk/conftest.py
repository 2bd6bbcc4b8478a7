"""The desk through Flask's own client, on a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.config import Config
from service.domain import editors
from service.local import pretend_readers
from service.model.keys import VapidKey
from service.model.notifications import Audience, Outcome, Topic
from service.runtime import Runtime
from tests.support.desk_pages import EMAIL, publish, send_all, sign_in


@pytest.fixture(autouse=True)
def _fast_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in a millisecond instead of a quarter of a second."""
    fast = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    monkeypatch.setattr(editors, "_hasher", fast)


@pytest.fixture
def settings() -> dict[str, str]:
    """Further settings of the installation: what an editor sends leaves at once."""
    return {"UNDO_SECONDS": "0", "UNDO_BREAKING_SECONDS": "0"}


@pytest.fixture
def app(redis_url: str, settings: dict[str, str], tmp_path: Path) -> Flask:
    return create_app(
        Config.read(
            {
                "DATA_DIR": str(tmp_path),
                "REDIS_URL": redis_url,
                "SECRET_KEY": "a secret of at least 32 characters",
                "VAPID_PRIVATE_KEY": VapidKey.generate().text,
                "PUSH_SERVICES": "https://push.example",
                **settings,
            }
        )
    )


@pytest.fixture
def runtime(app: Flask) -> Runtime:
    """An installation with two topics."""
    runtime = app.extensions["stoppress"]
    for slug in ("world", "sport"):
        runtime.store.topics.add(Topic(slug, slug.title()))
    return runtime


@pytest.fixture
def readers(runtime: Runtime) -> int:
    """100 readers; how many of them follow World."""
    list(
        pretend_readers.seed(
            runtime.store,
            100,
            origins=["https://push.example"],
            vapid_key=runtime.keys.current,
            topics=("world", "sport"),
        )
    )
    return runtime.publishing.reach(Audience(topics=("world",)))


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def editor(app: Flask, runtime: Runtime) -> FlaskClient:
    """The client of an editor who is signed in."""
    return sign_in(app, runtime, EMAIL)


@pytest.fixture
def half_sent(runtime: Runtime, readers: int) -> int:
    """An alert that 40 of 100 browsers have got so far."""
    id = publish(runtime, title="Ferry aground", body="One\nTwo")
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 40})
    return id
