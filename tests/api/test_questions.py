"""Pages count how often they ask whether a reader wants alerts."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.daily_totals import today
from service.model.retention import QUESTIONS_KEPT
from service.store import questions
from tests.support.client import API, SITE, Client

pytestmark = pytest.mark.redis


def ask(client: Client, page: Any, step: Any = "shown") -> int:
    body = {"page": page, "step": step}
    return client.call("POST", f"{API}/questions", body, headers={"Origin": SITE}).status_code


def counted(client: Client) -> dict[str, dict[str, int]]:
    found = client.runtime.questions.between(today(), 2)
    return {page: dict(counts) for page, counts in found.items()}


def test_a_step_is_counted_by_the_first_part_of_the_path(client: Client) -> None:
    steps = ("shown", "yes", "subscribed")
    assert [ask(client, "/sport/tennis?x=1", step) for step in steps] == [204] * 3
    assert [ask(client, page) for page in ("/", "//", "/sport", "/a b/c")] == [204] * 4
    assert ask(client, "/" + "x" * 500) == 204
    assert counted(client) == {
        "/sport": {"shown": 2, "yes": 1, "subscribed": 1},
        "/": {"shown": 2},
        "/a b": {"shown": 1},
        "/" + "x" * 60: {"shown": 1},
    }
    (key,) = client.runtime.store.redis.scan_iter("{g}:questions:*")
    assert 0 < client.runtime.store.redis.ttl(key) <= QUESTIONS_KEPT


def test_strangers_who_make_up_pages_fill_no_more_than_a_day_has_room_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_MOST", 3)
    for page in ("/a", "/b", "/c", "/d", "/e", "/a"):
        assert ask(client, page) == 204
    once, twice = {"shown": 1}, {"shown": 2}
    assert counted(client) == {"/a": twice, "/b": once, "/c": once, "": twice}
