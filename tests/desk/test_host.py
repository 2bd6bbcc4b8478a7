"""The desk behind a proxy: what it says of addresses, and what may keep its pages."""

from __future__ import annotations

import re

from flask import Flask
from flask.testing import FlaskClient

from service.app import create_app
from service.config import Config
from service.model.keys import VapidKey
from tests.support.desk.pages import token_in

PAPER = "https://push.paper.example"
WRONG = {"email": "nobody@paper.example", "password": "wrong"}


def sign_in(redis_url: str, host: str, page: str) -> tuple[int, str]:
    """Fill in a form of the desk behind a proxy that ends TLS; return status and page."""
    settings = {
        "REDIS_URL": redis_url,
        "SECRET_KEY": "a secret of at least 32 characters",
        "VAPID_PRIVATE_KEY": VapidKey.generate().text,
        "SITE_URL": PAPER,
        "TRUSTED_PROXIES": "1",
    }
    client = create_app(Config.read(settings)).test_client()
    headers = {"Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.77"}
    form = client.get("/desk/sign-in", base_url=f"https://{host}", headers=headers)
    if form.status_code != 200:
        return form.status_code, form.text
    fields = {**WRONG, "csrf_token": token_in(form.text)}
    came_from = {**headers, "Referer": f"{page}/desk/sign-in", "Origin": page}
    sent = client.post("/desk/sign-in", base_url=f"https://{host}", data=fields, headers=came_from)
    return sent.status_code, sent.text


def test_the_desk_works_behind_a_proxy_that_names_itself_as_this_machine(redis_url: str) -> None:
    status, text = sign_in(redis_url, "127.0.0.1:8000", PAPER)
    assert status == 422
    assert "The e-mail address or the password is wrong" in text


def test_behind_a_proxy_that_passes_another_host_the_desk_names_the_host(redis_url: str) -> None:
    status, text = sign_in(redis_url, "backend", PAPER)
    assert status == 400
    assert "The desk is not at this address" in text
    assert "Host header" in text
    assert "session" not in text


def test_a_form_from_another_site_is_refused_with_the_desks_address(redis_url: str) -> None:
    status, text = sign_in(redis_url, "push.paper.example", "https://evil.example")
    assert status == 400
    assert PAPER in text
    assert "evil" not in text


def test_no_cache_keeps_what_depends_on_who_is_signed_in(app: Flask, editor: FlaskClient) -> None:
    found = set()
    for rule in app.url_map.iter_rules():
        if "GET" in (rule.methods or ()):
            page = editor.get(re.sub(r"<[^>]+>", "1", rule.rule), buffered=True)
            if "Cookie" in page.vary:
                found.add(rule.endpoint)
                assert page.headers["Cache-Control"] == "no-store", rule
    assert {"start.start", "start.setup", "desk.alerts", "desk.sign_in", "desk.session"} <= found
    assert {one.partition(".")[0] for one in found} == {"start", "desk"}
    assert not {"desk.static", "desk.htmx"} & found
