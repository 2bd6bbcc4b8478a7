"""The rehearsal: what an editor sees of it, that nobody real is touched, and that it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from pathlib import Path

import pytest
import requests
from argon2 import PasswordHasher
from werkzeug.test import TestResponse

from service import rehearsal, seeding
from service.app import create_app
from service.config import Config
from service.endpoints import Endpoint
from service.models import Audience, Outcome, State
from service.rehearsal import Rehearsal
from service.runtime import Runtime
from service.store.subscriptions import Wish
from tests.house import House, content, wait_until
from tests.push_service import PushService
from tests.redis_server import RedisServer

pytestmark = pytest.mark.once

READERS = 500
DESK = "/rehearsal"  # the rehearsal's, before the path on the real desk
EVERYONE = Audience(everyone=True)
EMAIL, PASSWORD = "nora@paper.example", "three quiet words"
STORY = {
    "title": "Ferry aground",
    "body": "All aboard are safe.",
    "url": "https://paper.example/ferry",
    "audience": "everyone",
    "kind": "news",
}


class Visitor:
    """Somebody with a browser, on the real desk's address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.session = requests.Session()

    def get(self, path: str, **more: object) -> requests.Response:
        return self.session.get(self.address + path, timeout=60, **more)  # type: ignore[arg-type]

    def post(self, form_at: str, path: str, **fields: str) -> requests.Response:
        """Fill in the form of one page and send it; what comes after redirects."""
        page = self.get(form_at).text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found, page
        given = {"csrf_token": found[1], **fields}
        return self.session.post(self.address + path, data=given, timeout=60)

    def sign_in(self, at: str = "/desk/sign-in") -> requests.Response:
        page = self.get(at)
        path = page.url.removeprefix(self.address)
        return self.post(path, path, email=EMAIL, password=PASSWORD)


class Newsroom:
    """A real house with readers and an editor, its web process as it is in life."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.data_dir = house.config.data_dir
        hashed = PasswordHasher(time_cost=1, memory_cost=64).hash(PASSWORD)
        house.runtime.store.house.set_password_hash(EMAIL, hashed)
        house.seed(40)
        self.address = house.web()
        self.editor = Visitor(self.address)
        assert self.editor.sign_in().status_code == 200

    def stored(self) -> dict[bytes, bytes | None]:
        """Everything in the real store, but for the counting of rates."""
        redis = self.house.runtime.store.redis
        keys = [key for key in redis.scan_iter() if not key.startswith(b"stoppress:rate")]
        return {key: redis.dump(key) for key in keys}

    def rehearse(self) -> Rehearsal:
        """Start a rehearsal, unless one runs, and wait until it is ready."""
        if rehearsal.find(self.data_dir) is None:
            page = self.editor.post("/desk/rehearsal", "/desk/rehearsal", readers=str(READERS))
            assert page.status_code == 200
        return wait_until(lambda: ready(self.data_dir))

    def end(self) -> requests.Response:
        return self.editor.post("/desk/rehearsal", "/desk/rehearsal/end")


def ready(data_dir: Path) -> Rehearsal | None:
    found = rehearsal.find(data_dir)
    return found if found and found.ready else None


def family(pid: int) -> set[int]:
    """A process and all that it started, and what those did."""
    said = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in said.stdout.splitlines()]
    found = {pid}
    while more := {child for child, parent in pairs if parent in found} - found:
        found |= more
    return found


def running(pids: set[int]) -> set[int]:
    """Those of the processes that still run; one whose end nobody has noted yet does not."""
    said = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in said.stdout.splitlines()]
    return {int(pid) for pid, state in rows if not state.startswith("Z")} & pids


def push_service_of(stage: Rehearsal) -> int:
    """The process that plays the push service in a rehearsal."""
    said = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=1) for line in said.stdout.splitlines()]
    found = {int(pid) for pid, args in rows if "nginx" in args or "workers.sink" in args}
    (sink,) = found & family(stage.pid)
    return sink


def gone(data_dir: Path, processes: set[int]) -> bool:
    return not running(processes) and not (data_dir / "rehearsal").exists()


def over(runtime: Runtime, id: int) -> bool:
    return runtime.publishing.get(id).finished_at is not None


def environment(**settings: str) -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | settings


def said_by(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.read()


RUN = """
import sys
from service import rehearsal
rehearsal.LONGEST = float(sys.argv.pop(1))
from workers import rehearse
sys.exit(rehearse.main())
"""


Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start processes of ours, what one says on one stream; ended with all that is theirs."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str, **settings: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *argv],
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def stoppress(spawn: Spawn) -> Spawn:
    """Run a command of ours in a shell."""
    return partial(spawn, "-m", "service.cli")


@pytest.fixture
def run(spawn: Spawn, tmp_path: Path) -> Spawn:
    """Run a rehearsal's own process in `tmp_path`, as the desk and the terminal do."""

    def start(readers: int = 100, longest: float = 600) -> subprocess.Popen[str]:
        topics = '[{"slug": "world", "name": "World"}]'
        return spawn("-c", RUN, str(longest), str(tmp_path), str(readers), "1", topics)

    return start


@pytest.fixture(scope="module")
def newsroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsroom]:
    """A real newsroom, with no rehearsal left at the end."""
    folder = tmp_path_factory.mktemp("newsroom")
    with (
        RedisServer() as redis,
        PushService() as push,
        House(redis.url, push, folder, WORKER_CONCURRENCY="2") as house,
    ):
        made = Newsroom(house)
        yield made
        rehearsal.end(folder)
        assert rehearsal.find(folder) is None


@pytest.fixture
def stage(newsroom: Newsroom) -> Rehearsal:
    """A rehearsal that is running in that newsroom."""
    return newsroom.rehearse()


@pytest.fixture
def theirs(stage: Rehearsal) -> Iterator[Runtime]:
    """The rehearsal's own store, seen from a test."""
    runtime = Runtime.open(Config.read(stage.environ))
    yield runtime
    runtime.store.redis.close()


# What an editor sees ----------------------------------------------------------------------------


def test_an_editor_sends_and_watches_an_alert_and_nobody_real_is_touched(
    newsroom: Newsroom,
) -> None:
    before = newsroom.stored()
    newsroom.rehearse()
    editor = newsroom.editor

    form = editor.get("/rehearsal/desk/new")
    assert "World" in form.text, "the newsroom's own topics"
    assert 'action="/rehearsal/desk/new"' in form.text
    fields = {**STORY, "nonce": "a-nonce-of-this-test-" + os.urandom(4).hex()}
    question = editor.post("/rehearsal/desk/new", "/rehearsal/desk/new", **fields)
    assert re.search(rf"Notify all .*{READERS}.* browsers", question.text)
    report = editor.post("/rehearsal/desk/new", "/rehearsal/desk/alerts", **fields)
    assert report.url.startswith(f"{newsroom.address}/rehearsal/desk/alerts/")
    path = report.url.removeprefix(newsroom.address)

    wait_until(lambda: "Sent in" in editor.get(f"{path}/progress").text)
    said = unescape(editor.get(path).text)
    assert re.search(rf'class="big figures">{READERS}<', said)
    assert "another push service" in said

    assert newsroom.end().status_code == 200
    assert newsroom.stored() == before
    assert newsroom.house.push.received == []
    assert newsroom.house.push.refusals == []


def test_an_alert_that_is_cancelled_on_its_desk_is_stopped(
    newsroom: Newsroom, stage: Rehearsal, theirs: Runtime
) -> None:
    sink = push_service_of(stage)
    os.kill(sink, signal.SIGSTOP)
    try:
        id = theirs.publishing.publish(content(), EVERYONE, by=EMAIL).id
        path = f"/rehearsal/desk/alerts/{id}"
        assert "Being sent" in newsroom.editor.get(path).text
        newsroom.editor.post(path, f"{path}/cancel")
    finally:
        os.kill(sink, signal.SIGCONT)
    wait_until(lambda: over(theirs, id))
    assert theirs.publishing.get(id).state is State.CANCELLED
    assert "Cancelled" in newsroom.editor.get(path).text


def test_every_page_of_a_rehearsal_says_so_and_no_page_of_the_real_desk_does(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    band = f"<strong>Rehearsal:</strong> {READERS} pretend readers. Nobody real is alerted."
    for path in ("/desk/", "/desk/new", "/desk/nowhere", "/desk/alerts/999"):
        rehearsed, real = (newsroom.editor.get(prefix + path).text for prefix in (DESK, ""))
        assert band in rehearsed, path
        assert "<title>Rehearsal: " in rehearsed, path
        assert "This is the real desk" not in rehearsed, path
        assert band not in real, path
        assert "<title>Rehearsal: " not in real, path
        assert "This is the real desk" in real, path
    newsroom.end()
    assert "This is the real desk" not in newsroom.editor.get("/desk/").text


def test_every_address_on_a_rehearsals_pages_leads_to_it_or_to_the_page_that_ends_it(
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
            assert newsroom.editor.get(link).status_code == 200, link


def test_nobody_gets_in_who_is_not_signed_in_at_the_real_desk(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    stranger = Visitor(newsroom.address)
    asked = stranger.get("/rehearsal/desk/new")
    assert asked.url == f"{newsroom.address}/desk/sign-in?next=/rehearsal/desk/"
    refused = stranger.get("/rehearsal/desk/reach", headers={"HX-Request": "true"})
    assert refused.status_code == 401
    inside = stranger.sign_in("/rehearsal/desk/")
    assert inside.url == f"{newsroom.address}/rehearsal/desk/"
    assert EMAIL in inside.text


def test_behind_a_proxy_that_ends_tls_its_forms_work_as_the_real_ones_do(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    public = {"SITE_URL": "https://push.example", "TRUSTED_PROXIES": "1"}
    app = create_app(Config.read({**newsroom.house.environment, **public}))
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
    review = fill_in("/rehearsal/desk/new", **STORY, nonce="a-nonce-of-this-test")
    assert review.status_code == 200
    assert "Notify all" in review.text
    app.extensions["stoppress"].store.redis.close()


def test_what_is_over_leads_to_the_page_that_says_so(newsroom: Newsroom, stage: Rehearsal) -> None:
    newsroom.end()
    page = newsroom.editor.get("/rehearsal/desk/alerts/1")
    assert page.url == f"{newsroom.address}/desk/rehearsal"
    assert "Start the rehearsal" in page.text
    part = newsroom.editor.get("/rehearsal/desk/alerts/1/progress", headers={"HX-Request": "true"})
    assert part.headers["HX-Redirect"] == "/desk/rehearsal"


@pytest.mark.parametrize("readers", ["", "many", "0", "99", "1000001", "-5", "١٢٣٤"])
def test_a_number_of_readers_that_cannot_be_is_refused(newsroom: Newsroom, readers: str) -> None:
    page = newsroom.editor.post("/desk/rehearsal", "/desk/rehearsal", readers=readers)
    assert page.status_code == 422
    assert "100 to 1,000,000" in page.text


def test_one_rehearsal_runs_at_a_time_and_the_second_is_shown_the_first(
    newsroom: Newsroom, stage: Rehearsal, stoppress: Spawn
) -> None:
    again = newsroom.editor.post("/desk/rehearsal", "/desk/rehearsal", readers="100")
    assert again.status_code == 409
    assert "running already" in again.text
    assert "/rehearsal/desk/" in again.text
    shell = stoppress("rehearse", "100", DATA_DIR=str(newsroom.data_dir))
    assert shell.wait(30) == 1
    assert "running already" in said_by(shell)
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


# Nobody real ------------------------------------------------------------------------------------


def test_no_browser_can_subscribe_to_a_rehearsal(
    newsroom: Newsroom, stage: Rehearsal, theirs: Runtime
) -> None:
    visitor = Visitor(newsroom.address)
    for path in ("/optin.js", "/sw.js", "/demo/", "/api/v1/site", "/api/v1/notifications"):
        assert visitor.get(f"/rehearsal{path}").status_code == 404, path
    said = visitor.session.post(f"{newsroom.address}/rehearsal/api/v1/subscriptions", json={})
    assert said.status_code == 404
    assert newsroom.editor.get("/rehearsal/").url == f"{newsroom.address}/rehearsal/desk/"
    assert theirs.store.subscriptions.count() == READERS


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_of_a_rehearsal_knows_the_real_house(
    newsroom: Newsroom, stage: Rehearsal
) -> None:
    real = newsroom.house.environment
    secrets = [real[name] for name in ("REDIS_URL", "SECRET_KEY", "VAPID_PRIVATE_KEY")]
    processes = family(stage.pid)
    assert len(processes) >= 6, "runner, Redis, push service, clock and two workers"
    for pid in processes:
        known = "".join(Path(f"/proc/{pid}/{name}").read_text() for name in ("environ", "cmdline"))
        found = [name for name in (*secrets, newsroom.house.push.origin) if name in known]
        assert found == [], Path(f"/proc/{pid}/cmdline").read_text()


def test_its_workers_send_to_its_own_push_service_and_believe_no_other(
    newsroom: Newsroom, stage: Rehearsal, theirs: Runtime
) -> None:
    """Even a reader of the real push service that somehow got in would not be alerted."""
    assert stage.environ["PUSH_SERVICES"].startswith("https://127.0.0.1:")
    trusted = Path(stage.environ["PUSH_CA_BUNDLE"]).read_text()
    assert trusted.count("BEGIN CERTIFICATE") == 1
    keys = seeding.keys(7)
    stray = Endpoint(f"{newsroom.house.push.origin}/", "stray")
    theirs.store.subscriptions.seed(
        0, [Wish(stray, *keys, theirs.vapid_public_key, frozenset(), "en-GB", "Europe/Riga")]
    )
    id = theirs.publishing.publish(content(), EVERYONE, by=EMAIL).id
    wait_until(lambda: over(theirs, id))
    progress = theirs.publishing.progress(id)
    assert progress.of(Outcome.ACCEPTED) == READERS
    assert progress.recipients == READERS + 1
    assert newsroom.house.push.received == []
    newsroom.end()  # with its stray


# Its end ----------------------------------------------------------------------------------------


def test_ending_it_on_the_desk_leaves_nothing_behind(newsroom: Newsroom, stage: Rehearsal) -> None:
    processes = family(stage.pid)
    page = newsroom.end()
    assert "Start the rehearsal" in page.text
    assert "could not go on" not in page.text
    wait_until(lambda: gone(newsroom.data_dir, processes))


def test_it_ends_with_the_server_it_was_started_from(
    redis_url: str, push: PushService, tmp_path: Path
) -> None:
    with House(redis_url, push, tmp_path, WORKER_CONCURRENCY="1") as house:
        newsroom = Newsroom(house)
        processes = family(newsroom.rehearse().pid)
        house.end(house.processes[0])
        wait_until(lambda: gone(tmp_path, processes))


def test_it_ends_by_itself_after_its_longest_time(run: Spawn, tmp_path: Path) -> None:
    runner = run(longest=2)
    processes = family(runner.pid)
    assert runner.wait(60) == 0
    assert gone(tmp_path, processes)


def test_one_that_is_killed_takes_all_with_it_and_the_next_one_sweeps(
    run: Spawn, tmp_path: Path
) -> None:
    runner = run()
    wait_until(lambda: ready(tmp_path))
    processes = family(runner.pid)
    runner.kill()
    runner.wait()
    assert rehearsal.find(tmp_path) is None
    wait_until(lambda: not running(processes))
    next_one = run()
    found = wait_until(lambda: ready(tmp_path))
    assert found.pid == next_one.pid
    rehearsal.end(tmp_path)
    assert next_one.wait(30) == 0
    assert gone(tmp_path, family(next_one.pid))


def test_ctrl_c_is_heard_while_readers_are_being_stored(run: Spawn, tmp_path: Path) -> None:
    runner = run(readers=1_000_000)
    wait_until(lambda: (found := rehearsal.find(tmp_path)) and found.stored)
    processes = family(runner.pid)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(30) == 0
    assert gone(tmp_path, processes)


# In a terminal ----------------------------------------------------------------------------------


def test_in_a_terminal_it_prints_where_to_click_and_ends_with_ctrl_c(
    stoppress: Spawn, tmp_path: Path
) -> None:
    shell = stoppress("rehearse", "300", DATA_DIR=str(tmp_path), WORKER_CONCURRENCY="1")
    output = ""

    def link() -> str | None:
        nonlocal output
        assert shell.stdout is not None
        output += shell.stdout.readline()
        found = re.search(r"(http://localhost:\d+)(/desk/welcome/\S+)", output)
        return found and (found[1], found[2])

    address, path = wait_until(link)
    while "Ctrl-C" not in output:
        output += shell.stdout.readline()
    assert "300 pretend readers" in output
    assert "Nobody real is alerted" in output
    visitor = Visitor(address)
    desk = visitor.post(path, path, email=EMAIL, password=PASSWORD)
    assert desk.url == f"{address}/desk/"
    assert "Ctrl-C where it was started" in desk.text
    # Cookies know no ports: the real desk beside it keeps its own.
    assert visitor.session.cookies.keys() == ["stoppress-rehearsal"]
    for path in ("/desk/rehearsal", "/api/v1/site", "/demo/"):
        assert visitor.get(path).status_code == 404

    processes = family(shell.pid)
    shell.send_signal(signal.SIGINT)
    assert shell.wait(30) == 0
    assert said_by(shell) == "\n"
    assert gone(tmp_path, processes)


def test_a_port_that_is_taken_is_said_before_anything_starts(
    newsroom: Newsroom, stoppress: Spawn, tmp_path: Path
) -> None:
    shell = stoppress("rehearse", DATA_DIR=str(tmp_path), PORT=str(newsroom.house.port))
    assert shell.wait(30) == 2
    assert "set another PORT" in said_by(shell)
    assert list(tmp_path.iterdir()) == []
