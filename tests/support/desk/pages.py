"""Using the desk's pages in a test: sending forms, reading texts."""

from __future__ import annotations

import csv
import io
import re
from functools import cache
from html.parser import HTMLParser
from itertools import islice

from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.model.notifications import Audience, Content, Notification, Outcome
from service.model.time import clock
from service.runtime import Runtime
from service.store.alerts.outcomes import Result
from service.store.people.access import Person

EMAIL, PASSWORD = "nora@paper.example", "three quiet words"
NASTY = '<script>alert(1)</script> & "quotes" \'n all'
VOID = {"meta", "link", "img", "br", "hr", "input"}  # elements without an end tag
STORY = {
    "title": "Ferry aground",
    "body": "All aboard are safe.",
    "url": "https://paper.example/ferry",
    "audience": "topics",
    "topic": ["world"],
    "kind": "news",
}


class Page(HTMLParser):
    """Checks a page: elements nest, fields have labels, no scripts or styles are inline."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.fields: list[str] = []
        self.headings = 0
        self.feed(html)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)
        assert [name for name in self.fields if name not in self.labels] == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert "style" not in given and tag != "style", "styles are in style sheets"
        assert tag != "script" or "src" in given, "scripts are in files"
        assert not [name for name in given if name.startswith("on")]
        if tag in ("input", "select", "textarea") and given.get("type") != "hidden":
            # A checkbox is inside its label, a text field after it.
            self.fields += [] if "label" in self.open else [given["id"]]
        if tag == "label" and "for" in given:
            self.labels.append(given["for"])
        if "id" in given:
            self.ids.append(given["id"])
        self.headings += tag == "h1"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# In a millisecond instead of a quarter of a second.
FAST_HASHER = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


@cache
def hash_of_password() -> str:
    """A hash of `PASSWORD`."""
    return FAST_HASHER.hash(PASSWORD)


def sign_in_link(runtime: Runtime, email: str) -> tuple[str, dict[str, str]]:
    """A link for an editor, and what its form takes: no password of an editor who is new here.

    That one has `PASSWORD`; to hash it takes most of the time of signing in.
    """
    person = Person("sends", int(clock.time()))
    is_new = runtime.store.access.add_editor(email, hash_of_password(), person)
    return runtime.editors.signin_link(email), {} if is_new else {"password": PASSWORD}


def sign_in(app: Flask, runtime: Runtime, email: str) -> FlaskClient:
    """The client of an editor, who has signed in by a link; its cookie as that page sets it."""
    link, fields = sign_in_link(runtime, email)
    found = runtime.editors.find_link(link.rpartition("/")[2])
    assert found
    session = runtime.editors.use_link(found, "", fields.get("password", ""), "a test")
    client = app.test_client()
    with client.session_transaction() as cookie:
        cookie.permanent, cookie["editor"] = True, session
    return client


class FormFields(HTMLParser):
    """The fields of the form of an alert, as a browser would send them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self._inside = False
        self._name = ""  # of the field that began last
        self._has_text = False  # whether the text that follows is its value
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self._inside = self._inside or given.get("class") == "compose"
        if not self._inside:
            return
        if tag in ("select", "textarea"):
            self._name = given["name"]
            self.fields[self._name] = [""]
            self._has_text = tag == "textarea"
        elif tag == "option":
            self._has_text = "selected" in given and "value" not in given
            if "selected" in given:
                self.fields[self._name] = [given.get("value", "")]
        elif tag == "input":
            choice = given.get("type") in ("checkbox", "radio")
            if not choice or "checked" in given:
                self.fields.setdefault(given["name"], []).append(given.get("value", ""))

    def handle_data(self, data):
        if self._has_text:
            self.fields[self._name] = [data.strip()]
            self._has_text = False

    def handle_endtag(self, tag):
        self._has_text = False
        if tag == "form":
            self._inside = False


def path_of(link: str) -> str:
    return link.removeprefix("http://localhost:8000")


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, "the page has no form"
    return found[1]


def post(client: FlaskClient, path: str, *, page: str = "", **fields: object) -> TestResponse:
    """Open `page`, by default the one at `path`, and send its form."""
    form = client.get(page or path)
    return client.post(path, data={"csrf_token": token_in(form.text), **fields})


def open_form(client: FlaskClient, path: str = "/desk/new") -> str:
    """The page with the form of an alert, to which `path` leads."""
    page = client.get(path, follow_redirects=True)
    assert page.status_code == 200
    return page.text


def submit(client: FlaskClient, page: str, **fields: object) -> TestResponse:
    """Send the form of an alert from its page, with these fields, and follow to its review."""
    action = re.search(r'<form class="compose" method="post" novalidate action="([^"]+)"', page)
    assert action
    response = client.post(action[1], data={**hidden_fields_of_compose(page), **fields})
    to_review = response.status_code == 303 and response.location.endswith("/review")
    return client.get(response.location) if to_review else response


def hidden_fields_of_compose(page: str) -> dict[str, list[str]]:
    """The hidden fields of the form of an alert."""
    form = page[page.index('<form class="compose"') :]
    return hidden_fields(form[: form.index("</form>")])


def review(client: FlaskClient, **changes: object) -> TestResponse:
    return submit(client, open_form(client), **{**STORY, **changes})


def back(client: FlaskClient, confirmation: TestResponse) -> str:
    """The form again, by the confirmation's link back."""
    link = re.search(r'<a href="([^"]+)">Back</a>', confirmation.text)
    assert link
    return open_form(client, link[1])


def hidden_fields(page: str) -> dict[str, list[str]]:
    """The hidden fields of the last form of a page."""
    fields: dict[str, list[str]] = {}
    form = page[page.rindex("<form") :]
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(value)
    return fields


def correct(client: FlaskClient, id: int, **changes: str) -> TestResponse:
    """Open the form for a correction, change these fields and send it."""
    page = f"/desk/alerts/{id}/correct"
    return client.post(page, data={**filled(client.get(page).text), **changes})


def filled(page: str) -> dict[str, str]:
    """The fields of a correction's form, with a new title."""
    hidden = {name: value[0] for name, value in hidden_fields(page).items()}
    body = re.search(r'<textarea id="body"[^>]*>\n?([^<]*)</textarea>', page)
    url = re.search(r'name="url"[^>]* value="([^"]*)"', page)
    assert body and url
    return {**hidden, "title": "Ferry afloat", "body": body[1], "url": url[1]}


def words(page: str) -> str:
    """The text of a page, without markup."""
    spaced = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    return re.sub(r" ([.,:;])", r"\1", spaced)


def rows_of(answer: TestResponse) -> list[dict[str, str]]:
    """The rows of a table that is given out as a file."""
    assert answer.mimetype == "text/csv"
    text = answer.text
    assert text.startswith('\ufeff"'), "Excel knows by the mark that it is UTF-8"
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def signed_in(client: FlaskClient) -> bool:
    return client.get("/desk/").status_code == 200


def seen(page: str) -> str:
    """What a form says of the version that its editor saw."""
    return re.findall(r'name="seen" value="([^"]+)"', page)[0]


def only(runtime: Runtime) -> Notification:
    """The only alert."""
    (found,) = runtime.publishing.latest(10)
    return found


def publish(runtime: Runtime, **content: str) -> int:
    given = {"title": "Late news", "url": "https://paper.example/", **content}
    return runtime.publishing.publish(Content(**given), Audience(everyone=True), by="a test").id


def send_all(runtime: Runtime, id: int, outcomes: dict[tuple[Outcome, str], int]) -> None:
    """Record these outcomes, as workers do."""
    sending = runtime.store.batches
    runtime.planning.plan(runtime.publishing.get(id))
    left, claims = dict(outcomes), []
    while claim := sending.claim_any(id, "a test", 60_000):
        claims.append(claim)
        numbers = iter(claim.pending)
        results = {
            Result(outcome, service, 1, 0 if outcome is Outcome.ACCEPTED else None): [
                *islice(numbers, n)
            ]
            for (outcome, service), n in left.items()
        }
        for kind, some in zip(left, results.values(), strict=True):
            left[kind] -= len(some)
        runtime.store.outcomes.record(id, claim.batch, "a test", 60_000, results)
    assert claims and not any(left.values())
    for claim in claims:
        sending.release(id, claim.batch, "a test", wait_ms=0)
