"""The doctor's look at ALERT_WEBHOOK: whether a person hears what is wrong."""

from __future__ import annotations

from service.cli.doctor.findings import Finding, fail, ok
from service.domain.operations.cause_reports import failure_words
from service.model.operations.causes import Reported
from service.model.time import clock
from service.model.time.spans import span
from service.runtime import Runtime

_GIVEN_UP = 900.0  # seconds after it was due again in which a clock would have tried it


def alert_webhook(runtime: Runtime) -> Finding:
    """Say whether it takes calls, as the clock has found."""
    what, reported = "ALERT_WEBHOOK", Reported.from_json(runtime.store.causes.read())
    health, now = reported.health, clock.time()
    # Where no clock has the setting any more, nobody tries the address that failed.
    if health.failing_since and now < health.rests_until + _GIVEN_UP:
        since = span(now - health.failing_since)
        says = f"The address has failed for {since}: {failure_words(health)}. Nobody hears what"
        return fail(what, f"{says} is wrong until it works: check the address.")
    if not runtime.config.alert_webhook:
        says = "Not set here. With it, the clock tells a person in a chat what is wrong."
        return ok(what, says)
    if not health.results or health.failing_since:
        return ok(what, "Set. There was nothing to tell yet.")
    ago = span(now - health.results[0].at)
    return ok(what, f"Set. It took the last call {ago} ago.")
