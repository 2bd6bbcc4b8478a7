"""The doctor on the house itself: its keys, addresses, processes, and the push services."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_address
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from service.cli.doctor.findings import Finding, Level
from service.cli.terminal import GB, size
from service.local import redis_server
from service.model.notifications import Audience
from service.model.spans import span
from service.runtime import Runtime
from service.store.push_services import Rest

_LATE = 10.0  # seconds after which a clock that ticks every second counts as dead
_MOST_NAMED = 5  # push services
_FEW = 20  # readers who have yet to confirm; a beginning is no fault
_ANSWER = 10.0  # seconds that our own web has to answer
# Domains that nobody can be written to at (RFC 2606, RFC 6761, RFC 6762).
_RESERVED = ("example", "test", "invalid", "localhost", "local")


@dataclass(frozen=True)
class Examination:
    """What is looked at once Redis answers and the keys fit."""

    runtime: Runtime

    def findings(self) -> Iterator[Finding]:
        """Look at everything; `RedisError`."""
        yield from self.keys()
        yield from self.backup()
        yield from self.subject()
        yield from self.site()
        yield from self.web()
        yield from self.workers()
        yield from self.clock()
        yield from self.push_services()
        yield from self.confirmation()
        yield from self.prepared_keys()
        yield from self.disk()

    @property
    def _trial(self) -> bool:
        """Whether only browsers on this machine can reach the house."""
        return _is_loopback(self.runtime.config.public_url)

    @property
    def _wanting(self) -> Level:
        """How bad it is that something is missing which only a real site needs."""
        return "warn" if self._trial else "fail"

    def keys(self) -> Iterator[Finding]:
        """Look at the keys: that they fit was found out when the store was opened."""
        uses = self.runtime.keys.uses()
        set_ = [use for use in uses if use.place is not None]
        readers = sum(use.readers for use in uses)
        keys = "1 VAPID key" if len(set_) == 1 else f"{len(set_)} VAPID keys"
        yield Finding(
            "ok", "Keys", f"{keys} set, and SECRET_KEY: all that {readers:,} readers need."
        )
        for use in set_[1:]:
            if use.retired:
                yield Finding(
                    "warn",
                    "Keys",
                    f"{use.name}… was retired: take value {(use.place or 0) + 1} out of"
                    " VAPID_PRIVATE_KEY.",
                )
            elif not use.readers:
                yield Finding(
                    "warn",
                    "Keys",
                    f"No reader depends on {use.name}…: stoppress keys retire {use.name}",
                )

    def backup(self) -> Iterator[Finding]:
        """See whether the keys of today were written down."""
        at = self.runtime.keys.backed_up_at()
        if at is None:
            yield Finding(
                "warn",
                "Backup",
                "These keys were never written down, and without them every reader is lost: keep"
                " what stoppress keys backup prints in a safe place.",
            )
        else:
            ago = span(time.time() - at)
            yield Finding("ok", "Backup", f"These keys were written down {ago} ago.")

    def subject(self) -> Iterator[Finding]:
        """See whether a push service could write to the newsroom: Apple refuses made-up ones."""
        what, subject = "VAPID_SUBJECT", self.runtime.config.vapid_subject
        todo = "Set one at which you can be written to, such as mailto:push@your.domain."
        if not subject:
            yield Finding(
                self._wanting, what, f"Not set: Apple may refuse every alert to Safari. {todo}"
            )
        elif not _is_reachable(subject):
            yield Finding(
                self._wanting, what, f"Nobody can be reached there, so Apple refuses it. {todo}"
            )
        else:
            yield Finding("ok", what, f"{subject}")

    def site(self) -> Iterator[Finding]:
        """Look at the addresses under which readers meet us."""
        config = self.runtime.config
        url = config.public_url
        if self._trial:
            yield Finding(
                "warn",
                "SITE_URL",
                f"{url} is for a trial on this machine: set where readers reach this service.",
            )
        elif not url.startswith("https://"):
            yield Finding(
                "fail", "SITE_URL", f"{url} is not https: browsers take push from no other."
            )
        else:
            yield Finding("ok", "SITE_URL", url)
        origins = config.site_origins
        plain = [o for o in origins if o.startswith("http://") and not _is_loopback(o)]
        if not origins:
            yield Finding(
                self._wanting,
                "SITE_ORIGINS",
                "Not set: no page but our own may subscribe readers. Set your sites' origins.",
            )
        elif plain:
            yield Finding(
                "warn", "SITE_ORIGINS", f"{plain[0]} is not https: nobody can be subscribed there."
            )
        else:
            yield Finding("ok", "SITE_ORIGINS", ", ".join(origins))

    def web(self) -> Iterator[Finding]:
        """Call the web processes as a reader's browser would, and see that they are ours."""
        what, url = "Web", self.runtime.config.public_url
        try:
            _get(f"{url}/readyz")
            # A cache in front may keep what a page reads for five minutes.
            site = json.loads(_get(f"{url}/api/v1/site?doctor={time.time()}"))
            key = site["vapid_public_key"]
        except HTTPError as error:
            error.close()
            path = urlsplit(error.url).path
            yield Finding("fail", what, f"{url}{path} answers {error.code}: its log says why.")
        except OSError:
            yield Finding(
                "fail",
                what,
                f"{url} does not answer from here: start stoppress web, or see to the proxy or"
                " SITE_URL.",
            )
        except (HTTPException, KeyError, TypeError, ValueError):
            yield Finding("fail", what, f"What answers at {url} is not Stop Press: see SITE_URL.")
        else:
            if key == self.runtime.keys.current:
                yield Finding("ok", what, f"{url} answers.")
            else:
                yield Finding(
                    "fail",
                    what,
                    f"{url} gives pages another VAPID key than the first of VAPID_PRIVATE_KEY here:"
                    " start its processes again with the same settings.",
                )

    def workers(self) -> Iterator[Finding]:
        """Count those who take jobs, the jobs that wait, and those that failed."""
        queue = self.runtime.job_queue
        workers, waiting = queue.workers(), queue.queued()
        if not workers:
            yield Finding("fail", "Workers", "None is running: start stoppress worker.")
        else:
            yield Finding("ok", "Workers", f"{workers} at work or waiting for it.")
        yield Finding(
            "ok" if workers or not waiting else "fail",
            "Queue",
            f"{waiting} waiting." if waiting else "Nothing waits.",
        )
        failed = queue.failed()
        if failed:
            yield Finding(
                "warn",
                "Queue",
                f"{failed} jobs failed within a day: the workers' logs say why. Their work was"
                " taken up again.",
            )

    def clock(self) -> Iterator[Finding]:
        """See whether a clock leads."""
        age = self.runtime.store.installation.clock_age()
        if age < _LATE:
            yield Finding("ok", "Clock", "It ticks.")
        elif age == float("inf"):
            yield Finding("fail", "Clock", "None ever ran here: start stoppress clock.")
        else:
            yield Finding("fail", "Clock", f"It stopped {span(age)} ago: start stoppress clock.")

    def push_services(self) -> Iterator[Finding]:
        """Name the push services that do not take messages, and those that are not believed."""
        what, now = "Push services", time.time()
        resting = sorted(self.runtime.push_services.resting().items())
        for origin, rest in resting[:_MOST_NAMED]:
            yield _rests(what, origin, rest, now)
        if len(resting) > _MOST_NAMED:
            yield Finding("warn", what, f"{len(resting) - _MOST_NAMED} more rest, too.")
        doubts = self.runtime.gone.doubts()
        for doubt in doubts[:_MOST_NAMED]:
            yield Finding(
                "warn",
                what,
                f"{doubt.origin} called so many readers gone within a minute that it is not"
                f" believed: {doubt.browsers:,} wait for a person to say whether that is true, at"
                f" {self.runtime.config.public_url}/desk/",
            )
        paced = sorted(self.runtime.push_services.paced().items())
        for origin, pace in paced[:_MOST_NAMED]:
            yield Finding(
                "warn",
                what,
                f"{origin} limits us: it is sent {pace.per_minute:,} messages a minute, until that"
                f" has been enough for a day, or after stoppress services release {origin}",
            )
        if not resting and not doubts and not paced:
            yield Finding("ok", what, "All take messages.")

    def confirmation(self) -> Iterator[Finding]:
        """Look at how many see the welcome before which they are sent nothing."""
        if not self.runtime.reader_alerts.must_confirm:
            return
        subscriptions = self.runtime.subscriptions
        waiting, all_ = subscriptions.count_unconfirmed(), subscriptions.count()
        if waiting < _FEW or 2 * waiting < all_:
            says = f"{waiting:,} of {all_:,} readers have yet to see their welcome."
            yield Finding("ok", "Welcome", says)
        else:
            yield Finding(
                "warn",
                "Welcome",
                f"{waiting:,} of {all_:,} readers never saw theirs, and are sent nothing"
                " (WELCOME=confirm): subscribe a browser of your own and look why.",
            )

    def prepared_keys(self) -> Iterator[Finding]:
        """Say how far the keys for alerts to come are."""
        what, prepared = "Prepared keys", self.runtime.store.prepared_keys
        if not self.runtime.config.prepare_keys:
            yield Finding("ok", what, "Switched off (PREPARE_KEYS).")
            return
        ready, readers = prepared.ready(), self.runtime.publishing.reach(Audience(everyone=True))
        said = f"{ready:,} of {readers:,} ready."
        if ready < readers and not prepared.has_room():
            todo = " Redis is too full for more: alerts are sent, but half as fast."
            yield Finding("warn", what, said + todo)
        else:
            yield Finding("ok", what, said)

    def disk(self) -> Iterator[Finding]:
        """See whether DATA_DIR has room, most of all where Redis keeps its file there."""
        config = self.runtime.config
        if not config.data_dir.is_dir():
            return
        free = shutil.disk_usage(config.data_dir).free
        ours = redis_server.running_url(config.data_dir) == config.redis_url
        used = self.runtime.store.redis.info("memory")["used_memory"] if ours else 0
        said = f"{size(free)} free in {config.data_dir}."
        if free < max(GB // 10, used):
            yield Finding("fail", "Disk", f"{said} Make room, or Redis takes nothing more.")
        elif free < max(GB, 3 * used):
            yield Finding("warn", "Disk", f"{said} Make room: its file is rewritten beside itself.")
        else:
            yield Finding("ok", "Disk", said)


def _rests(what: str, origin: str, rest: Rest, now: float) -> Finding:
    since = span(now - rest.since)
    if rest.why == "credentials":
        return Finding(
            "fail",
            what,
            f"{origin} has refused our signature for {since}: see to VAPID_SUBJECT and the time,"
            " and try stoppress doctor --send. No reader is lost.",
        )
    tried = f"tried again in {span(rest.until - now)}" if rest.until > now else "tried again"
    return Finding("warn", what, f"{origin} has failed for {since} ({rest.why}); it is {tried}.")


def _get(url: str) -> bytes:
    with urlopen(url, timeout=_ANSWER) as answer:  # noqa: S310 - SITE_URL, which is http or https
        body: bytes = answer.read(1 << 20)
    return body


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "127.0.0.1", "::1")


def _is_reachable(subject: str) -> bool:
    """Whether a VAPID subject names a domain at which somebody may be written to."""
    https = subject.startswith("https:")
    host = urlsplit(subject).hostname or "" if https else subject.rpartition("@")[2].lower()
    labels = host.rstrip(".").split(".")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        reserved = labels[-1] in _RESERVED or (len(labels) > 1 and labels[-2] == "example")
        return len(labels) > 1 and not reserved
    return False
