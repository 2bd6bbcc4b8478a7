"""A rehearsal as an editor sees it, and that no real reader is touched."""

from __future__ import annotations

import os
import re
import signal
import sys
from html import unescape
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from service.app import create_app
from service.config import Config
from service.local import pretend_readers, rehearsal
from service.local.rehearsal import Rehearsal
from service.model.network.endpoints import Endpoint
from service.model.notifications import Outcome, State
from service.model.subscriptions import SubscriptionRequest
from service.runtime import Runtime
from service.store.layout.records import digest_of
from tests.support.client import browser
from tests.support.desk.newsroom import (
    DESK,
    EMAIL,
    EVERYONE,
    PASSWORD,
    READERS,
    STORY,
    Newsroom,
    Spawn,
    Visitor,
    family,
    gone,
    output_of,
    over,
    push_service_of,
)
from tests.support.processes.installation import content, wait_until

pytestmark = pytest.mark.processes

# At the desk --------------------------------------------------------------------------------------


def test_a_rehearsed_alert_is_sent_and_no_real_reader_is_touched(
    newsroom: Newsroom,
) -> None:
    before = newsroom.stored()
    newsroom.rehearse()
    editor = newsroom.editor

    form = editor.get("/rehearsal/desk/new")
    assert form.headers["X-Content-Type-Options"] == "nosniff", "once, though it is mounted"
    assert "World" in form.text, "the newsroom's own topics"
    path = form.url.removeprefix(newsroom.address)
    assert path.startswith("/rehearsal/desk/unfinished/")
    assert f'action="{path}"' in form.text
    fields = {**STORY, "nonce": path.rpartition("/")[2]}
    question = editor.post(path, path, **fields)
    assert re.search(rf"Notify all .*{READERS}.* browsers", question.text)
    report = editor.post(path, "/rehearsal/desk/alerts", **fields)
    assert report.url.startswith(f"{newsroom.address}/rehearsal/desk/alerts/")
    path = report.url.removeprefix(newsroom.address)

    wait_until(lambda: "Sent in" in editor.get(f"{path}/progress").text)
    text = unescape(editor.get(path).text)
    assert re.search(rf'class="big figures">{READERS}<', text)
    assert "another push service" in text

    assert newsroom.end().status_code == 200
    assert newsroom.stored() == before
    assert newsroom.installation.push.received == []
    assert newsroom.installation.push.refusals == []


@pytest.mark.soak
def test_an_alert_cancelled_at_the_rehearsal_desk_stops(
    newsroom: Newsroom, stage: Rehearsal, theirs: Runtime
) -> None:
    sink = push_service_of(stage)
    os.kill(sink, signal.SIGSTOP)
    try:
        id = theirs.publishing.publish(content(), EVERYONE, by=EMAIL).id
        path = f"/rehearsal/desk/alerts/{id}"
        assert "Sending" in newsroom.editor.get(path).text
        newsroom.editor.post(path, f"{path}/cancel")
    finally:
        os.kill(sink, signal.SIGCONT)
    wait_until(lambda: over(theirs, id))
    assert theirs.publishing.get(id).state is State.CANCELLED
    assert "Cancelled" in newsroom.editor.get(path).text


def test_each_page_says_whether_it_is_the_rehearsal_or_the_real_desk(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    band = (
        f"<strong>Rehearsal</strong> with {READERS} pretend readers. No real reader gets an alert."
    )
    for path in ("/desk/", "/desk/new", "/desk/nowhere", "/desk/alerts/999"):
        rehearsed, real = (newsroom.editor.get(prefix + path).text for prefix in (DESK, ""))
        assert band in rehearsed, path
        assert "<title>Rehearsal: " in rehearsed, path
        assert "This is the real desk" not in rehearsed, path
        assert band not in real, path
        assert "<title>Rehearsal: " not in real, path
        assert "This is the real desk" in real, path


def test_links_of_a_rehearsal_lead_only_to_it_or_to_the_page_that_ends_it(
    newsroom: Newsroom, theirs: Runtime
) -> None:
    id = theirs.publishing.publish(content(), EVERYONE, by=EMAIL).id
    for path in ("/desk/", "/desk/new", f"/desk/alerts/{id}"):
        page = newsroom.editor.get(DESK + path).text
        links = set(re.findall(r'(?:href|src|hx-get)="(/[^"]*)"', page))
        forms = set(re.findall(r'(?:action|formaction)="(/[^"]*)"', page))
        assert len(links) > 3
        assert forms
        assert {at for at in links | forms if not at.startswith("/rehearsal/")} == {
            "/desk/rehearsal"
        }
        for link in links:
            assert newsroom.editor.get(link).status_code in (200, 204), link


def test_only_editors_of_the_real_desk_can_open_a_rehearsal(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    stranger = Visitor(newsroom.address)
    asked = stranger.get("/rehearsal/desk/new")
    assert asked.url == f"{newsroom.address}/desk/sign-in?next=/rehearsal/desk/"
    for typed in ("/rehearsal", "/rehearsal/desk"):
        assert stranger.get(typed).url == asked.url, "without the last slash"
    refused = stranger.get("/rehearsal/desk/reach", headers={"HX-Request": "true"})
    assert refused.status_code == 401
    inside = stranger.sign_in("/rehearsal/desk/")
    assert inside.url == f"{newsroom.address}/rehearsal/desk/"
    assert EMAIL in inside.text


def test_the_forms_of_a_rehearsal_work_behind_a_tls_proxy(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    public = {"SITE_URL": "https://push.example", "TRUSTED_PROXIES": "1"}
    app = create_app(Config.read({**newsroom.installation.environment, **public}))
    client = app.test_client()

    def call(path: str, **form: str) -> TestResponse:
        return client.open(
            path,
            method="POST" if form else "GET",
            data=form,
            base_url="https://push.example",
            headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.77"},
            environ_overrides={"HTTP_REFERER": "https://push.example/", "wsgi.url_scheme": "http"},
        )

    def fill_in(path: str, **form: str) -> TestResponse:
        (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', call(path).text))
        return call(path, csrf_token=token, **form)

    assert fill_in("/desk/sign-in", email=EMAIL, password=PASSWORD).status_code == 303
    kept = fill_in("/rehearsal/desk/unfinished/a-nonce-of-this-test", **STORY)
    assert kept.location == "/rehearsal/desk/unfinished/a-nonce-of-this-test/review"
    review = call(kept.location)
    assert review.status_code == 200
    assert "Notify all" in review.text


def test_ending_a_rehearsal_at_the_desk_leaves_nothing_but_the_way_to_the_next(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    processes = family(stage.pid)
    page = newsroom.end()
    assert "Start the rehearsal" in page.text
    assert "failed" not in page.text
    wait_until(lambda: gone(newsroom.data_dir, processes))

    page = newsroom.editor.get("/rehearsal/desk/alerts/1")
    assert page.url == f"{newsroom.address}/desk/rehearsal"
    assert "Start the rehearsal" in page.text
    assert "This is the real desk" not in newsroom.editor.get("/desk/").text
    part = newsroom.editor.get("/rehearsal/desk/alerts/1/progress", headers={"HX-Request": "true"})
    assert part.headers["HX-Redirect"] == "/desk/rehearsal"


@pytest.mark.parametrize("readers", ["", "many", "0", "99", "1000001", "-5", "١٢٣٤"])
def test_an_invalid_number_of_readers_is_refused(newsroom: Newsroom, readers: str) -> None:
    page = newsroom.editor.post("/desk/rehearsal", "/desk/rehearsal", readers=readers)
    assert page.status_code == 422
    assert "100 to 1,000,000" in page.text


@pytest.mark.soak
def test_a_second_rehearsal_is_refused_and_shown_the_first(
    newsroom: Newsroom, stage: Rehearsal, stoppress: Spawn
) -> None:
    again = newsroom.editor.post("/desk/rehearsal", "/desk/rehearsal", readers="100")
    assert again.status_code == 409
    assert "running already" in again.text
    assert "/rehearsal/desk/" in again.text
    shell = stoppress("rehearse", "100", DATA_DIR=str(newsroom.data_dir))
    assert shell.wait(30) == 1
    assert "running already" in output_of(shell)
    assert rehearsal.find(newsroom.data_dir) == stage


def test_a_rehearsal_that_cannot_start_says_why(newsroom: Newsroom) -> None:
    rehearsal.end(newsroom.data_dir)
    in_the_way = newsroom.data_dir / "rehearsal"
    in_the_way.write_text("a file where the folder should be")
    page = newsroom.editor.post("/desk/rehearsal", "/desk/rehearsal", readers="100")
    in_the_way.unlink()
    assert page.status_code == 409
    assert "File exists" in page.text
    assert "Start the rehearsal" in page.text


# Real readers -------------------------------------------------------------------------------------


@pytest.mark.soak
def test_no_browser_can_subscribe_to_a_rehearsal(
    newsroom: Newsroom, stage: Rehearsal, theirs: Runtime
) -> None:
    visitor = Visitor(newsroom.address)
    for path in ("/optin.js", "/sw.js", "/demo/", "/api/v1/site", "/api/v1/notifications"):
        assert visitor.get(f"/rehearsal{path}").status_code == 404, path
    for body in ({}, {"subscription": browser()}):
        answer = visitor.session.post(
            f"{newsroom.address}/rehearsal/api/v1/subscriptions", json=body
        )
        assert answer.status_code == 404
    assert newsroom.editor.get("/rehearsal/").url == f"{newsroom.address}/rehearsal/desk/"
    assert theirs.store.subscriptions.count() == READERS


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_of_a_rehearsal_knows_the_real_installation(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    real = newsroom.installation.environment
    secrets = [real[name] for name in ("REDIS_URL", "SECRET_KEY", "VAPID_PRIVATE_KEY")]
    processes = family(stage.pid)
    assert len(processes) >= 5, "runner, Redis, push service, clock and a worker"
    for pid in processes:
        known = "".join(Path(f"/proc/{pid}/{name}").read_text() for name in ("environ", "cmdline"))
        found = [name for name in (*secrets, newsroom.installation.push.origin) if name in known]
        assert found == [], Path(f"/proc/{pid}/cmdline").read_text()


def test_a_rehearsal_sends_only_to_its_own_push_service(
    newsroom: Newsroom, stage: Rehearsal, theirs: Runtime
) -> None:
    """Even a real reader whose subscription got into a rehearsal would get no alert."""
    assert stage.environ["PUSH_SERVICES"].startswith("https://127.0.0.1:")
    trusted = Path(stage.environ["PUSH_CA_BUNDLE"]).read_text()
    assert trusted.count("BEGIN CERTIFICATE") == 1
    keys = pretend_readers.keys(7)
    stray = Endpoint(f"{newsroom.installation.push.origin}/", "stray")
    partition = theirs.store.partitions.of(digest_of(stray.url))
    strays = SubscriptionRequest(
        stray, *keys, theirs.keys.current, frozenset(), "en-GB", "Europe/Riga"
    )
    theirs.store.seeds.store({partition: [strays]})
    id = theirs.publishing.publish(content(), EVERYONE, by=EMAIL).id
    wait_until(lambda: over(theirs, id))
    progress = theirs.publishing.progress(id)
    assert progress.of(Outcome.ACCEPTED) == READERS
    assert progress.recipients == READERS + 1
    assert newsroom.installation.push.received == []
    _, found = theirs.store.subscriptions._find(digest_of(stray.url), stray)
    assert found
    theirs.store.subscriptions.remove(found[0])
    assert theirs.store.subscriptions.count() == READERS, "the stray reader is gone"
