"""A desk where an alert to more than 50 of 100 readers needs a second person."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.runtime import Runtime
from tests.support.desk.approving import SECOND, sign_in_as
from tests.support.desk.pages import hidden_fields, review, words


@pytest.fixture
def settings() -> dict[str, str]:
    """An alert to more than 50 of 100 readers needs a second person."""
    return {"UNDO_SECONDS": "5", "UNDO_BREAKING_SECONDS": "0", "TWO_PERSON_ABOVE": "50"}


@pytest.fixture
def second(app: Flask, runtime: Runtime, editor: FlaskClient) -> FlaskClient:
    """Another editor who sends."""
    return sign_in_as(app, runtime, SECOND, "sends")


@pytest.fixture
def asked(editor: FlaskClient, readers: int) -> TestResponse:
    """The response to “Notify” for an alert to everyone."""
    page = review(editor, audience="everyone").text
    assert "Ask another editor to send it" in words(page)
    return editor.post("/desk/alerts", data=hidden_fields(page))
