"""The page `/privacy`: true, in the reader's language, and the same in all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from service.model.language.languages import LANGUAGES, texts
from service.model.retention import DAY
from service.model.time.spans import span
from service.reader import privacy
from tests.reader.conftest import Get
from tests.support.retention import about_a_reader

ClientWith = Callable[..., FlaskClient]


@pytest.mark.parametrize(("days", "span"), [("1", "1 day after"), ("45", "45 days after")])
def test_the_page_says_how_long_data_is_kept(client_with: ClientWith, days: str, span: str) -> None:
    page = client_with(RECEIPTS_KEPT_DAYS=days).get("/privacy").text
    assert span in page
    assert "for 30 days, so that no page subscribes you again" in page
    assert "We keep this for 7 days." in page
    assert "The Daily Example" in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_names_every_lifetime_of_data_about_a_reader(
    client_with: ClientWith, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each lifetime is another one here, so that no row is found in the words of another row.
    different = {name: (50 + n) * DAY for n, name in enumerate(about_a_reader())}
    for name, seconds in different.items():
        monkeypatch.setattr(privacy, name, seconds)
    settings = {"CLICK_AUDIENCES": "on", "RETIRE_AFTER_DAYS": "90"}
    page = client_with(**settings).get(f"/privacy?lang={language}").text
    for name, seconds in different.items():
        assert span(seconds, language) in page, name


@pytest.mark.parametrize("language", LANGUAGES)
def test_clicks_are_mentioned_only_where_the_newsroom_keeps_them(
    client_with: ClientWith, language: str
) -> None:
    path, told = f"/privacy?lang={language}", texts(language)["privacy"]
    promise, clicks = told["standfirst"], told["clicks"]
    off = client_with().get(path).text
    assert promise in off
    assert clicks["heading"] not in off
    on = client_with(CLICK_AUDIENCES="on").get(path).text
    assert promise not in on
    assert all(words in on for words in (clicks["standfirst"], clicks["heading"], clicks["row"][1]))
    assert "{" not in on


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_came_of_an_alert_is_mentioned_only_where_the_newsroom_counts_it(
    client_with: ClientWith, language: str
) -> None:
    path, told = f"/privacy?lang={language}", texts(language)["privacy"]["conversions"]
    words = [text.partition("{")[0] for text in (told["browser"], told["counted"])]
    assert not any(text in client_with().get(path).text for text in words)
    page = client_with(CONVERSIONS="subscription").get(path).text
    assert all(text in page for text in words)
    assert "{" not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_that_readers_who_do_not_visit_are_retired_is_said_only_where_they_are(
    client_with: ClientWith, language: str
) -> None:
    path, words = f"/privacy?lang={language}", texts(language)["privacy"]["retire"].split("{")[0]
    assert words not in client_with().get(path).text
    page = client_with(RETIRE_AFTER_DAYS="181", RETIRE_ANSWER_DAYS="47").get(path).text
    assert all(
        said in page for said in (words, span(181 * DAY, language), span(47 * DAY, language))
    )
    assert "{" not in page


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("lv,ru;q=0.7,en;q=0.5", "ru"),
        ("ar-EG", "ar"),
        ("de-AT,en;q=0.5", "de"),
        ("de_DE,en;q=0.5", "de"),
        ("de_DE.UTF-8,en;q=0.5", "de"),
        ("en;q=0,es@posix;q=0.1", "es"),
        ("lv", "fr"),  # the newspaper's own
        ("", "fr"),
        ("~*;;q=x", "fr"),
    ],
)
def test_the_page_is_in_the_readers_language(
    client_with: ClientWith, accepted: str, language: str
) -> None:
    client = client_with(SITE_LANGUAGE="fr-CA")
    response = client.get("/privacy", headers={"Accept-Language": accepted})
    direction = "rtl" if language == "ar" else "ltr"
    assert f'<html lang="{language}" dir="{direction}">' in response.text
    assert response.headers["Content-Language"] == language
    assert response.headers["Vary"] == "Accept-Language"
    assert response.headers["Cache-Control"].startswith("public, max-age=300,")
    again = {"If-None-Match": response.headers["ETag"], "Accept-Language": accepted}
    assert client.get("/privacy", headers=again).status_code == 304


def test_a_reader_chooses_another_language_by_a_link(get: Get) -> None:
    links = [urlsplit(link).query for link in re.findall(r'href="([^"]+)"', get("/privacy").text)]
    assert {f"lang={language}" for language in LANGUAGES} - set(links) == {"lang=en"}
    for language in LANGUAGES:
        assert f'<html lang="{language}"' in get(f"/privacy?lang={language}").text
    assert '<html lang="en"' in get("/privacy?lang=../en").text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_calls_buttons_by_the_words_on_them(get: Get, language: str) -> None:
    page, panel = get(f"/privacy?lang={language}").text, texts(language)["panel"]
    for name in ("download", "later", "leave"):
        assert panel[name] in page
    assert "{" not in page
