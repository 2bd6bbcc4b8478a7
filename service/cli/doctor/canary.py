"""The doctor's look at the canary: whether an alert of our own arrived lately."""

from __future__ import annotations

from service.cli.doctor.findings import Finding, ok
from service.model.time import clock
from service.model.time.spans import span
from service.runtime import Runtime


def canary(runtime: Runtime) -> Finding:
    """Say when it arrived last."""
    health, now = runtime.canary.health(), clock.time()
    if not health.every:
        says = "None is sent. CANARY_MINUTES=5 tells within minutes that alerts do not leave."
        return ok("Canary", says)
    says = "None has ever arrived."
    if (latest := health.latest) is not None:
        ago = span(now - latest.arrived)
        says = f"The latest arrived {ago} ago, {latest.seconds:.1f} s after it was published."
    if runtime.stops.holds():
        return ok("Canary", f"{says} None is sent while everything is stopped.")
    if not health.is_missed(now):
        return ok("Canary", says)
    url = runtime.config.public_url
    says += f" Either alerts do not leave, or workers cannot reach {url}."
    return Finding("fail" if health.sent_at else "warn", "Canary", says)
