"""Each call of the API needs a token with a scope that allows it, or is open to all."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest

from service.api.calls import call_of
from service.model.newsroom.webhooks import Webhook
from service.model.tokens import SCOPES
from tests.support.client import API, NOTIFICATIONS, Client, Reader, stored
from tests.support.failed_jobs import FAILED_JOB, fail_a_job
from tests.support.inputs import GOOD, NEWS
from tests.support.kept import KEPT, PUBLISH_HOOK, store_kept
from tests.support.newsroom.feeds import store_feed

HOOK = "https://cms.paper.example/hook"
ARTICLE = sha256(HOOK.encode()).hexdigest()[:32]  # the id of the page behind this link
WEBHOOK = Webhook("0123456789abcdef", HOOK, ("alert.sent",), "sealed")
EDITORS_CALLS = [
    ("POST", f"{API}/notifications", NEWS, {"send"}),
    ("GET", f"{API}/notifications", None, {"send", "read"}),
    ("GET", f"{API}/notifications/1", None, {"send", "read"}),
    ("PATCH", f"{API}/notifications/1", {"title": "Other news"}, {"send"}),
    ("DELETE", f"{API}/notifications/1", None, {"send"}),
    ("POST", f"{API}/notifications/1/send", None, {"send"}),
    ("POST", f"{API}/notifications/1/cancel", None, {"send"}),
    ("POST", f"{API}/notifications/1/pause", None, {"send"}),
    ("POST", f"{API}/notifications/1/resume", None, {"send"}),
    ("POST", f"{API}/notifications/1/correct", {"title": "Other news"}, {"send"}),
    ("POST", f"{API}/notifications/1/test", {"subscription_id": "0-0"}, {"send"}),
    ("POST", f"{API}/notifications/1/choose", {"text": "B"}, {"send"}),
    ("POST", f"{API}/audience", {"everyone": True}, {"send", "read"}),
    ("GET", f"{API}/topics", None, {"send", "read", "topics"}),
    ("GET", f"{API}/topics/world", None, {"send", "read", "topics"}),
    ("POST", f"{API}/topics", {"slug": "new", "name": "New"}, {"topics"}),
    ("PATCH", f"{API}/topics/world", {}, {"topics"}),
    ("DELETE", f"{API}/topics/world", None, {"topics"}),
    ("POST", f"{API}/topics/world/move", {"to": "down"}, {"topics"}),
    ("POST", f"{API}/topics/world/merge", {"into": "sport"}, {"topics"}),
    ("GET", f"{API}/templates", None, {"send", "read"}),
    ("POST", f"{API}/templates", {"name": "x", "alert": {}}, {"send"}),
    ("GET", f"{API}/templates/{KEPT}", None, {"send", "read"}),
    ("PATCH", f"{API}/templates/{KEPT}", {"name": "x"}, {"send"}),
    ("DELETE", f"{API}/templates/{KEPT}", None, {"send"}),
    ("GET", f"{API}/audiences", None, {"send", "read"}),
    ("POST", f"{API}/audiences", {"name": "x", "audience": {"everyone": True}}, {"send"}),
    ("GET", f"{API}/audiences/{KEPT}", None, {"send", "read"}),
    ("PATCH", f"{API}/audiences/{KEPT}", {"name": "x"}, {"send"}),
    ("DELETE", f"{API}/audiences/{KEPT}", None, {"send"}),
    ("GET", f"{API}/search", None, {"send", "read"}),
    ("GET", f"{API}/links?url={HOOK}", None, {"send", "read"}),
    ("POST", f"{API}/articles", {"url": HOOK}, {"send"}),
    ("GET", f"{API}/articles/{ARTICLE}", None, {"send"}),
    ("POST", f"{API}/notifications/1/skip", None, {"send"}),
    ("POST", f"{API}/feeds/feedfeedfeed/read", None, {"send"}),
    ("GET", f"{API}/publish-hooks", None, {"webhooks"}),
    ("POST", f"{API}/publish-hooks", GOOD["add hook"], {"webhooks"}),
    ("GET", f"{API}/publish-hooks/{PUBLISH_HOOK}", None, {"webhooks"}),
    ("PATCH", f"{API}/publish-hooks/{PUBLISH_HOOK}", {"draft": True}, {"webhooks"}),
    ("POST", f"{API}/publish-hooks/{PUBLISH_HOOK}/secret", None, {"webhooks"}),
    ("DELETE", f"{API}/publish-hooks/{PUBLISH_HOOK}", None, {"webhooks"}),
    ("GET", f"{API}/feeds", None, {"send", "read"}),
    ("GET", f"{API}/feeds/feedfeedfeed", None, {"send", "read"}),
    ("POST", f"{API}/feeds", {"url": "https://paper.example/", "everyone": True}, {"send"}),
    ("PATCH", f"{API}/feeds/feedfeedfeed", {}, {"send"}),
    ("DELETE", f"{API}/feeds/feedfeedfeed", None, {"send"}),
    ("GET", f"{API}/feeds/feedfeedfeed/log", None, {"send", "read"}),
    ("POST", f"{API}/feeds/feedfeedfeed/rehearse", None, {"send", "read"}),
    ("GET", f"{API}/webhooks", None, {"webhooks"}),
    ("POST", f"{API}/webhooks", {"address": HOOK, "events": ["alert.sent"]}, {"webhooks"}),
    ("GET", f"{API}/webhooks/{WEBHOOK.id}", None, {"webhooks"}),
    ("PATCH", f"{API}/webhooks/{WEBHOOK.id}", {"paused": True}, {"webhooks"}),
    ("POST", f"{API}/webhooks/{WEBHOOK.id}/rotate", None, {"webhooks"}),
    ("POST", f"{API}/webhooks/{WEBHOOK.id}/test", None, {"webhooks"}),
    ("DELETE", f"{API}/webhooks/{WEBHOOK.id}", None, {"webhooks"}),
    ("GET", f"{API}/stories", None, {"send", "read"}),
    ("DELETE", f"{API}/stories/quake", None, {"send"}),
    ("GET", f"{API}/notifications/1/figures", None, {"read"}),
    ("GET", f"{API}/totals", None, {"read"}),
    ("GET", f"{API}/log", None, {"read"}),
    ("GET", f"{API}/stop", None, {"send", "read"}),
    ("POST", f"{API}/stop", None, {"send"}),
    ("DELETE", f"{API}/stop", None, {"send"}),
    ("GET", "/metrics", None, {"read"}),
    ("GET", "/healthz/full", None, {"read"}),
    ("GET", f"{API}/operations", None, {"read"}),
    ("GET", f"{API}/operations/jobs", None, {"read"}),
    ("POST", f"{API}/operations/jobs/{FAILED_JOB}/retry", None, {"send"}),
    ("DELETE", f"{API}/operations/jobs/{FAILED_JOB}", None, {"send"}),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "scopes"),
    EDITORS_CALLS,
    ids=[f"{method} {path}" for method, path, _, _ in EDITORS_CALLS],
)
def test_each_call_of_a_tool_needs_a_token_with_its_scope(
    client: Client, method: str, path: str, body: Any, scopes: set[str]
) -> None:
    Reader(client)
    planned = method in ("PATCH", "DELETE") or path.endswith("send")
    first = NEWS | {"draft": planned and "stories" not in path, "story": "quake"}
    if path.endswith("choose"):
        first["second_text"] = {"title": "Ferry runs aground"}
    if path.endswith("skip"):
        at = datetime.now(timezone.utc) + timedelta(days=3)
        first["send_at"] = f"{at:%Y-%m-%dT%H:%M}[Europe/Riga]"
        first["repeat"] = {"weekdays": ["fri"]}
    client.call("POST", NOTIFICATIONS, first, token=client.add_token())
    if path.endswith("resume"):
        client.runtime.publishing.pause(1, by="a test")
    store_feed(client.runtime)
    store_kept(client.runtime)
    fail_a_job(client.runtime)
    client.runtime.store.articles.ask(ARTICLE, HOOK)
    client.runtime.store.webhooks.add(WEBHOOK, "")
    every = {*SCOPES}
    tokens = {scope: client.add_token(scope, [scope]) for scope in every}
    before = stored(client)
    for scope in every - scopes:
        response = client.call(method, path, body, token=tokens[scope])
        assert response.status_code == 403
        assert min(scopes) in response.json["detail"]
    for wrong in (None, "unknown", "é" * 50):
        refused = client.call(method, path, body, token=wrong)
        assert refused.status_code == 401
        assert ("is unknown or was revoked" in refused.json["detail"]) is (wrong is not None)
    assert stored(client) == before
    # A filter that is spelled wrong must not find everything.
    asked = f"{path}{'&' if '?' in path else '?'}limt=5"
    refused = client.call(method, asked, body, token=tokens[min(scopes)])
    assert [one["field"] for one in refused.json["errors"]] == ["limt"]
    assert stored(client) == before
    # What sends alerts by itself later on takes the scope that sends, too.
    enough = [min(scopes), *(["send"] if "publish-hooks" in path else [])]
    token = client.add_token("enough", enough)
    assert client.call(method, path, body, token=token).status_code < 300


def test_the_table_has_every_call_that_needs_an_api_token(client: Client) -> None:
    described = client.call("GET", f"{API}/openapi.json").json["paths"]
    guarded = {
        (method.upper(), path)
        for path, calls in described.items()
        for method, call in calls.items()
        if "editor" in call.get("security", [{}])[0]
    }
    named = {
        (
            method,
            path.replace("/1", "/{id}")
            .replace("/world", "/{slug}")
            .replace("/quake", "/{slug}")
            .replace("feedfeedfeed", "{feed}")
            .replace(KEPT, "{template}")
            .replace(PUBLISH_HOOK, "{hook}")
            .replace(FAILED_JOB, "{job}")
            .replace(ARTICLE, "{article}")
            .partition("?")[0]
            .replace(WEBHOOK.id, "{hook}"),
        )
        for method, path, _, _ in EDITORS_CALLS
    }
    assert named == guarded, "a new call of a tool needs a row in `EDITORS_CALLS`"


# What readers' browsers and monitors call without a token.
OPEN = {
    *("health.alive", "health.ready", "api.openapi.description"),
    *("api.readers.site", "api.readers.subscribe", "api.readers.report"),
    "api.readers.count_question",
    "api.hooks.take_story",  # its call is signed
}


def test_no_other_route_is_open_without_a_token(client: Client) -> None:
    calls = {
        rule.endpoint: call_of(client.app.view_functions[rule.endpoint])
        for rule in client.app.url_map.iter_rules()
        if rule.endpoint.startswith(("api.", "health."))
    }
    assert {name for name, call in calls.items() if call is None or call.by is None} == OPEN
    tools = [call for call in calls.values() if call and call.by and call.by.scheme == "editor"]
    assert len(tools) >= 20
    assert all(call.by.scopes for call in tools), "each names the scopes that it needs"
