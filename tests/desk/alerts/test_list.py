"""The list of alerts, the decisions above it, and what all pages have in common."""

from __future__ import annotations

import re
import time

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.config import Config
from service.model.keys import VapidKey
from service.model.notifications import Audience, Outcome
from service.runtime import Runtime
from service.store.alerts.receipt_counts import ReceiptRow
from tests.support.desk.pages import (
    EMAIL,
    PASSWORD,
    Page,
    correct,
    open_form,
    path_of,
    post,
    publish,
    review,
    send_all,
    words,
)
from tests.support.desk.planned import plan
from tests.support.redis_servers.server import RedisServer


@pytest.fixture
def doubted(runtime: Runtime, readers: int) -> str:
    """A push service that called 30 of 100 readers gone, which the service doubts."""
    send_all(runtime, publish(runtime), {(Outcome.GONE, "other"): 30})
    runtime.store.push_services.doubt("https://push.example", time.time())
    return "https://push.example"


def test_doubts_about_gone_readers_are_shown_above_the_list(
    editor: FlaskClient, runtime: Runtime, doubted: str
) -> None:
    runtime.store.push_services.doubt("https://fcm.googleapis.com", time.time())
    text = words(editor.get("/desk/").text)
    assert "push.example says that 30 browsers are gone, all within one minute." in text
    assert "This may be a fault at push.example." in text
    assert "Google says that 0 browsers are gone" in text
    assert "Google is wrong: keep these readers" in text
    assert text.count("Nothing is deleted until an editor decides.") == 2


def test_an_editor_can_have_gone_readers_deleted(
    editor: FlaskClient, runtime: Runtime, doubted: str
) -> None:
    answer = post(editor, "/desk/gone/confirm", page="/desk/", origin=doubted)
    assert (answer.status_code, answer.location) == (303, "/desk/")
    runtime.gone.look_after(time.time())
    assert runtime.store.subscriptions.count() == 70
    assert "is wrong" not in editor.get("/desk/").text


def test_an_editor_can_keep_readers_that_were_called_gone(
    editor: FlaskClient, runtime: Runtime, doubted: str
) -> None:
    assert runtime.publishing.reach(Audience(everyone=True)) == 70
    assert post(editor, "/desk/gone/take-back", page="/desk/", origin=doubted).status_code == 303
    assert runtime.publishing.reach(Audience(everyone=True)) == 100
    assert "is wrong" not in editor.get("/desk/").text


@pytest.mark.parametrize("action", ["confirm", "take-back"])
def test_a_decision_about_gone_readers_is_made_once(
    editor: FlaskClient, runtime: Runtime, doubted: str, action: str
) -> None:
    for origin in ("", "https://other.example", "x" * 9000, "\x00"):
        answer = post(editor, f"/desk/gone/{action}", page="/desk/", origin=origin)
        assert answer.status_code == 409
        assert "Another editor has already decided this." in answer.text
    assert len(runtime.gone.doubts()) == 1


def test_the_list_is_newest_first_and_continues_with_older_alerts(
    editor: FlaskClient, runtime: Runtime
) -> None:
    for number in range(35):
        finished(runtime, title=f"Alert number {number}")
    first = editor.get("/desk/").text
    assert re.findall(r"Alert number (\d+)", first) == [str(n) for n in range(34, 4, -1)]
    older = re.search(r'href="([^"]+before=\d+)"', first)
    assert older
    last = editor.get(older[1]).text
    assert re.findall(r"Alert number (\d+)", last) == [str(n) for n in range(4, -1, -1)]
    assert "before=" not in last


def finished(runtime: Runtime, **content: str) -> int:
    """An alert that was sent, to no more browsers than there are."""
    id = publish(runtime, **content)
    runtime.planning.plan(runtime.publishing.get(id))
    runtime.planning.advance(id)
    assert runtime.publishing.get(id).finished_at
    return id


def test_what_is_being_sent_is_on_top_with_its_progress_however_old_it_is(
    editor: FlaskClient, runtime: Runtime, half_sent: int, readers: int
) -> None:
    runtime.publishing.pause(half_sent, by="a test")
    runtime.store.redis.zadd("{g}:started", {str(half_sent): 1})  # it began long ago
    for number in range(31):
        publish(runtime, title=f"Cancelled {number}")
        runtime.publishing.cancel(half_sent + number + 1, by="a test")
    text = editor.get("/desk/").text
    assert text.count(f'id="row-{half_sent}"') == 1
    assert text.index("Ferry aground") < text.index("Cancelled 30")
    assert "40 % 40 % Paused, handed over 40 of 100 browsers" in words(text)
    older = editor.get(f"/desk/?before={half_sent + 2}").text
    assert "Ferry aground" in older  # where it belongs by its time, too
    assert "hx-get" not in older


def clicks_shown(editor: FlaskClient, id: int) -> str:
    row = re.search(rf'<tr id="row-{id}">.*?</tr>', editor.get("/desk/").text, re.S)
    assert row
    cell = re.search(r'data-label="Clicks">(.*?)</td>', row[0], re.S)
    assert cell
    return words(cell[1]).strip()


def test_clicks_are_shown_and_never_a_zero_that_nobody_reported(
    editor: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = finished(runtime)
    counts = runtime.store.receipt_counts

    def count(id: int, event: str, reader: str, kept: int) -> None:
        counts.count([ReceiptRow(id, event, reader)], kept)

    assert clicks_shown(editor, id) == "nothing yet"
    count(id, "shown", "a", 1000)
    assert clicks_shown(editor, id) == "0"
    for reader in "abc":
        count(id, "clicked", reader, 1000)
    assert clicks_shown(editor, id) == "3"
    for reader in range(500):
        count(id, "clicked", str(reader), 1000)
    assert re.fullmatch(r"about [45]\d\d", clicks_shown(editor, id))

    # Clicks are forgotten a while after the last one, and what was shown perhaps later.
    runtime.store.redis.delete(f"{{g}}:n:{id}:clicked")
    now = time.time()
    kept = runtime.config.receipts_kept_days * 86_400
    monkeypatch.setattr("service.model.time.clock.time", lambda: now + kept + 60)
    row = runtime.alert_list.rows([runtime.publishing.get(id)])[0]
    assert row.clicks is None


def refresh(editor: FlaskClient, page: str) -> tuple[int, str]:
    """The status and the text of the refresh that a page asks for."""
    link = re.search(r'hx-get="([^"]+)"', page)
    assert link
    answer = editor.get(link[1], headers={"HX-Request": "true"})
    return answer.status_code, answer.text


def every(page: str) -> int:
    found = re.search(r'hx-trigger="every (\d+)s, refresh"', page)
    assert found
    return int(found[1])


def test_the_list_is_refreshed_with_what_has_changed(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    page = editor.get("/desk/").text
    assert refresh(editor, page) == (204, "")
    id = publish(runtime, title="Ferry aground")
    status, text = refresh(editor, page)
    assert (status, "Ferry aground" in text) == (200, True)
    assert refresh(editor, text) == (204, "")
    send_all(runtime, id, {(Outcome.ACCEPTED, "other"): 40})
    status, text = refresh(editor, text)
    assert (status, 'value="40"' in text) == (200, True)
    Page(text)


def test_the_list_is_refreshed_often_only_while_something_happens(
    editor: FlaskClient, runtime: Runtime, readers: int
) -> None:
    assert every(editor.get("/desk/").text) == 20
    plan(runtime)
    soon = plan(runtime, 3600)
    assert every(editor.get("/desk/").text) == 20
    runtime.publishing.remove(soon, by="a test")
    plan(runtime, 50)
    assert every(editor.get("/desk/").text) == 3


def test_a_running_alert_is_refreshed_often(
    editor: FlaskClient, runtime: Runtime, half_sent: int
) -> None:
    assert every(editor.get("/desk/").text) == 3


def test_an_open_list_is_reloaded_once_its_session_has_ended(
    editor: FlaskClient, stranger: FlaskClient
) -> None:
    answer = stranger.get("/desk/list", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (401, "true")
    assert editor.get("/desk/list?seen=%00&seen=x").status_code == 200


def test_an_unknown_address_gets_a_plain_404(editor: FlaskClient, runtime: Runtime) -> None:
    for path in (
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
    ):
        answer = editor.get(path)
        assert answer.status_code == 404, path
        assert "Traceback" not in answer.text, path


def test_an_odd_position_in_the_list_is_no_error(editor: FlaskClient, runtime: Runtime) -> None:
    publish(runtime)
    for before in ("0", "-5", "x", "9" * 30, ""):
        answer = editor.get("/desk/", query_string={"before": before})
        assert answer.status_code == 200, before


def test_pages_say_that_redis_does_not_respond() -> None:
    with RedisServer() as server:
        environment = {
            "REDIS_URL": server.url,
            "SECRET_KEY": "a secret of at least 32 characters",
            "VAPID_PRIVATE_KEY": VapidKey.generate().text,
        }
        app = create_app(Config.read(environment))
        runtime = app.extensions["stoppress"]
        client = app.test_client()
        link = path_of(runtime.editors.signin_link(EMAIL))
        assert post(client, link, password=PASSWORD).status_code == 303
        server.stop()
        for path in ("/desk/", "/desk/new", "/desk/alerts/1", "/"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "Redis does not respond" in answer.text
            Page(answer.text)


def test_pages_are_valid(
    editor: FlaskClient, stranger: FlaskClient, runtime: Runtime, readers: int
) -> None:
    id = publish(runtime)
    done = publish(runtime)
    runtime.publishing.cancel(done, by="a test")
    corrected = publish(runtime)
    send_all(runtime, corrected, {(Outcome.GONE, "other"): 10, (Outcome.ACCEPTED, "other"): 20})
    runtime.publishing.pause(corrected, by="a test")
    correction = path_of(correct(editor, corrected).location)
    runtime.store.push_services.doubt("https://push.example", time.time())
    pages = [
        editor.get(f"/desk/alerts/{corrected}").text,
        editor.get(correction).text,
        editor.get(f"/desk/alerts/{corrected}/correct").text,
        correct(editor, corrected, title="", url="").text,
        editor.get("/desk/").text,
        open_form(editor),
        review(editor).text,
        review(editor, title="", url="", topic=[]).text,
        editor.get(f"/desk/alerts/{id}").text,
        editor.get(f"/desk/alerts/{done}").text,
        editor.get("/desk/alerts/9999").text,
        editor.get("/").text,
        stranger.get("/").text,
        stranger.get("/desk/sign-in").text,
        stranger.get(path_of(runtime.editors.signin_link("new@paper.example"))).text,
        stranger.get(path_of(runtime.editors.signin_link(EMAIL))).text,
    ]
    for text in pages:
        assert Page(text).headings == 1
