"""What the desk can, the API can; what it leaves out on purpose has a reason."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from service.api.calls import call_of
from service.model.newsroom.articles import Article, Reading
from tests.support.client import API, NOTIFICATIONS, Client, Reader
from tests.support.inputs import GOOD, NEWS
from tests.support.newsroom.feeds import pretend_a_fetch_process

PAGE = "a page: other calls have what it shows"
PERSON = "a person answers for it"
COMES_IN = "who may come in is decided by people who are signed in"
TYPED = "what an editor is typing; a tool keeps a draft"
OPERATOR = "the operator's, or a trial"
# By route of the desk: the call of the API that does the same, or why there is none.
SAME = {
    **dict.fromkeys(("start.start", "start.setup", "start.send", "start.follow"), OPERATOR),
    **dict.fromkeys(
        ("rehearse", "start_rehearsal", "rehearsal_progress", "end_rehearsal"), OPERATOR
    ),
    **dict.fromkeys(("settings", "change_settings"), OPERATOR),
    **dict.fromkeys(("static", "htmx", "missing", "shortcuts", "session"), PAGE),
    **dict.fromkeys(("confirm", "edit", "write_correction", "write_retraction", "wrong"), PAGE),
    **dict.fromkeys(("sign_in", "sign_in_code", "go_to_provider", "back_from_provider"), COMES_IN),
    **dict.fromkeys(("begin_passkey_sign_in", "sign_in_by_passkey", "welcome"), COMES_IN),
    **dict.fromkeys(("sign_out", "people", "invite", "person", "set_role", "new_link"), COMES_IN),
    **dict.fromkeys(("end_sessions", "remove", "two_step", "begin_two_step"), COMES_IN),
    **dict.fromkeys(("switch_on_two_step", "switch_off_two_step", "switch_off_for"), COMES_IN),
    **dict.fromkeys(("begin_passkey", "add_passkey", "remove_passkey", "begin_pairing"), COMES_IN),
    **dict.fromkeys(("pairing", "pairing_state", "end_pairing", "unpair"), COMES_IN),
    **dict.fromkeys(("tokens", "add_token", "revoke_token"), COMES_IN),
    **dict.fromkeys(("approve", "send_back", "confirm_gone", "take_back", "hand_in"), PERSON),
    **dict.fromkeys(("compose", "unfinished", "discard", "keep"), TYPED),
    **dict.fromkeys(("alerts", "live_list"), "notifications.latest"),
    "search": "searching.search",
    **dict.fromkeys(("alert", "progress"), "notifications.show"),
    "export_report": "newsroom.figures",
    **dict.fromkeys(("overview", "export_overview"), "newsroom.totals"),
    **dict.fromkeys(("log", "export_log"), "newsroom.log"),
    "cancel": "notifications.cancel",
    **dict.fromkeys(("pause", "halt"), "notifications.pause"),
    **dict.fromkeys(("resume", "go_on"), "notifications.resume"),
    "undo": "notifications.change",  # to a draft
    "skip_undo": "notifications.send",
    "skip": "notifications.skip",
    "choose": "notifications.choose",
    **dict.fromkeys(("correct", "retract"), "notifications.correct"),
    "stop": "newsroom.stop",
    "release": "newsroom.release",
    **dict.fromkeys(("finish", "send"), "notifications.publish"),
    "save": "notifications.change",
    "delete": "notifications.remove",
    "send_to_me": "notifications.test",
    **dict.fromkeys(("review", "reach"), "topics.audience"),
    "templates": "templates.templates",
    "save_template": "templates.add_template",
    "rename_template": "templates.rename_template",
    "delete_template": "templates.remove_template",
    "use_audience": "templates.saved_audience",
    "save_audience": "templates.add_saved_audience",
    "rename_audience": "templates.rename_saved_audience",
    "delete_audience": "templates.remove_saved_audience",
    "stories": "topics.stories",
    "close_story": "topics.close_story",
    "read_article": "searching.read_article",
    "article": "searching.article",
    "check_link": "searching.link",
    "topics": "topics.topics",
    "add_topic": "topics.add_topic",
    "change_topic": "topics.change_topic",
    "move_topic": "topics.move_topic",
    "merge_topic": "topics.merge_topic",
    "remove_topic": "topics.remove_topic",
    "feeds": "feeds.feeds",
    "feed": "feeds.feed_log",
    "add_feed": "feeds.add_feed",
    "change_feed": "feeds.change_feed",
    "steer_feed": "feeds.read_feed",
    "remove_feed": "feeds.remove_feed",
    "webhooks": "webhooks.webhooks",
    "add_webhook": "webhooks.add_webhook",
    **dict.fromkeys(("change_webhook", "pause_webhook"), "webhooks.change_webhook"),
    "test_webhook": "webhooks.test_webhook",
    "rotate_webhook": "webhooks.rotate_webhook",
    "remove_webhook": "webhooks.remove_webhook",
    "hooks": "publish_hooks.publish_hooks",
    "add_hook": "publish_hooks.add_publish_hook",
    "change_hook": "publish_hooks.change_publish_hook",
    "new_hook_secret": "publish_hooks.renew_publish_hook",
    "remove_hook": "publish_hooks.remove_publish_hook",
    **dict.fromkeys(("operations", "live_operations"), "operations.operations"),
    "retry_job": "operations.retry_job",
    "throw_away_job": "operations.throw_away_job",
}


def test_each_route_of_the_desk_has_a_call_that_does_the_same_or_a_reason(client: Client) -> None:
    routes = {
        rule.endpoint.removeprefix("desk.")
        for rule in client.app.url_map.iter_rules()
        if rule.endpoint.startswith(("desk.", "start."))
    }
    assert routes == set(SAME), "a new route of the desk needs a call, or a reason, here"
    for same in set(SAME.values()) - {PAGE, PERSON, COMES_IN, TYPED, OPERATOR}:
        assert call_of(client.app.view_functions[f"api.{same}"]), same


# Templates and saved audiences --------------------------------------------------------------------


def test_a_template_of_a_tool_is_one_of_the_desk_and_an_alert_begins_with_it(
    client: Client, token: str
) -> None:
    made = client.call("POST", f"{API}/templates", GOOD["add template"], token=token)
    assert made.status_code == 201
    place = made.headers["Location"]
    again = client.call("POST", f"{API}/templates", GOOD["add template"], token=token)
    assert again.json["id"] == made.json["id"], "a call that is repeated"
    shown = client.call("GET", place, token=token).json
    assert (shown["name"], shown["saved_by"]) == ("Match result", "a test")
    assert shown["alert"]["audience"] == {"topics": ["sport"], "exclude": ["world"]}
    (kept,) = client.runtime.templates.all()
    assert (kept.fields["title"], kept.fields["spread"]) == ("Final score", "30")
    sent = client.call("POST", NOTIFICATIONS, {**shown["alert"], "title": "2:1"}, token=token)
    assert sent.status_code == 202
    alert = client.call("GET", sent.headers["Location"], token=token).json
    assert (alert["title"], alert["kind"], alert["ttl"]) == ("2:1", "breaking", 3600)
    assert (alert["story"], alert["spread_minutes"]) == ("cup", 30)
    other = {**GOOD["add template"], "alert": {"title": "Another"}}
    assert client.call("POST", f"{API}/templates", other, token=token).status_code == 409
    renamed = client.call("PATCH", place, {"name": " Final  score "}, token=token)
    assert renamed.json["name"] == "Final score"
    assert client.call("DELETE", place, token=token).status_code == 204
    assert client.call("GET", place, token=token).status_code == 404
    assert client.call("DELETE", place, token=token).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"title": "", "ttl": "an hour", "spread": "some", "new_within_days": "all", "kind": "new"},
        {"title_b": "B", "sample": "a few", "decide_after": "", "audience": "everyone"},
    ],
)
def test_a_template_that_an_editor_left_half_filled_in_is_shown_as_far_as_it_makes_sense(
    client: Client, token: str, fields: dict[str, Any]
) -> None:
    kept = client.runtime.templates.add("Half", fields, "nora@paper.example")
    shown = client.call("GET", f"{API}/templates/{kept.id}", token=token)
    assert shown.status_code == 200
    assert shown.json["alert"]["ttl"] is shown.json["alert"]["spread_minutes"] is None


def test_a_saved_audience_is_shared_with_the_desk(client: Client, token: str) -> None:
    audience = {"topics": ["sport"], "locales": ["en", "lv"], "new_within_days": 7}
    body = {"name": "Fans", "audience": audience}
    made = client.call("POST", f"{API}/audiences", body, token=token)
    assert made.json["audience"] == audience
    (kept,) = client.runtime.saved_audiences.all()
    assert (kept.fields["locales"], kept.fields["new_within_days"]) == ("en lv", "7")
    (listed,) = client.call("GET", f"{API}/audiences", token=token).json["audiences"]
    assert listed == made.json
    place = made.headers["Location"]
    etag = client.call("GET", place, token=token).headers["ETag"]
    known = client.call("GET", place, token=token, headers={"If-None-Match": etag})
    assert known.status_code == 304
    assert client.call("DELETE", place, token=token).status_code == 204


# Publish hooks ------------------------------------------------------------------------------------


def test_a_tool_sets_up_a_publish_hook_if_it_may_send(client: Client, token: str) -> None:
    at, body = f"{API}/publish-hooks", GOOD["add hook"]
    alone = client.add_token("hears", ["webhooks"])
    refused = client.call("POST", at, body, token=alone)
    assert refused.status_code == 403
    assert "send" in refused.json["detail"]
    made = client.call("POST", at, body, token=token)
    assert (made.status_code, made.json["secret"]) == (201, body["secret"])
    place = made.headers["Location"]
    shown = client.call("GET", place, token=alone).json
    assert shown["address"].endswith(f"/api/v1/hooks/{made.json['id']}")
    assert (shown["topics"], shown["otherwise"]) == ({"tennis": "sport"}, "*")
    assert shown["places"] == body["places"]
    assert body["secret"] not in client.call("GET", at, token=token).text
    changed = client.call("PATCH", place, {"draft": True, "otherwise": ""}, token=token).json
    assert (changed["draft"], changed["otherwise"], changed["name"]) == (True, "", "Ghost")
    renewed = client.call("POST", f"{place}/secret", token=token).json["secret"]
    assert renewed.startswith("whsec_")
    assert client.call("DELETE", place, token=token).status_code == 204
    assert client.call("GET", place, token=token).status_code == 404


# Alerts and links ---------------------------------------------------------------------------------


def test_a_link_that_went_out_is_found_and_alerts_are_searched(client: Client, token: str) -> None:
    link = f"{API}/links?url=https://paper.example/ferry%23top"
    assert client.call("GET", link, token=token).json == {"alert": None}
    for title in ("Ferry aground", "Ferry afloat", "Storm"):
        url = f"https://paper.example/{title.split()[0].lower()}"
        client.call("POST", NOTIFICATIONS, {**NEWS, "title": title, "url": url}, token=token)
    found = client.call("GET", link, token=token).json["alert"]
    assert (found["title"], found["status"]) == ("Ferry afloat", "sending")
    but = client.call("GET", f"{link}&but={found['id']}", token=token).json["alert"]
    assert but["title"] == "Ferry aground"
    page = client.call("GET", f"{API}/search?text=FERRY&limit=1", token=token).json
    assert [one["title"] for one in page["notifications"]] == ["Ferry afloat"]
    assert page["found"] == 2
    rest = f"{API}/search?text=ferry&cursor={page['next_cursor']}"
    page = client.call("GET", rest, token=token).json
    assert [one["title"] for one in page["notifications"]] == ["Ferry aground"]
    for query, count in (
        ("status=sending", 3),
        ("status=draft", 0),
        ("kind=breaking", 0),
        ("by=TEST", 3),
        ("since=2000-01-01&until=2000-01-02", 0),
        ("topic=world", 0),
    ):
        assert client.call("GET", f"{API}/search?{query}", token=token).json["found"] == count
    log = client.call("GET", f"{API}/log?title=storm&action=sent", token=token).json["entries"]
    assert [one["title"] for one in log] == ["Storm"]
    for query in ("status=gone", "since=today", "kind=old", f"text={'x' * 201}", "cursor=99"):
        refused = client.call("GET", f"{API}/search?{query}", token=token)
        assert refused.json["errors"][0]["field"] == query.partition("=")[0]
    assert client.call("GET", f"{API}/links", token=token).status_code == 422


def test_an_alert_is_filled_in_from_the_page_behind_its_link(client: Client, token: str) -> None:
    pretend_a_fetch_process(client.runtime.store.redis)
    asked = client.call("POST", f"{API}/articles", {"url": "paper.example/ferry"}, token=token)
    assert (asked.status_code, asked.json["is_read"]) == (202, False)
    place = f"{API}/articles/{asked.json['id']}"
    assert not client.call("GET", place, token=token).json["is_read"]
    url = "https://paper.example/ferry"
    read = Reading(url, 200, article=Article(title="Ferry aground", language="en"))
    client.runtime.store.articles.keep(asked.json["id"], read.as_json())
    shown = client.call("GET", place, token=token).json
    assert (shown["is_read"], shown["title"], shown["lang"]) == (True, "Ferry aground", "en")
    assert (shown["url"], shown["problems"]) == (url, [])
    refused = client.call("POST", f"{API}/articles", {"url": "no link"}, token=token)
    assert refused.status_code == 422
    assert client.call("GET", f"{API}/articles/{'0' * 32}", token=token).status_code == 404


def test_the_next_time_of_an_alert_that_repeats_is_left_out_once(
    client: Client, token: str
) -> None:
    at = datetime.now(timezone.utc) + timedelta(days=3)
    body = {**NEWS, "send_at": f"{at:%Y-%m-%dT%H:%M}[Europe/Riga]"}
    body["repeat"] = {"weekdays": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}
    place = client.call("POST", NOTIFICATIONS, body, token=token).headers["Location"]
    read = client.call("GET", place, token=token)
    seen = {"If-Match": read.headers["ETag"]}
    skipped = client.call("POST", f"{place}/skip", token=token, headers=seen)
    assert skipped.status_code == 200
    assert skipped.json["send_at"] > read.json["send_at"]
    again = client.call("POST", f"{place}/skip", token=token, headers=seen)
    assert again.status_code == 412, "the same call again skips no second day"
    assert client.call("GET", place, token=token).json["send_at"] == skipped.json["send_at"]
    once = client.call("POST", NOTIFICATIONS, {**NEWS, "draft": True}, token=token)
    path = f"{once.headers['Location']}/skip"
    assert client.call("POST", path, token=token).status_code == 409


# Topics and feeds ---------------------------------------------------------------------------------


def test_topics_are_put_in_order_and_merged(client: Client, token: str) -> None:
    Reader(client, topics=["world"])
    moved = client.call("POST", f"{API}/topics/world/move", {"to": "down"}, token=token)
    assert moved.json["slug"] == "world"
    assert [*client.runtime.topics.all()] == ["sport", "world"]
    merged = client.call("POST", f"{API}/topics/world/merge", {"into": "sport"}, token=token)
    assert (merged.json["topic"]["slug"], merged.json["asked"]) == ("sport", 0)
    assert [*client.runtime.topics.all()] == ["sport"]
    path = f"{API}/topics/world/merge"
    assert client.call("POST", path, {"into": "sport"}, token=token).status_code == 200
    for slug, into in (("sport", "sport"), ("world", "cooking")):
        path = f"{API}/topics/{slug}/merge"
        assert client.call("POST", path, {"into": into}, token=token).status_code == 422
    path = f"{API}/topics/cooking/merge"
    assert client.call("POST", path, {"into": "sport"}, token=token).status_code == 404


def test_a_feed_is_read_at_once_and_has_link_parameters_of_its_own(
    client: Client, token: str
) -> None:
    body = {"url": "https://paper.example/rss", "everyone": True, "minutes": 60}
    body["link_parameters"] = "utm_source=rss&utm_campaign={id}"
    made = client.call("POST", f"{API}/feeds", body, token=token)
    assert made.json["link_parameters"] == body["link_parameters"]
    place = made.headers["Location"]
    client.runtime.store.redis.zadd("{g}:feeds:due", {made.json["id"]: 4e9})
    read = client.call("POST", f"{place}/read", token=token)
    assert read.status_code == 202
    assert read.json["next_at"] < "2090"
    for wrong in ("utm source=rss", "utm_source", "x" * 301):
        changed = client.call("PATCH", place, {"link_parameters": wrong}, token=token)
        assert changed.json["errors"][0]["field"] == "link_parameters"
