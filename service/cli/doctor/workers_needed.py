"""The doctor's line on how many workers an alert to everyone needs."""

from __future__ import annotations

from service.cli.doctor.findings import Finding, ok, warn
from service.domain.operations.capacity import Need


def workers_needed(need: Need) -> Finding:
    """Say how many are needed, by which figures, and how many are missing."""
    how = "measured" if need.speed.is_known else "assumed, since little was sent lately"
    says = (
        f"{need.needed} are needed for an alert to {need.readers:,} readers ({need.promise}): each"
        f" sends about {need.rate:,.0f} messages a second, where a message takes"
        f" {1000 * need.speed.delay:.0f} ms at push services and {1e6 * need.speed.cost:.0f} µs of"
        f" a core ({how})."
    )
    if not need.missing:
        return ok("Workers", says)
    return warn("Workers", f"{says} {need.missing} are missing: start stoppress worker.")
