"""The doctor against broken installations: each is found, and its sentences say what to do."""

from __future__ import annotations

import socket
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from rq import Queue
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from service.domain.operations.daily_totals import today
from service.domain.sending.job_queue import FETCH_QUEUE, JOB, QUEUE, note_alive
from service.model.keys import VapidKey
from service.model.notifications import SendAt
from service.model.time import clock
from service.store.alerts.notifications import SCHEDULED
from service.store.sending.batches import part_key
from tests.support.doctor.broken_newsrooms import Table
from tests.support.doctor.run import KEY
from tests.support.doctor.whole_newsroom import (
    PUSH_SERVICES,
    SERVICE,
    TICKED,
    Newsroom,
    Portal,
)
from tests.support.network.newspaper import Newspaper, response
from tests.support.network.proxy import ConnectProxy
from workers.trials.processes import free_port

pytestmark = pytest.mark.processes


def test_nothing_is_found_where_all_is_well(newsroom: Newsroom) -> None:
    assert newsroom.found(with_page=True) == []


row = Table()


@row(
    "fail  Settings  PORT: must be a whole number from 1 to 65535. No process starts until that"
    " is mended.",
    "fail  Settings  DAILY_LIMIT: must be a whole number from 1 to 14. No process starts until"
    " that is mended.",
)
def two_settings_that_cannot_be_used(given: Newsroom) -> None:
    given.set(PORT="eighty", DAILY_LIMIT="many")


@row(
    "warn  Settings  STOPPRESS_DAILY_LIMIT is set, but no setting is called so, and it changes"
    " nothing: rename it to DAILY_LIMIT if that is meant.",
    "warn  Settings  UNDO_SECOND is set, but no setting is called so, and it changes nothing:"
    " rename it to UNDO_SECONDS if that is meant.",
    "warn  Settings  site_language is set, but no setting is called so, and it changes nothing:"
    " rename it to SITE_LANGUAGE if that is meant.",
)
def names_that_no_setting_has(given: Newsroom) -> None:
    given.set(STOPPRESS_DAILY_LIMIT="3", UNDO_SECOND="9", site_language="en")
    # These are other programs'.
    given.set(HTTP_PROXY="http://10.0.0.1:1", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://[::1]:1")


@row(
    "fail  Files  Every user of this machine can read …/secret (SECRET_KEY), and so send alerts in"
    " your name: run chmod o-rwx …/secret. If anybody else has an account here, change the keys"
    " too."
)
def a_key_that_everybody_can_read(given: Newsroom) -> None:
    file = given.folder / "secret"
    file.write_text(given.environment.pop("SECRET_KEY"))
    file.chmod(0o644)
    given.set(SECRET_KEY_FILE=str(file))


@row(
    "fail  Files  DATA_DIR: other users may enter …/data, which holds the keys and every reader:"
    " run chmod 700 …/data, or set another folder."
)
def a_folder_that_everybody_may_enter(given: Newsroom) -> None:
    data = given.folder / "data"
    (data / "redis").mkdir(parents=True)
    data.chmod(0o755)
    given.set(DATA_DIR=str(data))


@row(
    "fail  Redis  REDIS_URL: Redis cannot be reached: the connection is refused. Until that is"
    " over, nobody can subscribe and nothing is sent: start Redis, mend what its log says, or"
    " correct that setting. The other checks need it."
)
def no_redis(given: Newsroom) -> None:
    given.set(REDIS_URL=f"redis://127.0.0.1:{free_port()}")


@row(
    "fail  Redis  REDIS_URL: Redis cannot write to its disk, which may be full. Until it can, it"
    " accepts nothing new. Until that is over, nobody can subscribe and nothing is sent: start"
    " Redis, mend what its log says, or correct that setting. The other checks need it."
)
def a_disk_of_redis_that_is_full(given: Newsroom) -> None:
    given.closing(given.server.disk_full())


@row(
    "fail  Redis  It is a replica, which accepts nothing new, so nobody can subscribe and nothing"
    " is sent: let REDIS_URL and STORE_URL lead to the master."
)
def a_replica_instead_of_the_master(given: Newsroom) -> None:
    given.set(REDIS_URL=given.replica()[0].url)


@row(
    "warn  Replication  The replica … lacks 3 MB of what the master has, which a failover to it"
    " would lose: look at that host, and at the network to it."
)
def a_replica_that_lags(given: Newsroom) -> None:
    _, between = given.replica()
    given.closing(between.frozen())
    given.redis.set("written", "x" * (3 << 20))


@row(
    "fail  Durability  Redis keeps no append-only file, so a crash loses readers. Set `appendonly"
    " yes` in redis.conf and by CONFIG SET, or in the settings of your service."
)
def no_append_only_file(given: Newsroom) -> None:
    given.change_redis("appendonly", "no")


@row(
    "warn  Durability  Redis leaves it to the system when its file gets onto the disk"
    " (appendfsync no), so a power cut loses what came in about the last 30 seconds. Set"
    " `appendfsync everysec`."
)
def a_file_that_is_not_synced(given: Newsroom) -> None:
    given.change_redis("appendfsync", "no")


@row(
    "fail  Eviction  Redis may delete readers when it is full (allkeys-lru). Set"
    " `maxmemory-policy noeviction` in redis.conf and by CONFIG SET, or in the settings of your"
    " service."
)
def redis_deletes_readers_when_it_is_full(given: Newsroom) -> None:
    given.change_redis("maxmemory-policy", "allkeys-lru")


@row(
    "warn  Memory  … MB used of … MB (maxmemory). Give Redis more: once it is full, readers"
    " cannot subscribe and editors cannot publish.",
    "warn  Growth  Redis has room for about … more readers. At the pace of the last 10 days"
    " (1,000 more a day) it is full in … days, and then readers cannot subscribe and editors"
    " cannot publish: give it more memory before.",
)
def redis_is_nearly_full(given: Newsroom) -> None:
    given.redis.setrange("filler", 60 << 20, "x")  # made there: no buffer is filled
    used = given.redis.info("memory")["used_memory"]
    given.change_redis("maxmemory", str(int(used / 0.87)))
    for ago in range(11):
        date = int(f"{today() - timedelta(ago):%Y%m%d}")
        readers = {"readers": 20_000 - 1000 * ago, "unconfirmed": 0, "ended": {}}
        given.runtime.store.daily_totals.put_readers(date, readers)


@row(
    "fail  VAPID_SUBJECT  mailto:push@localhost receives no mail, so Apple rejects it. Set an"
    " address that you read, such as mailto:push@your.domain."
)
def an_address_that_apple_rejects(given: Newsroom) -> None:
    given.set_all(VAPID_SUBJECT="mailto:push@localhost")


@row(
    "fail  Keys  VAPID_PRIVATE_KEY: 1 subscriptions need the key whose public half is …, and it"
    " is not among those set; restore it from your backup."
)
def a_lost_key(given: Newsroom) -> None:
    given.subscribe()
    given.set(VAPID_PRIVATE_KEY=VapidKey.generate().text)


@row(
    "warn  Keys  No reader depends on … any more: run stoppress keys retire …",
    "warn  Backup  The keys were never backed up, and without them every reader is lost: run"
    " stoppress keys backup and keep what it prints in a safe place.",
    "fail  Web  {ours} hands out another VAPID key than the first of VAPID_PRIVATE_KEY here, so"
    " new readers get no alerts once that key is gone: restart its processes with the same"
    " settings.",
)
def web_with_the_key_of_before(given: Newsroom) -> None:
    given.set_all(VAPID_PRIVATE_KEY=f"{VapidKey.generate().text} {KEY.text}")


@row(
    "fail  Web  Browsers do not trust the certificate of {ours} (unable to get local issuer"
    " certificate), so readers cannot subscribe and editors cannot publish: renew it."
)
def a_certificate_that_nobody_trusts(given: Newsroom) -> None:
    other = given.closing(Newspaper(given.folder, ["www.newsroom.org"])).ca_file
    given.closing(pytest.MonkeyPatch.context()).setenv("SSL_CERT_FILE", str(other))


@row(
    "warn  SITE_URL  https://127.0.0.1:… works on this machine only: set the address that readers"
    " use.",
    "fail  Web  Browsers do not trust the certificate of https://127.0.0.1:… (IP address mismatch,"
    " certificate is not valid for '127.0.0.1'), so readers cannot subscribe and editors cannot"
    " publish: get one for that name, or correct SITE_URL.",
)
def a_certificate_of_another_name(given: Newsroom) -> None:
    other = given.closing(Newspaper(given.folder, ["www.newsroom.org"]))
    given.closing(pytest.MonkeyPatch.context()).setenv("SSL_CERT_FILE", str(other.ca_file))
    given.set_all(SITE_URL=f"https://127.0.0.1:{other.port}")


@row(
    "fail  Web  The name of https://alerts.newsroom.invalid is not known here, so readers cannot"
    " subscribe and editors cannot publish: correct SITE_URL or add the name."
)
def a_name_that_leads_nowhere(given: Newsroom) -> None:
    resolve = socket.getaddrinfo

    def no_such_name(host: str, *rest: Any, **named: Any) -> Any:  # no test asks a name server
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *rest, **named)

    patch = given.closing(pytest.MonkeyPatch.context())
    patch.setattr(socket, "getaddrinfo", no_such_name)
    given.set_all(SITE_URL="https://alerts.newsroom.invalid")


@row(
    "fail  SITE_URL  http://127.0.0.2:… is not https, so browsers have no push: put TLS in front"
    " of it, and set SITE_URL to the https address.",
    "fail  Web  http://127.0.0.2:… does not answer from here, so readers cannot subscribe and"
    " editors cannot publish: start stoppress web, or check the proxy and SITE_URL.",
)
def an_address_of_ours_that_is_wrong(given: Newsroom) -> None:
    given.set_all(SITE_URL=f"http://{SERVICE}:{free_port()}")


@row(
    "warn  SITE_URL  http://127.0.0.1:… works on this machine only: set the address that readers"
    " use.",
    "fail  Web  http://127.0.0.1:…/readyz answers 502; the proxy in front finds no web process:"
    " start stoppress web, or correct the proxy.",
)
def a_proxy_in_front_without_a_web_process(given: Newsroom) -> None:
    given.set_all(SITE_URL=given.paper.origin, SITE_ORIGINS="https://www.newsroom.org")
    given.paper.pages["/readyz"] = response(b"Bad gateway", status=502)
    given.stack.callback(given.paper.pages.pop, "/readyz")


@row(
    "fail  Workers  No worker is running, so no alert is sent: start stoppress worker.",
    "fail  Queue  1 job waits, and no worker takes any.",
)
def no_worker(given: Newsroom) -> None:
    given.redis.delete(f"rq:workers:{QUEUE}")
    Queue(QUEUE, connection=given.redis, serializer=JSONSerializer).enqueue(JOB)


@row(
    "fail  Workers  Workers of another installation, on paper-9, take jobs of this one, so alerts"
    " begin late: give each installation a REDIS_URL of its own, such as another database of the"
    " same Redis."
)
def a_queue_that_two_installations_share(given: Newsroom) -> None:
    given.redis.hset(f"rq:worker:{QUEUE}", "hostname", "paper-9")
    heard(given, seconds_ago=1)


def heard(given: Newsroom, seconds_ago: float) -> None:
    """Let the worker's last heartbeat be that long ago."""
    at = datetime.now(timezone.utc) - timedelta(seconds=seconds_ago)
    given.redis.hset(f"rq:worker:{QUEUE}", "last_heartbeat", utcformat(at))


def test_a_worker_that_was_killed_is_not_called_another_installations(newsroom: Newsroom) -> None:
    newsroom.redis.hset(f"rq:worker:{QUEUE}", "hostname", "paper-9")
    heard(newsroom, seconds_ago=15)
    assert newsroom.found(with_page=False) == []


@row(
    "fail  Clock  The clock stopped 10 minutes … ago, so scheduled alerts do not start, and an"
    " alert whose worker died does not go on: start stoppress clock."
)
def no_clock(given: Newsroom) -> None:
    given.redis.set(TICKED, int(time.time()) - 601)


@row(
    "fail  Doctor  unexpected ValueError at …/installation.py:…. This is a fault of Stop Press:"
    " please report this line. The other checks were not made."
)
def what_nobody_foresaw(given: Newsroom) -> None:
    given.redis.set(TICKED, "soon")


@row(
    "fail  Alerts  Alert 1 “Storm reaches the coast” has been waiting for 5 minutes…, and no"
    " worker takes it up: 1 reader waits. If workers are running, read their log and restart"
    " them."
)
def an_alert_that_no_worker_takes_up(given: Newsroom) -> None:
    given.subscribe()
    id = given.publish()
    given.runtime.planning.plan(given.runtime.publishing.get(id))
    for partition in given.runtime.store.partitions:
        batches = part_key(partition, id, "batches")
        for batch in given.redis.zrange(batches, 0, -1):
            given.redis.zadd(batches, {batch: 1000 * (clock.time() - 300)})


@row(
    "fail  Alerts  Alert 1 “Storm reaches the coast” should have begun more than a minute ago,"
    " and no clock has started it: start stoppress clock, or read its log and restart it."
)
def a_scheduled_alert_that_did_not_begin(given: Newsroom) -> None:
    id = given.publish(send_at=SendAt(clock.time() + 3600))
    given.redis.zadd(SCHEDULED, {id: 1000 * (clock.time() - 300)})


@row(
    "warn  Sending  nora@paper.example stopped everything … ago, so nothing is sent. To send"
    " again, press Release at the desk, or run stoppress stop --release"
)
def everything_is_stopped(given: Newsroom) -> None:
    given.runtime.stops.hold(by="nora@paper.example")


@row(
    "fail  Hosts  SITE_URL is {ours} here, but http://localhost:8000 for worker on paper-2, so"
    " that readers cannot use what these send. Give all processes the same settings, and restart"
    " them.",
    "warn  Hosts  The clock of worker on paper-2 is 40 seconds behind that of Redis, by which"
    " alerts are sent. Set both by NTP.",
    "warn  Hosts  Not all processes are of one release: this is …, and worker on paper-2 of"
    " 0.0.9. What is new may not work until the upgrade is done: install the same release there,"
    " and restart them.",
)
def a_host_that_differs(given: Newsroom) -> None:
    settings = {**given.alive.settings, "SITE_URL": "http://localhost:8000"}
    given.process("worker", "paper-2", settings=settings, ahead=-40.0, version="0.0.9")


@row(
    "warn  Hosts  Not all processes are of one release: this is …, and fetch on paper-2 of 0.0.9."
    " What is new may not work until the upgrade is done: install the same release there, and"
    " restart them."
)
def a_fetch_process_of_another_release(given: Newsroom) -> None:
    worker = "rq:worker:fetch.old"
    given.redis.sadd(f"rq:workers:{FETCH_QUEUE}", worker)
    given.redis.hset(worker, "hostname", "paper-2")
    note_alive(given.redis, worker, "0.0.9")


@row(
    "warn  Traces  http://127.0.0.1:1/v1/traces takes none from here: it cannot be connected to, or"
    " does not answer. Alerts are sent as ever, and the spans dropped. Check"
    " OTEL_EXPORTER_OTLP_ENDPOINT, and OTEL_EXPORTER_OTLP_HEADERS if it wants a token."
)
def a_collector_that_does_not_answer(given: Newsroom) -> None:
    given.set(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")


@row(
    "fail  Way out  There is no way to Google, Mozilla and Apple from here (the proxy answers"
    " 403), so their readers get no alerts. Check PUSH_PROXY or HTTPS_PROXY (127.0.0.1:…), and"
    " that this proxy lets CONNECT fcm.googleapis.com pass."
)
def a_proxy_that_lets_nothing_pass(given: Newsroom) -> None:
    closed = given.closing(ConnectProxy(status=403))
    given.set(PUSH_PROXY=f"http://news:room@{closed.address}")


@row(
    "fail  Way out  There is no way to Google, Mozilla and Apple from here (the proxy wants a user"
    " and a password, or refuses them), so their readers get no alerts. Put both into PUSH_PROXY or"
    " HTTPS_PROXY, as in http://user:password@host:port."
)
def a_proxy_that_wants_a_password(given: Newsroom) -> None:
    given.set(PUSH_PROXY=given.closing(ConnectProxy(status=407)).url)


@row(
    "fail  Way out  There is no way to Google, Mozilla and Apple from here (its certificate is"
    " not trusted), so their readers get no alerts. Set PUSH_CA_BUNDLE to a file of the"
    " certificates that are trusted here."
)
def a_firewall_with_a_certificate_of_its_own(given: Newsroom) -> None:
    wall = given.closing(Newspaper(given.folder, PUSH_SERVICES))
    given.proxy.to = ("127.0.0.1", wall.port)


@row(
    "fail  Way out  There is no way to Google, Mozilla and Apple from here (it does not speak"
    " TLS), so their readers get no alerts. Something between here and fcm.googleapis.com answers"
    " in its place, such as a firewall: let connections to it pass unchanged."
)
def a_portal_to_which_all_connections_lead(given: Newsroom) -> None:
    portal = given.closing(Portal())
    given.proxy.to = ("127.0.0.1", int(portal.address.rpartition(":")[2]))


@row(
    "warn  Time zones  This host has the time zones' rules of …b, which are at least … months"
    " old. Where a government has changed them since, quiet hours and scheduled alerts are an"
    " hour off: update the package tzdata on all hosts, and restart the processes."
)
def old_rules_of_time_zones(given: Newsroom) -> None:
    year = datetime.fromtimestamp(clock.time(), timezone.utc).year - 3
    (given.folder / "tzdata.zi").write_text(f"# version {year}b\n")


@pytest.mark.parametrize("name", row.breaks)
def test_a_broken_installation_is_found_and_said_clearly(newsroom: Newsroom, name: str) -> None:
    row.check(newsroom, name)
