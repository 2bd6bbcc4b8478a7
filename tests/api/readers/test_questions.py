"""Pages count how often they ask whether a reader wants alerts."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.operations.daily_totals import today
from service.model.retention import QUESTIONS_KEPT
from service.store.readers import questions
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
    assert [ask(client, page) for page in ("/", "//", "/sport", "/2026/11")] == [204] * 4
    for page in ("/%D0%9D%D0%B0%D1%83%D0%BA%D0%B0/1", "/Наука", "/खेल", "/" + "x" * 40):
        assert ask(client, page) == 204
    assert counted(client) == {
        "/sport": {"shown": 2, "yes": 1, "subscribed": 1},
        "/": {"shown": 2},
        "/2026": {"shown": 1},
        "/Наука": {"shown": 2},
        "/खेल": {"shown": 1},
        "/" + "x" * 40: {"shown": 1},
    }
    (key,) = client.runtime.store.redis.scan_iter("{g}:questions:*")
    assert 0 < client.runtime.store.redis.ttl(key) <= QUESTIONS_KEPT


def test_names_that_may_stand_for_a_reader_are_not_kept(client: Client) -> None:
    pages = (
        *("/ada@paper.example", "/ada%40paper.example/x", "/0044207946", "/order-12345"),
        *(
            "/c0ffee42",
            "/3F2504E0-4F89-11D3-9A0C",
            "/a b/c",
            "/<b>",
            "/%ff",
            "/a%2Fb",
            "/" + "x" * 41,
        ),
    )
    for page in pages:
        assert ask(client, page) == 204
    assert counted(client) == {"": {"shown": len(pages)}}


def test_strangers_who_make_up_pages_fill_no_more_than_a_day_has_room_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_MOST", 15)
    for page in ("/a", "/b", "/c", "/d", "/e", "/a"):
        assert ask(client, page) == 204
    assert ask(client, "/a", "subscribed") == 204, "a page has room for all of its steps"
    assert ask(client, "/d", "yes") == 204
    assert counted(client) == {
        "/a": {"shown": 2, "subscribed": 1},
        "/b": {"shown": 1},
        "/c": {"shown": 1},
        "": {"shown": 2, "yes": 1},
    }


def test_one_stranger_does_not_fill_the_room_of_a_day(client: Client) -> None:
    def asked(page: str, address: str) -> None:
        body, headers = {"page": page, "step": "shown"}, {"Origin": SITE}
        answer = client.call(
            "POST", f"{API}/questions", body, headers=headers, address=f"198.51.100.{address}"
        )
        assert answer.status_code == 204

    for n in range(12):
        asked(f"/made-up-{n}", "1")
    asked("/sport", "2")
    asked("/sport", "1")
    found = counted(client)
    assert len(found) == 12, "ten sections, Sport, and the others"
    assert (found["/sport"], found[""]) == ({"shown": 2}, {"shown": 2})
