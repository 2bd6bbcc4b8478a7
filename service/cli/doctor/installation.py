"""The doctor's checks of keys, addresses, processes, push services and disk."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_address
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from service.cli.doctor.canary import canary
from service.cli.doctor.feeds import feeds, fetch
from service.cli.doctor.findings import Finding, Level
from service.cli.doctor.sign_in import provider
from service.cli.doctor.way_out import way_out
from service.cli.doctor.workers_needed import workers_needed
from service.cli.terminal import GB, size
from service.domain.processes import SKEW, VITAL, differences, named
from service.domain.unknown_values import PUSH_SERVICES, TIME_ZONES
from service.local import redis_server
from service.model import clock
from service.model.addresses import host_name
from service.model.block_lists import is_blocked
from service.model.notifications import Audience
from service.model.spans import span
from service.runtime import Runtime
from service.store.names import MOST_UNPROVEN
from service.store.push_services import Rest

_LATE = 10.0  # seconds after which a clock that ticks every second counts as dead
_MOST_NAMED = 5  # push services
_LIKE_A_ZONE = re.compile(r"(?!Etc/)[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_-]+){1,2}")
_FEW = 20  # unconfirmed readers; a new site has a few
_ANSWER = 10.0  # seconds that our own web processes have to answer
# Top-level domains that receive no mail (RFC 2606, RFC 6761, RFC 6762).
_RESERVED = ("example", "test", "invalid", "localhost", "local")


class _NoRedirects(HTTPRedirectHandler):
    """Leaves a redirect as it is: another server would answer for ours."""

    def redirect_request(self, *_: object) -> None:
        """Make no request of it."""


_without_redirects = build_opener(_NoRedirects)


@dataclass(frozen=True)
class Examination:
    """The checks that need a Redis that answers and the right keys."""

    runtime: Runtime

    def findings(self) -> Iterator[Finding]:
        """Run all checks; raises `RedisError`."""
        yield from self.keys()
        yield from self.backup()
        yield from self.subject()
        yield from self.site()
        yield from self.web()
        yield from self.proxies()
        yield from self.workers()
        yield from self.clock()
        yield fetch(self.runtime)
        yield from feeds(self.runtime)
        yield from self.stop()
        yield canary(self.runtime)
        yield from self.hosts()
        yield way_out(self.runtime.config, self._level_if_missing)
        yield from provider(self.runtime.config)
        yield from self.push_services()
        yield from self.unknown_values()
        yield from self.pretend_readers()
        yield from self.confirmation()
        yield from self.prepared_keys()
        yield from self.disk()

    @property
    def _trial(self) -> bool:
        """Whether only browsers on this machine can reach this installation."""
        return _is_loopback(self.runtime.config.public_url)

    @property
    def _level_if_missing(self) -> Level:
        """The level of a missing setting that only a real site needs."""
        return "warn" if self._trial else "fail"

    def keys(self) -> Iterator[Finding]:
        """Name keys that can go; opening the store has checked already that none is missing."""
        uses = self.runtime.keys.uses()
        set_ = [use for use in uses if use.place is not None]
        readers = sum(use.readers for use in uses)
        keys = "1 VAPID key" if len(set_) == 1 else f"{len(set_)} VAPID keys"
        yield Finding(
            "ok", "Keys", f"{keys} and SECRET_KEY are set; they serve all {readers:,} readers."
        )
        if len(self.runtime.config.secret_key) > 1:
            yield Finding(
                "ok",
                "Keys",
                "SECRET_KEY has a previous value too. It may go three months after the change, or"
                " at once if it was stolen.",
            )
        for use in set_[1:]:
            if use.retired:
                yield Finding(
                    "warn",
                    "Keys",
                    f"{use.name}… is retired: take value {(use.place or 0) + 1} out of"
                    " VAPID_PRIVATE_KEY.",
                )
            elif not use.readers:
                yield Finding(
                    "warn",
                    "Keys",
                    f"No reader depends on {use.name}… any more: run"
                    f" stoppress keys retire {use.name}",
                )

    def backup(self) -> Iterator[Finding]:
        """Check that today's keys were backed up."""
        at = self.runtime.keys.backed_up_at()
        if at is None:
            yield Finding(
                "warn",
                "Backup",
                "The keys were never backed up, and without them every reader is lost: run"
                " stoppress keys backup and keep what it prints in a safe place.",
            )
        else:
            ago = span(clock.time() - at)
            yield Finding("ok", "Backup", f"The keys were backed up {ago} ago.")

    def subject(self) -> Iterator[Finding]:
        """Check the newsroom's contact address for push services; Apple rejects made-up ones."""
        what, subject = "VAPID_SUBJECT", self.runtime.config.vapid_subject
        todo = "Set an address that you read, such as mailto:push@your.domain."
        if not subject:
            yield Finding(
                self._level_if_missing,
                what,
                f"Not set, so Apple may reject every alert to Safari. {todo}",
            )
        elif not _is_reachable(subject):
            yield Finding(
                self._level_if_missing,
                what,
                f"{subject} receives no mail, so Apple rejects it. {todo}",
            )
        else:
            yield Finding("ok", what, f"{subject}")

    def site(self) -> Iterator[Finding]:
        """Check the address of this service and those of the newsroom's sites."""
        config = self.runtime.config
        url = config.public_url
        if self._trial:
            yield Finding(
                "warn",
                "SITE_URL",
                f"{url} works on this machine only: set the address that readers use.",
            )
        elif not url.startswith("https://"):
            yield Finding(
                "fail", "SITE_URL", f"{url} is not https, which browsers require for push."
            )
        elif is_blocked(url):
            yield Finding(
                "warn",
                "SITE_URL",
                f"{url} is blocked in browsers with an ad blocker, because of its name: choose"
                " another, such as alerts.your.domain (docs/site.md).",
            )
        else:
            yield Finding("ok", "SITE_URL", url)
        origins = config.site_origins
        plain = [o for o in origins if o.startswith("http://") and not _is_loopback(o)]
        if not origins:
            yield Finding(
                self._level_if_missing,
                "SITE_ORIGINS",
                "Not set, so only the demo pages can subscribe readers. Set your sites' origins.",
            )
        elif plain:
            yield Finding(
                "warn",
                "SITE_ORIGINS",
                f"{plain[0]} is not https, so readers cannot subscribe there.",
            )
        else:
            yield Finding("ok", "SITE_ORIGINS", ", ".join(origins))
        refused = self.runtime.refused_origins.latest()
        strange = [one for one in refused if one not in origins and not self._is_own(one)]
        for origin in strange[:_MOST_NAMED]:
            yield Finding(
                "warn",
                "SITE_ORIGINS",
                f"A page of {origin} has our script, and its readers cannot subscribe: add this"
                " origin if it is yours.",
            )

    def _is_own(self, origin: str) -> bool:
        """Whether an origin is that of our own pages, as browsers see it."""
        config = self.runtime.config
        ours = (urlsplit(config.public_url).netloc, *config.trusted_hosts)
        return host_name(urlsplit(origin).netloc) in map(host_name, ours)

    def proxies(self) -> Iterator[Finding]:
        """Check that the web processes know of the proxy that ends TLS in front of them."""
        config = self.runtime.config
        own = [one for one in self.runtime.refused_origins.latest() if self._is_own(one)]
        # Without TLS there may be no proxy, and any caller can send us such an origin. To trust a
        # proxy that is not there would let callers choose their addresses.
        if own and not config.trusted_proxies and config.public_url.startswith("https:"):
            yield Finding(
                "fail",
                "Proxies",
                f"Calls of {own[0]} reach the web processes as another origin's, because they do"
                " not trust the proxy in front of them, and all readers look like one caller to"
                " them: set TRUSTED_PROXIES to the number of proxies, such as 1.",
            )

    def web(self) -> Iterator[Finding]:
        """Call the web processes as a reader's browser would, and check that they have our key."""
        what, url = "Web", self.runtime.config.public_url
        try:
            _get(f"{url}/readyz")
            # A cache in front of us may keep this response for five minutes, unless its URL is new.
            # With our own origin, which they take for a strange one if TRUSTED_PROXIES is missing.
            site = json.loads(_get(f"{url}/api/v1/site?doctor={time.time()}", origin=url))
            key = site["vapid_public_key"]
        except HTTPError as error:
            error.close()
            path = urlsplit(error.url).path
            todo = "see the log of stoppress web"
            if 300 <= error.code < 400:
                todo = "it leads elsewhere, so set SITE_URL to the address that answers itself"
            yield Finding("fail", what, f"{url}{path} answers {error.code}; {todo}.")
        except OSError:
            yield Finding(
                "fail",
                what,
                f"{url} does not answer from here: start stoppress web, or check the proxy and"
                " SITE_URL.",
            )
        except (HTTPException, KeyError, TypeError, ValueError):
            yield Finding("fail", what, f"The server at {url} is not Stop Press: check SITE_URL.")
        else:
            if key == self.runtime.keys.current:
                yield Finding("ok", what, f"{url} answers.")
            else:
                yield Finding(
                    "fail",
                    what,
                    f"{url} uses another VAPID key than the first of VAPID_PRIVATE_KEY here:"
                    " restart its processes with the same settings.",
                )

    def workers(self) -> Iterator[Finding]:
        """Count workers, queued jobs and failed jobs."""
        queue = self.runtime.job_queue
        workers, waiting = queue.workers(), queue.queued()
        if not workers:
            yield Finding("fail", "Workers", "No worker is running: start stoppress worker.")
        else:
            yield Finding("ok", "Workers", f"{workers} running.")
        if (need := self.runtime.capacity.need()) is not None:
            yield workers_needed(need)
        yield Finding(
            "ok" if workers or not waiting else "fail",
            "Queue",
            f"{waiting} jobs are waiting." if waiting else "No job is waiting.",
        )
        failed = queue.failed()
        if failed:
            yield Finding(
                "warn",
                "Queue",
                f"{failed} jobs failed within the last day; see the workers' logs. Other jobs have"
                " taken over their work.",
            )

    def clock(self) -> Iterator[Finding]:
        """Check that a clock is running."""
        age = self.runtime.store.installation.clock_age()
        if age < _LATE:
            yield Finding("ok", "Clock", "Running.")
        elif age == float("inf"):
            yield Finding("fail", "Clock", "No clock has ever run: start stoppress clock.")
        else:
            yield Finding(
                "fail", "Clock", f"The clock stopped {span(age)} ago: start stoppress clock."
            )

    def stop(self) -> Iterator[Finding]:
        """Say that everything is stopped."""
        if stop := self.runtime.stops.current():
            since = span(clock.time() - stop.at)
            yield Finding(
                "warn",
                "Sending",
                f"{stop.by} stopped everything {since} ago, so nothing is sent. To send again,"
                " press Release at the desk, or run stoppress stop --release",
            )

    def hosts(self) -> Iterator[Finding]:
        """Name hosts whose settings differ from those here, or whose clock differs from Redis'."""
        alive = self.runtime.store.processes.alive()
        mine = self.runtime.shared
        found = False
        for name, value, who in differences(mine, alive):
            found = True
            level: Level = "fail" if name in VITAL else "warn"
            yield Finding(
                level,
                "Hosts",
                f"{name} is {mine[name] or 'not set'} here, but {value or 'not set'} for"
                f" {named(who)}. Give all processes the same settings, and restart them.",
            )
        queues = {one.queue for one in alive if one.queue}
        if len(queues) > 1:
            found = True
            yield Finding(
                "fail",
                "Hosts",
                "REDIS_URL leads to different servers: "
                + "; ".join(named([one for one in alive if one.queue == queue]) for queue in queues)
                + ".",
            )
        slow = [one for one in alive if abs(one.ahead) >= SKEW]
        for ahead in sorted({one.ahead for one in slow}):
            found = True
            side = "ahead of" if ahead > 0 else "behind"
            yield Finding(
                "warn",
                "Hosts",
                f"The clock of {named([one for one in slow if one.ahead == ahead])} is"
                f" {span(abs(ahead))} {side} that of Redis, by which alerts are sent. Set both by"
                " NTP.",
            )
        if alive and not found:
            yield Finding(
                "ok", "Hosts", f"All {len(alive)} processes have the same settings as this host."
            )

    def push_services(self) -> Iterator[Finding]:
        """Name the push services that rest, limit us, or report too many readers gone."""
        what, now = "Push services", clock.time()
        resting = sorted(self.runtime.push_services.resting().items())
        for origin, rest in resting[:_MOST_NAMED]:
            yield _resting(what, origin, rest, now)
        if len(resting) > _MOST_NAMED:
            yield Finding(
                "warn",
                what,
                f"{len(resting) - _MOST_NAMED} more are resting: see stoppress services.",
            )
        doubts = self.runtime.gone.doubts()
        for doubt in doubts[:_MOST_NAMED]:
            yield Finding(
                "warn",
                what,
                f"{doubt.origin} reported so many readers gone within a minute that we doubt it."
                f" An editor has to decide whether {doubt.browsers:,} readers are gone, at"
                f" {self.runtime.config.public_url}/desk/",
            )
        crowded = self.runtime.push_hosts.crowded()
        for wildcard, hosts in sorted(crowded.items()):
            yield Finding(
                "warn",
                what,
                f"Strangers have made up hosts under {wildcard}: {hosts} never accepted a message."
                f" From {MOST_UNPROVEN} on, a reader at another new host there cannot subscribe."
                " They end an hour after an alert was sent there in vain, or after 30 days without"
                " a visit.",
            )
        paced = sorted(self.runtime.push_services.paced().items())
        for origin, pace in paced[:_MOST_NAMED]:
            yield Finding(
                "warn",
                what,
                f"{origin} limits us to {pace.per_minute:,} messages a minute. We keep to that"
                " until it has been enough for a day, or you run stoppress services release"
                f" {origin}",
            )
        if not resting and not doubts and not paced and not crowded:
            yield Finding("ok", what, "All of them accept messages.")

    def unknown_values(self) -> Iterator[Finding]:
        """Name the push services that keep readers out, and time zones that this host lacks."""
        hosts = self.runtime.unknown_values.counts(PUSH_SERVICES)
        if hosts:
            yield Finding(
                "warn",
                "PUSH_SERVICES",
                f"Readers could not subscribe, because we do not know their browsers' push"
                f" services: {_with_counts(hosts)}. Add those that you trust.",
            )
        named = self.runtime.unknown_values.counts(TIME_ZONES)
        # Not `Etc/Unknown` and the like, against which no update helps.
        zones = {zone: n for zone, n in named.items() if _LIKE_A_ZONE.fullmatch(zone)}
        if zones:
            yield Finding(
                "warn",
                "Time zones",
                f"Readers are in time zones that this host does not know: {_with_counts(zones)}."
                " Their quiet hours go by UTC. Update its time zones (the package tzdata).",
            )

    def confirmation(self) -> Iterator[Finding]:
        """Check, with WELCOME=confirm, that most readers see their welcome."""
        if not self.runtime.reader_alerts.must_confirm:
            return
        subscriptions = self.runtime.subscriptions
        waiting, all_ = subscriptions.count_unconfirmed(), subscriptions.count()
        if waiting < _FEW or 2 * waiting < all_:
            says = f"{waiting:,} of {all_:,} readers have not seen their welcome yet."
            yield Finding("ok", "Welcome", says)
        else:
            yield Finding(
                "warn",
                "Welcome",
                f"{waiting:,} of {all_:,} readers never saw their welcome, so they get no alerts"
                " (WELCOME=confirm). Subscribe a browser of your own to find out why.",
            )

    def pretend_readers(self) -> Iterator[Finding]:
        """Say that readers are pretended, and whether real ones have joined them."""
        found = self.runtime.pretend_readers.mixture()
        if found is None:
            return
        says = f"{found.pretend:,} readers are pretend ones, of `stoppress seed`."
        if found.real:
            says += f" {found.real:,} real readers have joined them, and each alert goes to both."
        level: Level = "fail" if found.real and not self._trial else "warn"
        yield Finding(level, "Readers", f"{says} To remove them: stoppress seed --remove.")

    def prepared_keys(self) -> Iterator[Finding]:
        """Count the readers whose keys are prepared for the next alert."""
        what, prepared = "Prepared keys", self.runtime.store.prepared_keys
        if not self.runtime.config.prepare_keys:
            yield Finding("ok", what, "Switched off (PREPARE_KEYS).")
            return
        ready, readers = prepared.ready(), self.runtime.publishing.reach(Audience(everyone=True))
        status = f"Ready for {ready:,} of {readers:,} readers."
        if ready < readers and not prepared.has_room():
            todo = " Redis has no room for more, so alerts are sent half as fast."
            yield Finding("warn", what, status + todo)
        else:
            yield Finding("ok", what, status)

    def disk(self) -> Iterator[Finding]:
        """Check that DATA_DIR has room, in particular if Redis keeps its file there."""
        config = self.runtime.config
        if not config.data_dir.is_dir():
            return
        free = shutil.disk_usage(config.data_dir).free
        ours = redis_server.running_url(config.data_dir) == config.redis_url
        memory = self.runtime.store.memory() if ours else None
        used = memory.used if memory else 0
        status = f"{size(free)} free in {config.data_dir}."
        if free < max(GB // 10, used):
            yield Finding(
                "fail", "Disk", f"{status} Free some space, or Redis can store nothing more."
            )
        elif free < max(GB, 3 * used):
            yield Finding(
                "warn", "Disk", f"{status} Free some space: Redis needs it to rewrite its file."
            )
        else:
            yield Finding("ok", "Disk", status)


def _with_counts(counts: Mapping[str, int]) -> str:
    """Return the most frequent values and how often each was named."""
    named = [f"{value} ({n:,})" for value, n in list(counts.items())[:_MOST_NAMED]]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _resting(what: str, origin: str, rest: Rest, now: float) -> Finding:
    since = span(now - rest.since)
    if rest.why == "credentials":
        return Finding(
            "fail",
            what,
            f"{origin} has rejected our signature for {since}: check VAPID_SUBJECT and this host's"
            " time, and try stoppress doctor --send. No reader is lost.",
        )
    attempt = f"next attempt in {span(rest.until - now)}" if rest.until > now else "trying again"
    return Finding("warn", what, f"{origin} has failed for {since} ({rest.why}); {attempt}.")


def _get(url: str, *, origin: str = "") -> bytes:
    request = Request(url, headers={"Origin": origin} if origin else {})  # noqa: S310 - our own
    with _without_redirects.open(request, timeout=_ANSWER) as response:
        body: bytes = response.read(1 << 20)
    return body


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "127.0.0.1", "::1")


def _is_reachable(subject: str) -> bool:
    """Whether a VAPID subject names a domain that can receive mail."""
    https = subject.startswith("https:")
    host = urlsplit(subject).hostname or "" if https else subject.rpartition("@")[2].lower()
    labels = host.rstrip(".").split(".")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        reserved = labels[-1] in _RESERVED or (len(labels) > 1 and labels[-2] == "example")
        return len(labels) > 1 and not reserved
    return False
