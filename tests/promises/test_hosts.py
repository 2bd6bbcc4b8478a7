"""Hosts whose settings or clocks differ: who says so, who does not start, and nobody is harmed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from service.cli.doctor import examine
from service.domain.operations.processes import RELEASE, Presence, differences
from service.model.time import clock
from service.shared_settings import shared_settings
from service.store.operations.processes import Process
from tests.support import ROOT
from tests.support.processes.installation import Installation, wait_until
from tests.support.short_forms import some

SITE_URL = "https://push.paper.example"

# Runs a process on a host whose clock is wrong by so many seconds.
WRONG_CLOCK = """
import sys, time
real = time.time
time.time = lambda: real() + {seconds}
from workers.{kind} import main
sys.exit(main())
"""


@pytest.fixture
def web(installation: Installation) -> Iterator[Presence]:
    """A web process on this host, as far as the store knows."""
    presence = present(installation, "web", SITE_URL=SITE_URL)
    presence.start()
    yield presence
    presence.stop()


def present(installation: Installation, kind: str, **settings: str) -> Presence:
    """The presence of a process with these settings, not started yet."""
    config = type(installation.config).read({**installation.environment, **settings})
    return Presence(kind, config.addresses, shared_settings(config))


def run(
    installation: Installation, module: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module],
        env={"PATH": "/usr/bin:/bin", **installation.environment, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("module", some(["workers.worker", "workers.clock"], ["workers.worker"]))
def test_a_process_whose_messages_readers_cannot_use_does_not_start(
    module: str, installation: Installation, web: Presence
) -> None:
    done = run(installation, module)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "SITE_URL on " in line
    assert SITE_URL in line


def test_a_worker_that_would_refuse_readers_does_not_start(
    installation: Installation, web: Presence
) -> None:
    done = run(installation, "workers.worker", SITE_URL=SITE_URL, PUSH_SERVICES="")
    assert done.returncode == 2
    assert "PUSH_SERVICES on " in done.stderr


def test_a_worker_whose_links_differ_from_those_that_editors_see_does_not_start(
    installation: Installation, web: Presence
) -> None:
    more = {"SITE_URL": SITE_URL, "LINK_PARAMETERS": "utm_source=push"}
    done = run(installation, "workers.worker", **more)
    assert done.returncode == 2
    assert "LINK_PARAMETERS on " in done.stderr


def test_a_worker_starts_when_web_has_the_same_settings_or_fewer_push_services(
    installation: Installation, web: Presence
) -> None:
    more = f"{installation.environment['PUSH_SERVICES']} https://another.example"
    present(installation, "worker", SITE_URL=SITE_URL, PUSH_SERVICES=more).check()


def test_a_worker_waits_for_web_where_all_start_with_new_settings(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    old = present(installation, "web", SITE_URL="https://old.example")
    old.start()
    old.stop()
    worker = present(installation, "worker", SITE_URL=SITE_URL)
    assert worker._misfit() is not None
    new = present(installation, "web", SITE_URL=SITE_URL)
    new.start()
    worker.check()
    new.stop()


def test_a_worker_starts_with_new_settings_right_after_a_crash(
    installation: Installation, web: Presence
) -> None:
    installation.runtime.store.processes.note_web(shared_settings(installation.config))
    present(installation, "worker").check()  # though the web process of before looks alive


def test_the_log_names_the_host_and_the_setting_that_differs(
    installation: Installation, web: Presence, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = present(installation, "worker", SITE_URL=SITE_URL, DAILY_LIMIT="3")
    worker.check()  # this does no harm that a reader could not bear
    worker._beat()
    worker._compare()
    worker._compare()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("worker: DAILY_LIMIT on ")
    assert "that of web on " in line


def test_a_host_that_sets_a_setting_to_its_default_is_named(installation: Installation) -> None:
    """Else its processes alone do not follow what editors set at the desk."""
    config = type(installation.config).read({**installation.environment, "ASK_SECONDS": "20"})
    assert config.ask_seconds == installation.config.ask_seconds
    other = Process("worker", "paper-2", shared_settings(config))
    ((name, taken, who),) = differences(shared_settings(installation.config), [other])
    assert (name, "ASK_SECONDS" in taken.split(), who) == (
        "The list of settings that the environment takes from the desk",
        True,
        [other],
    )


def test_the_doctor_names_hosts_whose_settings_clock_or_queue_differ(
    installation: Installation,
) -> None:
    mine = shared_settings(installation.config)
    rows = {
        "fine": Process("web", "paper-1", mine, "queue a", version=RELEASE),
        "wrong": Process("worker", "paper-2", {**mine, "SITE_NAME": "Nobody"}, "queue b", -30.0),
    }
    for name, row in rows.items():
        installation.runtime.store.processes.beat(name, row)
    says = [one.says for one in examine(lambda: installation.environment) if one.what == "Hosts"]
    assert len(says) == 4
    assert "SITE_NAME is The Daily Example here, but Nobody for worker on paper-2" in says[0]
    assert "REDIS_URL leads to different servers" in says[1]
    assert "The clock of worker on paper-2 is 30 seconds behind that of Redis" in says[2]
    assert f"this is {RELEASE}, and worker on paper-2 of an earlier one" in says[3]


@pytest.mark.parametrize("seconds", [45, -45], ids=["fast", "slow"])
def test_a_host_with_a_wrong_clock_expires_nobody_early_and_counts_as_alive(
    seconds: int, installation: Installation
) -> None:
    installation.seed(50)
    for kind in ("worker", "clock"):
        installation.start("-c", WRONG_CLOCK.format(seconds=seconds, kind=kind))
    wait_until(installation.runtime.job_queue.workers)
    id = installation.publish(ttl=60)
    installation.over(id)
    assert installation.outcomes(id) == {"accepted": 50}
    alive = wait_until(
        lambda: [one for one in installation.runtime.store.processes.alive() if one.ahead]
    )
    assert all(abs(one.ahead - seconds) < 5 for one in alive)
    ages = [int(message.headers["ttl"]) for message in installation.push.received]
    assert max(ages) <= 60


def test_time_goes_on_when_a_hosts_clock_is_set_to_another_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "_measured", None)
    real = time.time()
    clock.set_by(real + 100, time.monotonic(), time.monotonic())
    monkeypatch.setattr(time, "time", lambda: real - 3600)
    assert abs(clock.time() - real - 100) < 50
    assert clock.ahead() < -3600
