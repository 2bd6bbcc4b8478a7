"""Send to me first: an editor's own phone is paired by a code, and gets tests of alerts alone."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.desk.people.paired_browsers import as_test
from service.domain.people.paired_browsers import MOST_PAIRED, MOST_TESTS
from service.model.notifications import Action, Content, Notification, State
from service.model.retention import PAIRED_KEPT, PAIRING_CODE_KEPT, PAIRING_KEPT, READERS_TEST_KEPT
from service.model.roles import Role
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.client import browser
from tests.support.desk_pages import (
    EMAIL,
    STORY,
    Page,
    hidden_fields,
    post,
    review,
    sign_in,
    token_in,
    words,
)

PAIR = "/desk/account/browsers/pair"
OTHER = "otto@paper.example"
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
    " Mobile Safari/537.36"
)


class Phone:
    """A phone whose browser is subscribed."""

    def __init__(self, app: Flask, number: int = 0, agent: str = ANDROID) -> None:
        self._client = app.test_client()
        self._agent, self._number = agent, number
        given = self.call("POST", "subscriptions", {"subscription": browser(number)})
        assert given.status_code == 201
        self.id, self.token = given.json["id"], given.json["token"]

    def call(self, method: str, path: str, json: Any = None, token: str = "") -> TestResponse:
        headers = {"User-Agent": self._agent}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        where = {"REMOTE_ADDR": f"10.1.0.{self._number + 1}"}
        path = f"/api/v1/{path}"
        return self._client.open(
            path, method=method, json=json, headers=headers, environ_base=where
        )

    def own(self, method: str, path: str = "", json: Any = None, token: str = "") -> TestResponse:
        return self.call(method, f"subscriptions/{self.id}{path}", json, token or self.token)

    def scan(self, code: str, **more: str) -> TestResponse:
        """Open the link of a code: the phone then says who has made it."""
        return self.own("POST", "/pairing", {"code": code}, **more)

    def agree(self, code: str, **more: str) -> TestResponse:
        return self.own("POST", "/pairing", {"code": code, "agreed": True}, **more)


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "SITE_NAME": "The Daily Example",
        "SITE_ORIGINS": "https://paper.example",
        "PUSH_SERVICES": "https://push.example",
    }


@pytest.fixture
def phone(app: Flask, readers: int) -> Phone:
    """One of 101 readers."""
    return Phone(app)


def make_code(client: FlaskClient) -> str:
    """Have the desk make a code; return it from the link that the page shows."""
    made = post(client, "/desk/account/browsers/code", page=account_of(client))
    assert (made.status_code, made.location) == (303, PAIR)
    page = client.get(PAIR)
    Page(page.text)
    assert "<svg" in page.text
    return code_in(page.text)


def code_in(page: str) -> str:
    found = re.search(r'href="https://paper\.example/#stop-press=pair&amp;code=([\w-]{22})"', page)
    assert found, "the link opens the newspaper's front page"
    return found[1]


def account_of(client: FlaskClient) -> str:
    found = re.search(r'href="(/desk/people/\w+)">Account<', client.get("/desk/").text)
    assert found
    return found[1]


def account(client: FlaskClient) -> str:
    page = client.get(account_of(client)).text
    Page(page)
    return words(page)


def answer(client: FlaskClient, own: str = "yes") -> TestResponse:
    return post(client, PAIR, own=own)


def pair(client: FlaskClient, phone: Phone) -> None:
    code = make_code(client)
    assert phone.agree(code).status_code == 200
    assert answer(client).status_code == 303


def send(client: FlaskClient, confirmation: TestResponse, **headers: str) -> TestResponse:
    """Press “Send to my phone” on the page of the confirmation."""
    page = confirmation.text
    form = page[page.index('<form class="to-me"') :]
    form = form[: form.index("</form>")]
    action = re.search(r'action="([^"]+)"', form)
    assert action
    fields = {
        name: [unescape(value) for value in values] for name, values in hidden_fields(form).items()
    }
    return client.post(unescape(action[1]), data=fields, headers=headers)


def sent_tests(runtime: Runtime) -> list[Notification]:
    ids = runtime.store.notifications.active()
    return [runtime.publishing.get(id) for id in sorted(ids)]


def another(app: Flask, runtime: Runtime, email: str = OTHER, role: Role = Role.WRITES) -> Any:
    runtime.store.access.add_editor(email, person=Person(role.word))
    return sign_in(app, runtime, email)


# Pairing ------------------------------------------------------------------------------------------


@pytest.mark.redis
def test_a_phone_is_paired_once_its_editor_has_said_that_it_is_the_own_one(
    editor: FlaskClient, phone: Phone
) -> None:
    assert "Your browsers for tests None." in account(editor)
    code = make_code(editor)
    asked = phone.scan(code)
    assert asked.status_code == 200
    assert asked.json == {"site": "The Daily Example", "editor": EMAIL}
    assert editor.get(f"{PAIR}/state").status_code == 204, "the page has nothing new to show"
    agreed = phone.agree(code)
    assert (agreed.status_code, agreed.json) == (200, asked.json)
    assert "Set-Cookie" not in agreed.headers, "the phone gets no session"
    state = editor.get(f"{PAIR}/state")
    Page(state.text)
    assert "Chrome on Android, just now: is this yours?" in words(state.text)
    assert "hx-get" not in state.text, "and does not look again"
    assert "None." in account(editor), "it does not count before"

    assert answer(editor).location.endswith("#browsers")

    shown = account(editor)
    assert re.search(r"Chrome on Android paired \d.*, no test yet", shown)


def test_a_refused_phone_is_not_paired_and_its_code_is_over(
    editor: FlaskClient, phone: Phone
) -> None:
    code = make_code(editor)
    phone.agree(code)
    assert answer(editor, "no").status_code == 303
    assert "None." in account(editor)
    assert phone.agree(code).status_code == 410
    assert answer(editor).status_code == 409


@pytest.mark.redis
def test_a_code_works_once(app: Flask, editor: FlaskClient, phone: Phone) -> None:
    code, second = make_code(editor), Phone(app, 1)
    assert phone.agree(code).status_code == 200
    for refused in (phone.scan(code), phone.agree(code), second.scan(code), second.agree(code)):
        assert refused.status_code == 410
        assert EMAIL not in refused.text
    answer(editor)
    assert second.agree(code).status_code == 410
    assert phone.own("GET", "/export").json["paired"]["editor"] == EMAIL
    assert second.own("GET", "/export").json["paired"] is None


def test_a_code_ends_after_two_minutes(editor: FlaskClient, phone: Phone, runtime: Runtime) -> None:
    code = make_code(editor)
    (key,) = runtime.store.redis.scan_iter(match="{g}:pairing:*")
    assert code not in key.decode(), "only a digest is stored"
    assert 0 < runtime.store.redis.ttl(key) <= PAIRING_CODE_KEPT == 120
    phone.agree(code)
    assert PAIRING_CODE_KEPT < runtime.store.redis.ttl(key) <= PAIRING_KEPT
    runtime.store.redis.delete(key)  # as Redis does when the time is over
    assert phone.agree(code).status_code == 410
    state = editor.get(f"{PAIR}/state")
    assert "The code has ended" in state.text and "Make another code" in state.text
    assert answer(editor).status_code == 409
    assert "None." in account(editor)


def test_a_new_code_ends_the_one_before(editor: FlaskClient, phone: Phone) -> None:
    first = make_code(editor)
    second = make_code(editor)
    assert phone.agree(first).status_code == 410
    assert phone.agree(second).status_code == 200


def test_codes_are_not_guessed(phone: Phone, editor: FlaskClient) -> None:
    code = make_code(editor)
    assert len(code) == 22, "128 bits"
    for wrong in ("A" * 22, code[:-1], code + "A", "", "x" * 100):
        assert phone.agree(wrong).status_code == 410
    assert phone.agree(code).status_code == 200


def test_only_the_editor_who_made_the_code_confirms(
    app: Flask, runtime: Runtime, editor: FlaskClient, phone: Phone
) -> None:
    code = make_code(editor)
    phone.agree(code)
    other = another(app, runtime)
    with other.session_transaction() as session:
        session["pairing"] = code  # which only a stolen cookie could have
    assert "Chrome on Android" not in other.get(PAIR).text
    assert post(other, PAIR, own="yes").status_code == 409
    assert post(other, PAIR, own="no").status_code == 303
    assert "None." in account(other)
    assert answer(editor).status_code == 303
    assert "Chrome on Android" in account(editor)


def test_a_phone_belongs_to_the_editor_whom_it_agreed_with_last(
    app: Flask, runtime: Runtime, editor: FlaskClient, phone: Phone
) -> None:
    other = another(app, runtime)
    pair(editor, phone)
    (earlier,) = runtime.paired_browsers.of(EMAIL)
    pair(other, phone)
    assert "None." in account(editor)
    runtime.store.paired_browsers.note_use(earlier, 1)  # a test that was under way
    assert re.search(r"Chrome on Android paired \d.*, no test yet", account(other))


def test_an_editor_pairs_five_browsers_at_most(
    app: Flask, editor: FlaskClient, phone: Phone
) -> None:
    for number in range(MOST_PAIRED - 1):
        pair(editor, Phone(app, number + 1))
    pair(editor, phone)
    pair(editor, phone)  # the same one again takes no room
    sixth = Phone(app, MOST_PAIRED + 1)
    sixth.agree(make_code(editor))
    full = answer(editor)
    assert full.status_code == 409
    assert "You have paired 5 browsers" in full.text
    assert sixth.own("GET", "/export").json["paired"] is None


# Unpairing ----------------------------------------------------------------------------------------


@pytest.mark.redis
def test_an_editor_unpairs_a_phone_at_any_time(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    path = account_of(editor)
    page = editor.get(path).text
    form = hidden_fields(page[: page.index("Unpair")])
    (others,) = runtime.store.redis.keys("{g}:paired:by:*")
    for text in ("", others.decode().removeprefix("{g}:paired:"), "é", "0-1-2"):
        nothing = editor.post(f"{path}/browsers/unpair", data={**form, "browser": text})
        assert nothing.status_code == 303, text
    assert "Chrome on Android" in account(editor)
    assert editor.post(f"{path}/browsers/unpair", data=form).status_code == 303
    assert "None." in account(editor)
    assert phone.own("GET", "/export").json["paired"] is None


def test_an_editor_unpairs_nobody_elses_phone(
    app: Flask, runtime: Runtime, editor: FlaskClient, phone: Phone
) -> None:
    other = another(app, runtime)
    pair(editor, phone)
    token = token_in(other.get("/desk/").text)
    theirs = {"csrf_token": token, "browser": phone.id}
    assert other.post(f"{account_of(editor)}/browsers/unpair", data=theirs).status_code == 403
    assert other.post(f"{account_of(other)}/browsers/unpair", data=theirs).status_code == 303
    assert "Chrome on Android" in account(editor)


@pytest.mark.redis
def test_a_reader_who_leaves_is_unpaired(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    assert phone.own("DELETE").status_code == 204
    assert runtime.store.paired_browsers.find(phone.id) is None
    assert "None." in account(editor)


@pytest.mark.parametrize("what", ["keys", "endpoint"])
def test_a_subscription_with_other_keys_or_endpoint_is_unpaired(
    editor: FlaskClient, phone: Phone, what: str
) -> None:
    pair(editor, phone)
    changed = browser(0, keys=7) if what == "keys" else browser(7, keys=0)
    response = phone.own("PATCH", json={"subscription": changed})
    assert response.status_code == 200
    assert "None." in account(editor)
    assert "pair the phone" in words(review(editor).text)


def test_a_removed_editor_has_no_browsers_any_more(
    app: Flask, runtime: Runtime, editor: FlaskClient, phone: Phone
) -> None:
    other = another(app, runtime)
    pair(other, phone)
    runtime.editors.remove(OTHER)
    assert phone.own("GET", "/export").json["paired"] is None
    assert not [*runtime.store.redis.scan_iter(match="{g}:paired:[0-9]*-*")]


def test_what_is_stored_of_a_paired_browser_ends_by_itself(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    send(editor, review(editor))
    keys = [*runtime.store.redis.scan_iter(match="{g}:paired:*")]
    assert len(keys) == 3
    assert all(0 < runtime.store.redis.ttl(key) <= PAIRED_KEPT for key in keys)


# Sending ------------------------------------------------------------------------------------------


@pytest.mark.redis
def test_a_test_has_all_that_the_alert_has_and_says_that_it_is_one(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    more = {
        "icon": "https://paper.example/icon.png",
        "badge": "https://paper.example/badge.png",
        "image": "https://paper.example/ferry.jpg",
        "button1": "Listen",
        "button1_url": "https://paper.example/listen",
        "lang": "de",
        "kind": "breaking",
    }
    confirmation = review(editor, **more)
    Page(confirmation.text)
    assert "Send to my phone" in words(confirmation.text)

    sent = send(editor, confirmation)

    assert sent.status_code == 303
    again = editor.get(sent.location)
    assert "Sent to 1 browser." in words(again.text)
    assert "Sent to 1 browser." not in words(editor.get(sent.location).text)
    (one,) = sent_tests(runtime)
    assert str(one.audience.subscription) == phone.id
    content = one.content
    assert content.title == STORY["title"], "so that it is cut off where it is for readers"
    assert content.body == f"Dies ist ein Test\n{STORY['body']}"
    assert (content.url, content.lang) == (STORY["url"], "de")
    pictures = {"icon": content.icon, "badge": content.badge, "image": content.image}
    assert pictures.items() <= more.items()
    assert content.actions == (Action("Listen", "https://paper.example/listen"),)


def test_the_page_says_it_without_a_reload_where_scripts_run(
    app: Flask, editor: FlaskClient, phone: Phone
) -> None:
    pair(editor, phone)
    pair(editor, Phone(app, 1))
    confirmation = review(editor, audience="everyone")
    assert "Send to my 2 browsers" in words(confirmation.text)
    sent = send(editor, confirmation, **{"HX-Request": "true"})
    assert (sent.status_code, sent.text.strip()) == (200, "Sent to 2 browsers.")
    assert "last test" in account(editor)


def test_a_test_is_in_no_list_and_no_count(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    send(editor, review(editor, title="Embargoed until noon"))
    (one,) = sent_tests(runtime)
    assert one.state is State.SENDING and one.to_one
    assert "Embargoed" not in words(re.sub(r"(?s)Unfinished.*", "", editor.get("/desk/log").text))
    assert runtime.publishing.latest(10) == []
    assert runtime.alert_log.of(one.id) == []
    assert one.content.kind == "news" and not one.story
    assert 0 < one.content.ttl <= READERS_TEST_KEPT


def test_an_editor_who_writes_sends_tests_too(
    app: Flask, runtime: Runtime, editor: FlaskClient, phone: Phone
) -> None:
    writer = another(app, runtime)
    pair(writer, phone)
    assert send(writer, review(writer)).status_code == 303
    assert len(sent_tests(runtime)) == 1


def test_a_planned_alert_is_tested_as_it_is_changed(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    kept = review(editor, when="draft")
    assert kept.status_code == 303
    confirmation = editor.get(f"{kept.location}/send")
    assert "Send to my phone" in words(confirmation.text)
    assert send(editor, confirmation).location == f"{kept.location}/send"
    (one,) = sent_tests(runtime)
    assert one.content.title == STORY["title"]
    (alert,) = runtime.publishing.latest(10)
    assert alert.state is State.DRAFT, "the alert itself stays one"


def test_a_few_tests_a_minute_are_sent(editor: FlaskClient, phone: Phone, runtime: Runtime) -> None:
    pair(editor, phone)
    confirmation = review(editor)
    said = [send(editor, confirmation, **{"HX-Request": "1"}).text for _ in range(MOST_TESTS + 1)]
    assert {one.strip() for one in said[:-1]} == {"Sent to 1 browser."}
    assert "Wait a minute" in said[-1]
    assert len(sent_tests(runtime)) == MOST_TESTS


@pytest.mark.redis
def test_while_everything_is_stopped_no_test_is_sent(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    confirmation = review(editor)
    runtime.stops.hold(by="a test")
    said = send(editor, confirmation, **{"HX-Request": "1"}).text
    assert "Nothing was sent, because everything is stopped." in said
    assert sent_tests(runtime) == []


def test_a_phone_that_left_meanwhile_gets_nothing(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    confirmation = review(editor)
    phone.own("DELETE")
    sent = send(editor, confirmation, **{"HX-Request": "1"})
    assert "no browser of yours is paired" in sent.text
    assert sent_tests(runtime) == []


def test_nothing_is_sent_of_a_text_that_is_wrong(
    editor: FlaskClient, phone: Phone, runtime: Runtime
) -> None:
    pair(editor, phone)
    token = token_in(editor.get("/desk/").text)
    wrong = editor.post(
        "/desk/send-to-me?next=//evil.example", data={"csrf_token": token, "title": ""}
    )
    assert (wrong.status_code, wrong.location) == (303, "/desk/")
    assert sent_tests(runtime) == []
    missing = editor.post("/desk/send-to-me?alert=999", data={"csrf_token": token})
    assert missing.status_code == 404


def test_an_editor_without_a_paired_phone_is_told_how_to_pair_one(
    editor: FlaskClient, readers: int
) -> None:
    confirmation = review(editor)
    assert "See it on your own phone first: pair the phone with your account." in words(
        confirmation.text
    )
    assert f'href="{account_of(editor)}#browsers"' in confirmation.text


def test_an_alert_that_fills_a_message_is_marked_too_and_only_its_text_is_cut(
    app: Flask, runtime: Runtime
) -> None:
    content = Content(title="T" * 200, url="https://paper.example/" + "u" * 1800, body="é " * 500)
    content = replace(content, image="https://paper.example/" + "i" * 600)
    with app.test_request_context():
        test = as_test(content)
        assert test is not None
        assert test.title == content.title
        assert test.body.startswith("This is a test\né é")
        longest = replace(content, body="", url="https://paper.example/" + "u" * 4000)
        assert as_test(longest) is None


def test_what_the_phone_learns_is_given_to_it_with_all_that_is_stored(
    editor: FlaskClient, phone: Phone
) -> None:
    pair(editor, phone)
    paired = phone.own("GET", "/export").json["paired"]
    assert paired.pop("paired_at").endswith("Z")
    assert paired == {"editor": EMAIL, "browser": "Chrome on Android", "used_at": None}


class TestOnThisMachineOnly:
    """Where readers' pages are at an address that no phone can open."""

    @pytest.fixture
    def settings(self) -> dict[str, str]:
        return {}

    def test_the_page_says_so_and_shows_no_code_to_scan(self, editor: FlaskClient) -> None:
        post(editor, "/desk/account/browsers/code", page=account_of(editor))
        page = editor.get(PAIR)
        Page(page.text)
        text = words(page.text)
        assert "A phone cannot open http://localhost:" in text
        assert "there “localhost” is the phone itself." in text
        assert "SITE_URL" in text
        assert "<svg" not in page.text
        assert re.search(r'href="http://localhost:\d+/demo/#stop-press=pair&amp;code=', page.text)


@pytest.mark.parametrize("origin", ["https://desk.local", "http://paper.example"])
def test_an_address_that_some_phones_cannot_use_is_said_to_be_so(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    config = replace(runtime.config, site_origins=(origin,))
    monkeypatch.setattr(type(runtime), "config", config)
    post(editor, "/desk/account/browsers/code", page=account_of(editor))
    text = words(editor.get(PAIR).text)
    said = (
        "Only phones in your own network" if "https" in origin else "allow alerts only over https"
    )
    assert said in text
