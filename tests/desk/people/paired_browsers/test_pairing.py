"""An editor's own phone is paired by a code, and unpaired at any time."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.domain.people.paired_browsers import MOST_PAIRED
from service.model.retention import PAIRED_KEPT, PAIRING_CODE_KEPT, PAIRING_KEPT
from service.runtime import Runtime
from tests.support.client import browser
from tests.support.desk.pages import EMAIL, Page, hidden_fields, post, review, token_in, words
from tests.support.desk.phones import (
    OTHER,
    PAIR,
    Phone,
    account,
    account_of,
    another,
    answer,
    make_code,
    pair,
    send,
)


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
