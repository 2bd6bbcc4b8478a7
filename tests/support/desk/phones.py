"""An editor's own phone: it is paired with the desk by a code, and gets tests of alerts."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.model.roles import Role
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.client import browser
from tests.support.desk.pages import Page, hidden_fields, post, sign_in, words

PAIR = "/desk/account/browsers/pair"
OTHER = "otto@paper.example"
ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
    " Mobile Safari/537.36"
)


class Phone:
    """A phone whose browser is subscribed."""

    def __init__(self, app: Flask, number: int = 0) -> None:
        self._client = app.test_client()
        self._number = number
        given = self.call("POST", "subscriptions", {"subscription": browser(number)})
        assert given.status_code == 201
        self.id, self.token = given.json["id"], given.json["token"]

    def call(self, method: str, path: str, json: Any = None, token: str = "") -> TestResponse:
        headers = {"User-Agent": ANDROID}
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


def another(app: Flask, runtime: Runtime) -> Any:
    runtime.store.access.add_editor(OTHER, person=Person(Role.WRITES.word))
    return sign_in(app, runtime, OTHER)


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
