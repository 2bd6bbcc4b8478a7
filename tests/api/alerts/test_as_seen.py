"""A tool changes a planned alert only as it has seen it (`ETag`, `If-Match`), and reads once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from service.api.alerts import references
from service.domain.alerts.requests import ChangedMeanwhile
from service.model.notifications import State
from tests.support.client import API, NOTIFICATIONS, Client
from tests.support.inputs import NEWS

DRAFT = {**NEWS, "draft": True}


@pytest.fixture
def path(client: Client, token: str) -> str:
    """The address of a draft."""
    location: str = client.call("POST", NOTIFICATIONS, DRAFT, token=token).headers["Location"]
    return location


def etag_of(client: Client, path: str, token: str) -> str:
    return client.call("GET", path, token=token).headers["ETag"]


CALLS: list[tuple[str, str, Any]] = [
    ("PATCH", "", {"title": "Ferry afloat"}),
    ("DELETE", "", None),
    ("POST", "/send", None),
]


@pytest.mark.redis
@pytest.mark.parametrize(("method", "what", "body"), CALLS, ids=["change", "delete", "send"])
def test_an_alert_that_another_has_changed_stays_as_it_is(
    client: Client, token: str, path: str, method: str, what: str, body: Any
) -> None:
    seen = etag_of(client, path, token)
    desk = client.add_token("the desk")
    changed = client.call("PATCH", path, {"body": "All are ashore."}, token=desk)
    now, id = changed.headers["ETag"], int(path.rpartition("/")[2])
    assert now == etag_of(client, path, token) != seen
    before = client.runtime.publishing.get(id)
    for wrong in (seen, '"nonsense"', "", f'{seen}, "x"'):
        refused = client.call(method, path + what, body, token=token, headers={"If-Match": wrong})
        assert (refused.status_code, refused.headers["ETag"]) == (412, now)
        assert (refused.json["etag"], refused.json["alert"]) == (now, str(id))
        assert "the desk changed it last, at 20" in refused.json["detail"]
        assert client.runtime.publishing.get(id) == before
    # A proxy that compresses makes a weak tag of it.
    done = client.call(method, path + what, body, token=token, headers={"If-Match": f"W/{now}"})
    assert done.status_code < 300


@pytest.mark.parametrize(("method", "what", "body"), CALLS, ids=["change", "delete", "send"])
@pytest.mark.parametrize("given", [None, "*"])
def test_a_tool_that_does_not_mind_changes_an_alert_as_it_is(
    client: Client, token: str, path: str, method: str, what: str, body: Any, given: str | None
) -> None:
    client.call("PATCH", path, {"body": "All are ashore."}, token=token)
    headers = {"If-Match": given} if given else {}
    assert client.call(method, path + what, body, token=token, headers=headers).status_code < 300


def test_a_change_between_the_look_and_the_write_is_found_too(
    client: Client, token: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = references.change

    def after_another(*given: Any) -> Any:
        monkeypatch.undo()
        client.call("PATCH", path, {"body": "All are ashore."}, token=client.add_token("desk"))
        return real(*given)

    for headers, status in (({"If-Match": etag_of(client, path, token)}, 412), ({}, 409)):
        monkeypatch.setattr(references, "change", after_another)
        refused = client.call("PATCH", path, {"title": "Else"}, token=token, headers=headers)
        assert refused.status_code == status
        id = int(path.rpartition("/")[2])
        assert client.runtime.publishing.get(id).content.title == NEWS["title"]
    publishing = client.runtime.publishing
    for do in (publishing.remove, publishing.send):
        with pytest.raises(ChangedMeanwhile):
            do(id, by="a tool", changes=0)
    assert publishing.get(id).state is State.DRAFT


def test_what_was_sent_is_a_conflict_whatever_its_tag_was(
    client: Client, token: str, path: str
) -> None:
    headers = {"If-Match": etag_of(client, path, token)}
    assert client.call("POST", f"{path}/send", token=token, headers=headers).status_code == 202
    for method, what, body in CALLS:
        refused = client.call(method, path + what, body, token=token, headers=headers)
        assert refused.status_code == 409


def test_each_change_of_a_plan_has_another_tag(client: Client, token: str, path: str) -> None:
    publishing, id = client.runtime.publishing, int(path.rpartition("/")[2])
    tags = [etag_of(client, path, token)]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    changes: list[Any] = [{"title": "Else"}, {"title": NEWS["title"]}, {"send_at": at}]
    tags += [client.call("PATCH", path, one, token=token).headers["ETag"] for one in changes]
    # The clock makes a draft of it, which is no change by anybody.
    redis = client.runtime.store.redis
    redis.zadd("{g}:scheduled", {str(id): 1})
    publishing.send_due()
    assert publishing.get(id).missed
    tags.append(etag_of(client, path, token))
    assert len({*tags}) == len(tags)


@pytest.mark.parametrize("what", ["topics", "topics/world", "stories", "notifications", "draft"])
def test_what_a_tool_knows_already_is_not_sent_again(
    client: Client, token: str, path: str, what: str
) -> None:
    address = path if what == "draft" else f"{API}/{what}"
    first = client.call("GET", address, token=token)
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = client.call("GET", address, token=token, headers={"If-None-Match": known})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    client.call("PATCH", f"{API}/topics/world", {"name": "The world"}, token=token)
    client.call("PATCH", path, {"title": "Else"}, token=token)
    client.call("POST", NOTIFICATIONS, {**NEWS, "story": "quake"}, token=token)
    later = client.call("GET", address, token=token, headers={"If-None-Match": tag})
    assert (later.status_code, later.headers["ETag"] != tag) == (200, True)
