"""The doctor's forecast: for how many more readers Redis has memory, and when it is full."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from service.cli.doctor.findings import Finding, ok, warn
from service.domain.operations.daily_totals import today
from service.model.time.spans import span
from service.runtime import Runtime
from service.store.redis_servers.connection import servers

# As measured (docs/performance.md).
_READER = 285  # bytes
_PREPARED = 112  # bytes; PREPARE_KEYS
_FULL = 0.95  # of maxmemory
_FULL_MACHINE = 0.8  # of a machine's memory: to rewrite its file, Redis may need the rest
_LOOKS_BACK = 30  # days
_FEWEST = 3  # days from which a pace is known
_SOON = 60  # days
_DAY = 86_400


def growth(runtime: Runtime) -> Iterator[Finding]:
    """Say how many more readers have room, and how long that lasts at the pace of 30 days."""
    memory = runtime.store.memory()
    limit = (memory.most * _FULL or memory.machine * _FULL_MACHINE) if memory else 0.0
    if memory is None or not limit:
        return
    nodes = len(servers(runtime.store.redis))  # this is the fullest; each has as many readers
    each, readers = _READER, runtime.subscriptions.count()
    left = limit - memory.used
    if runtime.config.prepare_keys:
        each += _PREPARED
        lacking = max(0, readers - runtime.store.prepared_keys.ready())
        left -= _PREPARED * lacking / nodes
    room = max(0, int(left * nodes / each))
    about = round(room, 2 - len(str(room)))
    says = (
        f"Redis has room for about {about:,} more readers." if room else "Redis has no room left."
    )
    days, joined = _grown(runtime)
    if joined <= 0:
        yield Finding("ok" if room else "warn", "Growth", says)
        return
    pace = joined / days
    lasts = room / pace
    says += f" At the pace of the last {days} days ({pace:,.0f} more a day)"
    if lasts >= _SOON:
        yield ok("Growth", f"{says} that lasts for {span(int(lasts) * _DAY)}.")
        return
    yield warn(
        "Growth",
        f"{says} it is full in {span(int(lasts) * _DAY) if lasts >= 1 else 'less than a day'}, and"
        " then readers cannot subscribe and editors cannot publish: give it more memory before.",
    )


def _grown(runtime: Runtime) -> tuple[int, int]:
    """Return in how many days how many readers have come, without those who left."""
    dates = [today() - timedelta(ago) for ago in range(_LOOKS_BACK, -1, -1)]
    rows = runtime.store.daily_totals.days([int(f"{date:%Y%m%d}") for date in dates])
    known = [(at, row.readers["readers"]) for at, row in enumerate(rows) if row.readers is not None]
    if not known or known[-1][0] - known[0][0] < _FEWEST:
        return 1, 0
    return known[-1][0] - known[0][0], known[-1][1] - known[0][1]
