"""The desk and the start page through Flask's own client, on a real Redis."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service import editors, seeding
from service.app import create_app
from service.config import Config
from service.keys import VapidKey
from service.models import Audience, Content, Outcome, State, SubscriptionId, Topic
from service.reports import FILTERS
from service.runtime import Runtime
from service.store.sending import Result
from service.store.services import Pace, Rest
from tests.redis_server import RedisServer

EMAIL, PASSWORD = "nora@paper.example", "three quiet words"
OPEN = {"desk.static", "desk.htmx", "desk.sign_in", "desk.welcome"}
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
    """A page whose elements nest properly, whose fields have labels, with nothing inline."""

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
            # A tick has its label around it, a text its label before it.
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


@pytest.fixture
def app(redis_url: str) -> Iterator[Flask]:
    made = create_app(
        Config.read(
            {
                "REDIS_URL": redis_url,
                "SECRET_KEY": "a secret of at least 32 characters",
                "VAPID_PRIVATE_KEY": VapidKey.generate().text,
                "PUSH_SERVICES": "https://push.example",
            }
        )
    )
    yield made
    made.extensions["stoppress"].store.redis.close()


@pytest.fixture
def runtime(app: Flask) -> Runtime:
    """A house with two topics."""
    runtime = app.extensions["stoppress"]
    for slug in ("world", "sport"):
        runtime.store.house.add_topic(Topic(slug, slug.title()))
    return runtime


@pytest.fixture
def readers(runtime: Runtime) -> int:
    """The reach of World among 100 readers."""
    list(
        seeding.seed(
            runtime.store,
            100,
            origins=["https://push.example"],
            vapid_key=runtime.vapid_public_key,
            topics=("world", "sport"),
        )
    )
    return runtime.publishing.reach(Audience(topics=("world",)))


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def editor(app: Flask, runtime: Runtime) -> FlaskClient:
    """An editor who is signed in."""
    client = app.test_client()
    link = path_of(editors.signin_link(runtime, EMAIL))
    assert post(client, link, password=PASSWORD).status_code == 303
    return client


def path_of(link: str) -> str:
    return link.removeprefix("http://localhost:8000")


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, "the page has no form"
    return found[1]


def post(client: FlaskClient, path: str, *, page: str = "", **fields: object) -> TestResponse:
    """Send a form as a browser does that has opened `page`, or else `path` itself."""
    form = client.get(page or path)
    return client.post(path, data={"csrf_token": token_in(form.text), **fields})


def review(client: FlaskClient, **changes: object) -> TestResponse:
    form = client.get("/desk/new")
    nonce = re.search(r'name="nonce" value="([^"]+)"', form.text)
    assert nonce
    hidden = {"csrf_token": token_in(form.text), "nonce": nonce[1]}
    return client.post("/desk/new", data={**hidden, **STORY, **changes})


def hidden_fields(page: str) -> dict[str, list[str]]:
    """What the form of a confirmation page sends."""
    fields: dict[str, list[str]] = {}
    form = page[page.rindex("<form") :]
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(value)
    return fields


def correct(client: FlaskClient, id: int, **changes: str) -> TestResponse:
    """Open the form for a correction, change what is given, and send it."""
    page = f"/desk/alerts/{id}/correct"
    return client.post(page, data={**filled(client.get(page).text), **changes})


def filled(page: str) -> dict[str, str]:
    """What the form of a correction sends, with another title."""
    said = {name: value[0] for name, value in hidden_fields(page).items()}
    body = re.search(r"<textarea[^>]*>\n?([^<]*)</textarea>", page)
    url = re.search(r'name="url"[^>]* value="([^"]*)"', page)
    assert body and url
    return {**said, "title": "Ferry afloat", "body": body[1], "url": url[1]}


def words(page: str) -> str:
    """What a page says, without its markup."""
    spaced = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    return re.sub(r" ([.,:;])", r"\1", spaced)


def publish(runtime: Runtime, **content: str) -> int:
    given = {"title": "Late news", "url": "https://paper.example/", **content}
    return runtime.publishing.publish(Content(**given), Audience(everyone=True), by="a test").id


def send_all(runtime: Runtime, id: int, outcomes: dict[tuple[Outcome, str], int]) -> None:
    """Do what workers do, with these outcomes."""
    sending = runtime.store.sending
    runtime.dispatch.plan(runtime.publishing.get(id))
    claim = sending.claim(id, 0, "a test", 60_000)
    assert claim is not None
    numbers = iter(claim.pending)
    results = {
        Result(outcome, service, 1, 0 if outcome is Outcome.ACCEPTED else None): [
            next(numbers) for _ in range(n)
        ]
        for (outcome, service), n in outcomes.items()
    }
    sending.record(id, claim.batch, "a test", 60_000, results)
    sending.release(id, claim.batch, "a test", wait_ms=0)


# Coming in --------------------------------------------------------------------------------------


def test_looking_at_a_sign_in_link_does_not_use_it_up_and_a_second_use_lets_nobody_in(
    app: Flask, runtime: Runtime
) -> None:
    link = path_of(editors.signin_link(runtime))
    for _ in range(2):
        assert app.test_client().get(link).status_code == 200
    first, second = app.test_client(), app.test_client()
    token = token_in(second.get(link).text)
    assert post(first, link, email=EMAIL, password=PASSWORD).status_code == 303
    assert first.get("/desk/").status_code == 200

    again = second.post(link, data={"csrf_token": token, "email": EMAIL, "password": PASSWORD})
    assert again.status_code == 410
    assert "stoppress editor add" in again.text
    assert second.get("/desk/").status_code == 302


def test_the_store_knows_a_sign_in_link_only_by_its_digest(runtime: Runtime) -> None:
    token = editors.signin_link(runtime, EMAIL).rpartition("/")[2].encode()
    redis = runtime.store.redis
    kept = [key + (redis.dump(key) or b"") for key in redis.scan_iter()]
    assert kept
    assert not [row for row in kept if token in row]


@pytest.mark.parametrize("token", ["x", "a" * 3000, "é%00", "..", "<b>"])
def test_a_link_that_was_never_made_says_how_to_get_another(
    stranger: FlaskClient, token: str
) -> None:
    answer = stranger.get(f"/desk/welcome/{token}")
    assert answer.status_code in (302, 404, 410)
    assert answer.status_code == 302 or "stoppress editor add" in answer.text


@pytest.mark.parametrize(
    ("email", "password", "complaint"),
    [
        ("", PASSWORD, "Write an e-mail address"),
        ("no address", PASSWORD, "Write an e-mail address"),
        ("a@b\r\nBcc: c@d", PASSWORD, "Write an e-mail address"),
        (EMAIL, "", "at least 12 characters"),
        (EMAIL, "eleven char", "at least 12 characters"),
        (EMAIL, "aaaaaaaaaaaa", "too easy"),
        (EMAIL, EMAIL, "too easy"),
        (EMAIL, "x" * 201, "at most 200"),
    ],
)
def test_what_cannot_be_signed_in_with_is_refused_in_words_and_the_link_stays_good(
    stranger: FlaskClient, runtime: Runtime, email: str, password: str, complaint: str
) -> None:
    link = path_of(editors.signin_link(runtime))
    answer = post(stranger, link, email=email, password=password)
    assert answer.status_code == 422
    assert complaint in answer.text
    assert runtime.store.house.editors() == []
    assert post(stranger, link, email=EMAIL, password=PASSWORD).status_code == 303


def test_a_link_for_an_editor_with_a_password_signs_in_with_one_button(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    before = runtime.store.house.password_hash(EMAIL)
    link = path_of(editors.signin_link(runtime, EMAIL.upper()))
    assert post(stranger, link).status_code == 303
    assert stranger.get("/desk/").status_code == 200
    assert runtime.store.house.password_hash(EMAIL) == before


def test_an_open_link_cannot_take_an_editors_place(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    editors.signin_link(runtime, "second@paper.example")
    link = path_of(editors.signin_link(runtime))
    answer = post(stranger, link, email=EMAIL, password="another three words")
    assert answer.status_code == 422
    assert stranger.get("/desk/").status_code == 302


def test_a_link_without_an_address_is_for_the_only_editor_there_is(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    assert EMAIL in stranger.get(path_of(editors.signin_link(runtime))).text


def test_a_wrong_password_and_an_unknown_address_are_answered_alike(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    editors.signin_link(runtime, "new@paper.example")  # an editor without a password yet
    pages = set()
    for email in (EMAIL, "nobody@paper.example", "new@paper.example"):
        answer = post(stranger, "/desk/sign-in", email=email, password="")
        assert answer.status_code == 422
        pages.add(re.sub(r'value="[^"]*"|editor add \S+', "", answer.text))
    assert len(pages) == 1


def test_the_right_password_signs_in_and_signing_out_ends_it(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    answer = post(stranger, "/desk/sign-in", email=f" {EMAIL.title()} ", password=PASSWORD)
    assert (answer.status_code, answer.location) == (303, "/desk/")
    assert stranger.get("/desk/").status_code == 200
    assert post(stranger, "/desk/sign-out", page="/desk/").status_code == 303
    assert stranger.get("/desk/").status_code == 302


def test_another_password_ends_the_sessions_before_it(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime
) -> None:
    link = path_of(editors.signin_link(runtime, EMAIL))
    assert post(stranger, link, password="three louder words").status_code == 303
    assert stranger.get("/desk/").status_code == 200
    assert editor.get("/desk/").status_code == 302


def test_the_session_cookie_is_for_this_site_alone_and_for_no_script(
    stranger: FlaskClient, runtime: Runtime
) -> None:
    link = path_of(editors.signin_link(runtime, EMAIL))
    cookie = post(stranger, link, password=PASSWORD).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_over_https_the_session_cookie_never_leaves_unencrypted(redis_url: str) -> None:
    config = Config.read(
        {
            "REDIS_URL": redis_url,
            "SECRET_KEY": "a secret of at least 32 characters",
            "VAPID_PRIVATE_KEY": VapidKey.generate().text,
            "SITE_URL": "https://push.paper.example",
        }
    )
    app = create_app(config)
    answer = app.test_client().get("/desk/sign-in", base_url="https://push.paper.example")
    assert "Secure" in answer.headers["Set-Cookie"]
    app.extensions["stoppress"].store.redis.close()


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example/",
        "/\t/evil.example/",
        "/\n/evil.example/",
        "javascript:alert(1)",
        "evil.example",
        "http:evil.example",
        " //evil.example",
        "",
    ],
)
def test_signing_in_leads_to_no_other_site(
    editor: FlaskClient, stranger: FlaskClient, target: str
) -> None:
    token = token_in(stranger.get("/desk/sign-in").text)
    answer = stranger.post(
        "/desk/sign-in",
        query_string={"next": target},
        data={"csrf_token": token, "email": EMAIL, "password": PASSWORD},
    )
    assert answer.location == "/desk/"


def test_signing_in_leads_back_to_the_page_that_asked_for_it(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    asked = stranger.get("/desk/?before=7")
    token = token_in(stranger.get(asked.location).text)
    fields = {"csrf_token": token, "email": EMAIL, "password": PASSWORD}
    assert stranger.post(asked.location, data=fields).location == "/desk/?before=7"


def test_every_page_of_the_desk_sends_strangers_to_the_sign_in(
    app: Flask, stranger: FlaskClient
) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("desk.")]
    closed = [rule for rule in rules if rule.endpoint not in OPEN]
    assert len(closed) >= 8
    for rule in closed:
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        if "GET" in (rule.methods or ()):
            answer = stranger.get(path)
            assert (answer.status_code, answer.location.partition("?")[0]) == (
                302,
                "/desk/sign-in",
            ), path


def test_no_form_of_the_desk_is_taken_from_a_stranger(
    app: Flask, stranger: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    token = token_in(stranger.get("/desk/sign-in").text)
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("desk.")]
    posts = [r for r in rules if "POST" in (r.methods or ()) and r.endpoint not in OPEN]
    assert len(posts) >= 9
    for rule in posts:
        path = re.sub(r"<[^>]+>", str(id), rule.rule)
        answer = stranger.post(path, data={**STORY, "nonce": "n" * 22, "csrf_token": token})
        assert answer.status_code == 302, path
        assert answer.location.startswith("/desk/sign-in"), path
    assert runtime.publishing.get(id).state is State.SENDING
    assert len(runtime.publishing.latest(10)) == 1


def test_every_form_is_refused_without_its_token(
    app: Flask, editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    ours = [r for r in app.url_map.iter_rules() if r.endpoint.startswith(("desk.", "start."))]
    posts = [rule for rule in ours if "POST" in (rule.methods or ())]
    assert len(posts) >= 6
    for rule in posts:
        path = re.sub(r"<[^>]+>", str(id), rule.rule)
        for token in ("", "forged"):
            answer = editor.post(path, data={**STORY, "nonce": "n" * 22, "csrf_token": token})
            assert answer.status_code == 400, path
    assert runtime.publishing.get(id).state is State.SENDING
    assert len(runtime.publishing.latest(10)) == 1
    assert editor.get("/desk/").status_code == 200, "still signed in"


# Writing ----------------------------------------------------------------------------------------


def test_the_reach_follows_the_ticks(editor: FlaskClient, runtime: Runtime, readers: int) -> None:
    both = runtime.publishing.reach(Audience(topics=("world", "sport")))
    cases = {
        "": "Tick a topic",
        "topic=world": f">{readers}<",
        "topic=world&topic=sport": f">{both}<",
        "topic=world&topic=world": f">{readers}<",
        "audience=everyone": ">100<",
        "topic=unknown": "Tick a topic",
    }
    for query, expected in cases.items():
        assert expected in editor.get(f"/desk/reach?{query}").text, query


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"title": "  "}, "Write a title."),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"body": "x" * 1001}, "at most 1000 characters"),
        ({"title": "a\x00b"}, "control characters"),
        ({"url": ""}, "Paste the address"),
        ({"url": "http://paper.example/"}, "https://"),
        ({"url": "javascript:alert(1)"}, "https://"),
        ({"topic": []}, "Tick a topic"),
        ({"topic": ["unknown"]}, "topic"),
        ({"body": "\U0001f9e8" * 990}, "too long to be pushed"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_is_kept(
    editor: FlaskClient, runtime: Runtime, readers: int, changes: dict, complaint: str
) -> None:
    answer = review(editor, **{"body": "Kept as typed.", **changes})
    assert answer.status_code == 422
    assert re.search(rf'class="error" id="\w+-error">[^<]*{re.escape(complaint)}', answer.text)
    assert "Kept as typed." in answer.text or "body" in changes
    assert runtime.publishing.latest(1) == []


def test_an_alert_for_nobody_is_not_offered_for_sending(
    editor: FlaskClient, runtime: Runtime
) -> None:
    answer = review(editor)
    assert answer.status_code == 422
    assert "Nobody would get it" in answer.text


def test_back_keeps_everything_that_was_typed(editor: FlaskClient, readers: int) -> None:
    confirm = review(editor, title=NASTY, body="One\r\nTwo", kind="breaking")
    form = editor.post(
        "/desk/new",
        data={
            "csrf_token": token_in(confirm.text),
            "nonce": hidden_fields(confirm.text)["nonce"],
            **{**STORY, "title": NASTY, "body": "One\nTwo", "kind": "breaking"},
            "step": "edit",
        },
    )
    assert form.status_code == 200
    assert "One\nTwo</textarea>" in form.text
    assert 'value="&lt;script&gt;' in form.text
    assert re.search(r'value="breaking" checked', form.text)
    assert re.search(r'value="world" checked', form.text)


def test_the_question_names_the_reach_and_the_topic(editor: FlaskClient, readers: int) -> None:
    text = re.sub(r"<[^>]+>", "", review(editor).text)
    assert f"Notify {readers} browsers of World now?" in text
    everyone = re.sub(r"<[^>]+>", "", review(editor, audience="everyone").text)
    assert "Notify all 100 browsers now?" in everyone


def test_an_alert_may_be_spread_and_every_page_of_it_says_so(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    confirm = review(editor, spread="30")
    assert "Spread over 30 minutes" in words(confirm.text)
    sent = editor.post("/desk/alerts", data=hidden_fields(confirm.text))
    (one,) = runtime.publishing.latest(1)
    assert one.spread_minutes == 30
    assert "Spread over 30 minutes" in words(editor.get(sent.location).text)
    assert "Spread over" not in words(review(editor).text)
    back = review(editor, spread="30", step="edit").text
    assert re.search(r'value="30" selected', back)
    for spread in ("7", "abc", "-1", "9" * 5000):
        answer = review(editor, spread=spread)
        assert answer.status_code == 422
        assert 'id="spread_minutes-error"' in answer.text


# Sending ----------------------------------------------------------------------------------------


def test_a_double_click_sends_once(editor: FlaskClient, runtime: Runtime, readers: int) -> None:
    fields = hidden_fields(review(editor).text)
    first, second = (editor.post("/desk/alerts", data=fields) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.location == second.location
    (sent,) = runtime.publishing.latest(10)
    assert (sent.content.title, sent.created_by) == ("Ferry aground", EMAIL)
    assert sent.audience == Audience(topics=("world",))


def test_the_same_form_sends_no_other_words_unless_reviewed_again(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    fields = hidden_fields(review(editor).text)
    editor.post("/desk/alerts", data=fields)
    answer = editor.post("/desk/alerts", data={**fields, "title": ["Ferry afloat"]})
    assert answer.status_code == 409
    assert "Nothing was sent just now" in answer.text
    assert "Ferry afloat" in answer.text
    assert len(runtime.publishing.latest(10)) == 1


@pytest.mark.parametrize("nonce", ["", "short", "x" * 65, "with spaces in its middle"])
def test_nothing_is_sent_without_the_forms_own_nonce(
    editor: FlaskClient, runtime: Runtime, readers: int, nonce: str
) -> None:
    fields = hidden_fields(review(editor).text)
    assert editor.post("/desk/alerts", data={**fields, "nonce": nonce}).status_code == 400
    assert runtime.publishing.latest(1) == []


def test_no_text_of_an_alert_is_ever_markup(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime, title=NASTY, body=NASTY)
    runtime.store.house.add_topic(Topic("nasty", NASTY))
    pages = ["/desk/", f"/desk/alerts/{id}", f"/desk/alerts/{id}/progress", "/desk/new"]
    for text in [*(editor.get(page).text for page in pages), review(editor, title=NASTY).text]:
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


# Watching ---------------------------------------------------------------------------------------


def test_while_it_is_sent_the_page_follows_it_and_when_it_is_over_it_loads_the_report(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    assert "every 1s" in editor.get(f"/desk/alerts/{id}").text
    assert "HX-Refresh" not in editor.get(f"/desk/alerts/{id}/progress").headers
    send_all(runtime, id, {(Outcome.ACCEPTED, "google"): 40})
    text = re.sub(r"<[^>]+>|\s+", " ", editor.get(f"/desk/alerts/{id}/progress").text)
    assert re.search(r" 40 +of +100 +browsers handed over so far", text)
    assert "40 % done" in text

    runtime.publishing.cancel(id)
    over = editor.get(f"/desk/alerts/{id}/progress")
    assert over.headers["HX-Refresh"] == "true"
    assert "every 1s" not in editor.get(f"/desk/alerts/{id}").text


def test_every_outcome_is_said_in_plain_words_and_they_add_up(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    outcomes = {
        (Outcome.ACCEPTED, "google"): 41,
        (Outcome.ACCEPTED, "apple"): 20,
        (Outcome.ACCEPTED, "mozilla"): 11,
        (Outcome.ACCEPTED, "microsoft"): 7,
        (Outcome.ACCEPTED, "other"): 3,
        (Outcome.GONE, "google"): 5,
        (Outcome.GONE, "mozilla"): 1,
        (Outcome.REFUSED, "google"): 2,
        (Outcome.EXPIRED, "apple"): 6,
        (Outcome.SKIPPED, "google"): 4,
    }
    send_all(runtime, id, outcomes)
    for number in range(30):
        runtime.publishing.count_receipt(id, "shown", SubscriptionId(0, number))
    page = editor.get(f"/desk/alerts/{id}").text
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td[^>]*>([\d,]+)</td>', page))
    assert rows == {
        "handed to Google": "41",
        "handed to Apple": "20",
        "handed to Mozilla": "11",
        "handed to Microsoft": "7",
        "handed to another push service": "3",
        "no longer subscribed": "6",
        "rejected by Google": "2",
        "ran out of time": "6",
        "quiet hours or limit": "4",
    }
    assert sum(map(int, rows.values())) == 100
    assert "Shown by 30 browsers" in re.sub(r"<[^>]+>", "", page)
    assert "delivered" not in page


def test_cancelling_stops_it_and_counts_the_rest_as_cancelled(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"
    assert post(editor, f"{page}/cancel", page=page).location == page
    assert runtime.publishing.get(id).state is State.CANCELLED
    runtime.dispatch.advance(id)
    again = post(editor, f"{page}/cancel", page=page)
    assert again.status_code == 409
    assert "already cancelled" in again.text
    assert "Cancelled after" in again.text
    assert "cancelled" in editor.get("/desk/").text


def test_a_paused_alert_says_that_its_time_runs_on_and_can_be_resumed(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"
    assert "Its time runs on" not in editor.get(page).text
    assert post(editor, f"{page}/pause", page=page).location == page
    assert runtime.publishing.get(id).state is State.PAUSED
    paused = words(editor.get(page).text)
    until = FILTERS["utc"](runtime.publishing.get(id).deadline)
    assert f"Paused. Its time runs on: good until {until}." in paused
    assert "Pause " not in paused
    assert "a second" not in words(editor.get(f"{page}/progress").text)

    again = post(editor, f"{page}/pause", page=page)
    assert again.status_code == 409
    assert "already paused; it cannot be paused" in again.text
    assert "Its time runs on" in again.text, "it is shown as it is"

    assert post(editor, f"{page}/resume", page=page).location == page
    assert runtime.publishing.get(id).state is State.SENDING
    assert "Resume" not in editor.get(page).text
    again = post(editor, f"{page}/resume", page=page)
    assert again.status_code == 409
    assert "it cannot be resumed" in again.text


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_what_is_over_has_no_buttons_and_takes_none(
    editor: FlaskClient, runtime: Runtime, readers: int, action: str
) -> None:
    id = publish(runtime)
    runtime.publishing.cancel(id)
    page = f"/desk/alerts/{id}"
    assert f'action="{page}' not in editor.get(page).text
    answer = post(editor, f"{page}/{action}", page=page)
    assert answer.status_code == 409
    assert "already cancelled" in answer.text
    assert post(editor, f"/desk/alerts/9999/{action}", page=page).status_code == 404


def test_a_page_that_was_opened_before_somebody_paused_or_corrected_it_is_loaded_anew(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    page = f"/desk/alerts/{id}"

    def follow() -> str:
        found = re.search(r'hx-get="([^"]+)"', editor.get(page).text)
        assert found
        return found[1]

    before = follow()
    assert "HX-Refresh" not in editor.get(before).headers
    runtime.publishing.pause(id)
    assert editor.get(before).headers["HX-Refresh"] == "true"
    paused = follow()
    assert "HX-Refresh" not in editor.get(paused).headers
    correct(editor, id)
    assert editor.get(paused).headers["HX-Refresh"] == "true"


# Correcting -------------------------------------------------------------------------------------


@pytest.fixture
def half_sent(runtime: Runtime, readers: int) -> int:
    """An alert on its way to 100 browsers that 40 of them have."""
    id = publish(runtime, title="Ferry aground", body="One\nTwo")
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 40})
    return id


def test_a_correction_begins_with_what_readers_have_and_says_how_many_that_is(
    editor: FlaskClient, half_sent: int
) -> None:
    page = editor.get(f"/desk/alerts/{half_sent}/correct").text
    assert 'value="Ferry aground"' in page
    assert "One\nTwo</textarea>" in page
    assert 'value="https://paper.example/"' in page
    assert "40 browsers have it; 60 more are still to get it, with the new words." in words(page)
    assert re.search(r'value="replace" checked', page)


def test_a_correction_replaces_and_each_page_leads_to_the_other(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    answer = correct(editor, half_sent)
    assert answer.status_code == 303
    correction, root = runtime.publishing.latest(2)
    assert answer.location == f"/desk/alerts/{correction.id}"
    assert (correction.corrects, correction.content.title) == (half_sent, "Ferry afloat")
    assert (correction.content.body, correction.created_by) == ("One\nTwo", EMAIL)
    assert root.text.title == "Ferry afloat"

    page = editor.get(answer.location).text
    assert f'Correction of <a dir="auto" href="/desk/alerts/{half_sent}">Ferry aground</a>' in page
    page = editor.get(f"/desk/alerts/{half_sent}").text
    assert f'href="{answer.location}">Ferry afloat</a>' in page
    assert "The text now" in page
    listed = words(editor.get("/desk/").text)
    assert "Correction Ferry afloat whoever has what it corrects" in listed
    assert "being sent, corrected" in listed
    # Corrected again, from the correction's own page.
    again = correct(editor, correction.id, title="Ferry in port")
    assert runtime.publishing.get(int(again.location.rpartition("/")[2])).corrects == half_sent


def test_a_correction_may_leave_what_readers_have(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    answer = correct(editor, half_sent, reached="leave")
    assert (answer.status_code, answer.location) == (303, f"/desk/alerts/{half_sent}")
    (id,) = runtime.publishing.get(half_sent).corrections
    assert runtime.publishing.progress(id).recipients == 0
    assert runtime.publishing.get(half_sent).text.title == "Ferry afloat"
    assert "for those not reached yet" in words(editor.get(answer.location).text)
    assert "Whoever had it kept it" in words(editor.get(f"/desk/alerts/{id}").text)


def test_what_is_over_can_be_corrected_only_on_the_screens(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = f"/desk/alerts/{half_sent}/correct"
    before = filled(editor.get(page).text)
    runtime.publishing.cancel(half_sent)
    assert "Correct…" in editor.get(f"/desk/alerts/{half_sent}").text
    late = editor.post(page, data={**before, "reached": "leave"})
    assert late.status_code == 409
    assert "can only be replaced" in late.text
    assert 'value="Ferry afloat"' in late.text, "what was typed is kept"
    assert runtime.publishing.get(half_sent).corrections == ()
    assert 'value="leave"' not in editor.get(page).text
    assert correct(editor, half_sent).status_code == 303


def test_a_double_click_corrects_once_and_other_words_need_another_click(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    page = f"/desk/alerts/{half_sent}/correct"
    fields = filled(editor.get(page).text)
    first, second = (editor.post(page, data=fields) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.location == second.location
    other = editor.post(page, data={**fields, "title": "Ferry in port"})
    assert other.status_code == 409
    assert "Nothing was changed just now" in other.text
    assert "Idempotency-Key" not in other.text
    assert len(runtime.publishing.get(half_sent).corrections) == 1
    assert editor.post(page, data=filled(other.text)).status_code == 422, "no change at all"
    assert editor.post(page, data={**filled(other.text), "title": "New"}).status_code == 303
    assert editor.post(page, data={**fields, "nonce": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"title": "Ferry aground"}, "Nothing would change"),
        ({"title": "  "}, "Write a title."),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"title": "a\x00b"}, "control characters"),
        ({"body": "x" * 1001}, "at most 1000 characters"),
        ({"body": "\U0001f9e8" * 990}, "too long to be pushed"),
        ({"url": ""}, "Paste the address"),
        ({"url": "javascript:alert(1)"}, "https://"),
        ({"reached": "both"}, "leave"),
    ],
)
def test_what_is_wrong_in_a_correction_stands_beside_its_field_and_nothing_is_changed(
    editor: FlaskClient, runtime: Runtime, half_sent: int, changes: dict[str, str], complaint: str
) -> None:
    answer = correct(editor, half_sent, **changes)
    assert answer.status_code == 422
    assert re.search(rf'class="error" id="\w+-error">[^<]*{re.escape(complaint)}', answer.text)
    assert runtime.publishing.get(half_sent).corrections == ()


def test_what_cannot_be_corrected_is_said_to_be_so(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    nobody = publish(runtime)
    fields = filled(editor.get(f"/desk/alerts/{nobody}/correct").text)
    runtime.publishing.cancel(nobody)
    one = Audience(subscription=SubscriptionId(0, 7))
    test = runtime.publishing.publish(Content("A", "https://a.example/"), one, by="a test").id
    for id, complaint in ((nobody, "Nobody has this alert on screen"), (test, "a test to one")):
        assert "Correct…" not in editor.get(f"/desk/alerts/{id}").text
        answer = editor.post(f"/desk/alerts/{id}/correct", data=fields)
        assert answer.status_code == 409
        assert complaint in answer.text
    assert editor.get(f"/desk/alerts/{test}/correct").status_code == 409
    assert editor.get("/desk/alerts/9999/correct").status_code == 404
    assert len(runtime.publishing.latest(10)) == 2


def test_under_the_rehearsals_prefix_every_link_and_form_stays_there(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    correct(editor, half_sent)
    runtime.store.services.doubt("https://push.example", time.time())
    for path in ("/desk/", f"/desk/alerts/{half_sent}", f"/desk/alerts/{half_sent}/correct"):
        page = editor.get(path, environ_overrides={"SCRIPT_NAME": "/rehearsal"}).text
        leads = re.findall(r'(?:href|action|hx-get|src)="(/[^"]*)"', page)
        assert len(leads) > 5
        assert [lead for lead in leads if not lead.startswith("/rehearsal/")] == []


# Readers called gone by too many ----------------------------------------------------------------


@pytest.fixture
def doubted(runtime: Runtime, readers: int) -> str:
    """A push service that called 30 of 100 readers gone and is not believed."""
    send_all(runtime, publish(runtime), {(Outcome.GONE, "other"): 30})
    runtime.store.services.doubt("https://push.example", time.time())
    return "https://push.example"


def test_a_push_service_that_is_not_believed_is_said_above_the_alerts(
    editor: FlaskClient, runtime: Runtime, doubted: str
) -> None:
    runtime.store.services.doubt("https://fcm.googleapis.com", time.time())
    said = words(editor.get("/desk/").text)
    believed = "That is more than is believable; nothing is deleted until somebody decides."
    assert "Another push service says that 30 browsers are gone, within a minute." in said
    assert "Google says that 0 browsers are gone" in said
    assert said.count(believed) == 2


def test_readers_that_are_gone_are_deleted_when_an_editor_says_so(
    editor: FlaskClient, runtime: Runtime, doubted: str
) -> None:
    answer = post(editor, "/desk/gone/confirm", page="/desk/", origin=doubted)
    assert (answer.status_code, answer.location) == (303, "/desk/")
    runtime.gone.look_after(time.time())
    assert runtime.store.subscriptions.count() == 70
    assert "is believable" not in editor.get("/desk/").text


def test_readers_that_are_not_gone_are_counted_in_again_when_an_editor_says_so(
    editor: FlaskClient, runtime: Runtime, doubted: str
) -> None:
    assert runtime.publishing.reach(Audience(everyone=True)) == 70
    assert post(editor, "/desk/gone/take-back", page="/desk/", origin=doubted).status_code == 303
    assert runtime.publishing.reach(Audience(everyone=True)) == 100
    assert "is believable" not in editor.get("/desk/").text


@pytest.mark.parametrize("action", ["confirm", "take-back"])
def test_what_somebody_has_decided_is_not_decided_again(
    editor: FlaskClient, runtime: Runtime, doubted: str, action: str
) -> None:
    for origin in ("", "https://other.example", "x" * 9000, "\x00"):
        answer = post(editor, f"/desk/gone/{action}", page="/desk/", origin=origin)
        assert answer.status_code == 409
        assert "decided about that already" in answer.text
    assert len(runtime.gone.doubts()) == 1


def test_the_list_is_newest_first_and_goes_on_to_older_ones(
    editor: FlaskClient, runtime: Runtime
) -> None:
    for number in range(35):
        publish(runtime, title=f"Alert number {number}")
    first = editor.get("/desk/").text
    assert re.findall(r"Alert number (\d+)", first) == [str(n) for n in range(34, 4, -1)]
    older = re.search(r'href="([^"]+before=\d+)"', first)
    assert older
    last = editor.get(older[1]).text
    assert re.findall(r"Alert number (\d+)", last) == [str(n) for n in range(4, -1, -1)]
    assert "before=" not in last


@pytest.mark.parametrize(
    "path",
    [
        "/desk/alerts/9999",
        "/desk/alerts/0",
        "/desk/alerts/-1",
        "/desk/alerts/abc",
        "/desk/alerts/" + "9" * 400,
        "/desk/alerts/1%00",
        "/desk/alerts/٣",
        "/desk/alerts/9999/progress",
        "/desk/no-such-page",
        "/desk/static/base.html",
        "/desk/static/../base.html",
        "/start/alerts/9999",
    ],
)
def test_an_address_that_is_none_is_answered_plainly(
    editor: FlaskClient, runtime: Runtime, path: str
) -> None:
    answer = editor.get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("before", ["0", "-5", "x", "9" * 30, ""])
def test_an_odd_place_in_the_list_is_no_error(
    editor: FlaskClient, runtime: Runtime, before: str
) -> None:
    publish(runtime)
    assert editor.get("/desk/", query_string={"before": before}).status_code == 200


def test_pages_say_plainly_when_redis_is_away() -> None:
    with RedisServer() as server:
        environment = {
            "REDIS_URL": server.url,
            "SECRET_KEY": "a secret of at least 32 characters",
            "VAPID_PRIVATE_KEY": VapidKey.generate().text,
        }
        app = create_app(Config.read(environment))
        runtime = app.extensions["stoppress"]
        client = app.test_client()
        link = path_of(editors.signin_link(runtime, EMAIL))
        assert post(client, link, password=PASSWORD).status_code == 303
        server.stop()
        for path in ("/desk/", "/desk/new", "/desk/alerts/1", "/"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "Redis is away" in answer.text
            Page(answer.text)
        runtime.store.redis.close()


def test_pages_are_well_made(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    done = publish(runtime)
    runtime.publishing.cancel(done)
    corrected = publish(runtime)
    send_all(runtime, corrected, {(Outcome.GONE, "other"): 10, (Outcome.ACCEPTED, "other"): 20})
    runtime.publishing.pause(corrected)
    correction = path_of(correct(editor, corrected).location)
    runtime.store.services.doubt("https://push.example", time.time())
    pages = [
        editor.get(f"/desk/alerts/{corrected}").text,
        editor.get(correction).text,
        editor.get(f"/desk/alerts/{corrected}/correct").text,
        correct(editor, corrected, title="", url="").text,
        editor.get("/desk/").text,
        editor.get("/desk/new").text,
        review(editor).text,
        review(editor, title="", url="", topic=[]).text,
        editor.get(f"/desk/alerts/{id}").text,
        editor.get(f"/desk/alerts/{done}").text,
        editor.get("/desk/alerts/9999").text,
        editor.get("/").text,
        stranger.get("/").text,
        stranger.get("/desk/sign-in").text,
        stranger.get(path_of(editors.signin_link(runtime, "new@paper.example"))).text,
        stranger.get(path_of(editors.signin_link(runtime, EMAIL))).text,
    ]
    for text in pages:
        assert Page(text).headings == 1


# The start page ---------------------------------------------------------------------------------


def send_to_one(client: FlaskClient, **fields: str) -> TestResponse:
    given = {"title": "It works", "body": "Indeed.", **fields}
    return client.post("/start/alerts", data={"csrf_token": token_of(client), **given})


def token_of(client: FlaskClient) -> str:
    return token_in(client.get("/desk/new").text)


def test_signed_out_the_start_page_offers_nothing_to_send(
    stranger: FlaskClient, editor: FlaskClient, runtime: Runtime
) -> None:
    text = stranger.get("/").text
    assert "<form" not in text
    assert "sign-in link printed in the terminal" in text
    token = token_in(stranger.get("/desk/sign-in").text)
    for answer in (
        stranger.post("/start/alerts", data={"csrf_token": token, "subscription": "0-0"}),
        stranger.get(f"/start/alerts/{publish(runtime)}"),
    ):
        assert answer.status_code == 401
        assert answer.json and "sign in" in answer.json["detail"]


def test_the_first_alert_goes_to_this_browser_and_to_no_other(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    answer = send_to_one(editor, subscription="0-7")
    assert answer.status_code == 202
    assert answer.json
    id = answer.json["id"]
    audience = runtime.publishing.get(id).audience
    assert audience == Audience(subscription=SubscriptionId(0, 7))
    assert runtime.publishing.reach(audience) == 1

    follow = f"/start/alerts/{id}"
    waiting = {"seconds": None, "accepted": False, "outcome": None, "shown": False}
    assert editor.get(follow).json == waiting
    send_all(runtime, id, {(Outcome.ACCEPTED, "mozilla"): 1})
    runtime.publishing.count_receipt(id, "shown", SubscriptionId(0, 7))
    said = editor.get(follow).json
    assert said and (said["accepted"], said["outcome"], said["shown"]) == (
        True,
        "handed to Mozilla",
        True,
    )


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"subscription": "x"}, 422),
        ({"subscription": "0-99999"}, 409),
        ({"subscription": "255-1"}, 409),
        ({"subscription": "0-7", "title": ""}, 422),
    ],
)
def test_what_cannot_be_sent_is_said_in_words(
    editor: FlaskClient, runtime: Runtime, readers: int, fields: dict[str, str], status: int
) -> None:
    answer = send_to_one(editor, **fields)
    assert answer.status_code == status
    assert answer.json and answer.json["detail"]
    assert runtime.publishing.latest(1) == []


def test_the_start_page_follows_no_alert_but_its_own(editor: FlaskClient, runtime: Runtime) -> None:
    assert editor.get(f"/start/alerts/{publish(runtime)}").status_code == 404


def test_what_keeps_readers_waiting_is_said_in_plain_words(
    runtime: Runtime, readers: int, editor: FlaskClient
) -> None:
    id, origin, now = publish(runtime), "https://push.example", time.time()
    runtime.dispatch.plan(runtime.publishing.get(id))
    services, path = runtime.store.services, f"/desk/alerts/{id}/progress"
    services.rest(origin, Rest(1, now, now + 60, "no answer"))
    assert "Another push service does not answer: it is tried again at" in editor.get(path).text
    services.recovered(origin)
    services.rest(origin, Rest(1, now, now + 60, "credentials"))
    assert "does not accept our signature (VAPID)" in editor.get(path).text
    services.recovered(origin)
    services.pace(origin, Pace(1000, now))
    page = editor.get(path).text
    assert "Another push service takes 1,000 a minute from us at present." in page
    assert "100 browsers wait; the last one has it about" in page
