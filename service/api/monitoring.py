"""What Prometheus is told: the state of the house, read from the store at the moment it asks.

Nothing is counted in a process, so any of several web processes gives the same answer. No label
takes more values than there are push services, outcomes and VAPID keys: a stranger can plant
subscriptions at as many origins as a push service has hosts, so origins are counted, not named.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from flask import Blueprint, Flask, Response, current_app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from service.api import responses
from service.api.auth import tools
from service.api.calls import call
from service.current import runtime
from service.model.notifications import Notification, Outcome, Progress
from service.runtime import Runtime

_DAY = 86_400.0  # seconds
_LATEST = 100  # alerts looked through for those of the last day


bp = Blueprint("health", __name__)


def init_app(app: Flask) -> None:
    """Let an application serve its figures."""
    app.extensions["stoppress.figures"] = Figures(app.extensions["stoppress"])
    app.register_blueprint(bp)


@bp.get("/healthz")
@call(gives={200: responses.Alive})
def alive() -> responses.Alive:
    """Say that this process answers, whatever else is down."""
    return responses.Alive(status="alive")


@bp.get("/readyz")
@call(gives={200: responses.Ready})
def ready() -> responses.Ready:
    """Say that Redis accepts writes, and how many workers there are; 503 where it does not."""
    runtime().store.check_writable()
    return responses.Ready(status="ready", workers=runtime().job_queue.workers())


@bp.get("/metrics")
@call(by=tools("read", rates=()), gives={200: responses.Metrics})
def metrics() -> Response:
    """Show the state of the installation in Prometheus' text format."""
    figures: Figures = current_app.extensions["stoppress.figures"]
    return Response(figures.exposition(), content_type=CONTENT_TYPE_LATEST)


class Figures(Collector):
    """The figures of one house."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._final: dict[int, Progress] = {}  # reports of the last day: they change no more
        # Without `auto_describe`: nothing is asked of Redis before somebody asks us.
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
        yield from self._memory()

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
            "Browsers that are sent nothing yet: they have not seen their welcome (WELCOME).",
            subscriptions.count("unconfirmed"),
        )
        yield _labelled(
            "vapid_key_subscriptions",
            "Browsers subscribed with a VAPID key, which begins so; place 1 is the current one.",
            ("key", "place"),
            {
                (use.name, "" if use.place is None else str(use.place + 1)): use.readers
                for use in self._runtime.key_uses()
            },
        )

    def _alerts(self) -> Iterator[Metric]:
        active = self._store.notifications.active()
        states: Counter[tuple[str, ...]] = Counter()
        outcomes: Counter[tuple[str, ...]] = Counter()
        left = 0
        since = time.time() - _DAY
        stored = self._store.notifications
        some = [*stored.latest(_LATEST), *stored.waves(_LATEST)]
        latest = {one.id: one for one in some}
        for id in active:
            one = latest.get(id) or self._store.notifications.get(id)
            if one is not None:
                latest[id] = one
                states[one.state.value,] += 1
        counted = [one for one in latest.values() if one.id in active or one.created_at > since]
        for one in counted:
            progress = self._progress(one)
            left += 0 if one.finished_at else progress.recipients - progress.done
            for (outcome, service), n in progress.outcomes.items():
                said = "none" if outcome is Outcome.SKIPPED else service or "none"
                outcomes[outcome.value, said] += n
        self._final = {one.id: self._final[one.id] for one in counted if one.id in self._final}
        yield _labelled(
            "notifications_active", "Alerts that are not over yet.", ("status",), states
        )
        yield _gauge(
            "recipients_left", "Recipients of active alerts that have no outcome yet.", left
        )
        yield _labelled(
            "outcomes_last_day",
            f"Recipients of active alerts and of those published within 24 h (the latest {_LATEST}"
            " at most), by what became of them; service none: no push service was asked.",
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
        yield _gauge("queue_jobs", "Jobs that wait for a worker.", queue.queued())
        yield _gauge("workers", "Workers that gave a sign of life lately.", queue.workers())
        yield _gauge(
            "clock_age_seconds",
            "Seconds since a clock last did its work; +Inf: none ever did.",
            self._store.installation.clock_age(),
        )
        yield _gauge(
            "prepared_keys_enabled",
            "Whether idle workers derive keys for alerts to come (PREPARE_KEYS).",
            self._runtime.config.prepare_keys,
        )
        yield _gauge(
            "prepared_keys", "Keys ready for alerts to come.", self._store.prepared.ready()
        )

    def _push_services(self) -> Iterator[Metric]:
        service = self._runtime.endpoints.service
        resting: Counter[tuple[str, ...]] = Counter(
            (service(origin), rest.why) for origin, rest in self._store.services.resting().items()
        )
        yield _labelled(
            "push_service_origins_resting",
            "Origins left in peace, by push service and why: a status, no answer, credentials.",
            ("service", "why"),
            resting,
        )
        yield _labelled(
            "push_service_origins_doubted",
            'Origins whose "gone" nobody believes until a person confirms it.',
            ("service",),
            Counter((service(origin),) for origin in self._store.services.doubted()),
        )

        yield _labelled(
            "push_service_origins_paced",
            "Origins that are sent to at the pace they allow, by push service.",
            ("service",),
            Counter((service(origin),) for origin in self._store.services.paced()),
        )

    def _memory(self) -> Iterator[Metric]:
        memory = self._store.redis.info("memory")
        yield _gauge(
            "redis_memory_used_bytes", "Memory that the store's Redis uses.", memory["used_memory"]
        )
        yield _gauge(
            "redis_memory_max_bytes",
            "Memory beyond which the store's Redis takes nothing new (maxmemory); 0: no limit.",
            memory["maxmemory"],
        )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"stoppress_{name}", meaning, value=value)


def _labelled(
    name: str, meaning: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(f"stoppress_{name}", meaning, labels=labels)
    for said, value in values.items():
        family.add_metric(said, value)
    return family
