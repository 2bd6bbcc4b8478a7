"""Drafts and scheduled alerts in a test, made by the API or at the desk."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.alerts.publishing import MOST_LATE
from service.model.notifications import Audience, Content, SendAt
from service.runtime import Runtime
from tests.support.desk.pages import FormFields, hidden_fields, open_form

RIGA = ZoneInfo("Europe/Riga")
WORLD = Audience(topics=("world",))


def wall(ahead: float) -> str:
    """The time in Riga `ahead` seconds from now, as a browser sends it."""
    return (datetime.now(RIGA) + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M")


def moment(wall: str) -> float:
    return datetime.fromisoformat(wall).replace(tzinfo=RIGA).timestamp()


def later(ahead: float = 8000) -> dict[str, str]:
    """The fields of a scheduled alert."""
    return {"when": "at", "at": wall(ahead), "zone": "Europe/Riga"}


def plan(runtime: Runtime, ahead: float | None = None, **content: Any) -> int:
    """Schedule an alert `ahead` seconds from now, or make a draft, as the API does."""
    given = {"title": "Kick-off", "url": "https://paper.example/match", **content}
    send_at = None if ahead is None else SendAt(time.time() + ahead)
    publishing = runtime.publishing
    published = publishing.publish(
        Content(**given), WORLD, by="a CMS", send_at=send_at, draft=send_at is None
    )
    return published.id


def miss(runtime: Runtime, **content: Any) -> int:
    """Make an alert that missed its time, because no clock was running."""
    id = plan(runtime, -60 - MOST_LATE, **content)
    assert not runtime.store.notifications.start(id, MOST_LATE)
    assert runtime.publishing.get(id).missed
    return id


def opened(editor: FlaskClient, id: int) -> dict[str, Any]:
    """The fields of a planned alert's form, unchanged, as a browser would send them."""
    fields: dict[str, list[str]] = FormFields(open_form(editor, f"/desk/alerts/{id}/edit")).fields
    several = {"topic", "exclude", "all_topic", "not_reached_by", "clicked"}
    several |= {"weekday", "digest_topic"}
    one = {name: values[0] for name, values in fields.items() if name not in several}
    return {**one, **{name: fields.get(name, []) for name in several}}


def edit(editor: FlaskClient, id: int, **changes: Any) -> TestResponse:
    """Open the form of a planned alert, change these fields and send it."""
    return go_on(editor, {**opened(editor, id), **changes})


def go_on(editor: FlaskClient, fields: dict[str, Any]) -> TestResponse:
    """Send the form of an alert, with all its fields, and follow to its review."""
    nonce = fields["nonce"]
    key = nonce if isinstance(nonce, str) else nonce[0]
    response = editor.post(f"/desk/unfinished/{key}", data=fields)
    to_review = response.status_code == 303 and response.location.endswith("/review")
    return editor.get(response.location) if to_review else response


def confirmed(editor: FlaskClient, id: int, page: TestResponse) -> TestResponse:
    """Press the button of the confirmation."""
    assert page.status_code == 200
    return editor.post(f"/desk/alerts/{id}", data=hidden_fields(page.text))
