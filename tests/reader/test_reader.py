"""The reader's files and the demo newspaper, served by the blueprint alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from flask import Flask

from service.config import Config
from service.model.languages import days
from service.reader.scripts import WEB, articles, bp

PARTS = ["/home.js", "/links.js", "/look.js", "/panel.js", "/retire.js", "/story.js"]
SCRIPTS = ["/sw.js", "/optin.js", *PARTS]
TEXTS = {path.stem: f"/texts/{path.name}" for path in (WEB / "reader" / "texts").iterdir()}
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


@pytest.fixture
def get():
    app = Flask(__name__, static_folder=None)
    app.config["STOPPRESS"] = Config.read({"SITE_NAME": "The Evening <Test>"})
    app.register_blueprint(bp)
    client = app.test_client()

    def answer(url, **headers):
        # Buffered: read to its end, so that the file behind it is closed.
        return client.get(url, headers=headers, buffered=True)

    return answer


@pytest.fixture
def load(get):
    def page(url):
        return Page(url, get(url).text)

    return page


@pytest.mark.parametrize("url", [*SCRIPTS, *TEXTS.values()])
def test_a_script_may_be_loaded_by_pages_and_workers_of_other_origins(get, url):
    response = get(url)
    assert response.status_code == 200
    kind = "application/json" if url.endswith(".json") else "text/javascript"
    assert response.mimetype == kind
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize("url", [*SCRIPTS, "/style.css", "/demo/static/demo.css"])
def test_a_file_that_has_not_changed_is_not_sent_again(get, url):
    first = get(url)
    again = get(url, **{"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""
    assert again.headers["Cache-Control"] == first.headers["Cache-Control"]


def test_the_service_worker_is_always_fresh_and_may_control_the_whole_site(get):
    headers = get("/sw.js").headers
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Service-Worker-Allowed"] == "/"


@pytest.mark.parametrize("url", [*SCRIPTS[1:], *TEXTS.values()])
def test_a_page_may_keep_its_scripts_for_five_minutes_and_use_stale_ones_meanwhile(get, url):
    cache = get(url).headers["Cache-Control"]
    assert cache.startswith("public, max-age=300, stale-while-revalidate=")


def test_every_language_says_all_that_english_says_with_the_same_blanks(get):
    english = get(TEXTS["en"]).json
    assert set(TEXTS) == {"ar", "de", "en", "es", "fr", "ru"}
    for language, url in TEXTS.items():
        texts = get(url).json
        assert set(texts) == set(english)
        assert (texts["lang"], texts["dir"]) == (language, "rtl" if language == "ar" else "ltr")
        for name, text in texts.items():
            assert text.strip() == text != "", f"{language}: {name}"
            assert re.findall("{.*?}", text) == re.findall("{.*?}", english[name]), name


def test_there_are_texts_in_no_other_language(get):
    for url in ("/texts/xx.json", "/texts/..%2Fpanel.js", "/texts/en.js"):
        assert get(url).status_code == 404


def test_the_files_behind_the_pages_are_not_served(get):
    for url in ("/demo/static/../articles.json", "/demo/articles.json", "/demo/base.html"):
        assert get(url).status_code == 404


@pytest.mark.parametrize("url", PAGES)
def test_a_page_is_well_formed(load, url):
    page = load(url)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize("url", PAGES)
def test_a_page_needs_no_leave_from_a_strict_content_security_policy(load, url):
    page = load(url)
    assert page.inline == []
    inline = [row for row in page.attributes if row[1] == "style" or row[1].startswith("on")]
    assert inline == []


@pytest.mark.parametrize("url", PAGES)
def test_every_link_within_the_paper_leads_somewhere(get, load, url):
    links = {urlsplit(link) for link in load(url).links}
    for link in links:
        assert not link.netloc, f"{url} loads or leads to another origin: {link.geturl()}"
        if link.path == "/":
            continue  # the start page belongs to the application
        expected = 404 if link.path == "/demo/no-such-story" else 200
        assert get(link.path).status_code == expected, link.path
        if link.fragment:
            assert link.fragment in load(link.path).ids, link.geturl()


def test_the_front_page_carries_every_story_under_its_topic(load):
    page = load("/demo/")
    for story in articles().values():
        assert f"/demo/{story.slug}" in page.links
        assert story.topic in page.ids
        assert story.headline in page.text


@pytest.mark.parametrize("slug", articles())
def test_a_story_offers_alerts_on_its_own_topic(get, slug):
    assert f'data-topic="{articles()[slug].topic}"' in get(f"/demo/{slug}").text


def test_the_paper_bears_the_newsrooms_name_as_plain_text(get):
    html = get("/demo/").text
    assert "The Evening &lt;Test&gt;" in html
    assert "<Test>" not in html


# What is stored about a reader ------------------------------------------------------------------


def privacy(settings=None, query="", **headers):
    app = Flask(__name__, static_folder=None)
    app.config["STOPPRESS"] = Config.read(settings or {})
    app.register_blueprint(bp)
    return app.test_client().get(f"/privacy{query}", headers=headers)


@pytest.mark.parametrize(("days", "said"), [("1", "1 day after"), ("45", "45 days after")])
def test_readers_learn_how_long_what_is_stored_is_kept(days, said):
    page = Page("/privacy", privacy({"RECEIPTS_KEPT_DAYS": days}).text)
    assert said in page.text
    assert "for 30 days, so that no page subscribes you again" in page.text
    assert "that is kept for 7 days." in page.text
    assert "The Daily Example" in page.text


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("lv,ru;q=0.7,en;q=0.5", "ru"),
        ("ar-EG", "ar"),
        ("lv", "fr"),  # the newspaper's own
        ("", "fr"),
        ("~*;;q=x", "fr"),
    ],
)
def test_what_is_stored_is_said_in_the_readers_language(accepted, language):
    answer = privacy({"SITE_LANGUAGE": "fr-CA"}, **{"Accept-Language": accepted})
    direction = "rtl" if language == "ar" else "ltr"
    assert f'<html lang="{language}" dir="{direction}">' in answer.text
    assert answer.headers["Content-Language"] == language
    assert answer.headers["Vary"] == "Accept-Language"
    assert answer.headers["Cache-Control"].startswith("public, max-age=300,")
    again = {"If-None-Match": answer.headers["ETag"], "Accept-Language": accepted}
    assert privacy({"SITE_LANGUAGE": "fr-CA"}, **again).status_code == 304


def test_a_reader_may_choose_another_language_by_a_link(load):
    links = [urlsplit(link).query for link in load("/privacy").links]
    assert {f"lang={language}" for language in TEXTS} - set(links) == {"lang=en"}
    for language in TEXTS:
        assert f'<html lang="{language}"' in privacy(query=f"?lang={language}").text
    assert '<html lang="en"' in privacy(query="?lang=../en").text


def shape(said):
    """The same for texts that say the same: names, numbers of parts, blanks."""
    if isinstance(said, str):
        assert said.strip() == said != ""
        return sorted(re.findall("{.*?}", said))
    if isinstance(said, list):
        return [shape(part) for part in said]
    return {name: shape(part) for name, part in said.items()}


def test_what_is_stored_is_the_same_in_every_language():
    folder = WEB / "reader" / "privacy"
    texts = {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}
    assert set(texts) == set(TEXTS)
    for language, said in texts.items():
        assert shape(said) == shape(texts["en"]), language


@pytest.mark.parametrize("language", TEXTS)
def test_what_is_said_of_buttons_is_what_stands_on_them(get, language):
    page, panel = privacy(query=f"?lang={language}").text, get(TEXTS[language]).json
    for name in ("download", "leave"):
        assert panel[name] in page
    assert "{" not in page


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", {1: "1 day", 2: "2 days"}),
        ("fr", {1: "1 jour", 30: "30 jours"}),
        ("ru", {1: "1 день", 3: "3 дня", 11: "11 дней", 21: "21 день", 30: "30 дней"}),
        ("ar", {1: "يوم واحد", 2: "يومين", 7: "7 أيام", 30: "30 يومًا", 101: "101 يوم"}),
    ],
)
def test_days_are_counted_as_each_language_does(language, said):
    assert {number: days(number, language) for number in said} == said


def test_the_paper_may_be_put_on_a_home_screen_and_the_guide_says_how(get):
    answer = get("/demo/site.webmanifest")
    assert answer.mimetype == "application/manifest+json"
    guide = (WEB.parent / "docs" / "publishers.md").read_text()
    (ours,) = re.findall(r"```json\n(\{\n  \"id\".*?)```", guide, re.S)
    for said in (answer.json, json.loads(ours)):
        # Without either iOS opens the site in Safari, where there are no alerts.
        assert said["display"] in ("standalone", "fullscreen")
        assert said["start_url"].startswith(said["scope"])
    assert answer.json["name"] == "The Evening <Test>"


def test_an_unknown_story_is_not_found_and_the_paper_says_so_itself(get):
    response = get("/demo/no-such-story")
    assert response.status_code == 404
    assert "it is not there" in response.text
