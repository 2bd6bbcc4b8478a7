"""Alerts that repeat, as a CMS plans, changes and ends them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from service.model.notifications import SendAt, State
from service.model.time.repeats import Digest
from tests.support.client import NOTIFICATIONS, Client
from tests.support.inputs import NEWS

TOMORROW = datetime.now() + timedelta(days=1)
IN_RIGA = {"send_at": f"{TOMORROW:%Y-%m-%d}T17:00[Europe/Riga]"}
REPEAT = {"weekdays": ["sun", "fri"], "digest": {"topics": ["world"]}}
SHOWN = {
    "weekdays": ["fri", "sun"],
    "digest": {"most": 5, "topics": ["world"]},
    "makes_drafts": False,
}


class Tool:
    """A CMS with an alert that repeats."""

    def __init__(self, client: Client, token: str) -> None:
        self.client, self.token = client, token

    def post(self, **fields: Any) -> Any:
        return self.client.call("POST", NOTIFICATIONS, {**NEWS, **fields}, token=self.token)

    def planned(self, **fields: Any) -> str:
        response = self.post(**{**IN_RIGA, "repeat": REPEAT, **fields})
        assert response.status_code == 202
        return str(response.json["id"])

    def call(self, method: str, id: str, json: Any = None) -> Any:
        return self.client.call(method, f"{NOTIFICATIONS}/{id}", json, token=self.token)

    def wrong(self, response: Any) -> dict[str, str]:
        assert response.status_code == 422
        return {error["field"]: error["detail"] for error in response.json["errors"]}


@pytest.fixture
def tool(client: Client, token: str) -> Tool:
    return Tool(client, token)


def test_an_alert_that_repeats_is_shown_changed_and_ended(tool: Tool) -> None:
    id = tool.planned()
    shown = tool.call("GET", id).json
    assert shown["repeat"] == {**SHOWN, "series": id}
    assert shown["time_zone"] == "Europe/Riga"
    assert tool.call("PATCH", id, {"title": "Another"}).json["repeat"] == shown["repeat"]
    other = {"weekdays": ["mon"], "makes_drafts": True}
    changed = tool.call("PATCH", id, {"repeat": other}).json["repeat"]
    assert changed == {**other, "digest": None, "series": id}
    moved = tool.call("PATCH", id, {"send_at": f"{TOMORROW:%Y-%m-%d}T18:00[Europe/Riga]"}).json
    assert moved["repeat"] == changed
    assert tool.call("PATCH", id, {"repeat": None}).json["repeat"] is None
    assert tool.call("GET", id).json["status"] == "scheduled"


def test_a_draft_does_not_repeat_and_a_local_time_may(tool: Tool) -> None:
    local = {"send_at": f"{TOMORROW:%Y-%m-%d}T07:00", "local_time": True}
    id = tool.planned(**local)
    assert tool.call("GET", id).json["repeat"]["weekdays"] == ["fri", "sun"]
    draft = tool.call("PATCH", id, {"draft": True}).json
    assert (draft["status"], draft["repeat"]) == ("draft", None)
    again = tool.call("PATCH", id, {**IN_RIGA, "repeat": REPEAT}).json
    assert (again["status"], again["repeat"]) == ("scheduled", {**SHOWN, "series": id})


def test_to_send_one_now_leaves_the_series_and_to_delete_it_ends_it(tool: Tool) -> None:
    id = tool.planned(repeat={"weekdays": ["fri"]})
    sent = tool.client.call("POST", f"{NOTIFICATIONS}/{id}/send", token=tool.token)
    assert sent.json == {"id": id, "status": "sending"}
    assert tool.call("GET", id).json["repeat"] is None
    (after,) = tool.client.runtime.publishing.planned()
    assert tool.call("GET", str(after.id)).json["repeat"]["series"] == id
    assert tool.call("DELETE", str(after.id)).status_code == 204
    assert tool.client.runtime.publishing.planned() == []


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"send_at": None}, "repeat", "together with `send_at`"),
        ({"send_at": None, "draft": True}, "repeat", "together with `send_at`"),
        ({"send_at": f"{TOMORROW:%Y-%m-%d}T17:00:00Z"}, "repeat", "name of a zone"),
        ({"audience": {"everyone": True, "not_reached_by": ["1"]}}, "repeat", "for a week only"),
        ({"second_text": {"title": "B"}}, "repeat.digest", "when it is due"),
        (
            {"repeat": {"weekdays": ["fri"], "digest": {"topics": ["cooking"]}}},
            "repeat.digest.topics",
            "does not have",
        ),
    ],
)
def test_what_cannot_repeat_is_refused_in_words(
    tool: Tool, fields: dict[str, Any], field: str, words: str
) -> None:
    one = tool.post()
    assert one.json["id"] == "1"
    runtime = tool.client.runtime
    runtime.publishing.cancel(1, by="a test")
    runtime.planning.advance_all()
    response = tool.post(**{**IN_RIGA, "repeat": REPEAT, **fields})
    assert words in tool.wrong(response)[field]
    assert runtime.publishing.planned() == []


def test_two_texts_may_be_tried_each_time_where_the_text_is_no_digest(tool: Tool) -> None:
    id = tool.planned(repeat={"weekdays": ["fri"]}, second_text={"title": "B"})
    wrong = tool.wrong(tool.call("PATCH", id, {"repeat": REPEAT}))
    assert "repeat.digest" in wrong
    digest = tool.planned()
    assert "second_text" in tool.wrong(tool.call("PATCH", digest, {"second_text": {"title": "B"}}))


def test_the_same_reference_changes_the_planned_one(tool: Tool) -> None:
    first = tool.planned(reference="briefing")
    assert tool.planned(reference="briefing") == first
    publishing = tool.client.runtime.publishing
    assert publishing.get(int(first)).changes == 0
    assert tool.planned(reference="briefing", repeat={"weekdays": ["mon"]}) == first
    one = publishing.get(int(first))
    assert one.repeats is not None
    assert (one.repeats.weekdays, one.repeats.series) == (("mon",), int(first))


def test_a_change_of_one_that_waits_for_a_second_person_keeps_its_time_and_its_days(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = Tool(client, token)
    id = tool.planned()
    publishing = client.runtime.publishing
    before = publishing.get(int(id))
    asked = client.runtime.approvals._ask(before, "ada@paper.example")
    assert asked
    shown = tool.call("PATCH", id, {"title": "Another"}).json
    assert shown["repeat"] == {**SHOWN, "series": id}
    after = publishing.get(int(id))
    assert after.state is State.SCHEDULED, "so few readers need no second person"
    assert isinstance(after.send_at, SendAt)
    assert after.send_at == before.send_at
    assert after.repeats is not None
    assert after.repeats.digest == Digest(topics=("world",))
