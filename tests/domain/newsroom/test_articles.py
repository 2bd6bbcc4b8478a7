"""What editors are told of an alert's link, in words that they can act on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from service.domain.newsroom.articles import Result
from service.model.newsroom.articles import Article, Fault, Reading
from service.runtime import Runtime
from tests.support.client import Client

LINK = "https://paper.example/ferry"
PAGE = Reading(LINK, 200, article=Article(title="Ferry aground", address=LINK))


def problems(reading: Reading | None, title: str = "Ferry aground", link: str = LINK) -> list[str]:
    return list(Result(link, reading).problems(title))


def test_a_good_link_has_no_problem() -> None:
    assert problems(PAGE) == []
    assert problems(None) == []
    assert problems(PAGE, title="") == []


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_has_a_sentence_that_names_the_host(fault: Fault) -> None:
    (said,) = problems(Reading(LINK, fault=fault))
    assert said.endswith(".")
    assert "paper.example" in said or said.startswith("The link")


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        (replace(PAGE, status=404), "does not exist"),
        (replace(PAGE, status=410), "does not exist"),
        (replace(PAGE, status=403), "does not let everybody read"),
        (replace(PAGE, status=503), "answers 503"),
        (replace(PAGE, address="https://paper.example/login?next=/ferry"), "have to sign in"),
        (replace(PAGE, article=Article("Sign in", asks_to_sign_in=True)), "have to sign in"),
        (replace(PAGE, address=f"{LINK}?preview=true"), "leads to a preview"),
        (
            replace(PAGE, article=Article(title="One hour between them")),
            "another title: “One hour between them”",
        ),
    ],
)
def test_what_is_wrong_with_a_page_is_said(reading: Reading, says: str) -> None:
    (said,) = problems(reading)
    assert says in said


def test_what_the_link_itself_tells_is_said_at_once() -> None:
    (said,) = problems(None, link=f"{LINK}?preview=true")
    assert "preview" in said
    (said,) = problems(None, link="http://paper.example/ferry")
    assert "https://" in said
    assert problems(None, link="http://localhost:8000/demo/ferry") == []


def test_the_articles_own_address_is_named_beside_a_preview() -> None:
    (said,) = problems(PAGE, link=f"{LINK}?preview=true")
    assert said.endswith(f"own address is {LINK}")


@pytest.mark.parametrize(
    "title",
    [
        "FERRY AGROUND!",
        "Ferry  aground",
        "Breaking: Ferry aground, all are safe",
        "Ferry",
    ],
)
def test_the_same_title_in_other_dress_is_no_problem(title: str) -> None:
    assert problems(PAGE, title) == []


def test_nothing_is_filled_in_from_a_page_to_sign_in() -> None:
    assert Result(LINK, replace(PAGE, address="https://id.example/login")).article == Article()
    assert Result(LINK, None).article == Article()


@pytest.fixture
def runtime(client: Client) -> Runtime:
    return client.runtime


@pytest.mark.redis
@pytest.mark.parametrize(
    "stored",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps({"version": 1}),
        PAGE.as_json().replace('"version": 1', '"version": 2'),
        PAGE.as_json().replace('"status": 200', '"status": "200"'),
        PAGE.as_json().replace('"title": "Ferry aground"', '"title": ["Ferry aground"]'),
        PAGE.as_json().replace('"fault": null', '"fault": "<script>"'),
        PAGE.as_json().replace('"fault": null', '"fault": {}'),
    ],
    ids=range(11),
)
def test_what_a_fetch_process_should_not_have_stored_is_not_there(
    runtime: Runtime, stored: str
) -> None:
    runtime.store.articles.ask("a" * 32, LINK)
    runtime.store.articles.keep("a" * 32, stored)
    assert runtime.articles.result("a" * 32) is None


@pytest.mark.redis
def test_a_reading_comes_back_as_it_was_stored(runtime: Runtime) -> None:
    articles = runtime.store.articles
    for number, reading in enumerate([PAGE, Reading(LINK, fault=Fault.TOO_LATE)]):
        articles.ask(str(number), LINK)
        articles.keep(str(number), reading.as_json())
        assert runtime.articles.result(str(number)) == Result(LINK, reading)


@pytest.mark.redis
def test_a_late_result_brings_nothing_back_that_has_ended(runtime: Runtime) -> None:
    runtime.store.articles.keep("b" * 32, PAGE.as_json())
    assert runtime.articles.result("b" * 32) is None
    assert runtime.store.redis.keys("*article*") == []


@pytest.mark.redis
def test_what_is_stored_ends_by_itself(runtime: Runtime) -> None:
    articles, redis = runtime.store.articles, runtime.store.redis
    articles.ask("c", LINK)
    assert 0 < redis.ttl("{g}:article:c") <= 3600
    articles.keep("c", PAGE.as_json())
    assert 0 < redis.ttl("{g}:article:c") <= 3600
    assert not articles.ask("c", LINK), "within a minute"
    redis.hincrby("{g}:article:c", "asked", -61)
    assert articles.ask("c", LINK)
    assert articles.get("c") == (LINK, None)
