"""Health checks, and figures for Prometheus, which are read from the store when it asks for them.

All processes add what they count to the store, so all web processes return the same figures, those
of the whole installation (decision 116). The values of labels are limited to push services,
outcomes, VAPID keys, routes and the like. Origins are counted and not named, because a stranger can
plant subscriptions at as many origins as a push service has hosts.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version

from flask import Blueprint, Response, current_app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from service.api import responses
from service.api.auth import tools
from service.api.calls import call
from service.api.operations.operations import HealthShown, health_shown
from service.current import runtime
from service.domain.operations.daily_totals import ENDED
from service.domain.operations.unknown_values import KINDS
from service.model.notifications import Notification, Outcome, Progress
from service.model.operations.measures import ENDED_BEFORE, MEASURES, MICRO, Histogram, Key, Measure
from service.model.time import clock
from service.runtime import Runtime

_DAY = 86_400.0  # seconds
# Seconds after its time within which the clock has surely chosen between two texts.
_DECIDING = 60.0
_LATEST = 100  # alerts looked through for those of the last day


bp = Blueprint("health", __name__)


@bp.get("/healthz")
@call(gives={200: responses.Alive})
def alive() -> responses.Alive:
    """Say that this process works, whatever else is down."""
    return responses.Alive(status="alive")


@bp.get("/readyz")
@call(gives={200: responses.Ready})
def ready() -> responses.Ready:
    """Say whether Redis accepts writes (else 503), and how many workers there are."""
    runtime().store.check_writable()
    return responses.Ready(status="ready", workers=runtime().job_queue.workers())


@bp.get("/healthz/full")
@call(by=tools("read", rates=()), gives={200: HealthShown})
def health() -> HealthShown:
    """Say what is wrong with the installation, what it costs and what to do."""
    return health_shown(runtime().causes.now())


@bp.get("/metrics")
@call(by=tools("read", rates=()), gives={200: responses.Metrics})
def metrics() -> Response:
    """Show the state of the installation in Prometheus' text format."""
    figures: Figures = current_app.extensions["stoppress.figures"]
    return Response(figures.exposition(), content_type=CONTENT_TYPE_LATEST)


class Figures(Collector):
    """The figures of one installation."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._final: dict[int, Progress] = {}  # final reports of the last day, by alert
        # Without `auto_describe`, so that Redis is asked only when Prometheus asks us.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def exposition(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Return the figures as of now."""
        yield from self._readers()
        yield from self._alerts()
        yield from self._processes()
        yield from self._push_services()
        yield from self._redis()
        yield from self._canary()
        counted = self._store.counted.read()
        yield self._ended(counted)
        for measure in MEASURES.values():
            yield _counted(measure, counted)

    def _ended(self, counted: Mapping[Key, list[int]]) -> Metric:
        ended = CounterMetricFamily(
            "stoppress_subscriptions_ended",
            "Subscriptions that ended: the reader left, the browser took the permission back by"
            " itself (lost), the push service called the browser gone, or a host that nobody knows"
            " was asked and accepted nothing (unproven), or a reader who had not visited for long"
            " was asked and did not answer (retired).",
            labels=("why",),
        )
        for why, count in (dict.fromkeys(ENDED, 0) | self._store.departures.counts()).items():
            before = counted.get((ENDED_BEFORE, why), [0])[0]
            ended.add_metric((why,), max(0, count - before))
        return ended

    def _readers(self) -> Iterator[Metric]:
        subscriptions = self._store.subscriptions
        yield _gauge(
            "subscriptions",
            "Browsers subscribed, including those a push service called gone, until deleted.",
            subscriptions.count(),
        )
        yield _gauge(
            "subscriptions_gone",
            "Browsers that a push service called gone and whose record is not deleted yet.",
            subscriptions.count("gone"),
        )
        yield _gauge(
            "subscriptions_unconfirmed",
            "Browsers that get no alerts until they confirm by the welcome (WELCOME).",
            subscriptions.count("unconfirmed"),
        )
        mixture = self._runtime.pretend_readers.mixture()
        yield _gauge(
            "subscriptions_pretend",
            "Browsers among them that `stoppress seed` has made up, to be removed by it too.",
            mixture.pretend if mixture else 0,
        )
        yield _labelled(
            "unknown_values",
            "How often in about 30 days a reader's browser named what is unknown here, by kind:"
            " push-services (the reader was refused), locales, time-zones.",
            ("kind",),
            {(kind,): sum(self._runtime.unknown_values.counts(kind).values()) for kind in KINDS},
        )
        yield _labelled(
            "vapid_key_subscriptions",
            "Browsers subscribed with the VAPID key that begins so; place 1 is the current key.",
            ("key", "place"),
            {
                (use.name, "" if use.place is None else str(use.place + 1)): use.readers
                for use in self._runtime.keys.uses()
            },
        )

    def _alerts(self) -> Iterator[Metric]:
        active = self._store.notifications.active()
        states: Counter[tuple[str, ...]] = Counter()
        outcomes: Counter[tuple[str, ...]] = Counter()
        left = 0
        since = clock.time() - _DAY
        stored = self._store.notifications
        latest = {one.id: one for one in [*stored.latest(_LATEST), *stored.waves(_LATEST)]}
        promised: Counter[tuple[str, ...]] = Counter()
        due = 0
        for id in active:
            one = latest.get(id) or stored.get(id)
            if one is not None and not one.audience.canary:
                latest[id] = one
                states[one.state.value,] += 1
        counted = [one for one in latest.values() if one.id in active or one.created_at > since]
        for one in counted:
            progress = self._progress(one)
            # While two texts are tried, most recipients wait, and nothing is wrong.
            trying = one.sampling and clock.time() < one.decides_at + _DECIDING
            left += 0 if one.finished_at or trying else progress.recipients - progress.done
            if one.id in active:
                due += self._runtime.under_way.due(one)
                promised[self._runtime.under_way.promise(one, progress),] += 1
            for (outcome, service), n in progress.outcomes.items():
                asked = "none" if outcome is Outcome.SKIPPED else service or "none"
                outcomes[outcome.value, asked] += n
        self._final = {one.id: self._final[one.id] for one in counted if one.id in self._final}
        yield _labelled(
            "notifications_active", "Alerts that are not over yet.", ("status",), states
        )
        yield _gauge(
            "recipients_left", "Recipients of active alerts that have no outcome yet.", left
        )
        yield _gauge(
            "batches_due",
            "Batches of active alerts that could be sent now and that no worker has.",
            due,
        )
        yield _labelled(
            "promises_active",
            "Alerts under way, by whether they keep the promise (PROMISE) so far.",
            ("state",),
            {(state,): promised[state,] for state in ("open", "kept", "missed")},
        )
        yield _labelled(
            "outcomes_last_day",
            f"Recipients of active alerts and of those published within 24 h (the latest {_LATEST}"
            " at most), by outcome. Service none: no push service was asked.",
            ("outcome", "service"),
            {**{(outcome.value, "none"): 0 for outcome in Outcome}, **outcomes},
        )

    def _progress(self, one: Notification) -> Progress:
        known = self._final.get(one.id)
        if known is None:
            known = self._runtime.publishing.progress(one.id)
            if one.finished_at is not None:
                self._final[one.id] = known
        return known

    def _processes(self) -> Iterator[Metric]:
        queue = self._runtime.job_queue
        yield _labelled(
            "build_info",
            "1; its labels say which release of Stop Press answers, on which Python.",
            ("version", "python"),
            {(version("stop-press"), platform.python_version()): 1},
        )
        yield _gauge("queue_jobs", "Jobs that wait for a worker.", queue.queued())
        yield _gauge("queue_jobs_failed", "Jobs that failed within the last day.", queue.failed())
        yield _gauge("workers", "Workers that gave a heartbeat lately.", queue.workers())
        need = self._runtime.capacity.need()
        if need is not None:
            yield _gauge(
                "workers_needed",
                "Workers that keep the promise (PROMISE) for an alert to everyone.",
                need.needed,
            )
            yield _gauge("workers_missing", "How many of these are missing.", need.missing)
        yield _gauge(
            "push_window",
            "Most messages of one worker without a recorded outcome (PUSH_WINDOW).",
            self._runtime.config.push_window,
        )
        fetch = self._runtime.fetch_queue
        yield _gauge("fetch_queue_jobs", "Jobs that wait for a fetch process.", fetch.queued())
        yield _gauge("fetch_workers", "Fetch processes that gave a heartbeat.", fetch.workers())
        yield _gauge(
            "origins_refused",
            "Origins of the last week whose pages call us and that SITE_ORIGINS does not name.",
            len(self._runtime.refused_origins.latest()),
        )
        yield _gauge(
            "clock_age_seconds",
            "Seconds since a clock last did its work; +Inf if none ever did.",
            self._store.installation.clock_age(),
        )
        yield _gauge(
            "stopped",
            "Whether everything is stopped, so that nothing is sent until it is released.",
            self._store.stops.holds(),
        )
        yield _gauge(
            "retiring_held",
            "Whether nobody is retired, because too many readers would be, or none was seen.",
            bool(self._store.retiring.round().held),
        )
        yield _gauge(
            "prepared_keys_enabled",
            "Whether idle workers derive keys for future alerts (PREPARE_KEYS).",
            self._runtime.config.prepare_keys,
        )
        yield _gauge(
            "prepared_keys",
            "Keys that are ready for future alerts.",
            self._store.prepared_keys.ready(),
        )

    def _push_services(self) -> Iterator[Metric]:
        service = self._runtime.endpoints.service
        resting: Counter[tuple[str, ...]] = Counter(
            (service(origin), rest.why)
            for origin, rest in self._store.push_services.resting().items()
        )
        yield _labelled(
            "push_service_origins_resting",
            "Origins that rest, by push service and why: a status, no answer, credentials.",
            ("service", "why"),
            resting,
        )
        yield _labelled(
            "push_service_origins_doubted",
            'Origins whose "gone" counts only once an editor has confirmed it.',
            ("service",),
            Counter((service(origin),) for origin in self._store.push_services.doubted()),
        )

        yield _labelled(
            "push_service_origins_paced",
            "Origins that get messages at the pace they allow, by push service.",
            ("service",),
            Counter((service(origin),) for origin in self._store.push_services.paced()),
        )

    def _redis(self) -> Iterator[Metric]:
        kept = self._store.is_kept_on_disk()
        if kept is not None:
            yield _gauge(
                "redis_persistent", "Whether the store's Redis appends its writes to a file.", kept
            )
        memory = self._store.memory()
        if memory is None:
            return
        yield _gauge("redis_memory_used_bytes", "Memory that the store's Redis uses.", memory.used)
        yield _gauge(
            "redis_memory_max_bytes",
            "Memory above which the store's Redis accepts nothing new (maxmemory); 0: no limit.",
            memory.most,
        )

    def _canary(self) -> Iterator[Metric]:
        canary = self._runtime.canary.health()
        yield _gauge(
            "canary_interval_seconds",
            "Seconds between two alerts to a browser of our own (CANARY_MINUTES); 0: none.",
            canary.every,
        )
        if canary.every:
            yield _gauge(
                "canary_last_success_timestamp_seconds",
                "When the latest of them arrived, in seconds since 1970; 0: none ever did.",
                canary.latest.arrived if canary.latest else 0.0,
            )
        if canary.every and canary.latest:
            yield _gauge(
                "canary_seconds",
                "Seconds between publishing the latest that arrived and decrypting it.",
                canary.latest.seconds,
            )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"stoppress_{name}", meaning, value=value)


def _labelled(
    name: str, meaning: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(f"stoppress_{name}", meaning, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _counted(measure: Measure, counted: Mapping[Key, list[int]]) -> Metric:
    """Return a counter or a histogram, as all processes have counted it."""
    name, at = f"stoppress_{measure.name}", (measure.name,)
    empty = {at + labels: [0] * measure.places for labels in measure.known or ()}
    if not measure.labels:
        empty[at] = [0] * measure.places
    rows = {**empty, **{key: row for key, row in counted.items() if key[0] == measure.name}}
    if not measure.bounds:
        counter = CounterMetricFamily(name, measure.meaning, labels=measure.labels)
        for (_, *labels), (number,) in rows.items():
            counter.add_metric(labels, number / MICRO if measure.is_time else number)
        return counter
    family = HistogramMetricFamily(name, measure.meaning, labels=measure.labels)
    bounds = [*map(str, measure.bounds), "+Inf"]
    for (_, *labels), row in rows.items():
        histogram = Histogram.of(row)
        buckets = list(zip(bounds, histogram.up_to, strict=True))
        family.add_metric(labels, buckets, sum_value=histogram.seconds)
    return family
