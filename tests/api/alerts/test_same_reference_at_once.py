"""Calls with one `reference` that come at the same time make one alert, and none is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from service.api.alerts import references
from tests.support.client import NOTIFICATIONS, Client
from tests.support.inputs import NEWS

PLAN = {**NEWS, "reference": "4711", "draft": True}


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls at the same time; return the responses."""
    found: list[Any] = []
    threads = [threading.Thread(target=lambda one=one: found.append(one())) for one in calls]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


@pytest.mark.parametrize("draft", [False, True])
def test_the_same_story_from_many_calls_is_one_alert(
    client: Client, token: str, draft: bool
) -> None:
    def post() -> Any:
        return client.call("POST", NOTIFICATIONS, {**PLAN, "draft": draft}, token=token)

    found = at_once(*[post] * 12)
    (only,) = client.runtime.publishing.latest(9)
    assert {(one.status_code, one.json["id"]) for one in found} == {(202, str(only.id))}


def test_texts_that_come_at_once_all_go_into_the_plan_one_after_the_other(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def post(title: str) -> Any:
        return client.call("POST", NOTIFICATIONS, {**PLAN, "title": title}, token=token)

    post("Ferry aground")
    real, all_have_read, reads = references.change, threading.Barrier(3), threading.local()

    def change(*given: Any) -> Any:
        if not getattr(reads, "again", False):
            reads.again = True
            all_have_read.wait(timeout=30)
        return real(*given)

    monkeypatch.setattr(references, "change", change)
    titles = ["One", "Two", "Three"]
    found = at_once(*(lambda title=title: post(title) for title in titles))  # type: ignore[misc]
    assert [one.status_code for one in found] == [202] * 3, [one.json for one in found]
    (only,) = client.runtime.publishing.latest(9)
    assert (only.changes, only.content.title in titles) == (3, True)


def test_a_plan_that_is_deleted_while_a_call_changes_it_is_said_to_be_withdrawn(
    client: Client, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.call("POST", NOTIFICATIONS, PLAN, token=token)
    (only,) = client.runtime.publishing.latest(9)
    real = references.change

    def change(*given: Any) -> Any:
        monkeypatch.undo()
        client.runtime.publishing.remove(only.id, by="ada@paper.example")
        return real(*given)

    monkeypatch.setattr(references, "change", change)
    found = client.call("POST", NOTIFICATIONS, {**PLAN, "title": "Two"}, token=token)
    assert found.status_code == 410, found.json
    assert client.runtime.publishing.latest(9) == []
