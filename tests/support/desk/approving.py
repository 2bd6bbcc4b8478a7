"""Alerts that wait for a second person, and those who ask and approve."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.model.notifications import Audience, Content, Notification, Outcome
from service.runtime import Runtime
from service.store.people.access import Person
from tests.support.desk.pages import EMAIL, send_all, sign_in, token_in

SECOND, WRITER = "ben@paper.example", "wim@paper.example"
EVERYONE = Audience(everyone=True)
NEWS = Content("Ferry aground", "https://paper.example/ferry")


def sign_in_as(app: Flask, runtime: Runtime, email: str, role: str) -> FlaskClient:
    runtime.store.access.add_editor(email, "a hash", Person(role))
    return sign_in(app, runtime, email)


def press(client: FlaskClient, id: int, what: str, digest: str, **fields: str) -> TestResponse:
    token = token_in(client.get("/desk/").text)
    data = {"csrf_token": token, "digest": digest, **fields}
    return client.post(f"/desk/alerts/{id}/{what}", data=data)


def publish(runtime: Runtime, content: Content = NEWS, **options: object) -> Notification:
    given = {"by": EMAIL, **options}
    published = runtime.publishing.publish(content, EVERYONE, **given)  # type: ignore[arg-type]
    return runtime.publishing.get(published.id)


def approve(runtime: Runtime, one: Notification, by: str = SECOND) -> Notification:
    runtime.approvals.approve(one.id, one.digest, by=by)
    return runtime.publishing.get(one.id)


def reached_by_all(runtime: Runtime) -> int:
    one = approve(runtime, publish(runtime))
    send_all(runtime, one.id, {(Outcome.ACCEPTED, "other"): 100})
    return one.id
