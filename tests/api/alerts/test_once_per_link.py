"""With `once_per_link` no second alert with the same link goes out within a day."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from service.domain.alerts.same_link import SameLink
from service.model.notifications import Notification
from service.model.time import clock
from service.store.alerts.notifications import LinkClaim
from tests.support.client import NOTIFICATIONS, Client
from tests.support.inputs import NEWS

ONCE = {**NEWS, "once_per_link": True}
DAY = 86_400


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


@pytest.mark.redis
def test_an_alert_with_the_same_link_is_refused_with_the_id_of_the_first(
    client: Client, token: str
) -> None:
    first = client.call("POST", NOTIFICATIONS, NEWS, token=token).json["id"]
    elsewhere = NEWS["url"].replace("paper.example", "PAPER.example:443")
    for link in (NEWS["url"], f"{NEWS['url']}/", f"{NEWS['url']}#live", elsewhere):
        refused = client.call("POST", NOTIFICATIONS, {**ONCE, "url": link}, token=token)
        assert (refused.status_code, refused.json["alert"]) == (409, first)
        assert f"Alert {first} has the same link, and was sent at" in refused.json["detail"]
    assert len(client.runtime.publishing.latest(9)) == 1
    # Another link, and a caller who does not mind.
    for body in (
        {**ONCE, "url": "https://paper.example/else"},
        {**ONCE, "url": f"{NEWS['url']}?utm_source=push"},
        NEWS,
    ):
        assert client.call("POST", NOTIFICATIONS, body, token=token).status_code == 202


@pytest.mark.parametrize(
    ("first", "status"),
    [
        ({"send_at": at(3600)}, 409),
        ({"send_at": at(2 * DAY)}, 202),
        ({"draft": True}, 202),  # an editor's, which may never be sent
        ({"draft": True, "once_per_link": True}, 409),
    ],
    ids=["planned", "planned for the day after tomorrow", "a draft", "its own draft"],
)
def test_what_is_planned_counts_if_it_is_for_the_same_day(
    client: Client, token: str, first: dict[str, Any], status: int
) -> None:
    assert client.call("POST", NOTIFICATIONS, {**NEWS, **first}, token=token).status_code == 202
    assert client.call("POST", NOTIFICATIONS, ONCE, token=token).status_code == status
    # And the other way round: a plan after what is sent now.
    later = {**ONCE, "send_at": at(2 * DAY + 7200)}
    also = 409 if first.get("send_at", "") > at(DAY) else 202
    assert client.call("POST", NOTIFICATIONS, later, token=token).status_code == also


def test_a_day_later_or_once_it_is_withdrawn_the_link_is_free(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for withdraw in ("DELETE", "POST"):
        plan = {**ONCE, "send_at": at(3600)}
        path = client.call("POST", NOTIFICATIONS, plan, token=token).headers["Location"]
        what = "/cancel" if withdraw == "POST" else ""
        assert client.call(withdraw, path + what, token=token).status_code < 300
    assert client.call("POST", NOTIFICATIONS, ONCE, token=token).status_code == 202
    assert client.call("POST", NOTIFICATIONS, ONCE, token=token).status_code == 409
    monkeypatch.setattr(clock, "time", lambda: time.time() + DAY + 1)
    assert client.call("POST", NOTIFICATIONS, ONCE, token=token).status_code == 202


def test_a_call_that_changes_a_plan_leads_it_to_no_link_of_another_alert(
    client: Client, token: str
) -> None:
    def call(**more: object) -> Any:
        body = {**ONCE, "reference": "4711", **more}
        return client.call("POST", NOTIFICATIONS, body, token=token)

    first = call(reference="4710", send_at=at(3600)).json["id"]
    elsewhere = "https://paper.example/else"
    plan = call(url=elsewhere, draft=True)
    for more in ({"send_at": at(7200)}, {"draft": True}, {}):
        refused = call(**more)
        assert (refused.status_code, refused.json["alert"]) == (409, first), more
    assert call(url=elsewhere, send_at=at(7200)).json["id"] == plan.json["id"]
    assert call(send_at=at(2 * DAY)).status_code == 202
    assert call(send_at=at(2 * DAY), body="Later").status_code == 202, "its own link"
    assert call(send_at=at(7200)).status_code == 409, "now on the same day"
    assert call(send_at=at(7200), once_per_link=False).status_code == 202


def test_the_same_request_again_has_the_same_response(client: Client, token: str) -> None:
    key = {"Idempotency-Key": "story-4711"}
    for body, headers in (
        (ONCE, key),
        ({**ONCE, "url": "https://x.example/", "reference": "7"}, {}),
    ):
        found = [
            client.call("POST", NOTIFICATIONS, body, token=token, headers=headers) for _ in range(2)
        ]
        assert [one.status_code for one in found] == [202, 202]
        assert found[0].json["id"] == found[1].json["id"]


def test_a_call_sent_again_before_the_first_is_stored_has_the_same_response(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "story-4711"}
    first = client.call("POST", NOTIFICATIONS, ONCE, token=token, headers=key)
    # The second call has looked for an earlier response while there was none.
    monkeypatch.setattr(client.runtime.publishing.responses, "earlier", lambda _key: None)
    again = client.call("POST", NOTIFICATIONS, ONCE, token=token, headers=key)
    assert (again.status_code, again.json) == (202, first.json)


@pytest.fixture
def both_have_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two calls look for alerts with the same link before either stores its own."""
    both_have_looked, real = threading.Barrier(2), SameLink.claim
    looks = threading.local()

    def look(self: SameLink, new: Notification) -> LinkClaim:
        claim = real(self, new)
        if not getattr(looks, "again", False):
            looks.again = True
            both_have_looked.wait(timeout=30)
        return claim

    monkeypatch.setattr(SameLink, "claim", look)


@pytest.mark.usefixtures("both_have_looked")
@pytest.mark.parametrize("key", ["", "story-4711"], ids=["two calls", "one call sent twice"])
def test_of_two_calls_at_once_one_publishes(client: Client, token: str, key: str) -> None:
    found = []

    def publish() -> None:
        headers = {"Idempotency-Key": key} if key else {}
        found.append(client.call("POST", NOTIFICATIONS, ONCE, token=token, headers=headers))

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    (published,) = client.runtime.publishing.latest(9)
    first, second = sorted(found, key=lambda response: response.status_code)
    assert (first.status_code, first.json["id"]) == (202, str(published.id))
    if key:
        assert (second.status_code, second.json) == (202, first.json)
    else:
        assert (second.status_code, second.json["alert"]) == (409, str(published.id))


@pytest.mark.redis
@pytest.mark.parametrize("other", ["new", "changed"])
def test_of_a_change_and_another_call_at_once_one_has_the_link(
    client: Client, token: str, request: pytest.FixtureRequest, other: str
) -> None:
    def call(reference: str, **more: object) -> None:
        body = {**ONCE, "reference": reference, **more}
        found.append(client.call("POST", NOTIFICATIONS, body, token=token))

    found: list[Any] = []
    call("4710", url="https://paper.example/one", draft=True)
    if other == "changed":
        call("4711", url="https://paper.example/two", draft=True)
    found.clear()
    request.getfixturevalue("both_have_looked")
    threads = [threading.Thread(target=call, args=[name]) for name in ("4710", "4711")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    sent = [one for one in client.runtime.publishing.latest(9) if not one.planned]
    assert [one.content.url for one in sent] == [NEWS["url"]]
    first, second = sorted(found, key=lambda response: response.status_code)
    assert (first.status_code, first.json["id"]) == (202, str(sent[0].id))
    assert (second.status_code, second.json["alert"]) == (409, str(sent[0].id))
