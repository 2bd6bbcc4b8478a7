"""What becomes of a feed's items, and what is stored of a reading."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.model.newsroom.articles import Fault
from service.model.newsroom.feeds import FeedFault, FeedItem, FeedReading, FeedRules

FERRY = FeedItem(
    guid="1",
    link="https://paper.example/ferry",
    title="Ferry aground",
    text="Nobody is hurt.",
    categories=("World", "Sea"),
    published=1.5,
)
READING = FeedReading("https://paper.example/feed", 200, items=(FERRY,))


@pytest.mark.parametrize(
    ("template", "item", "made"),
    [
        ("{title}", FERRY, "Ferry aground"),
        ("{feed}: {title}", FERRY, "The Paper: Ferry aground"),
        ("{category} – {title}", FERRY, "World – Ferry aground"),
        ("{category}: {title}", FeedItem(title="Ferry"), "Ferry"),
        ("{text}", FeedItem(title="Ferry"), "Ferry"),  # an alert has a title
        ("News", FERRY, "News"),
        ("{title} {no} {0} {title.x} {{title}}", FeedItem(title="A"), "A {no} {0} {title.x} {A}"),
        ("{title}", FeedItem(title="{text} {0} %s {feed}"), "{text} {0} %s {feed}"),
        ("a\n{title}\tb", FeedItem(title="A"), "a A b"),
        ("{title} " * 20, FERRY, "Ferry aground " * 13 + "Ferry aground…"),
    ],
)
def test_a_template_becomes_a_title(template: str, item: FeedItem, made: str) -> None:
    assert FeedRules(name="The Paper", title_template=template).title_of(item) == made


def test_a_template_becomes_a_text_which_may_be_empty() -> None:
    assert (
        FeedRules(text_template="{text} ({category})").text_of(FERRY) == "Nobody is hurt. (World)"
    )
    assert FeedRules().text_of(FeedItem(title="Ferry")) == ""


def test_categories_add_topics() -> None:
    rules = FeedRules(topics=("news", "sea"), topic_by_category={"world": "abroad", "sea": "sea"})
    assert rules.topics_of(FERRY) == ("news", "sea", "abroad")
    assert rules.topics_of(FeedItem()) == ("news", "sea")


def test_readings_and_rules_are_stored_whole() -> None:
    rules = FeedRules(name="The Paper", topics=("a",), topic_by_category={"world": "abroad"})
    assert FeedRules.from_json(rules.as_json()) == rules
    for reading in (READING, FeedReading("", fault=FeedFault.TOO_LATE)):
        assert FeedReading.from_json(reading.as_json()) == reading


def test_a_feed_fails_in_all_ways_in_which_an_article_fails() -> None:
    assert {fault.value for fault in Fault} < {fault.value for fault in FeedFault}


def changed(**more: Any) -> str:
    return json.dumps({**json.loads(READING.as_json()), **more})


def with_item(**more: Any) -> str:
    return changed(items=[{**json.loads(READING.as_json())["items"][0], **more}])


@pytest.mark.parametrize(
    "stored",
    [
        *("", "1", "{}", "null", "[" * 9999),
        changed(version=2),
        changed(address=1),
        changed(fault="tired"),
        changed(unchanged="no"),
        changed(status=True),
        changed(items={}),
        changed(items=[1]),
        changed(items=json.loads(READING.as_json())["items"] * 201),
        changed(more=1),
        with_item(link="javascript:alert(1)"),
        with_item(picture="data:image/png;base64,x"),
        with_item(title="x" * 201),
        with_item(published=float("nan")),
        with_item(published=10**400),
        with_item(published="now"),
        with_item(categories=[1]),
    ],
    ids=lambda stored: stored[:10],
)
def test_what_no_reading_looks_like_is_refused(stored: str) -> None:
    with pytest.raises(ValueError):
        FeedReading.from_json(stored)
