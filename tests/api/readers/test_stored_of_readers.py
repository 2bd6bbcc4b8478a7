"""All that Redis holds about a reader has a lifetime in retention.py, which `/privacy` shows."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from service.model.notifications import Audience, Notification, Outcome, Topic
from service.model.retention import UNTRIED_KEPT
from service.model.subscriptions import SubscriptionId
from service.model.time.clocks import QUARTER, day
from service.store.alerts.outcomes import Result
from service.store.layout.records import digest_of
from service.store.sending.batches import Retry
from tests.support.client import API, SUBSCRIPTIONS, Client, Reader, browser
from tests.support.processes.installation import content
from tests.support.retention import about_a_reader

NUMBER = 48_211  # of the reader: no other number in the store is likely to have these digits
HOST = "https://wns2-new.notify.windows.com"

# How long a key is kept that may tell something about a reader: a row of retention.py, or one of
# the things that its docstring names.
SUBSCRIBED, SENDING, RECEIPTS = "while subscribed", "while an alert is sent", "RECEIPTS_KEPT_DAYS"
KEPT = {
    r"\{0\}:(r|e|k):\w+": SUBSCRIBED,  # record, index of endpoints, prepared keys
    r"\{0\}:(live|unconfirmed|gone)": SUBSCRIBED,
    r"\{0\}:(topic|muted|followed|locale|key|base|seen):\w+": SUBSCRIBED,
    r"\{0\}:n:\d+:(audience|done|retries)": SENDING,
    r"\{g\}:n:\d+:(shown|clicked|dismissed|tallies)": RECEIPTS,
    r"\{0\}:n:\d+:accepted:\d": "ACCEPTED_KEPT",
    r"\{0\}:n:\d+:clicked": "CLICKED_KEPT",
    r"\{0\}:n:\d+:held|\{0\}:wake:\d+": "HELD_KEPT",
    r"\{0\}:day:\d+": "COUNTS_KEPT",
    r"\{0\}:n:\d+:counted:\d+": "COUNTED_KEPT",
    r"\{0\}:left": "LEFT_KEPT",
    r"\{0\}:(farewell|held)": "GONE_KEPT",  # due; kept for an editor's decision
    r"\{0\}:young": "YOUNG_KEPT",
    r"\{0\}:in_vain": "IN_VAIN_KEPT",
    r"\{0\}:untried": "UNTRIED_KEPT",
    r"\{0\}:asked": "ASKED_KEPT",
    r"\{g\}:n:\d+ to a reader": "READERS_TEST_KEPT",
    r"\{g\}:idempotency:\w+": "READERS_TEST_KEPT",  # that this reader had the welcome
    r"\{g\}:readers_alerts:\w+:callers": "CALLERS_KEPT",
    r"\{g\}:(pairing|paired|paired:by):[\w-]+": "PAIRED_KEPT",
    r"stoppress:rate:(?!new ).*": "RATE_KEPT",
    r"stoppress:rate:new .*": "NEW_HOSTS_KEPT",
}
# Keys that say nothing about a reader, which the test checks.
OF_NOBODY = (
    r"\{0\}:(made|days|moved|clicked|k|wakes|answers:\d+)|\{0\}:n:\d+(:batches|:leases)?",
    r"\{g\}:(n|n:history|n:\d+|log|active|started|scheduled|waves|ended|web|processes)",
    r"\{g\}:(names|hosts|topics|stories|story|days|clicks|layout|keys|clock|counted|readers_alerts)\b(?!.*:callers).*",
    r"\{g\}:paired:sent:\w+",
    r"rq:.*",
)


@pytest.mark.usefixtures("one_partition")
def test_every_key_about_a_reader_is_a_row_of_retention(
    client_with: Callable[..., Client],
) -> None:
    client = client_with(WELCOME="confirm", CLICK_AUDIENCES="on")
    redis, found = client.runtime.store.redis, dict[str, int]()
    redis.set("{0}:made", NUMBER)
    endpoint = HOST + "/w/?token=a-secret"

    def look() -> None:
        for key in map(bytes.decode, redis.scan_iter()):
            name = key
            if re.fullmatch(r"\{g\}:n:\d+", key) and mentions(client, key, endpoint):
                name = f"{key} to a reader"
            found[name] = max(found.get(name, -1), redis.ttl(key))
            if not any(re.fullmatch(pattern, name) for pattern in KEPT):
                assert any(re.fullmatch(pattern, name) for pattern in OF_NOBODY), name
                assert not mentions(client, key, endpoint), name

    everyone = Audience(everyone=True)
    client.runtime.topics.add(Topic("world", "World"))
    for story in ("quake", "storm"):
        publish(client, Audience(everyone=True, story=story))
    response = client.call(
        "POST",
        SUBSCRIPTIONS,
        {
            "subscription": {**browser(), "endpoint": endpoint},
            "topics": ["world"],
            "locale": "lv",
            "timezone": "Europe/Riga",
            "followed_stories": ["quake"],
            "muted_stories": ["storm"],
        },
    )
    assert response.status_code == 201, response.json
    reader = Reader.known(client, dict(response.json or {}))
    id = SubscriptionId.parse(reader.id)
    assert id.number == NUMBER
    look()  # the welcome is under way
    client.runtime.store.subscriptions.confirm(id)
    assert reader.call("POST", "/test").status_code == 202
    pair(client, reader)
    look()
    for alert in client.runtime.store.notifications.active():
        client.runtime.publishing.cancel(alert, by="a test")
    client.runtime.planning.advance_all()

    base = client.runtime.store.names.bases.of(client.runtime.endpoints.parse(endpoint))
    today = day("Europe/Riga", int(time.time()) // QUARTER)
    counted = publish(client, everyone)
    client.runtime.store.daily_counts.count(counted, 0, today, [NUMBER], [9])
    ends(client, counted, Result(Outcome.ACCEPTED, "microsoft", base, revision=0))
    asleep = Result(Outcome.SKIPPED, "quiet", 0, wakes=1 << 22, is_held=True)
    ends(client, publish(client, everyone), asleep)
    ends(client, publish(client, everyone), Result(Outcome.REFUSED, "microsoft", 0, in_vain=True))
    ends(client, publish(client, everyone), Retry(base, 2, 60_000))
    client.runtime.store.retiring.note_asked(counted, [0])
    redis.setbit("{0}:untried", NUMBER, 1)
    redis.expire("{0}:untried", UNTRIED_KEPT)
    client.runtime.store.prepared_keys.store(0, NUMBER // 256, 1, b"sealed")
    for event in ("shown", "clicked", "dismissed"):
        token = client.runtime.tokens.receipt(counted, id)
        client.call("POST", f"{API}/receipts", {"token": token, "event": event})
    look()
    ends(client, publish(client, everyone), Result(Outcome.GONE, "microsoft", base))
    look()
    client.runtime.store.gone.doubt(client.runtime.store.gone.waiting()[0])
    look()
    assert reader.call("DELETE").status_code == 204
    look()

    lifetimes = about_a_reader()
    used = set[str]()
    for pattern, row in KEPT.items():
        keys = [key for key in found if re.fullmatch(pattern, key)]
        assert keys, f"nothing was stored that is {pattern}"
        used.add(row)
        if row in lifetimes:
            assert max(found[key] for key in keys) <= lifetimes[row], row
    assert used - {SUBSCRIBED, SENDING, RECEIPTS} == lifetimes.keys()


def pair(client: Client, reader: Reader) -> None:
    """An editor pairs the reader's browser and sends a test to it."""
    paired, by = client.runtime.paired_browsers, "nora@paper.example"
    code = paired.begin(by)
    assert reader.call("POST", "/pairing", {"code": code, "agreed": True}).status_code == 200
    paired.confirm(code, by)
    assert paired.send(by, content()) == 1


def publish(client: Client, audience: Audience) -> int:
    return client.runtime.publishing.publish(content(), audience, by="a test").id


def ends(client: Client, id: int, what: Result | Retry) -> None:
    """A worker records what became of an alert for the reader, or that it tries again later."""
    runtime, owner = client.runtime, "a worker "
    alert: Notification = runtime.publishing.get(id)
    runtime.planning.plan(alert)
    claim = runtime.store.batches.claim(id, 0, owner, 60_000)
    assert claim is not None and claim.pending == [NUMBER]
    if isinstance(what, Retry):
        retries = {NUMBER: what}
        runtime.store.batches.release(id, claim.batch, owner, wait_ms=60_000, retries=retries)
    else:
        runtime.store.outcomes.record(id, claim.batch, owner, 60_000, {what: [NUMBER]})


def mentions(client: Client, key: str, endpoint: str) -> bool:
    """Whether a value has the reader's number, as digits, as bytes or as a bit, or the endpoint."""
    redis = client.runtime.store.redis
    read: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: [redis.get(key)],
        b"hash": lambda: [part for row in redis.hgetall(key).items() for part in row],
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1),
        b"stream": lambda: [part for _, row in redis.xrange(key) for part in row.values()],
        b"list": lambda: redis.lrange(key, 0, -1),
    }
    kind = cast("bytes", redis.type(key))
    values: list[bytes] = list(read[kind]())
    if kind == b"string" and redis.getbit(key, NUMBER):
        return True
    tell = (struct.pack(">I", NUMBER), digest_of(endpoint)[2:], b"a-secret")
    return any(
        any(part in value for part in tell) or re.search(rb"\b%d\b" % NUMBER, value)
        for value in values
    )
