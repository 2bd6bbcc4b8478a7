"""A CMS calls when it publishes a story: signed, once a story, and never a 500."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from standardwebhooks import Webhook

from service.api.alerts import references
from service.domain.newsroom.publish_hooks import WrongHook
from service.model.newsroom.publish_hooks import EVERYONE, PublishHook, at
from service.model.notifications import State
from tests.support import ROOT
from tests.support.client import API, Client

BY = "ada@paper.example"
GHOST = "a secret that Ghost has made"
STORY: dict[str, Any] = {
    "post": {
        "id": 4711,
        "title": "Ferry aground",
        "excerpt": "All aboard are safe.",
        "url": "https://paper.example/ferry",
        "image": "/pictures/ferry.jpg",
        "tags": [{"slug": "Politics", "name": "x"}, {"slug": "sea"}],
    }
}
PATHS = {
    "title": "post.title",
    "url": "/post/url",
    "body": "post.excerpt",
    "image": "post.image",
    "section": "post.tags",
    "story": "post.id",
}


class Cms:
    """A CMS whose calls are signed."""

    def __init__(self, client: Client, **given: Any) -> None:
        self.client = client
        fields = {"paths": PATHS, "topics": {"politics": "world"}, "draft": False} | given
        secret = GHOST if given.get("header") else ""
        hook = PublishHook("", "Ghost", "", **fields)
        self.hook, self.secret = client.runtime.publish_hooks.add(hook, secret, BY)
        self.url = f"{API}/hooks/{self.hook.id}"

    def signed(self, body: bytes, id: str = "msg_1", at: float | None = None) -> dict[str, str]:
        moment = datetime.fromtimestamp(int(at or time.time()), timezone.utc)
        return {
            "webhook-id": id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(id, moment, body.decode("latin-1")),
        }

    def post(self, story: Any = STORY, id: str = "msg_1", **more: Any) -> Any:
        body = story if isinstance(story, bytes) else json.dumps(story).encode()
        headers = more.pop("headers", None)
        headers = self.signed(body, id) if headers is None else headers
        return self.client.call("POST", self.url, data=body, headers=headers, **more)

    def said(self) -> list[tuple[int, str]]:
        ((_, calls),) = self.client.runtime.publish_hooks.all()
        return [(one.status, one.detail) for one in calls]


def changed(**fields: Any) -> dict[str, Any]:
    return {"post": STORY["post"] | fields}


@pytest.mark.redis
def test_a_story_becomes_an_alert_once_whatever_is_repeated_or_changed(client: Client) -> None:
    cms, publishing = Cms(client), client.runtime.publishing
    taken = cms.post()
    assert taken.status_code == 202
    one = publishing.get(int(taken.json["id"]))
    assert (one.content.title, one.content.body) == ("Ferry aground", "All aboard are safe.")
    assert one.content.url == "https://paper.example/ferry"
    assert one.content.image == "https://paper.example/pictures/ferry.jpg"
    assert one.audience.topics == ("world",)
    assert (one.state, one.created_by) == (State.SENDING, "Ghost")
    assert one.authors == (BY,), "who made the hook cannot approve as the second person"
    assert cms.post().json == taken.json, "a replay"
    assert cms.post(id="msg_2").json["id"] == taken.json["id"]
    moved = changed(title="Ferry afloat", url="https://paper.example/2", tags=["politics"])
    assert cms.post(moved, "msg_3").json == {
        "id": taken.json["id"],
        "detail": "This story was alerted before, so nothing was done.",
    }
    assert len(publishing.latest(9)) == 1
    assert cms.post(changed(id=4712), "msg_4").json["id"] != taken.json["id"]


@pytest.mark.redis
def test_a_draft_follows_the_story_until_an_editor_has_sent_or_deleted_it(client: Client) -> None:
    cms, publishing = Cms(client, draft=True), client.runtime.publishing
    id = int(cms.post().json["id"])
    assert publishing.get(id).state is State.DRAFT
    html = cms.post(changed(title="<b>Ferry</b> afloat"), "msg_2").json
    assert publishing.get(id).content.title == "<b>Ferry</b> afloat"
    assert html["detail"] == "The draft was changed."
    assert [one["field"] for one in html["warnings"]] == ["title"]
    assert f"title: {html['warnings'][0]['detail']}" in cms.said()[0][1]
    publishing.remove(id, by=BY)
    assert cms.post(changed(title="Once more"), "msg_3").json["id"] is None
    assert publishing.latest(9) == []


def test_a_second_call_while_a_first_changes_the_draft_changes_it_too(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cms, real = Cms(client, draft=True), references.change
    id = int(cms.post().json["id"])

    def change(*given: Any) -> Any:
        monkeypatch.undo()  # a CMS says in two calls that a story was published and changed
        cms.post(changed(title="Ferry afloat"), "msg_2")
        return real(*given)

    monkeypatch.setattr(references, "change", change)
    cms.post(changed(title="Ferry in port"), "msg_3")
    assert [detail for _, detail in cms.said()[:2]] == ["The draft was changed."] * 2
    assert client.runtime.publishing.get(id).content.title == "Ferry in port"


@pytest.mark.parametrize(
    ("tags", "otherwise", "topics"),
    [
        ("Politics", "", ("world",)),
        (["x", " POLITICS "], "sport", ("world",)),
        ([7], "sport", ("sport",)),
        (None, "sport", ("sport",)),
        ({"name": "politics"}, "", ("world",)),
        ([[]], EVERYONE, ()),
    ],
)
def test_the_section_chooses_the_topic(
    client: Client, tags: Any, otherwise: str, topics: tuple[str, ...]
) -> None:
    cms = Cms(client, otherwise=otherwise)
    one = client.runtime.publishing.get(int(cms.post(changed(tags=tags)).json["id"]))
    assert (one.audience.topics, one.audience.everyone) == (topics, not topics)


def test_a_story_whose_section_has_no_topic_alerts_nobody(client: Client) -> None:
    cms = Cms(client)
    taken = cms.post(changed(tags=["recipes"]))
    assert (taken.status_code, taken.json["id"]) == (202, None)
    assert client.runtime.publishing.latest(9) == []
    assert cms.said() == [(202, "The story’s section has no topic, so nothing was done.")]


def test_a_call_without_the_right_signature_is_refused_and_listed_once(client: Client) -> None:
    cms = Cms(client)
    body = json.dumps(STORY).encode()
    right = cms.signed(body)
    wrong: list[dict[str, str]] = [
        {},
        {**right, "webhook-id": "msg_2"},
        {**right, "webhook-signature": "v1"},
        {**right, "webhook-signature": "v1,!!!"},
        {**right, "webhook-signature": "v2," + right["webhook-signature"][3:]},
        {**right, "webhook-timestamp": "soon"},
        {**right, "webhook-timestamp": "1e999"},
        cms.signed(body, at=time.time() - 301),
        cms.signed(body, at=time.time() + 400),
        cms.signed(body + b" "),
    ]
    for headers in wrong:
        assert cms.post(body, headers=headers).status_code == 401, headers
    assert client.runtime.publishing.latest(9) == []
    assert [status for status, _ in cms.said()] == [401]
    cms.client.runtime.publish_hooks.new_secret(cms.hook.id)
    assert cms.post().status_code == 401
    unknown = client.call("POST", f"{API}/hooks/{'0' * 32}", data=body, headers=right)
    assert unknown.status_code == 404


@pytest.mark.parametrize("form", ["sha256={hex}", "{hex}", "{base64}", "{ghost}"])
def test_an_hmac_of_the_body_in_a_header_of_the_cms_is_a_signature_too(
    client: Client, form: str
) -> None:
    cms = Cms(client, header="X-Ghost-Signature")
    body = json.dumps(STORY).encode()

    def signature(body: bytes, ago: float = 0) -> dict[str, str]:
        ms = str(int((time.time() - ago) * 1000))
        made = hmac.digest(GHOST.encode(), body, "sha256")
        timed = hmac.digest(GHOST.encode(), body + ms.encode(), "sha256")
        given = {"hex": made.hex(), "base64": base64.b64encode(made).decode()}
        given["ghost"] = f"sha256={timed.hex()}, t={ms}"
        return {"X-Ghost-Signature": form.format(**given)}

    taken = cms.post(body, headers=signature(body))
    assert taken.status_code == 202
    assert cms.post(body, headers=signature(body)).json == taken.json
    assert cms.post(body + b" ", headers=signature(body)).status_code == 401
    assert cms.post(body, headers={"X-Ghost-Signature": "é, t=é"}).status_code == 401
    assert cms.post(body, headers={"X-Ghost-Signature": "sha256=, t=99999999"}).status_code == 401
    if "ghost" in form:
        assert cms.post(body, headers=signature(body, ago=301)).status_code == 401


def test_a_call_is_known_for_as_long_as_its_signature_holds(client: Client) -> None:
    cms, redis = Cms(client, draft=True), client.runtime.store.redis
    sent = Webhook(cms.secret)

    def is_taken(seconds: float) -> bool:
        made = datetime.fromtimestamp(time.time() + seconds, timezone.utc)
        headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(made.timestamp()))}
        headers["webhook-signature"] = sent.sign("msg_1", made, json.dumps(STORY))
        return bool(cms.post(headers=headers).status_code == 202)

    ahead = next(seconds for seconds in range(600, 0, -10) if is_taken(seconds))
    behind = next(seconds for seconds in range(600, 0, -10) if is_taken(-seconds))
    (key,) = redis.keys("{g}:hooks:seen:*")
    assert redis.ttl(key) >= ahead + behind


def test_a_recorded_call_without_a_time_brings_no_old_text_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cms, publishing = (
        Cms(client, header="X-Hub-Signature-256", draft=True),
        client.runtime.publishing,
    )

    def post(story: Any) -> Any:
        body = json.dumps(story).encode()
        made = hmac.digest(GHOST.encode(), body, "sha256").hex()
        return cms.post(body, headers={"X-Hub-Signature-256": f"sha256={made}"})

    # As if ten minutes had passed after each call: its answer is forgotten.
    monkeypatch.setattr(client.runtime.publish_hooks, "answered", lambda _call: None)
    first, second = changed(title="Two dead"), changed(title="Nobody dead")
    id = int(post(first).json["id"])
    assert post(second).json["id"] == str(id)
    for old in (first, second):
        assert post(old).json == {
            "id": str(id),
            "detail": "This text of the story was taken before, so nothing was done.",
        }
    assert publishing.get(id).content.title == "Nobody dead"
    assert post(changed(id=4712, title="Two dead")).json["id"] != str(id), "another story"
    assert post(changed(title="One hurt")).json["id"] == str(id)
    assert publishing.get(id).content.title == "One hurt"


def test_a_cms_may_send_the_whole_story(client: Client) -> None:
    cms = Cms(client)
    assert cms.post(changed(html="<p>All aboard are safe.</p>" * 20_000)).status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "It is empty"),
        (b"{", 400, "not JSON"),
        (b'"\\ud800"', 400, "half a character"),
        (b'{"a": 1, "a": 2}', 400, "a twice"),
        (b"[" * 30_000, 400, "nested too deeply"),
        (b"null", 422, "title: There is no text at post.title."),
        (b"[]", 422, "link: There is no text at /post/url."),
        (b'{"post": "a"}', 422, "title"),
        (changed(title=True), 422, "title: There is no text at post.title."),
        (changed(title=["a"]), 422, "title"),
        (changed(title="\u200b"), 422, "title"),
        (changed(title="x" * 201), 422, "title: Must have at most 200 characters."),
        (changed(url="javascript:alert(1)"), 422, "link: Must begin with https://."),
        (changed(url="https://a b/"), 422, "link"),
        (b" " * 1_100_000, 413, "1 MB"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_payload_that_cannot_be_used_is_refused_in_words_and_listed(
    client: Client, body: Any, status: int, says: str
) -> None:
    cms = Cms(client)
    answer = cms.post(body)
    assert answer.status_code == status
    ((noted, detail),) = cms.said()
    assert noted == status
    assert says in detail
    assert client.runtime.publishing.latest(9) == []
    assert cms.post(id="msg_2").status_code == 202


def test_odd_payloads_are_used_as_far_as_they_make_sense(client: Client) -> None:
    cms, publishing = Cms(client), client.runtime.publishing
    odd = changed(title=24, excerpt="x " * 400, image="http://[", id=None)
    one = publishing.get(int(cms.post(odd).json["id"]))
    assert (one.content.title, one.content.image) == ("24", None)
    assert len(one.content.body) <= 300
    again = cms.post(changed(id=None, title="Other"), "msg_2").json
    assert again["id"] == str(one.id), "without an id, its link tells a story from others"


def test_a_link_may_be_made_of_places_in_the_document(client: Client) -> None:
    cms = Cms(client, paths={**PATHS, "url": "https://paper.example/{post.id}/{post.slug}"})
    taken = cms.post(changed(slug="der Fährmann"))
    one = client.runtime.publishing.get(int(taken.json["id"]))
    assert one.content.url == "https://paper.example/4711/der%20F%C3%A4hrmann"
    assert cms.post(changed(), "msg_2").status_code == 422


def test_the_last_ten_calls_are_kept(client: Client) -> None:
    cms = Cms(client)
    for number in range(12):
        cms.post(changed(tags=["recipes"]), f"msg_{number}")
    assert len(cms.said()) == 10


@pytest.mark.redis
def test_of_two_who_change_a_hook_at_once_neither_takes_back_what_the_other_did(
    client: Client,
) -> None:
    hooks = client.runtime.publish_hooks
    hook, first = hooks.add(PublishHook("", "Ghost", "", paths=PATHS), "", BY)
    secrets = [first]

    def renamed(before: PublishHook) -> PublishHook:
        if len(secrets) == 1:
            secrets.append(hooks.new_secret(hook.id))
        return replace(before, name="Drupal")

    hooks.change(hook.id, renamed)
    assert (hooks.get(hook.id).name, hooks._seals.open(hooks.get(hook.id).secret)) == (
        "Drupal",
        secrets[1],
    )


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b", 1),
        ("/a/b", 1),
        ("/c~1d", 2),
        ("list.1", "y"),
        ("/list/0", "x"),
        ("list.2", None),
        ("list.-1", None),
        ("list.²", None),
        ("a.b.c", None),
        ("", None),
    ],
)
def test_a_place_is_named_by_dots_or_by_a_json_pointer(path: str, found: Any) -> None:
    assert at({"a": {"b": 1}, "c/d": 2, "list": ["x", "y"]}, path) == found


# Each would give all stories the same link, or one that leads nowhere.
NO_ADDRESSES = ("https://paper.example/{slug", "https://paper.example/{}", "{slug}", "/{slug}")
NO_ADDRESSES += ("https://paper.example/slug}", "https://paper.example/{{slug}}")


@pytest.mark.parametrize(
    ("given", "secret", "field"),
    [
        ({"name": " "}, "", "name"),
        ({"header": "X Y"}, "", "header"),
        ({"paths": {"title": "a"}}, "", "url"),
        ({"paths": {"title": "a" * 300, "url": "b"}}, "", "title"),
        *(({"paths": {"title": "a", "url": url}}, "", "url") for url in NO_ADDRESSES),
        ({"paths": {"title": "{a}: {b}", "url": "b"}}, "", "title"),
        ({}, "short", "secret"),
        ({}, "not made as Standard Webhooks says", "secret"),
        ({}, "whsec_!!!!!!!!!!!!!!!", "secret"),
    ],
)
def test_a_hook_that_cannot_work_is_refused(
    client: Client, given: dict[str, Any], secret: str, field: str
) -> None:
    fields = {"name": "Ghost", "secret": "", "paths": PATHS} | given
    with pytest.raises(WrongHook) as wrong:
        client.runtime.publish_hooks.add(PublishHook("", **fields), secret, BY)
    assert field in wrong.value.errors
    assert client.runtime.publish_hooks.all() == []


def test_the_example_of_the_guide_works_and_the_known_places_are_named(client: Client) -> None:
    guide = (ROOT / "docs" / "cms.md").read_text()
    (example,) = re.findall(r'```json\n({"name": "Ghost".*?)```', guide, re.S)
    given, token = json.loads(example), client.add_token()
    added = client.call("POST", f"{API}/publish-hooks", given, token=token)
    assert added.status_code == 201, added.text
    given["places"]["link"] = given["places"].pop("url")
    refused = client.call("POST", f"{API}/publish-hooks", given, token=token)
    assert refused.status_code == 422
    assert "the names are title, url, body, image, section, story" in refused.json["detail"]
