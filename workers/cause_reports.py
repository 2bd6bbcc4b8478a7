"""The part of the clock that calls ALERT_WEBHOOK: a thread, because a call may take ten seconds."""

from __future__ import annotations

import logging
import threading

from service.config import Config
from service.domain.operations.cause_reports import CauseReporter
from service.model.language.links import Origin
from service.model.newsroom.webhooks import CALL_SECONDS, Answer
from service.model.time import clock
from service.runtime import Runtime
from service.store import PAGE
from workers.fetching.fetch import Asking, CannotFetch, Fetcher, Limits

EVERY = 5.0  # seconds between two looks
_LIMITS = Limits(seconds=CALL_SECONDS, size=1 << 12)  # nobody reads what it answers

_log = logging.getLogger(__name__)


class Caller:
    """Calls the operator's own address, which may be private; it follows no redirect."""

    def __init__(self, config: Config) -> None:
        self._address = config.alert_webhook
        origin = str(Origin.of(self._address))
        self._fetcher = Fetcher([origin], config.push_ca_bundle, config.proxy_to)

    def send(self, headers: dict[str, str], body: bytes) -> Answer:
        """Send a request, and return what came of it."""
        try:
            found = self._fetcher.fetch(self._address, _LIMITS, Asking("POST", headers, body))
        except CannotFetch as error:
            return Answer(fault=error.fault.value)
        return Answer(found.status, retry_after=found.headers.get("retry-after", ""))


class CauseReports:
    """Tells what is wrong while this clock `leads`."""

    def __init__(self, config: Config) -> None:
        self.leads = False
        self._config = config
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, if there is an address."""
        if self._config.alert_webhook:
            threading.Thread(target=self._run, name="cause-reports", daemon=True).start()

    def _run(self) -> None:
        # With connections of its own: those of the clock wait while Redis is away, and this thread
        # reports that.
        runtime = Runtime.start(self._config, "clock", PAGE)
        reporter = CauseReporter(
            runtime.store.causes,
            runtime.causes.now,
            Caller(self._config).send,
            self._config.public_url,
            self._config.alert_webhook_secret,
        )
        while not self._ended.wait(EVERY):
            if self.leads:
                try:
                    reporter.look(clock.time())
                except Exception:
                    _log.exception("what is wrong could not be reported")
