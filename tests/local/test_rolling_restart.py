"""All processes are started anew in turn behind a proxy, while readers come and alerts go out.

Nobody sees an error, and every reader gets every alert once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from service.model.newsroom.publish_hooks import PublishHook
from tests.support.processes.installation import Installation, wait_until
from tests.support.processes.rolling import Newspaper, caddy_argv, nginx_argv
from tests.support.push_service import PushService
from workers.trials.processes import Process, free_port

pytestmark = pytest.mark.processes


def restart_all(paper: Newspaper, workers: list[Process], clocks: list[Process]) -> None:
    """End and start each process, one after the other."""
    installation = paper.installation
    for port, web in paper.webs.items():
        installation.end(web)
        paper.start_web(port)
    for at, worker in enumerate(workers):
        installation.end(worker)
        workers[at] = installation.worker()
    for at, one in enumerate(clocks):
        installation.end(one)
        clocks[at] = installation.clock()


@pytest.mark.parametrize(
    "proxy_argv",
    [
        pytest.param(nginx_argv, id="nginx"),
        pytest.param(caddy_argv, id="Caddy", marks=pytest.mark.soak),
    ],
)
def test_nobody_sees_that_web_processes_are_started_anew_in_turn(
    proxy_argv: Callable[..., list[str]], redis_url: str, push: PushService, tmp_path: Path
) -> None:
    first, second = ports = [free_port(), free_port()]
    with (
        Installation(redis_url, push, tmp_path, TRUSTED_PROXIES="1") as installation,
        closing(Newspaper(installation, tmp_path, ports, proxy_argv)) as paper,
    ):
        for port in ports:
            paper.start_web(port)
        with paper.load(pause=0.05):
            wait_until(lambda: len(paper.calls) == 3)
            installation.end(paper.webs[first])
            go_on_for(paper, 10)
            paper.start_web(first)
            # By default nginx would still leave the first one out, and so have none.
            installation.end(paper.webs[second])
            go_on_for(paper, 10)
    assert paper.faults == []


@pytest.mark.parametrize(
    "proxy_argv", [pytest.param(nginx_argv, id="nginx"), pytest.param(caddy_argv, id="Caddy")]
)
def test_a_publish_hook_gets_a_whole_story_through_the_proxy(
    proxy_argv: Callable[..., list[str]], redis_url: str, push: PushService, tmp_path: Path
) -> None:
    port = free_port()
    with (
        Installation(redis_url, push, tmp_path, TRUSTED_PROXIES="1") as installation,
        closing(Newspaper(installation, tmp_path, [port], proxy_argv)) as paper,
    ):
        paper.start_web(port)
        hooks = installation.runtime.publish_hooks
        made = PublishHook("", "A CMS", "", paths={"title": "title", "url": "url"})
        hook, _ = hooks.add(made, "", "")
        for size, status in ((1 << 20, 401), ((1 << 20) + 1, 413)):
            reply = paper.ask("POST", f"/api/v1/hooks/{hook.id}", " " * size)
            assert (reply.status, reply.body[:1]) == (status, b"{"), "an answer of ours"
            assert hooks.calls_of(hook.id)[0].status == status, "for the editor who looks there"


def go_on_for(paper: Newspaper, number: int) -> None:
    """Wait until so many calls more have succeeded, or one has not."""
    before = paper.calls.total()
    wait_until(lambda: paper.faults or paper.calls.total() >= before + number, 60)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("rounds", "number"),
    [(1, 1), (10, 4)],
    ids=["once", "ten times"],
)
def test_nobody_sees_that_every_process_is_started_anew(
    rounds: int, number: int, redis_url: str, push: PushService, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    with Installation(redis_url, push, tmp_path, TRUSTED_PROXIES="1") as installation:
        installation.seed(300 * rounds)
        with closing(Newspaper(installation, tmp_path, ports)) as paper:
            paper.token = installation.api_token()
            workers = [installation.worker() for _ in range(number)]
            clocks = [installation.clock() for _ in range(2)]
            for port in ports:
                paper.start_web(port)
            with paper.load():
                alerts = []
                for at in range(rounds):
                    alerts.append(paper.publish(f"round-{at}"))
                    restart_all(paper, workers, clocks)
            assert paper.faults == []
            assert {path for path in paper.calls if "notifications" not in path} == {
                *("POST /api/v1/subscriptions", "GET /api/v1/site", "GET /desk/sign-in")
            }
            for id in alerts:
                done = installation.over(id)
                found = installation.runtime.publishing.progress(done.id)
                assert installation.outcomes(id) == {"accepted": found.recipients}
    seeded = Counter(one.endpoint for one in push.received if "/wpush/" not in one.path)
    assert set(seeded.values()) == {rounds}, "each reader got each alert once"
