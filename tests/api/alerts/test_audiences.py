"""Audiences by what readers did or got, as tools choose them: counted, frozen, refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from service.domain.alerts.publishing import Conflict
from service.model.notifications import Audience, Outcome, SendAt, State, Topic
from service.model.retention import ACCEPTED_KEPT
from service.model.subscriptions import SubscriptionId
from service.store.layout.joined import today
from tests.support.client import API, NOTIFICATIONS, Client, Reader, make_app
from tests.support.desk.pages import send_all
from tests.support.inputs import NEWS
from tests.support.processes.installation import content

pytestmark = pytest.mark.redis


@pytest.fixture
def token(client: Client) -> str:
    return client.add_token()


def counted(client: Client, token: str, audience: dict[str, Any]) -> Any:
    """The recipients of an audience, or what is wrong with it."""
    response = client.call("POST", f"{API}/audience", audience, token=token)
    if response.status_code == 422:
        ((field, detail),) = ((one["field"], one["detail"]) for one in response.json["errors"])
        return f"{field}: {detail}"
    return response.json["recipients"]


def sent(client: Client, audience: Audience | None = None, *, accepted: int = 0) -> int:
    """An alert that is over, and that push services accepted for so many readers."""
    runtime = client.runtime
    id = runtime.publishing.publish(
        content(),
        audience or Audience(everyone=True),
        by="a test",
    ).id
    if accepted:
        send_all(runtime, id, {(Outcome.ACCEPTED, "google"): accepted})
    runtime.publishing.cancel(id, by="a test")
    runtime.planning.advance(id)
    for partition in runtime.store.partitions:  # the leases of a worker end
        runtime.store.redis.delete(f"{{{partition}}}:n:{id}:leases")
    runtime.planning.advance(id)
    assert runtime.publishing.get(id).finished_at is not None
    return id


def began(client: Client, id: int, days_ago: float) -> None:
    at = time.time() - days_ago * 86_400
    client.runtime.store.redis.hset(f"{{g}}:n:{id}", "started_at", at)


def test_each_condition_narrows_what_is_counted_and_what_is_frozen(
    client: Client, token: str
) -> None:
    follows = sent(client, Audience(everyone=True, story="quake"))
    for number, topics in enumerate((["world"], ["sport"], ["world", "sport"], [])):
        Reader(client, number, topics=topics, followed_stories=["quake"] if number > 1 else [])
    two = sent(client, accepted=2)
    for audience, recipients in (
        ({"all_topics": ["world", "sport"]}, 1),
        ({"topics": ["world"], "all_topics": ["sport"]}, 1),
        ({"followers_of": "quake"}, 2),
        ({"followers_of": "quake", "topics": ["world"]}, 1),
        ({"everyone": True, "new_within_days": 1}, 4),
        ({"everyone": True, "not_reached_by": [str(two)]}, 2),
        ({"everyone": True, "not_reached_by": [str(two), str(follows)]}, 2),
        ({"everyone": True, "new_within_days": None, "not_reached_by": []}, 4),
    ):
        assert counted(client, token, audience) == recipients, audience
        body = {**NEWS, "audience": audience}
        published = client.call("POST", NOTIFICATIONS, body, token=token).json
        assert published["recipients"] == recipients
        runtime = client.runtime
        runtime.planning.plan(runtime.publishing.get(int(published["id"])))
        assert runtime.publishing.progress(int(published["id"])).recipients == recipients
        shown = client.call("GET", f"{NOTIFICATIONS}/{published['id']}", token=token).json
        chosen = {name: value for name, value in audience.items() if value}
        base = {} if "topics" in audience else {"everyone": True}
        assert shown["audience"] == {**base, **chosen}


def test_an_alert_of_which_nothing_is_known_is_refused_with_the_reason(
    client: Client, token: str
) -> None:
    Reader(client)
    over, old = sent(client, accepted=1), sent(client)
    began(client, old, 7.01)
    running = client.call("POST", NOTIFICATIONS, NEWS, token=token).json["id"]
    draft = client.call("POST", NOTIFICATIONS, {**NEWS, "draft": True}, token=token).json["id"]
    path = f"{NOTIFICATIONS}/{over}/correct"
    client.runtime.store.redis.hset(f"{{g}}:n:{over}", "state", "sent")
    correction = client.call("POST", path, {"title": "Afloat"}, token=token).json["id"]
    reader = SubscriptionId.parse(Reader(client, 7).id)
    test = client.runtime.publishing.publish(content(), Audience(subscription=reader), by="x").id
    for id, why in (
        (4711, "There is no alert 4711."),
        (test, f"There is no alert {test}."),
        (draft, f"Alert {draft} is not sent yet."),
        (running, f"Alert {running} is still being sent."),
        (
            correction,
            f"Alert {correction} is a correction. Name the alert that it corrects, {over}.",
        ),
        (old, f"leave out alert {old}."),
    ):
        answer = counted(client, token, {"everyone": True, "not_reached_by": [str(id)]})
        assert str(answer).startswith("not_reached_by: ")
        assert why in answer
    began(client, over, (ACCEPTED_KEPT - 60) / 86_400)
    soon = {"audience": {"everyone": True, "not_reached_by": [str(over)]}}
    assert client.call("POST", NOTIFICATIONS, NEWS | soon, token=token).status_code == 202
    later = (
        NEWS
        | soon
        | {"send_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 9e4))}
    )
    refused = client.call("POST", NOTIFICATIONS, later, token=token)
    assert refused.status_code == 422
    assert "or will be when this one is sent" in refused.json["errors"][0]["detail"]


def test_the_day_since_which_subscribing_is_known_is_named(client: Client, token: str) -> None:
    Reader(client)
    new = {"everyone": True, "new_within_days": 5}
    assert counted(client, token, new) == 1
    redis = client.runtime.store.redis
    redis.set("{g}:days", today() - 2)
    assert "is known since" in counted(client, token, new)
    assert "Choose 2 days at most." in counted(client, token, new)
    assert counted(client, token, {**new, "new_within_days": 2}) == 1
    redis.set("{g}:days", today() + 1)  # the day on which a new release began
    assert "Choose this a day later." in counted(client, token, {**new, "new_within_days": 1})
    redis.delete("{g}:days")
    assert "not known yet" in counted(client, token, new)


def test_a_story_that_is_not_running_has_no_followers(client: Client, token: str) -> None:
    answer = counted(client, token, {"followers_of": "quake"})
    assert answer == "followers_of: There is no running story “quake”."


def test_a_draft_whose_audience_is_outdated_is_not_sent(client: Client, token: str) -> None:
    Reader(client)
    over = sent(client)
    audience = {"everyone": True, "not_reached_by": [str(over)]}
    draft = client.call(
        "POST", NOTIFICATIONS, {**NEWS, "audience": audience, "draft": True}, token=token
    )
    path = draft.headers["Location"]
    began(client, over, 8)
    answer = client.call("POST", f"{path}/send", token=token)
    assert answer.status_code == 409
    assert "Change the audience." in answer.json["detail"]
    at = {"send_at": "2027-01-01T00:00:00Z"}
    assert client.call("PATCH", path, at, token=token).status_code == 422
    assert client.call("PATCH", path, {"title": "Afloat"}, token=token).status_code == 200
    assert client.call("PATCH", path, {"audience": audience}, token=token).status_code == 422
    assert (
        client.call("PATCH", path, {"audience": {"everyone": True}}, token=token).status_code == 200
    )
    assert client.call("POST", f"{path}/send", token=token).status_code == 202


def test_a_scheduled_alert_whose_audience_is_outdated_becomes_a_draft(
    client: Client, token: str
) -> None:
    Reader(client)
    over, runtime = sent(client), client.runtime
    narrow = {"everyone": True, "not_reached_by": [str(over)]}
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    body = {**NEWS, "audience": narrow, "send_at": soon}
    id = int(client.call("POST", NOTIFICATIONS, body, token=token).json["id"])
    began(client, over, 8)
    runtime.store.redis.zadd("{g}:scheduled", {str(id): 1000 * time.time() - 1})
    runtime.publishing.send_due()
    one = runtime.publishing.get(id)
    assert (one.state, one.missed) == (State.DRAFT, True)
    assert [entry.action for entry in runtime.alert_log.of(id)][-1] == "outdated"
    assert one.audience.not_reached_by == (over,)
    runtime.publishing.send_due()
    assert runtime.publishing.get(id).state is State.DRAFT


@pytest.mark.parametrize(
    ("audience", "changes"),
    [
        pytest.param(Audience(everyone=True, exclude=("sport",)), "remove", id="exclude"),
        pytest.param(Audience(everyone=True, exclude=("old",)), "remove", id="exclude-merged"),
        pytest.param(Audience(everyone=True, all_topics=("sport",)), "remove", id="all"),
        pytest.param(Audience(topics=("sport",)), "remove", id="topics"),
        pytest.param(Audience(topics=("sport",), exclude=("world",)), "merge", id="merge"),
    ],
)
def test_an_alert_whose_topic_was_removed_or_merged_is_not_sent_to_others(
    client: Client, audience: Audience, changes: str
) -> None:
    runtime = client.runtime
    runtime.topics.add(Topic("old", "Old"))
    runtime.topics.merge("old", "sport")
    Reader(client, 0, topics=["sport"])
    Reader(client, 1, topics=["world"])
    in_an_hour = SendAt(time.time() + 3600)
    ids = [
        runtime.publishing.publish(content(), audience, by="ada@paper.example", **plan).id
        for plan in ({"send_at": in_an_hour}, {"draft": True}, {"send_at": undone()})
    ]
    due, draft, undo = ids
    if changes == "remove":
        runtime.topics.remove("sport")
    else:
        runtime.topics.merge("sport", "world")
    with pytest.raises(Conflict, match=r"Change the audience\."):
        runtime.publishing.skip_undo(undo, by="ada@paper.example")
    with pytest.raises(Conflict, match=r"Change the audience\."):
        runtime.publishing.send(draft, by="ada@paper.example")
    runtime.store.redis.zadd("{g}:scheduled", {str(due): 1000 * time.time() - 1})
    runtime.publishing.send_due()
    one = runtime.publishing.get(due)
    assert (one.state, one.missed) == (State.DRAFT, True)


def undone() -> SendAt:
    now = time.time()
    return SendAt(now + 60, sent_at=now)


def test_an_alert_to_several_topics_is_sent_although_one_was_removed(client: Client) -> None:
    runtime = client.runtime
    Reader(client, topics=["world"])
    audience = Audience(topics=("world", "sport"))
    id = runtime.publishing.publish(content(), audience, by="ada@paper.example", draft=True).id
    runtime.topics.remove("sport")
    assert runtime.publishing.send(id, by="ada@paper.example").recipients == 1


def test_a_second_person_cannot_approve_an_outdated_audience(
    client_with: Callable[..., Client],
) -> None:
    client = client_with(TWO_PERSON_ABOVE="1")
    for number in range(3):
        Reader(client, number)
    over, runtime = sent(client, Audience(topics=("nobody",))), client.runtime
    audience = Audience(everyone=True, not_reached_by=(over,))
    id = runtime.publishing.publish(content(), audience, by="ada@paper.example").id
    one = runtime.publishing.get(id)
    assert one.waits_for_approval
    began(client, over, 8)
    with pytest.raises(Conflict, match=r"Change the audience\."):
        runtime.approvals.approve(id, one.digest, by="ben@paper.example")
    assert runtime.publishing.get(id).state is State.DRAFT
    began(client, over, 1)
    runtime.approvals.approve(id, one.digest, by="ben@paper.example")
    assert runtime.publishing.get(id).state is State.SENDING


# Clicks -------------------------------------------------------------------------------------------


def click(client: Client, id: int, reader: Reader) -> None:
    token = client.runtime.tokens.receipt(id, SubscriptionId.parse(reader.id))
    client.call("POST", f"{API}/receipts", {"token": token, "event": "clicked"})


@pytest.fixture
def keeps_clicks(client_with: Callable[..., Client]) -> Client:
    client = client_with(CLICK_AUDIENCES="on")
    client.runtime.topics.add(Topic("world", "World"))
    return client


def test_who_clicked_is_an_audience_where_that_is_kept(keeps_clicks: Client) -> None:
    client, token = keeps_clicks, keeps_clicks.add_token()
    readers = [Reader(client, number) for number in range(3)]
    quiet = Reader(client, 9, receipts=False)
    over, old = sent(client, accepted=4), sent(client)
    began(client, old, 8)
    for reader in (*readers[:2], quiet):
        click(client, over, reader)
        click(client, old, reader)
    chosen = {"everyone": True, "clicked": [str(over)]}
    assert counted(client, token, chosen) == 2
    assert client.runtime.store.clicks.of(SubscriptionId.parse(readers[0].id)) == [over]
    exported = readers[0].call("GET", "/export").json["alerts_clicked"]
    assert [one["title"] for one in exported] == [content().title]
    assert readers[0].call("DELETE").status_code == 204
    assert counted(client, token, chosen) == 1
    readers[1].change(receipts=False)
    assert counted(client, token, chosen) == 0


def test_nothing_is_kept_of_clicks_without_the_setting(
    client: Client, token: str, redis_url: str
) -> None:
    reader = Reader(client)
    over = sent(client, accepted=1)
    click(client, over, reader)
    id = SubscriptionId.parse(reader.id)
    assert client.runtime.receipts.of(over)["clicked"] == 1
    assert client.runtime.store.clicks.of(id) == []
    assert "CLICK_AUDIENCES" in counted(client, token, {"everyone": True, "clicked": [str(over)]})
    client.runtime.store.clicks.mark(over, id)  # as kept while the setting was on
    make_app(redis_url)
    assert client.runtime.store.clicks.of(id) == []


def test_an_alert_that_began_before_clicks_were_kept_is_refused(
    client: Client, token: str, client_with: Callable[..., Client]
) -> None:
    reader = Reader(client)
    over, later = sent(client, accepted=1), client_with(CLICK_AUDIENCES="on")
    click(later, over, reader)
    answer = counted(later, token, {"everyone": True, "clicked": [str(over)]})
    assert str(answer).startswith("clicked: Who clicks an alert is kept since ")
    assert f"leave out alert {over}." in answer
    new = sent(later, accepted=1)
    click(later, new, reader)
    client_with(CLICK_AUDIENCES="on")  # a web process that starts later changes nothing
    assert counted(later, token, {"everyone": True, "clicked": [str(new)]}) == 1
    later.runtime.store.redis.delete("{g}:clicks:since")
    answer = counted(later, token, {"everyone": True, "clicked": [str(new)]})
    assert "Ask your operator to restart" in answer
