"""Redis full, read-only, stuck, loading or stopped: which calls are refused, and what goes on."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from service.model.notifications import Audience, Topic
from service.model.subscriptions import SubscriptionId
from service.runtime import Runtime
from service.store.sending.push_services import Rest
from tests.support.client import API, Client, browser, make_app, stored
from tests.support.desk.pages import path_of, sign_in_link
from tests.support.redis_servers.cluster import ClusterServers
from tests.support.redis_servers.server import REFUSING, RedisServer
from tests.support.short_forms import some

# By fault: what the test does, a word of the reason in the response, and whether reading works.
REFUSALS: dict[str, tuple[Callable[[RedisServer], AbstractContextManager[None]], str, bool]] = {
    "out of memory": (RedisServer.full, "full", True),
    "its disk full": (RedisServer.disk_full, "disk", True),
    "read-only": (RedisServer.read_only, "read-only", True),
    "stuck in a script": (RedisServer.stuck, "busy", False),
    "loading": (RedisServer.loading, "loading", False),
    "stopped": (RedisServer.stopped, "cannot be reached", False),
}
NEWS = {"title": "Late news", "url": "https://paper.example/", "audience": {"everyone": True}}
# Bodies of calls; other calls have none.
BODIES = {
    ("api.notifications.publish", "POST"): NEWS,
    ("api.audience", "POST"): {"everyone": True},
    ("api.add_topic", "POST"): {"slug": "new", "name": "New"},
    ("api.change_topic", "PATCH"): {"name": "Globe"},
    ("api.templates.add_template", "POST"): {"name": "Kick-off", "alert": {"title": "Kick-off"}},
    ("api.searching.read_article", "POST"): {"url": "https://paper.example/"},
    ("api.webhooks.add_webhook", "POST"): {
        "address": "https://paper.example/hook",
        "events": ["alert.sent"],
    },
    ("api.webhooks.change_webhook", "PATCH"): {"paused": True},
    ("api.readers.subscribe", "POST"): {"subscription": browser(1)},
    ("api.readers.change_preferences", "PATCH"): {"topics": []},
    ("api.readers.report", "POST"): {"token": "x" * 22, "event": "shown"},
}
FEW = {"api.readers.site", "api.notifications.publish", "desk.alerts"}
DESK_FORM = {
    "title": "Ferry aground",
    "body": "All aboard are safe.",
    "url": "https://paper.example/ferry",
    "audience": "everyone",
    "kind": "news",
}


AUDIENCES = (
    Audience(everyone=True),
    Audience(topics=("world", "sport")),
    Audience(everyone=True, exclude=("world",)),
    Audience(everyone=True, locales=("lv",)),
    Audience(topics=("sport",), locales=("de",)),
    Audience(topics=("world",), story="quake"),
    Audience(subscription=SubscriptionId(0, 1)),
    Audience(subscription=SubscriptionId(0, 999)),
)


class Callers:
    """All kinds of callers: a reader, a tool with a token, an editor at the desk."""

    def __init__(self, url: str, **settings: str) -> None:
        self.app = make_app(url, **settings)
        self.runtime: Runtime = self.app.extensions["stoppress"]
        self.api = Client(self.app)
        self.token = self.api.add_token()
        self.runtime.store.topics.add(Topic("world", "World"))
        credentials = self.subscribe(0).json
        self.id, self.reader = credentials["id"], credentials["token"]
        self.alert = self.publish().json["id"]
        self.desk = self.app.test_client()
        link, fields = sign_in_link(self.runtime, "nora@paper.example")
        path = path_of(link)
        fields["csrf_token"] = field_in(self.desk.get(path), "csrf_token")
        assert self.desk.post(path, data=fields).status_code == 303
        form = self.desk.get("/desk/new", follow_redirects=True)
        self.hidden = {name: field_in(form, name) for name in ("csrf_token", "nonce")}

    def subscribe(self, number: int) -> TestResponse:
        body = {"subscription": browser(number), "topics": ["world"], "locale": "lv"}
        return self.api.call("POST", f"{API}/subscriptions", body)

    def publish(self) -> TestResponse:
        return self.api.call("POST", f"{API}/notifications", NEWS, token=self.token)

    def leave(self) -> TestResponse:
        return self.api.call("DELETE", f"{API}/subscriptions/{self.id}", token=self.reader)

    def send_from_desk(self) -> TestResponse:
        return self.desk.post("/desk/alerts", data={**self.hidden, **DESK_FORM})

    def stored(self) -> dict[bytes, bytes | None]:
        return stored(self.api)


def field_in(page: TestResponse, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]+)"', page.text)
    assert found
    return found[1]


@pytest.fixture
def callers(own_redis: RedisServer) -> Callers:
    return Callers(own_redis.url)


def refused_with(answer: TestResponse, word: str) -> bool:
    """Whether this is a 503 whose detail has the word."""
    assert answer.mimetype == "application/problem+json"
    return answer.status_code == 503 and word in answer.json["detail"]


@pytest.mark.parametrize("what", REFUSING)
def test_calls_get_503_and_no_key_is_half_written_with_redis(
    what: str, callers: Callers, own_redis: RedisServer
) -> None:
    fault, word, _ = REFUSALS[what]
    api, token, reader = callers.api, callers.token, callers.reader
    own = f"{API}/subscriptions/{callers.id}"
    with fault(own_redis):
        before = callers.stored()
        for answer in (
            callers.subscribe(1),
            callers.publish(),
            api.call("PATCH", own, {"topics": []}, token=reader),
            api.call("PATCH", own, {"timezone": "Europe/Riga"}, token=reader),
            api.call("PATCH", own, {"subscription": browser(2)}, token=reader),
            api.call("POST", f"{API}/topics", {"slug": "new", "name": "New"}, token=token),
            api.call("PATCH", f"{API}/topics/world", {"name": "Globe"}, token=token),
        ):
            assert refused_with(answer, word)
            assert answer.headers["Retry-After"]
        assert callers.send_from_desk().status_code == 503
        assert callers.stored() == before
        assert api.call("GET", own, token=reader).status_code == 200
        assert refused_with(api.call("GET", "/readyz"), word)
    assert callers.subscribe(1).status_code == 201
    assert callers.publish().status_code == 202
    assert callers.send_from_desk().status_code == 303


def test_readers_can_leave_and_editors_can_cancel_while_redis_is_full(
    callers: Callers, own_redis: RedisServer
) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 9000))
    later = {**NEWS, "send_at": at}
    planned = callers.api.call("POST", f"{API}/notifications", later, token=callers.token)
    with own_redis.full():
        assert callers.leave().status_code == 204
        for alert in (callers.alert, planned.json["id"]):
            stop = f"{API}/notifications/{alert}/cancel"
            answer = callers.api.call("POST", stop, token=callers.token)
            assert (answer.status_code, answer.json["status"]) == (202, "cancelled")
        assert callers.runtime.publishing.planned() == []
        assert callers.runtime.store.subscriptions.count() == 0


@pytest.mark.processes
@pytest.mark.parametrize("what", some(REFUSALS, ["out of memory", "stopped"]))
def test_every_route_answers_without_a_trace_with_redis(
    what: str, callers: Callers, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Every route is called, with the credentials that it needs."""
    fault, word, reading_goes_on = REFUSALS[what]
    secrets = (callers.token, callers.reader, *browser(0)["keys"].values())
    refused = 0
    with fault(own_redis):
        for rule, method in routes(callers.app, few=what == "loading"):
            with call(callers, rule, method) as answer:
                assert answer.status_code < 500 or answer.status_code == 503, rule
                assert "Traceback" not in answer.text
                assert "redis.exceptions" not in answer.text
                if rule.endpoint.startswith("api.") and answer.status_code == 503:
                    assert refused_with(answer, word)
                refused += answer.status_code == 503
                if reading_goes_on and method == "GET" and rule.endpoint != "health.ready":
                    assert answer.status_code != 503, rule
    assert refused >= (1 if what == "loading" else 4)
    assert not [secret for secret in secrets if secret in caplog.text]
    assert callers.publish().status_code == 202, "afterwards publishing works"


@pytest.mark.processes
def test_every_page_of_an_alert_answers_with_a_node_of_a_cluster_away(redis_url: str) -> None:
    """What all share can be read, so that pages which say why a call is refused are begun."""
    with ClusterServers(2, replicas=False) as cluster:
        callers = Callers(redis_url, STORE_URL=cluster.url)
        shared = cluster.master("g")
        with shared.client() as admin:
            admin.config_set("cluster-require-full-coverage", "no")
        next(node for node in cluster.nodes if node is not shared).kill()
        found: Counter[int] = Counter()
        for rule, method in routes(callers.app, few=False):
            if rule.endpoint.startswith("desk.") and "<int:id>" in rule.rule:
                with call(callers, rule, method) as answer:
                    found[answer.status_code] += 1
        assert found[503]
        assert not found[500]


@pytest.mark.parametrize("what", some(REFUSING, ["out of memory"]))
def test_editors_see_reach_and_waiting_readers_while_redis_refuses_writes(
    what: str, callers: Callers, own_redis: RedisServer
) -> None:
    """They are counted by scripts that write a bitmap, which they delete again."""
    store = callers.runtime.store
    origin = "https://fcm.googleapis.com"
    store.push_services.rest(origin, Rest(1, time.time(), time.time() + 600, "503"))
    callers.runtime.planning.advance(callers.alert)
    callers.runtime.planning.plan(callers.runtime.publishing.get(callers.alert))

    def seen() -> list[object]:
        pages = [
            callers.desk.get("/desk/reach", query_string={"topic": "world"}),
            callers.desk.get("/desk/reach", query_string={"audience": "everyone"}),
            callers.desk.get(f"/desk/alerts/{callers.alert}"),
        ]
        assert [page.status_code for page in pages] == [200] * 3
        alert = callers.runtime.publishing.get(callers.alert)
        return [
            *(page.text.partition("<main")[2].count("1 browser") for page in pages),
            *(reach(audience) for audience in AUDIENCES),
            [one.waiting for one in callers.runtime.push_services.slowing(alert)],
            store.audiences.draw(Audience(everyone=True), 5),
        ]

    for number in range(1, 12):
        callers.subscribe(number)
    reach = callers.runtime.publishing.reach
    before = seen()
    with REFUSALS[what][0](own_redis):
        assert seen()[:-1] == before[:-1]
        assert store.audiences.draw(Audience(everyone=True), 5)[0] == 12


def routes(app: Flask, *, few: bool) -> Iterator[tuple[Rule, str]]:
    """Every route and method; only a few if each call takes long."""
    # Signing out comes last: it would turn all other pages of the desk into the sign-in.
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint == "desk.sign_out"):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            # Rehearsals start processes of their own, with another Redis.
            if rule.endpoint in FEW or not (few or "rehears" in rule.endpoint):
                yield rule, method


def call(callers: Callers, rule: Rule, method: str) -> TestResponse:
    """Call a route with parameters and a body."""
    own = rule.endpoint.startswith("api.readers.")
    given = {"id": callers.id if own else callers.alert, "slug": "world", "token": "x"}
    given |= {"key": "a-key-of-a-form-1", "feed": "0" * 12}
    given |= {"job": "a-job", "hook": "0" * 16, "template": "x" * 12, "article": "0" * 32}
    given |= {"filename": "x", "_rest": "x", "language": "en", "folder": "x", "part": "x"}
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: given[name[1]], rule.rule)
    if rule.endpoint.split(".")[0] not in ("api", "health"):
        fields = {**callers.hidden, **DESK_FORM} if method == "POST" else None
        return callers.desk.open(path, method=method, data=fields)
    token = callers.reader if own else callers.token
    return callers.api.call(method, path, BODIES.get((rule.endpoint, method)), token=token)
