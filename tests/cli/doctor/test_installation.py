"""`stoppress doctor`: its findings about an installation, and that each says what to do."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from service.app import create_app
from service.cli import main
from service.cli.doctor.addresses import Addresses
from service.cli.doctor.findings import Finding
from service.config import Config
from service.local import pretend_readers
from service.local.redis_server import answers
from service.model.keys import VapidKey
from service.model.subscriptions import SubscriptionRequest
from service.model.time import clock
from service.runtime import Runtime
from service.store.sending.push_services import Rest
from tests.support import ROOT
from tests.support.doctor.run import KEY, doctor, findings, one, stored
from tests.support.network.proxy import ConnectProxy
from tests.support.processes.installation import Installation, wait_until
from tests.support.push_service import PushService
from tests.support.redis_servers.server import Proxy, RedisServer
from workers.trials.processes import free_port, wait_for

pytestmark = pytest.mark.processes

GOOGLE = "https://fcm.googleapis.com"


def test_a_running_installation_has_no_failure_and_the_report_fits_80_columns(
    installation: Installation,
) -> None:
    installation.worker()
    installation.clock()
    installation.fetcher()
    installation.web()
    wait_until(lambda: installation.runtime.store.installation.clock_age() < 10)
    wait_until(installation.runtime.job_queue.workers)
    installation.runtime.keys.note_backup()
    no_way_out = {"PUSH_PROXY": f"127.0.0.1:{free_port()}"}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "doctor"],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "80", **installation.environment, **no_way_out},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    levels = {line[6:21].strip(): line[:4].strip() for line in lines if line[:4].strip()}
    for what in ("Redis", "Time", "Keys", "Backup", "Web", "Workers", "Queue", "Clock", "Fetch"):
        assert levels[what] == "ok", done.stdout


def test_a_missing_process_is_reported_with_the_command_that_starts_it(
    environment: dict[str, str],
) -> None:
    done = doctor(environment)
    assert done.exit_code == 1
    for command in ("stoppress worker", "stoppress clock", "stoppress web", "stoppress fetch"):
        assert f"start {command}" in " ".join(done.stdout.split())
    assert "to fix" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "what", "level", "todo"),
    [
        ("appendonly", "no", "Durability", "fail", "appendonly yes"),
        ("maxmemory-policy", "allkeys-lru", "Eviction", "fail", "delete readers"),
        ("maxmemory-policy", "allkeys-lru", "Eviction", "fail", "maxmemory-policy noeviction"),
        ("maxmemory-policy", "volatile-lru", "Eviction", "fail", "held alerts"),
        ("maxmemory-policy", "volatile-ttl", "Eviction", "fail", "maxmemory-policy noeviction"),
        ("hash-max-ziplist-value", "64", "Record size", "warn", "hash-max-listpack-value 512"),
        ("hash-max-ziplist-entries", "128", "Record size", "warn", "hash-max-listpack-entries"),
    ],
)
def test_a_wrong_redis_setting_is_reported_with_the_right_line(
    server: RedisServer,
    environment: dict[str, str],
    option: str,
    value: str,
    what: str,
    level: str,
    todo: str,
) -> None:
    assert one(environment, what).level == "ok"
    with configured(server, option, value):
        finding = one(environment, what)
    assert finding.level == level
    assert todo in finding.says


@contextmanager
def configured(server: RedisServer, option: str, value: str) -> Iterator[None]:
    """Let Redis have another value of an option for a while."""
    with server.client() as admin:
        before = admin.config_get(option)[option]
        admin.config_set(option, value)
        try:
            yield
        finally:
            admin.config_set(option, before)


@contextmanager
def without(server: RedisServer, *rules: str) -> Iterator[None]:
    """A service that forbids some commands to its customers."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "default", *rules)
        try:
            yield
        finally:
            admin.execute_command("ACL", "SETUSER", "default", "+@all")


@pytest.mark.parametrize(
    ("forbidden", "unchecked"),
    [
        ("config", {"Record size"}),
        ("info", {"Redis", "Durability", "Eviction", "Memory", "Record size"}),
    ],
)
def test_what_a_service_hides_is_said_to_be_unchecked(
    server: RedisServer, environment: dict[str, str], forbidden: str, unchecked: set[str]
) -> None:
    with without(server, f"-{forbidden}", "-config"):
        found = findings(environment)
    said = {
        what
        for what, rows in found.items()
        if any("could not be checked" in finding.says for finding in rows)
    }
    assert said == unchecked
    levels = {finding.level for what in said for finding in found[what]}
    assert levels <= {"ok", "warn"}
    assert "Clock" in found, "the other checks go on"


class WithoutConfig(RedisServer):
    """A Redis that calls CONFIG otherwise, as some services do."""

    def start(self) -> None:
        wait_for(lambda: answers(self.url), self._spawn("--rename-command", "CONFIG", ""))


def test_a_redis_that_renamed_config_is_checked_all_the_same(environment: dict[str, str]) -> None:
    with WithoutConfig() as server:
        found = findings({**environment, "REDIS_URL": server.url})
    (packing,) = found["Record size"]
    assert packing.level == "warn"
    assert "could not be checked" in packing.says
    assert [one.level for one in found["Eviction"]] == ["ok"]


def test_volatile_eviction_is_found_where_config_is_forbidden(
    server: RedisServer, environment: dict[str, str]
) -> None:
    with configured(server, "maxmemory-policy", "volatile-lru"), without(server, "-config"):
        finding = one(environment, "Eviction")
    assert finding.level == "fail"
    assert "volatile-lru" in finding.says


def test_replicas_are_a_warning_where_there_is_no_append_only_file(
    server: RedisServer, environment: dict[str, str]
) -> None:
    with RedisServer() as replica, Proxy(server) as proxy:
        replica.follow(proxy)
        with configured(server, "appendonly", "no"):
            finding = one(environment, "Durability")
    assert finding.level == "warn"
    assert "only replicas" in finding.says


def test_memory_is_reported_when_it_runs_out_and_when_it_has(
    server: RedisServer, environment: dict[str, str]
) -> None:
    with server.client() as admin:
        for share, level in ((0.5, "ok"), (0.88, "warn"), (1.2, "fail")):
            one(environment, "Memory")  # the memory that a check takes is counted too
            used = admin.info("memory")["used_memory"]
            with configured(server, "maxmemory", str(int(used / share))):
                assert one(environment, "Memory").level == level


def test_wrong_settings_are_a_finding_and_no_traceback(
    environment: dict[str, str],
) -> None:
    for spoilt, what in (
        ({"PORT": "eighty"}, "Settings"),
        ({"REDIS_URL": ""}, "Settings"),
        ({"VAPID_PRIVATE_KEY": ""}, "Keys"),
        ({"REDIS_URL": f"unix://{environment['DATA_DIR']}/no.sock"}, "Redis"),
    ):
        done = doctor({**environment, **spoilt})
        assert done.exit_code == 1
        assert done.stderr == ""
        assert f"\nfail  {what} " in f"\n{done.stdout}"


def test_a_missing_way_out_is_named_with_what_to_set(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = environment | {"SITE_URL": "https://127.0.0.2:1"}
    with ConnectProxy(status=403) as proxy:
        refused = one(real | {"PUSH_PROXY": f"http://news:room@{proxy.address}"}, "Way out")
    assert refused.level == "fail"
    assert "no way to Google, Mozilla and Apple" in refused.says
    assert "the proxy answers 403" in refused.says
    assert f"Check PUSH_PROXY or HTTPS_PROXY ({proxy.address})" in refused.says
    assert "room" not in refused.says

    resolve = socket.getaddrinfo

    def only_this_machine(host: str, *rest: object, **named: object) -> object:
        if host.startswith("127."):
            return resolve(host, *rest, **named)  # type: ignore[call-overload]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", only_this_machine)
    direct = one(real | {"PUSH_PROXY": "none"}, "Way out")
    assert direct.level == "fail"
    assert "no way to Google" in direct.says
    assert "Let this host's name server (/etc/resolv.conf) find fcm.googleapis.com" in direct.says
    assert "set PUSH_PROXY to your proxy" in direct.says


def test_a_way_out_through_a_proxy_is_found(installation: Installation, push: PushService) -> None:
    with ConnectProxy() as proxy:
        settings = installation.environment | {"PUSH_PROXY": proxy.url}
        (finding,) = findings(settings)["Way out"]
    assert push.origin not in finding.says, "only what cannot be reached is named"
    assert push.origin.removeprefix("https://") in proxy.asked


def test_a_lost_key_is_reported_with_how_many_readers_need_it(
    environment: dict[str, str], push: PushService
) -> None:
    stored(environment, push, KEY)
    finding = one({**environment, "VAPID_PRIVATE_KEY": VapidKey.generate().text}, "Keys")
    assert finding.level == "fail"
    assert "1 subscriptions need the key" in finding.says


def test_a_backup_is_asked_for_until_it_is_made(environment: dict[str, str]) -> None:
    assert one(environment, "Backup").level == "warn"
    CliRunner().invoke(main, ["keys", "backup"], env=environment, catch_exceptions=False)
    assert one(environment, "Backup").level == "ok"
    another = f"{VapidKey.generate().text} {KEY.text}"
    assert one({**environment, "VAPID_PRIVATE_KEY": another}, "Backup").level == "warn"


@pytest.mark.parametrize(
    ("subject", "level"),
    [
        ("mailto:push@newsroom.org", "ok"),
        ("https://newsroom.org/contact", "ok"),
        ("mailto:push@localhost", "fail"),
        ("mailto:push@paper.example", "fail"),
        ("mailto:push@example.com", "fail"),
        ("mailto:push@paper.internal", "fail"),
        ("https://192.0.2.1/", "fail"),
        ("", "fail"),
    ],
)
def test_a_subject_that_apple_rejects_is_a_failure_on_a_real_site(
    environment: dict[str, str], subject: str, level: str
) -> None:
    spoilt = {**environment, "VAPID_SUBJECT": subject, "SITE_URL": "https://127.0.0.2:1"}
    assert one(spoilt, "VAPID_SUBJECT").level == level
    trial = {**environment, "VAPID_SUBJECT": subject}
    assert one(trial, "VAPID_SUBJECT").level == ("ok" if level == "ok" else "warn")


def test_a_real_site_must_be_https_and_name_its_pages(environment: dict[str, str]) -> None:
    spoilt = {**environment, "SITE_URL": "http://127.0.0.2:1", "SITE_ORIGINS": ""}
    assert one(spoilt, "SITE_URL").level == "fail"
    assert one(spoilt, "SITE_ORIGINS").level == "fail"
    plain = {**spoilt, "SITE_ORIGINS": "https://paper.example http://paper.example"}
    assert one(plain, "SITE_ORIGINS") == Finding(
        "warn",
        "SITE_ORIGINS",
        "http://paper.example is not https, so readers cannot subscribe there.",
    )


def test_a_site_that_was_forgotten_and_a_name_that_blockers_know_are_reported(
    environment: dict[str, str],
) -> None:
    real = {**environment, "SITE_ORIGINS": "https://paper.example"}
    Runtime.open(Config.read(real)).refused_origins.note("https://www.paper.example")
    first, second = findings({**real, "SITE_URL": "https://web-push.paper.example"})["SITE_ORIGINS"]
    assert (first.level, second.level) == ("ok", "warn")
    assert "https://www.paper.example has our script" in second.says
    blocked = one({**real, "SITE_URL": "https://web-push.paper.example"}, "SITE_URL")
    assert (blocked.level, "ad blocker" in blocked.says) == ("warn", True)
    assert one({**real, "SITE_URL": "https://alerts.paper.example"}, "SITE_URL").level == "ok"


def test_a_proxy_that_web_does_not_know_of_is_reported_and_our_own_origin_is_not_a_strange_one(
    environment: dict[str, str],
) -> None:
    url = "https://alerts.paper.example"
    real = {**environment, "SITE_URL": url, "SITE_ORIGINS": "https://paper.example"}
    calls = create_app(Config.read(real)).test_client()
    headers = {"Host": "alerts.paper.example", "Origin": url, "X-Forwarded-Proto": "https"}
    assert calls.get("/api/v1/site", headers=headers).status_code == 200
    addresses = Addresses(Runtime.open(Config.read(real)))
    (finding,) = addresses.proxies()
    assert (finding.level, "set TRUSTED_PROXIES" in finding.says) == ("fail", True)
    assert [one.level for one in addresses.site() if one.what == "SITE_ORIGINS"] == ["ok"]

    behind = {**real, "TRUSTED_PROXIES": "1"}
    assert list(Addresses(Runtime.open(Config.read(behind))).proxies()) == []
    redis = addresses.runtime.store.redis
    redis.delete("{g}:origins:refused")
    create_app(Config.read(behind)).test_client().get("/api/v1/site", headers=headers)
    assert list(addresses.proxies()) == []
    # Any caller can send this to a service that has no proxy in front of it.
    plain = Config.read({**real, "SITE_URL": url.replace("https:", "http:")})
    create_app(plain).test_client().get("/api/v1/site", headers=headers)
    assert list(Addresses(Runtime.open(plain)).proxies()) == []


def test_a_web_process_with_another_key_is_reported(installation: Installation) -> None:
    installation.web()
    new = f"{VapidKey.generate().text} {installation.vapid.text}"
    assert one(installation.environment, "Web").level == "ok"
    finding = one({**installation.environment, "VAPID_PRIVATE_KEY": new}, "Web")
    assert finding.level == "fail"
    assert "another VAPID key" in finding.says


def test_resting_and_doubted_push_services_are_named(environment: dict[str, str]) -> None:
    environment["SITE_URL"] = "https://127.0.0.2:1"
    runtime = Runtime.open(Config.read(environment))
    services, now = runtime.store.push_services, time.time()
    assert one(environment, "Push services").level == "ok"
    services.rest(GOOGLE, Rest(1, now - 300, now + 60, "credentials"))
    services.rest("https://web.push.apple.com", Rest(1, now - 300, now + 60, "503"))
    services.doubt("https://updates.push.services.mozilla.com", now)
    google, apple, mozilla = findings(environment)["Push services"]
    assert (google.level, apple.level, mozilla.level) == ("fail", "warn", "warn")
    assert "fcm.googleapis.com has rejected our signature for 5 min" in google.says
    assert re.search(r"web\.push\.apple\.com has failed for 5 minutes.* \(503\)", apple.says)
    assert "updates.push.services.mozilla.com reported so many readers gone" in mozilla.says
    assert mozilla.says.endswith(" https://127.0.0.2:1/desk/"), "where an editor decides"


def test_ages_are_right_on_a_host_whose_clock_is_an_hour_ahead(
    environment: dict[str, str], push: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are stored by Redis' clock; a command has not asked for it when it begins."""
    id, _ = stored(environment, push, KEY)
    services, now, real = Runtime.open(Config.read(environment)), time.time(), time.time
    services.store.push_services.rest(GOOGLE, Rest(1, now - 300, now + 120, "503"))
    monkeypatch.setattr(time, "time", lambda: real() + 3600)

    def command(line: str) -> str:
        monkeypatch.setattr(clock, "_measured", None)
        return " ".join(CliRunner().invoke(main, line.split(), env=environment).output.split())

    command("keys backup")
    shown = command("services")
    assert re.search(r"5 minutes( \d seconds?)? failing \(503\); next attempt in", shown), shown
    monkeypatch.setattr(clock, "_measured", None)
    found = findings(environment, str(id))
    assert re.search(r"backed up [\d.]+ seconds ago", found["Backup"][0].says)
    assert re.search(r"failed for 5 min.*; next attempt in", found["Push services"][0].says)
    assert found["Time"][0].level == "fail", "the host's clock is wrong all the same"
    assert found["pywebpush"][0].level == "ok"
    claims = push.received[-1].headers["authorization"].split(".")[1]
    ends = json.loads(urlsafe_b64decode(claims + "=="))["exp"]
    assert abs(ends - now - 12 * 3600) < 60, "push services refuse what ends much later"


@pytest.mark.parametrize(("waiting", "level"), [(19, "ok"), (20, "warn")])
def test_a_welcome_that_few_readers_see_is_reported(
    environment: dict[str, str], waiting: int, level: str
) -> None:
    assert "Welcome" not in findings(environment)
    runtime = Runtime.open(Config.read(environment))
    store, key = runtime.store, runtime.keys.current
    for number in range(waiting):
        endpoint = runtime.endpoints.parse(
            f"https://fcm.googleapis.com{pretend_readers.path(number)}"
        )
        requested = SubscriptionRequest(
            endpoint, *pretend_readers.keys(number), key, must_confirm=True
        )
        store.subscriptions.subscribe(requested)
    found = one(environment | {"WELCOME": "confirm"}, "Welcome")
    assert found.level == level
    assert f"{waiting} of {waiting} readers" in found.says


def test_pretend_readers_are_reported_and_real_ones_among_them(environment: dict[str, str]) -> None:
    assert "Readers" not in findings(environment)
    runtime = Runtime.open(Config.read(environment))
    origins, key = ["https://127.0.0.1:8443"], runtime.keys.current
    list(pretend_readers.seed(runtime.store, 10, origins=origins, vapid_key=key, topics=()))
    found = one(environment, "Readers")
    assert found.level == "warn"
    assert found.says.startswith("10 readers are pretend ones")
    assert "real" not in found.says
    endpoint = runtime.endpoints.parse(f"https://fcm.googleapis.com{pretend_readers.path(1)}")
    real = SubscriptionRequest(endpoint, *pretend_readers.keys(1), key)
    runtime.store.subscriptions.subscribe(real)
    found = one(environment | {"SITE_URL": "https://push.paper.example"}, "Readers")
    assert found.level == "fail"
    assert "1 real readers have joined them" in found.says


def test_the_doctor_follows_no_redirect_of_our_own_address(environment: dict[str, str]) -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    asked: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment["SITE_URL"] = f"http://127.0.0.1:{server.server_port}"
        finding = one(environment, "Web")
        server.shutdown()
    assert (finding.level, asked) == ("fail", ["/readyz"])
    assert "answers 302; it leads elsewhere" in finding.says


def test_a_previous_secret_key_is_named_so_that_it_is_not_forgotten(
    environment: dict[str, str],
) -> None:
    rotated = f"another secret of at least 32 characters,{environment['SECRET_KEY']}"
    told = [one.says for one in findings({**environment, "SECRET_KEY": rotated})["Keys"]]
    assert any("SECRET_KEY has a previous value too" in says for says in told)
    assert "another secret" not in " ".join(told)
