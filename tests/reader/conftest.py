"""What readers' browsers load, served by the blueprints alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.config import Config
from service.reader import demo, privacy, scripts

Get = Callable[..., TestResponse]


@pytest.fixture
def client_with() -> Callable[..., FlaskClient]:
    """Make a client of an application with these settings."""

    def make(**settings: str) -> FlaskClient:
        app = Flask(__name__, static_folder=None)
        app.config["STOPPRESS"] = Config.read(settings)
        for blueprint in (scripts.bp, privacy.bp, demo.bp):
            app.register_blueprint(blueprint)
        return app.test_client()

    return make


@pytest.fixture
def get(client_with: Callable[..., FlaskClient]) -> Get:
    """Call a URL of a newspaper whose name needs escaping in HTML."""
    client = client_with(SITE_NAME="The Evening <Test>")

    def call(url: str, **headers: str) -> TestResponse:
        # Buffered: read to its end, so that the file behind it is closed.
        return client.get(url, headers=headers, buffered=True)

    return call
