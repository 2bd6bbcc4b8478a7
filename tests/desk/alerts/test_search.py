"""Searching alerts: by words, state, kind, topic, author and day, page by page."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.model.alert_log import ToolName
from service.model.notifications import Audience, Content
from service.runtime import Runtime
from tests.support.desk.pages import NASTY, Page, publish, words
from tests.support.desk.planned import plan
from tests.support.redis_servers.server import RedisServer

DAY = 86_400

pytestmark = pytest.mark.redis


def sent(runtime: Runtime, title: str, audience: Audience | None = None, **given: Any) -> int:
    by = given.pop("by", "ada@paper.example")
    content = Content(title, "https://paper.example/", **given)
    everyone = audience or Audience(everyone=True)
    return runtime.publishing.publish(content, everyone, by=by).id


def found(editor: FlaskClient, **given: object) -> list[int]:
    """The alerts on the page of a search, in their order; checks the number that it says."""
    page = editor.get("/desk/search", query_string=given)
    assert page.status_code == 200
    Page(page.text)
    ids = [int(id) for id in re.findall(r'id="row-(\d+)"', page.text)]
    count = re.search(r"([\d,]+) alerts? found", words(page.text))
    assert count
    if "before" not in given and int(count[1]) <= 30:
        assert int(count[1]) == len(ids)
    return ids


def test_words_of_title_and_text_are_found_in_any_case_and_order(
    editor: FlaskClient, runtime: Runtime
) -> None:
    ferry = sent(runtime, "Ferry aground off Riga", body="All aboard are SAFE.")
    street = sent(runtime, "STRASSE gesperrt: École fermée")
    arabic = sent(runtime, "عاجل: حريق في المدينة", body="Καλημέρα ΣΟΦΟΣ")
    for text, ids in {
        "ferry": [ferry],
        "safe RIGA": [ferry],
        "safe\u3000RIGA": [ferry],
        "grou": [ferry],
        "straße": [street],
        "ÉCOLE": [street],
        "E\u0301cole": [street],
        "المدينة": [arabic],
        "σοφος": [arabic],
        "ferry école": [],
        "r": [street, ferry],
        "": [arabic, street, ferry],
        "a.*d": [],
        "\x1f": [arabic, street, ferry],
    }.items():
        assert found(editor, text=text) == ids, text


def test_a_topic_is_searched_by_all_names_that_it_had(
    editor: FlaskClient, runtime: Runtime
) -> None:
    world = sent(runtime, "Far away", Audience(topics=("world",)))
    sport = sent(runtime, "Kick-off", Audience(topics=("sport",)))
    draft = plan(runtime)  # for World
    assert found(editor, topic="sport") == [sport]
    runtime.topics.merge("world", "sport")
    for topic in ("sport", "world"):
        assert found(editor, topic=topic) == [draft, sport, world]


def test_a_correction_is_found_by_its_own_text(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    assert found(editor, text="aground") == [half_sent]
    corrected = runtime.corrections.correct(
        half_sent, title="Ferry afloat", body=None, url=None, replace=True, by="a test"
    )
    assert found(editor, text="afloat") == [corrected.id]
    assert found(editor, text="ferry") == [corrected.id, half_sent]


def test_planned_alerts_are_found_as_they_are_now(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    draft, later = plan(runtime), plan(runtime, 3600, title="Half-time")
    first = sent(runtime, "Kick-off of the derby")
    assert found(editor, text="kick-off") == [draft, first]
    assert found(editor, state="draft") == [draft]
    assert found(editor, state="scheduled") == [later]
    one = runtime.publishing.get(draft)
    changed = Content("Delayed", one.content.url)
    runtime.publishing.change(one, changed, one.audience, by="a test", draft=True)
    assert found(editor, text="kick-off") == [first]
    runtime.publishing.send(draft, by="a test")
    assert found(editor, text="delayed") == [draft]
    assert found(editor, state="draft") == []


def test_filters_apply_together(editor: FlaskClient, runtime: Runtime) -> None:
    world = sent(runtime, "Quake", Audience(topics=("world", "sport")), kind="breaking")
    sport = sent(runtime, "Goal", Audience(topics=("sport",)), by=ToolName("CMS of sport"))
    cancelled = sent(runtime, "Quake again")
    runtime.publishing.cancel(cancelled, by="a test")
    assert found(editor, topic="sport") == [sport, world]
    assert found(editor, topic="world") == [world]
    assert found(editor, kind="breaking") == [world]
    assert found(editor, by="cms") == [sport]
    assert found(editor, by="ADA@") == [cancelled, world]
    assert found(editor, state="cancelled") == [cancelled]
    assert found(editor, state="sending", text="quake") == [world]
    assert found(editor, state="sent") == []
    assert found(editor, topic="sport", kind="news", by="cms", text="goal") == [sport]
    assert found(editor, topic="sport", kind="news", by="ada") == []


def test_days_are_those_on_which_sending_began(editor: FlaskClient, runtime: Runtime) -> None:
    now = time.time()
    ids = [sent(runtime, f"Number {number}") for number in range(3)]
    for ago, id in enumerate(ids):
        runtime.store.redis.zadd("{g}:started", {str(id): round((now - ago * DAY) * 1000)})

    def day(ago: int) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(now - ago * DAY))

    assert found(editor, since=day(1)) == ids[:2]
    assert found(editor, until=day(1)) == ids[1:]
    assert found(editor, since=day(1), until=day(1)) == [ids[1]]
    assert found(editor, since=day(0), until=day(2)) == []


def test_the_address_keeps_the_search_from_page_to_page(
    editor: FlaskClient, runtime: Runtime
) -> None:
    ids = [sent(runtime, f"Goal & {number}" if number % 2 else "Other") for number in range(130)]
    wanted = ids[1::2][::-1]
    address = "/desk/search?text=GOAL+%26&kind=news"
    pages: list[list[int]] = []
    while address:
        text = editor.get(address).text
        assert 'value="GOAL &amp;"' in text
        assert "65 alerts found" in words(text)
        pages.append([int(id) for id in re.findall(r'id="row-(\d+)"', text)])
        link = re.search(r'<a href="([^"]+)">Older</a>', text)
        address = link[1].replace("&amp;", "&") if link else ""
    assert [len(page) for page in pages] == [30, 30, 5]
    assert [id for page in pages for id in page] == wanted


def test_what_makes_no_sense_in_the_address_is_left_out(
    editor: FlaskClient, runtime: Runtime
) -> None:
    id = sent(runtime, NASTY)
    for query in (
        *("state=gone", "kind=%00", "since=yesterday", "until=2026-13-45", "before=x", "before=-1"),
        *("before=" + "9" * 400, "text=" + "x+" * 90, "topic=" + "y" * 9000, "by=%ff%fe"),
    ):
        assert editor.get(f"/desk/search?{query}").status_code == 200, query
    assert found(editor, state="gone", kind="odd", since="x", before=999) == [id]
    assert found(editor, text="<SCRIPT>") == [id]
    assert found(editor, topic="no-such-topic") == []


def test_alerts_of_an_earlier_release_are_found_too(editor: FlaskClient, runtime: Runtime) -> None:
    id = sent(runtime, "Ferry aground")
    redis = runtime.store.redis
    assert found(editor, text="ferry") == [id]
    for row in (None, "0\x1fnews", "2\x1fa\x1fb\x1fc\x1fd\x1fe"):
        redis.delete("{g}:searched")
        if row:
            redis.hset("{g}:searched", str(id), row)
        assert found(editor, text="ferry") == [id], row


def test_a_full_redis_is_searched_all_the_same(
    editor: FlaskClient, runtime: Runtime, whole_redis: RedisServer
) -> None:
    id = sent(runtime, "Ferry aground")
    with whole_redis.full():
        ids = [*runtime.store.search_rows.rows([id])]
        assert [one for one, _ in ids] == [id]
        assert runtime.store.redis.exists("{g}:searched") == 0
    assert found(editor, text="ferry") == [id]


def test_welcomes_tests_and_waves_are_not_found(editor: FlaskClient, runtime: Runtime) -> None:
    runtime.publishing.wake_readers(time.time(), "https://paper.example/")
    wave = Content("While you slept", "https://paper.example/")
    runtime.publishing.publish(wave, Audience(waking=5), by="quiet hours")
    assert found(editor, text="slept") == []


def test_the_list_leads_to_the_search(editor: FlaskClient, runtime: Runtime) -> None:
    publish(runtime)
    page = editor.get("/desk/").text
    form = re.search(r'<form class="find"[^>]*action="([^"]+)"', page)
    assert form
    assert form[1] == "/desk/search"
