"""What tools read of the newsroom as a whole, and the emergency stop."""

from __future__ import annotations

import pytest

from service.model.notifications import Outcome
from service.model.time import clock
from service.store.alerts.outcomes import Result
from tests.support.client import API, NOTIFICATIONS, Client, Reader
from tests.support.inputs import NEWS

NORA = "nora@paper.example"


@pytest.mark.usefixtures("one_partition")
def test_the_figures_of_an_alert_are_those_of_its_report(client: Client, token: str) -> None:
    readers = [Reader(client, number, topics=["world"], locale="lv") for number in range(3)]
    body = {**NEWS, "audience": {"topics": ["world", "sport"]}}
    id = int(client.call("POST", NOTIFICATIONS, body, token=token).json["id"])
    path = f"{NOTIFICATIONS}/{id}/figures"
    empty = client.call("GET", path, token=token).json
    assert (empty["handed_over"], empty["clicked"], empty["by_service"]) == (0, None, [])
    runtime = client.runtime
    runtime.planning.plan(runtime.publishing.get(id))
    claim = runtime.store.batches.claim(id, 0, "a worker", 60_000)
    assert claim is not None
    accepted = Result(Outcome.ACCEPTED, "google", 1, revision=0)
    done = {accepted: [0, 1], Result(Outcome.GONE, "google", 1): [2]}
    runtime.store.outcomes.record(id, claim.batch, "a worker", 60_000, done)
    reader = runtime.subscriptions.get(readers[0].id)
    receipt = {"token": runtime.tokens.receipt(id, reader.id), "event": "clicked"}
    client.call("POST", f"{API}/receipts", receipt)
    readers[1].call("DELETE")
    shown = client.call("GET", path, token=token).json
    assert (shown["handed_over"], shown["may_report"], shown["left"]) == (2, 2, 1)
    assert shown["clicked"] == {"browsers": 1, "error": 0}
    (google,) = shown["by_service"]
    assert (google["value"], google["accepted"]) == ("google", 2)
    assert (google["clicked"]["browsers"], google["shown"]["browsers"]) == (1, 0)
    assert [row["value"] for row in shown["by_topic"]] == ["world"]
    assert [row["value"] for row in shown["by_language"]] == ["lv"]
    assert shown["by_topic"][0]["dismissed"] is None, "not counted by topic"
    assert shown["clicked_until"][0] == {"minutes": 1, "clicked": 1}
    assert shown["clicked_until"][-1] == {"minutes": None, "clicked": 1}
    assert sum(shown["clicked_at_hour"]) == 1
    client.runtime.questions.count("shown", "/sport/tennis")
    totals = client.call("GET", f"{API}/totals?days=1", token=token).json
    clicks = {"alerts": 1, "may_report": 2, "clicked": 1}
    assert [row["topic"] for row in totals["by_topic"]] == ["sport", "world"]
    ((row,), (asked,)) = totals["by_hour"], totals["asked"]
    assert {name: row[name] for name in clicks} == clicks
    assert (asked["section"], asked["shown"], asked["yes"]) == ("/sport", 1, 0)
    (today,) = totals["days"]
    counted = (today["alerts"], today["handed_over"], today["may_report"], today["clicked"])
    assert counted == (1, 2, 2, 1)


def test_totals_say_what_happened_on_the_last_days(client: Client, token: str) -> None:
    Reader(client)
    client.runtime.daily_totals.keep(clock.time())
    totals = client.call("GET", f"{API}/totals?days=3", token=token).json
    assert totals["readers"] == 1
    assert [day["readers"] for day in totals["days"]] == [None, None, 1]
    assert [day["alerts"] for day in totals["days"]] == [0, 0, 0]
    assert len(client.call("GET", f"{API}/totals", token=token).json["days"]) == 28
    for wrong in ("0", "367", "x"):
        refused = client.call("GET", f"{API}/totals?days={wrong}", token=token)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "days")


def test_the_log_says_who_did_what_page_by_page(client: Client, token: str) -> None:
    path = client.call("POST", NOTIFICATIONS, {**NEWS, "draft": True}, token=token).headers
    client.call("PATCH", path["Location"], {"title": "Else", "ttl": 7200}, token=token)
    client.runtime.publishing.send(1, by=NORA)
    client.runtime.stops.hold(by=NORA)
    entries, cursor = [], ""
    while cursor is not None:
        query = f"?limit=3&cursor={cursor}" if cursor else "?limit=3"
        page = client.call("GET", f"{API}/log{query}", token=token).json
        entries.append(page["entries"])
        cursor = page["next_cursor"]
    assert [len(page) for page in entries] == [3, 1]
    stopped, sent, changed, written = (one for page in entries for one in page)
    assert (stopped["action"], stopped["alert"], stopped["by"]) == ("stopped", None, NORA)
    assert (sent["action"], sent["by"], sent["tool"]) == ("sent", NORA, False)
    assert (changed["by"], changed["tool"]) == ("a test", True)
    assert changed["texts"] == {"title": [NEWS["title"], "Else"]}
    assert changed["others"] == ["ttl"]
    assert (written["action"], written["alert"], written["title"]) == (
        "written",
        "1",
        NEWS["title"],
    )
    for wrong in ("x", "1", "0-0", "00-1", f"{'9' * 30}-1"):
        assert client.call("GET", f"{API}/log?cursor={wrong}", token=token).status_code == 422


def test_a_tool_stops_everything_and_ends_no_stop_but_its_own(client: Client, token: str) -> None:
    def state(method: str = "GET", by: str = token) -> object:
        response = client.call(method, f"{API}/stop", token=by)
        return (
            (response.json or {}).get("by") if response.status_code < 300 else response.status_code
        )

    assert state() is None
    assert state("POST") == "a test"
    assert client.runtime.stops.holds()
    other = client.add_token("another")
    assert state("POST", other) == "a test", "the first stop holds"
    assert state("DELETE", other) == 409
    assert state("DELETE") is None
    assert not client.runtime.stops.holds()
    assert state("DELETE") is None, "again"
    client.runtime.stops.hold(by=NORA)
    assert state("DELETE") == 409
    assert client.runtime.stops.holds()
    refused = client.call("DELETE", f"{API}/stop", token=token).json
    assert refused["detail"].startswith(f"{NORA} has stopped everything.")
