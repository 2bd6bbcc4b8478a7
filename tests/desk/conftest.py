"""The desk through Flask's own client, on a real Redis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.local import pretend_readers
from service.model.notifications import Audience, Outcome, Topic
from service.runtime import Runtime
from tests.support.client import VAPID, read_config
from tests.support.desk.pages import EMAIL, publish, send_all, sign_in


@pytest.fixture
def settings() -> dict[str, str]:
    """Further settings of the installation: what an editor sends leaves at once."""
    return {"UNDO_SECONDS": "0", "UNDO_BREAKING_SECONDS": "0"}


@pytest.fixture
def app(redis_url: str, settings: dict[str, str], tmp_path: Path) -> Flask:
    environment = {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VAPID.text,
        "PUSH_SERVICES": "https://push.example",
        **settings,
    }
    config = read_config(*environment.items())
    return create_app(replace(config, data_dir=tmp_path, given=config.given | {"data_dir"}))


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
