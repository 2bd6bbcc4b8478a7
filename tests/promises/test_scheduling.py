"""Drafts and scheduled alerts: real clocks send each once and never early."""

from __future__ import annotations

import calendar
import re
import signal
import threading
import time
from collections import Counter
from typing import Any

import pytest
from redis.exceptions import ResponseError

from service.domain.alerts.publishing import MOST_LATE, Conflict
from service.model.notifications import Audience, Notification, SendAt, State
from service.model.time import clock
from tests.support.client import API, Client, stored
from tests.support.processes.installation import Installation, content, wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.server import RedisServer
from workers.clock import _until_due

EVERYONE = Audience(everyone=True)
NEWS = {
    "title": "Kick-off",
    "body": "In ten minutes.",
    "url": "https://paper.example/match",
    "audience": {"everyone": True},
}


LONG_LINK = "https://paper.example/" + "i" * 1000


def plan(
    installation: Installation, ahead: float, *, however_late: bool = False, **options: Any
) -> int:
    """Schedule an alert so many seconds from now; return its id."""
    send_at = SendAt(time.time() + ahead, however_late=however_late)
    publishing = installation.runtime.publishing
    return publishing.publish(content(**options), EVERYONE, by="a test", send_at=send_at).id


# With real clocks ---------------------------------------------------------------------------------


def test_each_is_sent_once_and_never_early_though_the_leading_clock_is_killed(
    installation: Installation, push: PushService
) -> None:
    installation.seed(20)
    installation.worker()
    clocks = [installation.clock() for _ in range(3)]
    wait_until(lambda: installation.runtime.store.installation.clock_age() < 2)
    redis = installation.runtime.store.redis
    leader = wait_until(lambda: redis.get("{g}:clock") or b"").decode().split(":")[1]
    ids = [plan(installation, 2 + number / 4, title=f"Alert {number}") for number in range(6)]
    (doomed,) = [clock for clock in clocks if clock.pid == int(leader)]
    installation.end(doomed, signal.SIGKILL)

    over = [installation.over(id) for id in ids]

    for one in over:
        assert one.state is State.SENT
        assert one.started_at is not None
        assert one.send_at is not None
        assert one.started_at >= int(one.send_at.at * 1000) / 1000
        assert installation.outcomes(one.id) == {"accepted": 20}
    assert set(Counter(message.path for message in push.received).values()) == {6}
    assert push.refusals == []


def test_alert_that_is_much_too_late_becomes_a_draft_again(
    installation: Installation, push: PushService
) -> None:
    installation.seed(10)
    installation.worker()
    hardly = plan(installation, 60 - MOST_LATE)
    much = plan(installation, -60 - MOST_LATE)
    however = plan(installation, -60 - MOST_LATE, however_late=True)
    installation.clock()

    assert installation.over(hardly).state is State.SENT
    assert installation.over(however).state is State.SENT
    publishing = installation.runtime.publishing
    missed = wait_until(lambda: publishing.get(much).missed and publishing.get(much))
    assert (missed.state, missed.missed) == (State.DRAFT, True)
    assert missed.started_at is None
    assert len(push.received) == 20
    # An editor may still send it.
    installation.runtime.publishing.send(much, by="a test")
    over = installation.over(much)
    assert (over.state, over.missed) == (State.SENT, False)


@pytest.mark.parametrize(
    ("hours", "state"), [(2, State.SENDING), (25.9, State.SENDING), (26.5, State.DRAFT)]
)
def test_alert_at_a_local_time_is_late_only_once_that_has_passed_on_all_clocks(
    client: Client, hours: float, state: State
) -> None:
    at = time.time() - 3600 * hours
    wall = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at + 14 * 3600))
    publishing = client.runtime.publishing
    send_at = SendAt(at, wall=wall)
    id = publishing.publish(content(), EVERYONE, by="a test", send_at=send_at).id
    publishing.send_due()
    assert publishing.get(id).state is state
    assert publishing.get(id).missed is (state is State.DRAFT)


def test_time_to_live_begins_when_the_alert_is_sent(installation: Installation) -> None:
    installation.seed(10)
    installation.worker()
    id = plan(installation, -600, ttl=60)  # longer ago than its time to live
    installation.clock()

    over = installation.over(id)

    assert installation.outcomes(id) == {"accepted": 10}
    assert over.deadline > time.time()


def test_redis_decides_when_it_is_time_and_starts_an_alert_once(
    installation: Installation,
) -> None:
    notifications = installation.runtime.store.notifications
    early, due = plan(installation, 600), plan(installation, -1)
    started: list[int] = []

    def ask() -> None:
        started.extend(id for id in (early, due) if notifications.start(id, MOST_LATE))

    many = [threading.Thread(target=ask) for _ in range(16)]
    for one in many:
        one.start()
    for one in many:
        one.join()

    assert started == [due]
    assert notifications.due() == []
    assert installation.runtime.publishing.get(early).state is State.SCHEDULED


def test_alert_that_a_full_redis_delayed_too_long_is_not_sent(
    whole_redis: RedisServer, installation: Installation
) -> None:
    installation.seed(10)
    id, much = plan(installation, -1), plan(installation, -1 - MOST_LATE)
    with whole_redis.full():
        installation.clock()
        wait_until(lambda: installation.runtime.store.installation.clock_age() < 1)
        for one in (id, much):
            with pytest.raises(ResponseError):
                installation.runtime.store.notifications.start(one, MOST_LATE)
            assert installation.runtime.publishing.get(one).state is State.SCHEDULED
    installation.worker()

    assert installation.over(id).state is State.SENT
    assert installation.runtime.publishing.get(much).missed


# Through the API ----------------------------------------------------------------------------------


@pytest.fixture
def editor(client: Client) -> str:
    return client.add_token("a CMS")


def ahead(minutes: float) -> str:
    """A time as a CMS would write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60 * minutes))


def make(client: Client, editor: str, **more: Any) -> str:
    """Publish and return the id."""
    answer = client.call("POST", f"{API}/notifications", NEWS | more, token=editor)
    assert answer.status_code == 202
    return str(answer.json["id"])  # type: ignore[index]


def shown(client: Client, editor: str, id: str) -> dict[str, Any]:
    answer = client.call("GET", f"{API}/notifications/{id}", token=editor)
    assert answer.status_code == 200
    return dict(answer.json or {})


def test_draft_waits_until_it_is_sent(client: Client, editor: str) -> None:
    id = make(client, editor, draft=True)
    alert = shown(client, editor, id)
    assert alert["status"] == "draft"
    assert (alert["send_at"], alert["progress"]["started_at"]) == (None, None)
    assert client.runtime.store.notifications.active() == []

    answer = client.call("POST", f"{API}/notifications/{id}/send", token=editor)

    assert (answer.status_code, answer.json) == (202, {"id": id, "status": "sending"})
    alert = shown(client, editor, id)
    assert alert["progress"]["started_at"] is not None
    again = client.call("POST", f"{API}/notifications/{id}/send", token=editor)
    assert again.status_code == 409


def test_time_may_be_given_with_a_time_zone(client: Client, editor: str) -> None:
    day = time.time() + 20 * 86_400
    wall = time.strftime("%Y-%m-%dT12:00[Pacific/Kiritimati]", time.gmtime(day))

    alert = shown(client, editor, make(client, editor, send_at=wall, late="send"))

    assert alert["status"] == "scheduled"
    assert alert["send_at"] == time.strftime("%Y-%m-%dT22:00:00.000Z", time.gmtime(day - 86_400))
    assert (alert["time_zone"], alert["late"]) == ("Pacific/Kiritimati", "send")


def test_alert_at_a_local_time_begins_in_the_earliest_time_zone(
    client: Client, editor: str
) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 20 * 86_400))
    wall = f"{day}T07:00:00"
    id = make(client, editor, send_at=wall, local_time=True)

    alert = shown(client, editor, id)
    assert (alert["status"], alert["send_at"], alert["local_time"]) == ("scheduled", wall, True)
    send_at = client.runtime.publishing.get(int(id)).send_at
    assert send_at is not None
    assert send_at.at == calendar.timegm(time.strptime(wall, "%Y-%m-%dT%H:%M:%S")) - 14 * 3600
    changed = client.call("PATCH", f"{API}/notifications/{id}", {"title": "x"}, token=editor)
    assert changed.json == alert | {
        "warnings": [],
        "title": "x",
        "text_now": alert["text_now"] | {"title": "x"},
    }
    draft = {"send_at": None}
    changed = client.call("PATCH", f"{API}/notifications/{id}", draft, token=editor)
    assert (changed.json or {})["local_time"] is False


def test_local_time_that_has_passed_in_some_zones_only_begins_now(
    client: Client, editor: str
) -> None:
    began = time.time()
    wall = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    send_at = client.runtime.publishing.get(
        int(make(client, editor, send_at=wall, local_time=True))
    ).send_at
    assert send_at is not None
    assert began <= send_at.at <= time.time() + 5


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"send_at": "2020-01-01T07:00", "local_time": True}, "send_at"),
        ({"send_at": ahead(60), "local_time": True}, "send_at"),
        ({"send_at": "2026-13-01T07:00", "local_time": True}, "send_at"),
        ({"send_at": "2099-01-01T07:00", "local_time": True}, "send_at"),
        ({"local_time": True}, "local_time"),
        ({"local_time": True, "draft": True, "send_at": "2099-01-01T07:00"}, "send_at"),
    ],
)
def test_wrong_local_time_is_refused(
    client: Client, editor: str, more: dict[str, Any], field: str
) -> None:
    answer = client.call("POST", f"{API}/notifications", NEWS | more, token=editor)
    assert answer.status_code == 422
    assert [error["field"] for error in (answer.json or {})["errors"]] == [field]


def test_alert_at_a_local_time_cannot_be_spread_as_well(client: Client, editor: str) -> None:
    day = time.strftime("%Y-%m-%dT07:00", time.gmtime(time.time() + 9 * 86_400))
    more = {"send_at": day, "local_time": True, "spread_minutes": 30}
    answer = client.call("POST", f"{API}/notifications", NEWS | more, token=editor)
    assert [error["field"] for error in (answer.json or {})["errors"]] == ["spread_minutes"]


def test_planned_alert_can_be_changed_field_by_field(client: Client, editor: str) -> None:
    id = make(client, editor, send_at=ahead(60), kind="breaking", late="send")
    path = f"{API}/notifications/{id}"
    before = shown(client, editor, id)

    answer = client.call("PATCH", path, {"title": "Kick-off delayed"}, token=editor)

    assert answer.status_code == 200
    assert answer.json == before | {
        "warnings": [],
        "title": "Kick-off delayed",
        "text_now": before["text_now"] | {"title": "Kick-off delayed"},
    }
    later = {"send_at": "2026-11-25T00:00:00Z"} | {"send_at": ahead(120)}
    changed = client.call("PATCH", path, later, token=editor).json
    assert changed is not None
    assert (changed["status"], changed["late"]) == ("scheduled", "send")
    assert changed["send_at"] > before["send_at"]
    changed = client.call("PATCH", path, {"send_at": None}, token=editor).json
    assert changed is not None
    assert (changed["status"], changed["send_at"]) == ("draft", None)
    changed = client.call("PATCH", path, {"send_at": ahead(5)}, token=editor).json
    assert changed is not None
    assert (changed["status"], changed["missed"]) == ("scheduled", False)
    changed = client.call("PATCH", path, {"draft": True}, token=editor).json
    assert changed is not None
    assert changed["status"] == "draft"
    # Its time to live follows its kind, unless it was given.
    assert changed["ttl"] == 12 * 3600
    changed = client.call("PATCH", path, {"kind": "news"}, token=editor).json
    assert changed is not None
    assert changed["ttl"] == 4 * 3600


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": None, "url": "ferry"}, "url"),
        ({"audience": {}}, "audience"),
        ({"send_at": "2020-01-01T00:00:00Z"}, "send_at"),
        ({"send_at": ahead(60), "draft": True}, "send_at"),
        ({"send_at": None, "draft": False}, "draft"),
        ({"draft": True, "late": "send"}, "late"),
        ({"spread_minutes": 600}, "spread_minutes"),
        ({"status": "sent"}, "status"),
    ],
)
def test_invalid_change_changes_nothing(
    client: Client, editor: str, change: dict[str, Any], field: str
) -> None:
    id = make(client, editor, send_at=ahead(60))
    before = stored(client)

    answer = client.call("PATCH", f"{API}/notifications/{id}", change, token=editor)

    assert answer.status_code == 422
    assert field in [error["field"] for error in answer.json["errors"]]  # type: ignore[index]
    assert stored(client) == before


@pytest.mark.parametrize("change", [{"story": "s" * 60}, {"lang": "zh-Hant-TW"}])
def test_change_that_makes_an_alert_too_long_names_the_field_that_was_sent(
    client: Client, editor: str, change: dict[str, Any]
) -> None:
    path = f"{API}/notifications"

    def publish(length: int) -> Any:
        links = {"url": "https://paper.example/" + "a" * length, "icon": LONG_LINK}
        body = {**NEWS, **links, "image": LONG_LINK, "draft": True}
        return client.call("POST", path, body, token=editor)

    # The longest that may be pushed.
    too_long = publish(1900).json["errors"][0]["detail"]
    id = publish(1900 - int(re.search(r"(\d+) bytes", too_long)[1])).json["id"]
    answer = client.call("PATCH", f"{path}/{id}", change, token=editor)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [*change]


def test_planned_alert_can_be_deleted_and_only_the_log_keeps_its_title(
    client: Client, editor: str
) -> None:
    ids = {b"{g}:n", b"{g}:n:history", b"{g}:log"}
    before = stored(client).keys() - ids
    for more in ({"draft": True}, {"send_at": ahead(1)}):
        id = make(client, editor, **more)
        path = f"{API}/notifications/{id}"
        assert client.call("DELETE", path, token=editor).status_code == 204
        assert client.call("GET", path, token=editor).status_code == 404
        assert client.call("DELETE", path, token=editor).status_code == 404
        assert client.call("PATCH", path, {"title": "No"}, token=editor).status_code == 404
        assert client.call("POST", f"{path}/send", token=editor).status_code == 404
    assert stored(client).keys() - ids == before


def test_alert_that_is_being_sent_is_neither_changed_nor_deleted(
    client: Client, editor: str
) -> None:
    path = f"{API}/notifications/{make(client, editor)}"
    before = stored(client)
    assert client.call("PATCH", path, {"title": "No"}, token=editor).status_code == 409
    assert client.call("DELETE", path, token=editor).status_code == 409
    assert client.call("POST", f"{path}/send", token=editor).status_code == 409
    assert stored(client) == before


def test_scheduled_alert_can_be_cancelled_but_not_paused_or_corrected(
    client: Client, editor: str
) -> None:
    id = make(client, editor, send_at=ahead(1))
    path = f"{API}/notifications/{id}"
    assert client.call("POST", f"{path}/pause", token=editor).status_code == 409
    text = {"title": "Another"}
    assert client.call("POST", f"{path}/correct", text, token=editor).status_code == 409

    assert client.call("POST", f"{path}/cancel", token=editor).status_code == 202

    alert = shown(client, editor, id)
    assert alert["status"] == "cancelled"
    assert alert["progress"]["finished_at"] is not None
    assert client.runtime.publishing.planned() == []
    draft = make(client, editor, draft=True)
    answer = client.call("POST", f"{API}/notifications/{draft}/cancel", token=editor)
    assert answer.status_code == 409


def test_repeated_request_gets_the_same_response_after_its_time_has_passed(
    client: Client, editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"Idempotency-Key": "match-1"}
    request = NEWS | {"send_at": ahead(1)}
    path = f"{API}/notifications"
    first = client.call("POST", path, request, token=editor, headers=key)
    late = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: late)

    again = client.call("POST", path, request, token=editor, headers=key)

    assert (again.status_code, again.json) == (202, first.json)
    other = client.call("POST", path, request | {"title": "No"}, token=editor, headers=key)
    assert other.status_code == 409
    assert client.call("POST", path, request, token=editor).status_code == 422
    assert len(client.runtime.publishing.planned()) == 1


def test_of_two_editors_who_change_the_same_alert_the_second_is_refused(
    client: Client, editor: str
) -> None:
    publishing = client.runtime.publishing
    before = publishing.get(int(make(client, editor, draft=True)))
    publishing.change(before, content("Mine"), EVERYONE, by="a test", draft=True)

    with pytest.raises(Conflict, match="Another editor"):
        publishing.change(before, content("No, mine"), EVERYONE, by="a test")

    assert publishing.get(before.id).content.title == "Mine"
    assert publishing.get(before.id).state is State.DRAFT


def test_lists_are_in_the_order_of_sending_and_not_of_writing(client: Client, editor: str) -> None:
    draft = make(client, editor, draft=True)
    later = make(client, editor, send_at=ahead(60))
    soon = make(client, editor, send_at=ahead(30))
    sent = make(client, editor)
    publishing = client.runtime.publishing

    def ids(found: list[Notification]) -> list[str]:
        return [str(one.id) for one in found]

    assert ids(publishing.planned()) == [soon, later, draft]
    assert ids(publishing.started(10)) == [sent]
    publishing.send(int(draft), by="a test")
    assert ids(publishing.started(10)) == [draft, sent]
    assert ids(publishing.started(10, before=int(draft))) == [sent]
    assert ids(publishing.latest(10)) == [sent, soon, later, draft]


@pytest.mark.parametrize(
    ("due_in", "least", "most"),
    [(None, 1, 1), (5, 1, 1), (0.4, 0.3, 0.42), (-1, 1, 1), (-1e9, 1, 1)],
)
def test_the_clock_wakes_when_an_alert_is_due_and_else_each_second(
    due_in: float | None, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(clock, "time", lambda: now)
    due = None if due_in is None else now + due_in
    assert least <= _until_due(due) <= most
