"""The client that newsrooms copy into their own programs, against the real application."""

from __future__ import annotations

import functools
import importlib.util
import re
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError

import pytest

from service.model.notifications import State, Topic
from tests.support.browser.served import Served
from tests.support.client import Client, Reader

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    path = ROOT / "web" / "integrations" / "python" / "stop_press.py"
    spec = importlib.util.spec_from_file_location("stop_press", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def address(client: Client) -> Iterator[str]:
    with Served(client.app) as served:
        yield f"http://localhost:{served.port}"


@pytest.fixture
def press(client: Client, module: ModuleType, address: str) -> Any:
    return module.StopPress(address, client.add_token(), attempts=1)


def test_alerts_are_published_watched_changed_and_stopped(client: Client, press: Any) -> None:
    Reader(client, topics=["world"])
    assert press.reach(topics=["world"]) == 1
    url = "https://paper.example/ferry"
    sent = press.publish("Ferry aground", url, topics=["world"], body="All are safe.")
    assert (sent["status"], sent["recipients"]) == ("sending", 1)
    assert press.pause(sent["id"])["status"] == "paused"
    assert press.resume(sent["id"])["status"] == "sending"
    press.correct(sent["id"], title="Ferry afloat")
    assert press.alert(sent["id"])["text_now"]["title"] == "Ferry afloat"
    assert press.cancel(sent["id"])["status"] == "cancelled"
    draft = press.publish("Kick-off", url, everyone=True, draft=True)
    assert press.change(draft["id"], title="Kick-off at eight")["title"] == "Kick-off at eight"
    press.delete(draft["id"])
    planned = {
        press.publish(title, url, everyone=True, draft=True, reference="cms-4711")["id"]
        for title in ("One", "Two")
    }
    assert len(planned) == 1
    assert press.send(*planned)["status"] == "sending"
    assert next(one["title"] for one in press.alerts()) == "Two"


def test_a_draft_that_somebody_changed_is_not_sent_unseen(module: ModuleType, press: Any) -> None:
    id = press.publish("Kick-off", "https://paper.example/", everyone=True, draft=True)["id"]
    seen = press.alert(id)["etag"]
    now = press.change(id, if_match=seen, title="Kick-off at eight")["etag"]
    for call in (press.change, press.delete, press.send):
        with pytest.raises(module.Refused, match="changed it last") as refused:
            call(id, if_match=seen)
        assert (refused.value.status, refused.value.etag, refused.value.alert) == (412, now, id)
    assert press.send(id, if_match=now)["status"] == "sending"


def test_a_link_is_published_once(module: ModuleType, press: Any) -> None:
    one = {"url": "https://paper.example/ferry", "everyone": True, "once_per_link": True}
    id = press.publish("Ferry aground", **one)["id"]
    with pytest.raises(module.Refused) as refused:
        press.publish("Ferry still aground", **one)
    assert (refused.value.status, refused.value.alert) == (409, id)


def test_lists_are_read_to_their_end(press: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(press, "_call", functools.partial(_with_limit, press._call))
    for n in range(5):
        press.publish(f"{n}", "https://paper.example/", everyone=True, story=f"story-{n}")
    assert [one["title"] for one in press.alerts()] == [*"43210"]
    assert [one["slug"] for one in press.stories()] == [f"story-{n}" for n in (4, 3, 2, 1, 0)]
    assert [one["action"] for one in press.log()] == ["sent"] * 5
    press.close_story("story-4")
    assert len(press.stories()) == 4


def _with_limit(call: Any, method: str, path: str, *given: Any, **more: Any) -> Any:
    return call(method, path.replace("limit=100", "limit=2"), *given, **more)


def test_what_the_newsroom_has_sent_and_whether_all_is_stopped(client: Client, press: Any) -> None:
    Reader(client)
    id = press.publish("Ferry aground", "https://paper.example/", everyone=True)["id"]
    assert press.figures(id)["handed_over"] == 0
    assert [day["alerts"] for day in press.totals(days=2)["days"]] == [0, 0], "it reached nobody"
    assert not press.stopped()["stopped"]
    assert press.stop_everything()["by"] == "a test"
    assert press.stopped()["stopped"]
    press.release()
    assert not press.stopped()["stopped"]


def test_topics_are_added_changed_and_removed(client: Client, press: Any) -> None:
    press.add_topic("opinion", "Opinion", default=True)
    assert press.change_topic("opinion", name="Leaders")["name"] == "Leaders"
    assert "opinion" in [topic["slug"] for topic in press.topics()]
    press.remove_topic("opinion")
    assert "opinion" not in client.runtime.topics.all()


def test_what_editors_keep_at_the_desk_is_kept_by_a_tool_too(client: Client, press: Any) -> None:
    id = press.add_template("Result", title="Final score", audience={"topics": ["sport"]})["id"]
    press.rename_template(id, "Final score")
    (template,) = press.templates()
    assert (template["name"], template["alert"]["title"]) == ("Final score", "Final score")
    press.remove_template(id)
    id = press.save_audience("Fans", topics=["sport"], locales=["en"])["id"]
    press.rename_audience(id, "Supporters")
    (kept,) = press.saved_audiences()
    assert kept["name"] == "Supporters"
    sent = press.publish("2:1", "https://paper.example/cup", audience=kept["audience"])
    press.remove_audience(id)
    assert press.templates() == press.saved_audiences() == []
    assert press.sent_before("https://paper.example/cup#goal")["id"] == sent["id"]
    assert press.sent_before("https://paper.example/other") is None
    assert [one["id"] for one in press.search(text="2:1", status="sending")] == [sent["id"]]
    assert [one["action"] for one in press.log(title="2:1")] == ["sent"]
    assert press.article("https://paper.example/cup")["problems"], "no fetch process runs"
    press.move_topic("world", "down")
    assert press.merge_topic("world", "sport")["topic"]["slug"] == "sport"


def test_feeds_and_hooks_are_set_up_by_a_tool(module: ModuleType, press: Any) -> None:
    feed = press.add_feed("https://paper.example/rss", topics=["sport"])["id"]
    assert not press.change_feed(feed, active=False)["active"]
    press.change_feed(feed, active=True)
    assert press.read_feed(feed)["id"] == feed
    hook = press.add_webhook("https://cms.example/hook", ["alert.sent"])["id"]
    assert press.change_webhook(hook, paused=True)["status"] == "paused"
    places = {"title": "title", "url": "url"}
    ours = press.add_publish_hook("CMS", places, topics={"Tennis": "sport"})
    assert [one["address"] for one in press.publish_hooks()] == [ours["address"]]
    assert press.renew_publish_hook(ours["id"])["secret"] != ours["secret"]
    assert not press.change_publish_hook(ours["id"], draft=False)["draft"]
    lists = press.feeds, press.webhooks, press.publish_hooks
    assert [len(some()) for some in lists] == [1, 1, 1]
    press.remove_feed(feed)
    press.remove_webhook(hook)
    press.remove_publish_hook(ours["id"])
    assert [len(some()) for some in lists] == [0, 0, 0]
    id = press.publish("x", "https://paper.example/", everyone=True, draft=True)["id"]
    with pytest.raises(module.Refused, match="does not repeat"):
        press.skip(id)


def test_what_is_refused_says_why(client: Client, module: ModuleType, press: Any) -> None:
    with pytest.raises(module.Refused, match="url") as refused:
        press.publish("Ferry aground", "ferry", everyone=True)
    assert (refused.value.status, refused.value.errors[0]["field"]) == (422, "url")
    url = "https://paper.example/ferry"
    id = press.publish("Ferry aground", url, everyone=True, key="a-key")["id"]
    with pytest.raises(module.Refused) as refused:
        press.publish("Another", url, everyone=True, key="a-key")
    assert (refused.value.status, refused.value.alert) == (409, id)


def test_nothing_of_what_a_caller_gives_is_left_out(
    client: Client, module: ModuleType, address: str
) -> None:
    client.runtime.topics.add(Topic("world", "World"))
    press = module.StopPress(f"{address}/", f"{client.add_token()}\n", attempts=1)
    url = "https://paper.example/ferry"
    with pytest.raises(module.Refused, match="either"):
        press.publish("Ferry aground", url, everyone=True, topics=["world"])
    with pytest.raises(module.Refused, match="not both"):
        press.publish("Ferry aground", url, everyone=True, key="a", reference="b")
    with pytest.raises(module.Refused, match="either"):
        press.publish("Ferry aground", url)
    press.publish("Ferry aground", url, topics="world", audience={"locales": ["en"]})
    (one,) = client.runtime.publishing.latest(9)
    assert (one.audience.topics, one.audience.locales) == (("world",), ("en",))


def test_a_call_without_an_answer_is_sent_again_and_publishes_once(
    client: Client, module: ModuleType, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    port = int(address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def lose_the_first_answer() -> None:
            for number in range(2):
                caller, _ = listener.accept()
                with caller, socket.create_connection(("127.0.0.1", port)) as service:
                    request = b""
                    while not re.search(rb"Content-Length: (\d+)", request, re.I) or not (
                        request.endswith(b"}")
                    ):
                        request += caller.recv(65_536)
                    service.sendall(request)
                    answer = service.recv(65_536)
                    while chunk := service.recv(65_536):
                        answer += chunk
                    if number:
                        caller.sendall(answer)

        relay = threading.Thread(target=lose_the_first_answer)
        relay.start()
        through = f"http://localhost:{listener.getsockname()[1]}"
        press = module.StopPress(through, client.add_token())
        sent = press.publish("Ferry aground", "https://paper.example/ferry", everyone=True)
        relay.join()
    assert waits == [1.0]
    (one,) = client.runtime.publishing.latest(9)
    assert (str(one.id), one.state) == (sent["id"], State.SENDING)


def test_without_any_answer_the_caller_hears_so(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    press = module.StopPress(f"http://localhost:{port}", "a token")
    with pytest.raises(module.NoAnswer):
        press.topics()
    assert waits == [1.0, 2.0, 4.0]
    with pytest.raises(module.NoAnswer):
        press.skip("1", if_match='"a"')
    assert waits == [1.0, 2.0, 4.0] * 2
    for does_it_again in (
        lambda: press.skip("1"),
        lambda: press.move_topic("world", "up"),
        lambda: press.add_webhook("https://paper.example/hook", ["alert.sent"]),
        lambda: press.add_publish_hook("CMS", {"title": "title", "url": "url"}),
    ):
        with pytest.raises(module.NoAnswer):
            does_it_again()
    assert len(waits) == 6, "an attempt may have arrived"


@pytest.mark.parametrize(("status", "attempts"), [(429, 4), (502, 1), (503, 1), (504, 1)])
def test_what_a_second_call_would_do_again_is_repeated_only_if_nothing_was_done(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, status: int, attempts: int
) -> None:
    calls: list[str] = []

    def refuse(request: Any, **_: object) -> None:
        calls.append(request.full_url)
        raise HTTPError(request.full_url, status, "", Message(), BytesIO())

    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    press = module.StopPress("http://localhost", "a token")
    monkeypatch.setattr(press, "_open", refuse)
    with pytest.raises(module.Refused):
        press.skip("1")
    assert len(calls) == attempts


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ("301 Moved\r\nLocation: https://push.example/x", "Refused", "leads to https://push.ex"),
        ("308 Moved\r\nLocation: https://push.example/x", "Refused", "leads to https://push.ex"),
        ("404 Not Found", "Refused", "HTTP 404, and not from Stop Press"),
        ("502 Bad Gateway", "Refused", "HTTP 502, and not from Stop Press"),
        ("200 OK", "NoAnswer", "not one of Stop Press"),
        ("200 OK\r\nTransfer-Encoding: chunked", "NoAnswer", "IncompleteRead"),
        ("nonsense", "NoAnswer", "nonsense"),
    ],
)
def test_what_something_in_between_answers_is_no_alert(
    module: ModuleType, answer: str, error: str, says: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            caller, _ = listener.accept()
            with caller:
                while not caller.recv(65_536).endswith(b"}"):
                    pass
                caller.sendall(f"HTTP/1.1 {answer}\r\n\r\n7\r\n<html>".encode())

        server = threading.Thread(target=serve)
        server.start()
        there = f"http://localhost:{listener.getsockname()[1]}"
        press = module.StopPress(there, "a token", attempts=1)
        with pytest.raises(getattr(module, error), match=says):
            press.publish("Ferry aground", "https://paper.example/ferry", everyone=True)
        server.join()


def test_the_example_of_the_docs_runs(
    client: Client, module: ModuleType, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.runtime.topics.add(Topic("world", "World"))
    text = (ROOT / "docs" / "cms.md").read_text()
    example, *_ = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.setitem(__import__("sys").modules, "stop_press", module)
    monkeypatch.setenv("TOKEN", client.add_token())
    exec(example.replace("https://push.example", address), {})
    (one,) = client.runtime.publishing.latest(9)
    assert one.audience.topics == ("world",)
