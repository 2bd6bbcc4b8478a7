"""The doctor's checks of the fetch process, and of the feeds and hubs that need it."""

from __future__ import annotations

from collections.abc import Iterator

from service.cli.doctor.findings import Finding, ok, warn
from service.domain.newsroom.feeds import Feed
from service.model.time import clock
from service.model.time.spans import span
from service.runtime import Runtime

_FAILS_LONG = 6 * 3600.0  # seconds: what fails for less may come back by itself
_MOST_NAMED = 5  # feeds


def fetch(runtime: Runtime) -> Finding:
    """Check that a fetch process is running; without feeds and webhooks only editors miss it."""
    if runtime.articles.has_readers():
        return ok("Fetch", "Running.")
    waits = [
        *(["feeds are not read"] if _watched(runtime) else []),
        *(["webhooks are not called"] if runtime.webhooks.all() else []),
    ]
    missed = " and ".join(waits or ["alerts are not filled in"])
    says = f"None is running, so {missed}: start stoppress fetch."
    return Finding("fail" if waits else "warn", "Fetch", says)


def feeds(runtime: Runtime) -> Iterator[Finding]:
    """Name the feeds that have failed for long, and those whose hubs do not call."""
    what, now, watched = "Feeds", clock.time(), _watched(runtime)
    failing = [one for one in watched if one.problem and now - _worked(one) >= _FAILS_LONG]
    silent = [one for one in watched if not one.problem and one.hub_problem(now)]
    hubs = [one for one in watched if one.state.hub and not runtime.config.site_url]
    for one in failing[:_MOST_NAMED]:
        since = span(now - _worked(one))
        yield warn(what, f"{one.title} has failed for {since}. {one.problem}")
    for one in silent[:_MOST_NAMED]:
        yield warn(what, f"{one.title}: {one.hub_problem(now)}")
    if hubs:
        yield warn(
            what,
            f"The hub of {hubs[0].title} cannot call us at once when there is something new,"
            " because it does not know our address: set SITE_URL.",
        )
    if watched and not (failing or silent or hubs):
        yield ok(what, f"{len(watched)} watched; none has failed for long.")


def _watched(runtime: Runtime) -> list[Feed]:
    return [one for one in runtime.feeds.all() if one.rules.is_active]


def _worked(one: Feed) -> float:
    """Return when a feed was read without a fault, or was added."""
    return one.state.read_at or one.added_at
