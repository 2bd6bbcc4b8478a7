"""The doctor's checks of keys, processes, push services, readers and disk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.cli.doctor.addresses import Addresses
from service.cli.doctor.alert_webhook import alert_webhook
from service.cli.doctor.canary import canary
from service.cli.doctor.collector import collector
from service.cli.doctor.feeds import feeds, fetch
from service.cli.doctor.findings import Finding, Level, fail, ok, warn
from service.cli.doctor.growth import growth
from service.cli.doctor.sends import sends
from service.cli.doctor.sign_in import provider
from service.cli.doctor.time_zones import time_zone_rules
from service.cli.doctor.way_out import way_out
from service.cli.doctor.workers_needed import workers_needed
from service.domain.operations.processes import RELEASE, SKEW, VITAL, differences, named
from service.domain.operations.unknown_values import PUSH_SERVICES, TIME_ZONES
from service.domain.readers.reader_alerts import CONFIRM
from service.local import redis_server
from service.model.notifications import Audience
from service.model.operations.sizes import GB, size
from service.model.time import clock
from service.model.time.spans import span
from service.runtime import Runtime
from service.store.layout.names import MOST_UNPROVEN
from service.store.operations.processes import ALIVE, Process
from service.store.sending.push_services import Rest

_LATE = 10.0  # seconds after which a clock that ticks every second counts as dead
_WITHOUT_CLOCK = (
    ", so scheduled alerts do not start, and an alert whose worker died does not go on: start"
    " stoppress clock."
)
_SHOWN_WITHIN = 30.0  # seconds in which a worker that starts is known to its store
_HEARD_WITHIN = ALIVE / 2  # seconds; a worker that was killed is alive to its store for longer
_USELESS = ", so that readers cannot use what these send"
_MOST_NAMED = 5  # push services
_LIKE_A_ZONE = re.compile(r"(?!Etc/)[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_-]+){1,2}")
_FEW = 20  # unconfirmed readers; a new site has a few


@dataclass(frozen=True)
class Examination:
    """The checks that need a Redis that answers and the right keys."""

    runtime: Runtime

    def findings(self) -> Iterator[Finding]:
        """Run all checks; raises `RedisError`."""
        yield from self.keys()
        yield from self.losses()
        yield from self.backup()
        addresses = Addresses(self.runtime)
        yield from addresses.findings()
        yield from self.workers()
        yield from self.clock()
        yield from sends(self.runtime)
        yield fetch(self.runtime)
        yield from feeds(self.runtime)
        yield from self.stop()
        yield canary(self.runtime)
        yield alert_webhook(self.runtime)
        yield from self.hosts()
        yield from way_out(self.runtime, addresses.level_if_missing)
        yield from provider(self.runtime.config)
        yield from collector(self.runtime.config)
        yield from self.push_services()
        yield from self.unknown_values()
        yield time_zone_rules()
        yield from self.pretend_readers(addresses.trial)
        yield from self.confirmation()
        yield from self.prepared_keys()
        yield from growth(self.runtime)
        yield from self.disk()

    def keys(self) -> Iterator[Finding]:
        """Name keys that can go; opening the store has checked already that none is missing."""
        uses = self.runtime.keys.uses()
        set_ = [use for use in uses if use.place is not None]
        readers = sum(use.readers for use in uses)
        keys = "1 VAPID key" if len(set_) == 1 else f"{len(set_)} VAPID keys"
        yield ok("Keys", f"{keys} and SECRET_KEY are set; they serve all {readers:,} readers.")
        if len(self.runtime.config.secret_key) > 1:
            yield ok(
                "Keys",
                "SECRET_KEY has a previous value too. It may go three months after the change, or"
                " at once if it was stolen.",
            )
        for use in set_[1:]:
            if use.retired:
                yield warn(
                    "Keys",
                    f"{use.name}… is retired: take value {(use.place or 0) + 1} out of"
                    " VAPID_PRIVATE_KEY.",
                )
            elif not use.readers:
                yield warn(
                    "Keys",
                    f"No reader depends on {use.name}… any more: run"
                    f" stoppress keys retire {use.name}",
                )

    def losses(self) -> Iterator[Finding]:
        """Say that a part of the data is gone, as when a node was started without its files."""
        if lost := self.runtime.store.lost_partitions():
            named = ", ".join(f"{{{one}}}" for one in lost)
            yield fail(
                "Partitions",
                f"{named}: a node of the cluster has lost their readers, who get no alerts until"
                " they visit the site again. Stop all processes, restore the data of that node and"
                " start them.",
            )

    def backup(self) -> Iterator[Finding]:
        """Check that today's keys were backed up."""
        at = self.runtime.keys.backed_up_at()
        if at is None:
            yield warn(
                "Backup",
                "The keys were never backed up, and without them every reader is lost: run"
                " stoppress keys backup and keep what it prints in a safe place.",
            )
        else:
            ago = span(clock.time() - at)
            yield ok("Backup", f"The keys were backed up {ago} ago.")

    def workers(self) -> Iterator[Finding]:
        """Count workers, queued jobs and failed jobs."""
        queue = self.runtime.job_queue
        workers, waiting = queue.workers(), queue.queued()
        if not workers:
            yield fail(
                "Workers", "No worker is running, so no alert is sent: start stoppress worker."
            )
        else:
            yield ok("Workers", f"{workers} running.")
        yield from self._strange_workers()
        if (need := self.runtime.capacity.need()) is not None:
            yield workers_needed(need)
        jobs = "1 job waits" if waiting == 1 else f"{waiting or 'No'} jobs wait"
        if waiting and not workers:
            yield fail("Queue", f"{jobs}, and no worker takes any.")
        else:
            yield ok("Queue", f"{jobs} for a worker.")
        failed = queue.failed()
        if failed:
            yield warn(
                "Queue",
                f"{failed} jobs failed within the last day; see the workers' logs. Other jobs have"
                " taken over their work.",
            )

    def _strange_workers(self) -> Iterator[Finding]:
        """Name workers that take jobs of this queue and are none of this installation's."""
        alive = {(one.host, one.pid) for one in self.runtime.store.processes.alive()}
        now = clock.time()
        strange = {
            one.host
            for one in self.runtime.job_queue.running()
            if one.release == RELEASE
            and one.began_at < now - _SHOWN_WITHIN
            and one.seen_at > now - _HEARD_WITHIN
            and (one.host, one.pid) not in alive
        }
        if strange:
            yield fail(
                "Workers",
                f"Workers of another installation, on {', '.join(sorted(strange))}, take jobs of"
                " this one, so alerts begin late: give each installation a REDIS_URL of its own,"
                " such as another database of the same Redis.",
            )

    def clock(self) -> Iterator[Finding]:
        """Check that a clock is running."""
        age = self.runtime.store.installation.clock_age()
        if age < _LATE:
            yield ok("Clock", "Running.")
        elif age == float("inf"):
            yield fail("Clock", f"No clock has ever run{_WITHOUT_CLOCK}")
        else:
            yield fail("Clock", f"The clock stopped {span(age)} ago{_WITHOUT_CLOCK}")

    def stop(self) -> Iterator[Finding]:
        """Say that everything is stopped."""
        if stop := self.runtime.stops.current():
            since = span(clock.time() - stop.at)
            yield warn(
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
                f" {named(who)}{_USELESS if name in VITAL else ''}. Give all processes the same"
                " settings, and restart them.",
            )
        queues = {one.queue for one in alive if one.queue}
        if len(queues) > 1:
            found = True
            yield fail(
                "Hosts",
                "REDIS_URL leads to different servers: "
                + "; ".join(named([one for one in alive if one.queue == queue]) for queue in queues)
                + ".",
            )
        slow = [one for one in alive if abs(one.ahead) >= SKEW]
        for ahead in sorted({one.ahead for one in slow}):
            found = True
            side = "ahead of" if ahead > 0 else "behind"
            yield warn(
                "Hosts",
                f"The clock of {named([one for one in slow if one.ahead == ahead])} is"
                f" {span(abs(ahead))} {side} that of Redis, by which alerts are sent. Set both by"
                " NTP.",
            )
        # Fetch processes see nothing of the store, and so leave their release in the queue.
        fetch = self.runtime.fetch_queue.running()
        all_ = [*alive, *(Process("fetch", it.host, {}, version=it.release) for it in fetch)]
        for old in sorted({one.version for one in all_} - {RELEASE}):
            found = True
            yield warn(
                "Hosts",
                f"Not all processes are of one release: this is {RELEASE}, and"
                f" {named([one for one in all_ if one.version == old])} of"
                f" {old or 'an earlier one'}. What is new may not work until the upgrade is done:"
                " install the same release there, and restart them.",
            )
        if alive and not found:
            yield ok(
                "Hosts",
                f"All {len(alive)} processes have the settings of this host, and its release"
                f" ({RELEASE}).",
            )

    def push_services(self) -> Iterator[Finding]:
        """Name the push services that rest, limit us, or report too many readers gone."""
        what, now = "Push services", clock.time()
        resting = sorted(self.runtime.push_services.resting().items())
        for origin, rest in resting[:_MOST_NAMED]:
            yield _resting(what, origin, rest, now)
        if len(resting) > _MOST_NAMED:
            yield warn(
                what, f"{len(resting) - _MOST_NAMED} more are resting: see stoppress services."
            )
        doubts = self.runtime.gone.doubts()
        for doubt in doubts[:_MOST_NAMED]:
            yield warn(
                what,
                f"{doubt.origin} reported so many readers gone within a minute that we doubt it."
                f" An editor has to decide whether {doubt.browsers:,} readers are gone, at"
                f" {self.runtime.config.public_url}/desk/",
            )
        crowded = self.runtime.push_hosts.crowded()
        for wildcard, hosts in sorted(crowded.items()):
            yield warn(
                what,
                f"Strangers have made up hosts under {wildcard}: {hosts} never accepted a message."
                f" From {MOST_UNPROVEN} on, a reader at another new host there cannot subscribe."
                " They end an hour after an alert was sent there in vain, or after 30 days without"
                " a visit.",
            )
        paced = sorted(self.runtime.push_services.paced().items())
        for origin, pace in paced[:_MOST_NAMED]:
            yield warn(
                what,
                f"{origin} limits us to {pace.per_minute:,} messages a minute. We keep to that"
                " until it has been enough for a day, or you run stoppress services release"
                f" {origin}",
            )
        if not resting and not doubts and not paced and not crowded:
            yield ok(what, "All of them accept messages.")

    def unknown_values(self) -> Iterator[Finding]:
        """Name the push services that keep readers out, and time zones that this host lacks."""
        hosts = self.runtime.unknown_values.counts(PUSH_SERVICES)
        if hosts:
            yield warn(
                "PUSH_SERVICES",
                f"Readers could not subscribe, because we do not know their browsers' push"
                f" services: {_with_counts(hosts)}. Add those that you trust.",
            )
        named = self.runtime.unknown_values.counts(TIME_ZONES)
        # Not `Etc/Unknown` and the like, against which no update helps.
        zones = {zone: n for zone, n in named.items() if _LIKE_A_ZONE.fullmatch(zone)}
        if zones:
            yield warn(
                "Time zones",
                f"Readers are in time zones that this host does not know: {_with_counts(zones)}."
                " Their quiet hours go by UTC. Update its time zones (the package tzdata).",
            )

    def confirmation(self) -> Iterator[Finding]:
        """Check, with WELCOME=confirm, that most readers see their welcome."""
        if self.runtime.reader_alerts.welcome != CONFIRM:
            return
        subscriptions = self.runtime.subscriptions
        waiting, all_ = subscriptions.count_unconfirmed(), subscriptions.count()
        if waiting < _FEW or 2 * waiting < all_:
            says = f"{waiting:,} of {all_:,} readers have not seen their welcome yet."
            yield ok("Welcome", says)
        else:
            yield warn(
                "Welcome",
                f"{waiting:,} of {all_:,} readers never saw their welcome, so they get no alerts"
                " (WELCOME=confirm). Subscribe a browser of your own to find out why.",
            )

    def pretend_readers(self, trial: bool) -> Iterator[Finding]:
        """Say that readers are pretended, and whether real ones have joined them."""
        found = self.runtime.pretend_readers.mixture()
        if found is None:
            return
        says = f"{found.pretend:,} readers are pretend ones, of `stoppress seed`."
        if found.real:
            says += f" {found.real:,} real readers have joined them, and each alert goes to both."
        level: Level = "fail" if found.real and not trial else "warn"
        yield Finding(level, "Readers", f"{says} To remove them: stoppress seed --remove.")

    def prepared_keys(self) -> Iterator[Finding]:
        """Count the readers whose keys are prepared for the next alert."""
        what, prepared = "Prepared keys", self.runtime.store.prepared_keys
        if not self.runtime.config.prepare_keys:
            yield ok(what, "Switched off (PREPARE_KEYS).")
            return
        ready, readers = prepared.ready(), self.runtime.publishing.reach(Audience(everyone=True))
        status = f"Ready for {ready:,} of {readers:,} readers."
        if ready < readers and not prepared.has_room():
            todo = " Redis has no room for more, so alerts are sent half as fast."
            yield warn(what, status + todo)
        else:
            yield ok(what, status)

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
            yield fail("Disk", f"{status} Free some space, or Redis can store nothing more.")
        elif free < max(GB, 3 * used):
            yield warn("Disk", f"{status} Free some space: Redis needs it to rewrite its file.")
        else:
            yield ok("Disk", status)


def _with_counts(counts: Mapping[str, int]) -> str:
    """Return the most frequent values and how often each was named."""
    named = [f"{value} ({n:,})" for value, n in list(counts.items())[:_MOST_NAMED]]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _resting(what: str, origin: str, rest: Rest, now: float) -> Finding:
    since = span(now - rest.since)
    if rest.why == "credentials":
        return fail(
            what,
            f"{origin} has rejected our signature for {since}: check VAPID_SUBJECT and this host's"
            " time, and try stoppress doctor --send. No reader is lost.",
        )
    attempt = f"next attempt in {span(rest.until - now)}" if rest.until > now else "trying again"
    return warn(what, f"{origin} has failed for {since} ({rest.why}); {attempt}.")
