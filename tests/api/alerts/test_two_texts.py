"""An alert with two texts, as editors' tools publish, follow and decide it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from service.domain.sending import receipts
from service.model.notifications import State
from service.model.subscriptions import SubscriptionId
from tests.support.client import (
    API,
    NOTIFICATIONS,
    SUBSCRIPTIONS,
    Client,
    Reader,
    browser,
    stored,
)
from tests.support.inputs import NEWS

OTHER = {"title": "Ferry runs aground", "body": "Everybody is safe."}
TWO = {**NEWS, "second_text": OTHER}


def publish(client: Client, token: str, body: dict[str, Any]) -> int:
    response = client.call("POST", NOTIFICATIONS, body, token=token)
    assert response.status_code == 202, response.json
    return int(response.json["id"])


def test_a_second_text_is_shown_with_how_both_do(client: Client, token: str) -> None:
    Reader(client)
    id = publish(client, token, {**NEWS, "second_text": {**OTHER, "title": " Ferry runs aground "}})
    shown = client.call("GET", f"{NOTIFICATIONS}/{id}", token=token).json
    nobody = {"accepted": 0, "clicked": 0, "silent": 0, "share": 0.0}
    assert shown["second_text"] == {
        **OTHER,
        "sample_percent": 10,
        "decide_after_minutes": 15,
        "chosen": None,
        "chosen_at": None,
        "chosen_by": None,
        "tried": {"A": nobody, "B": nobody},
        "chance": None,
    }
    assert shown["text_now"]["title"] == NEWS["title"]


def test_a_tool_chooses_a_text_once(client: Client, token: str) -> None:
    Reader(client)
    id = publish(client, token, TWO)
    address = f"{NOTIFICATIONS}/{id}/choose"
    for _ in range(2):  # such as a call that is repeated after a time-out
        assert client.call("POST", address, {"text": "B"}, token=token).status_code == 202
    assert client.call("POST", address, {"text": "A"}, token=token).status_code == 409
    shown = client.call("GET", f"{NOTIFICATIONS}/{id}", token=token).json
    assert shown["text_now"]["title"] == OTHER["title"]
    assert (shown["second_text"]["chosen"], shown["second_text"]["chosen_by"]) == ("B", "a test")
    (entry,) = [one for one in client.runtime.alert_log.of(id) if one.action == "chosen"]
    assert (entry.by, entry.tool, entry.others) == ("a test", True, ("text B",))
    one_text = publish(client, token, NEWS)
    address = f"{NOTIFICATIONS}/{one_text}/choose"
    assert client.call("POST", address, {"text": "B"}, token=token).status_code == 409


def test_clicks_are_counted_for_a_text_until_one_is_chosen_and_not_from_safari(
    client: Client, token: str
) -> None:
    apple = browser(1)
    apple["endpoint"] = "https://web.push.apple.com/" + "a" * 40
    answer = client.call("POST", SUBSCRIPTIONS, {"subscription": apple, "topics": []})
    readers = [Reader(client).id, answer.json["id"]]
    id = publish(client, token, {**TWO, "second_text": {**OTHER, "sample_percent": 50}})
    runtime = client.runtime
    runtime.planning.plan(runtime.publishing.get(id))
    # As if both readers had drawn text A.
    count, drawn = runtime.receipts.count, lambda *_: "A"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receipts, "text_of", drawn)
        for reader in map(SubscriptionId.parse, readers):
            clicked = receipts.Report(id, reader, "clicked")
            count([clicked, clicked._replace(event="shown")])
            count([clicked])
        tried = runtime.text_choice.tried(runtime.publishing.get(id))
        assert [one.clicked for one in tried] == [1, 0]
        runtime.text_choice.choose(id, "B", by="a test")
        later = Reader(client, 2)
        count([receipts.Report(id, SubscriptionId.parse(later.id), "clicked")])
    assert runtime.store.two_texts.clicked(id) == [1, 0]
    assert runtime.receipts.of(id)["clicked"] == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "breaking"}, "second_text"),
        ({"spread_minutes": 10}, "second_text"),
        ({"ttl": 15 * 60}, "second_text.decide_after_minutes"),
        ({"second_text": {"title": NEWS["title"], "body": NEWS["body"]}}, "second_text.title"),
        ({"second_text": {"body": "No title"}}, "second_text.title"),
        ({"second_text": {"title": "\u200b"}}, "second_text.title"),
        ({"second_text": {**OTHER, "url": NEWS["url"]}}, "second_text.url"),
        ({"second_text": {**OTHER, "sample_percent": 1}}, "second_text.sample_percent"),
        ({"second_text": {**OTHER, "sample_percent": 51}}, "second_text.sample_percent"),
        ({"second_text": {**OTHER, "decide_after_minutes": 0}}, "second_text.decide_after_minutes"),
        (
            {
                "icon": NEWS["url"].ljust(2000, "x"),
                "second_text": {"title": "x", "body": "é" * 1000},
            },
            "second_text.body",
        ),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_what_does_not_go_together_is_refused(
    client: Client, token: str, change: dict[str, Any], field: str
) -> None:
    before = stored(client)
    response = client.call("POST", NOTIFICATIONS, {**TWO, **change}, token=token)
    assert response.status_code == 422
    assert [row["field"] for row in response.json["errors"]] == [field]
    assert stored(client) == before


def test_a_draft_gets_another_second_text_or_none(client: Client, token: str) -> None:
    Reader(client)
    id = publish(client, token, {**TWO, "draft": True})
    address = f"{NOTIFICATIONS}/{id}"

    def changed(change: dict[str, Any]) -> Any:
        return client.call("PATCH", address, change, token=token)

    kept = changed({"title": "Aground"}).json
    assert (kept["title"], kept["second_text"]["title"]) == ("Aground", OTHER["title"])
    refused = changed({"kind": "breaking"})
    assert [row["field"] for row in refused.json["errors"]] == ["kind"]
    other = changed({"second_text": {"title": "Third", "sample_percent": 50}}).json["second_text"]
    assert (other["title"], other["body"], other["sample_percent"]) == ("Third", "", 50)
    assert changed({"second_text": None}).json["second_text"] is None
    assert changed({"second_text": OTHER}).status_code == 200
    client.call("POST", f"{address}/send", token=token)
    one = client.runtime.publishing.get(id)
    assert one.state is State.SENDING
    assert one.second_text is not None
    assert one.second_text.title == OTHER["title"]
    actions = [entry.others for entry in client.runtime.alert_log.of(id)]
    assert actions.count(("second text",)) == 3


def test_an_alert_at_a_local_time_gets_no_second_text(client: Client, token: str) -> None:
    Reader(client)
    wall = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 7 * 86_400))
    planned = {"send_at": wall, "local_time": True}
    refused = client.call("POST", NOTIFICATIONS, {**TWO, **planned}, token=token)
    assert [row["field"] for row in refused.json["errors"]] == ["second_text"]
    id = publish(client, token, {**NEWS, **planned})
    response = client.call(
        "PATCH", f"{API}/notifications/{id}", {"second_text": OTHER}, token=token
    )
    assert [row["field"] for row in response.json["errors"]] == ["second_text"]
