"""The demo newspaper and the page `/privacy` as pages: whole, linked, and without inline code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest

from service.reader.demo import articles
from service.reader.scripts import WEB
from tests.reader.conftest import Get

PAGES = ["/privacy", "/demo/", "/demo/no-such-story", *(f"/demo/{slug}" for slug in articles())]
# Elements that have no end tag (HTML, section 13.1.2); SVG's are closed by themselves.
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a browser would load from a page, and whether its elements are properly nested."""

    def __init__(self, url: str, html: str) -> None:
        super().__init__()
        self.url = url
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.inline: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "style" or (tag == "script" and "src" not in dict(attributes)):
            self.inline.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, name) for name, _ in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [
            urljoin(self.url, value)
            for name, value in attributes
            if name in ("href", "src", "data-worker")
        ]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing in {self.url}"

    def handle_data(self, data):
        self.text += data


Load = Callable[[str], Page]


@pytest.fixture
def load(get: Get) -> Load:
    return lambda url: Page(url, get(url).text)


def test_the_files_behind_the_pages_are_not_served(get: Get) -> None:
    for url in ("/demo/static/../articles.json", "/demo/articles.json", "/demo/base.html"):
        assert get(url).status_code == 404


@pytest.mark.parametrize("url", PAGES)
def test_a_page_is_well_formed(load: Load, url: str) -> None:
    page = load(url)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize("url", PAGES)
def test_a_page_works_under_a_strict_content_security_policy(load: Load, url: str) -> None:
    page = load(url)
    assert page.inline == []
    inline = [row for row in page.attributes if row[1] == "style" or row[1].startswith("on")]
    assert inline == []


@pytest.mark.parametrize("url", PAGES)
def test_every_link_within_the_paper_leads_somewhere(get: Get, load: Load, url: str) -> None:
    links = {urlsplit(link) for link in load(url).links}
    for link in links:
        assert not link.netloc, f"{url} loads or leads to another origin: {link.geturl()}"
        if link.path == "/":
            continue  # the start page belongs to the application
        expected = 404 if link.path == "/demo/no-such-story" else 200
        assert get(link.path).status_code == expected, link.path
        if link.fragment:
            assert link.fragment in load(link.path).ids, link.geturl()


def test_the_front_page_shows_every_story_under_its_topic(load: Load) -> None:
    page = load("/demo/")
    for story in articles().values():
        assert f"/demo/{story.slug}" in page.links
        assert story.topic in page.ids
        assert story.headline in page.text


@pytest.mark.parametrize("slug", articles())
def test_a_story_offers_alerts_on_its_own_topic(get: Get, slug: str) -> None:
    assert f'data-topic="{articles()[slug].topic}"' in get(f"/demo/{slug}").text


def test_the_paper_shows_the_newsrooms_name_as_plain_text(get: Get) -> None:
    for url in ("/demo/", "/privacy"):
        html = get(url).text
        assert "The Evening &lt;Test&gt;" in html
        assert "<Test>" not in html


def test_the_paper_can_be_added_to_a_home_screen_as_the_guide_says(get: Get) -> None:
    answer = get("/demo/site.webmanifest")
    assert answer.mimetype == "application/manifest+json"
    guide = (WEB.parent / "docs" / "site.md").read_text()
    (example,) = re.findall(r"```json\n(\{\n  \"id\".*?)```", guide, re.S)
    for manifest in (answer.json, json.loads(example)):
        # Without either iOS opens the site in Safari, where there are no alerts.
        assert manifest["display"] in ("standalone", "fullscreen")
        assert manifest["start_url"].startswith(manifest["scope"])
    assert answer.json["name"] == "The Evening <Test>"


def test_an_unknown_story_is_not_found_and_its_page_says_so(get: Get) -> None:
    response = get("/demo/no-such-story")
    assert response.status_code == 404
    assert "it is not there" in response.text
