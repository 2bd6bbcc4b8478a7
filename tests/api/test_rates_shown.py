"""Callers see what is left of their rates, and when to try again."""

from __future__ import annotations

import re
import time

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from service.model.retention import RATE_KEPT
from service.store.layout.records import StoreFull
from service.store.operations.rate_counters import RateCounters
from tests.support.client import API, NOTIFICATIONS, Client, Reader
from tests.support.inputs import NEWS

TOOLS = '"tools by token"'


def left(response: TestResponse) -> dict[str, tuple[int, int]]:
    """Return what is left of each rate, and in how many seconds it begins anew."""
    rows = re.findall(r'"([^"]+)";r=(\d+);t=(\d+)(?:, |$)', response.headers["RateLimit"])
    return {name: (int(r), int(t)) for name, r, t in rows}


def test_a_tool_sees_how_many_calls_it_has_left(client: Client, token: str) -> None:
    for calls in (1, 2, 3):
        response = client.call("GET", f"{API}/topics", token=token)
        assert response.headers["RateLimit-Policy"] == f"{TOOLS};q=600;w=60"
        ((calls_left, seconds),) = left(response).values()
        assert calls_left == 600 - calls
        assert 0 < seconds <= 60
    refused = client.call("POST", NOTIFICATIONS, {}, token=token)
    assert refused.status_code == 422
    assert left(refused)["tools by token"][0] == 596, "a call that is refused counts too"
    other = client.call("GET", f"{API}/topics", token=client.add_token("another"))
    assert left(other)["tools by token"][0] == 599


@given(now=st.floats(0, 1e8), later=st.floats(0, 59))
def test_a_rate_begins_anew_within_its_time_whatever_the_clock_says(
    now: float, later: float
) -> None:
    with pytest.MonkeyPatch.context() as patch, redis.Redis() as unasked:
        counters = RateCounters(unasked)
        patch.setattr(time, "monotonic", lambda: now)
        assert counters.count("news", "ada", 100).resets_in == RATE_KEPT
        patch.setattr(time, "monotonic", lambda: now + later)
        assert 0 < counters.count("news", "ada", 100).resets_in <= RATE_KEPT


@pytest.mark.redis
def test_a_caller_with_nothing_left_hears_when_to_try_again(client: Client) -> None:
    reader = Reader(client)
    found = [reader.call("POST", "/test") for _ in range(4)]
    assert [one.status_code for one in found] == [202, 202, 202, 429]
    assert found[0].headers["RateLimit-Policy"] == (
        '"send_test by address";q=30;w=60, "send_test by token";q=3;w=60'
    )
    assert [left(one)["send_test by token"][0] for one in found] == [2, 1, 0, 0]
    again = int(found[-1].headers["Retry-After"])
    assert 0 < again <= 60
    assert left(found[-1])["send_test by token"][1] == again


def test_a_route_without_a_rate_says_nothing_of_one(client: Client) -> None:
    assert "RateLimit" not in client.call("GET", f"{API}/site").headers
    assert "RateLimit" not in client.call("GET", "/healthz").headers


def test_while_everything_is_stopped_or_redis_is_full_a_tool_hears_when_to_try_again(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(client)
    path = client.call("POST", NOTIFICATIONS, NEWS, token=token).headers["Location"]
    client.runtime.stops.hold(by="nora@paper.example")
    body = {"subscription_id": reader.id}
    stopped = client.call("POST", f"{path}/test", body, token=token)
    assert (stopped.status_code, stopped.headers["Retry-After"]) == (503, "60")

    def full(*given: object, **more: object) -> None:
        raise StoreFull("there is no room")

    monkeypatch.setattr(client.runtime.publishing, "cancel", full)
    refused = client.call("POST", f"{path}/cancel", token=token)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
