"""The doctor's check of the OpenTelemetry collector."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from service.cli.doctor.calls import in_time
from service.cli.doctor.findings import Finding, fail, ok, warn
from service.config import Config, ConfigError
from service.local import span_export

_SECONDS = 5.0


def collector(config: Config) -> Iterator[Finding]:
    """Ask the collector, if a setting names one, to take no spans at all."""
    what = "Traces"
    try:
        if not (address := span_export.collector(config, os.environ)):
            return
        why = in_time(_SECONDS, lambda: span_export.why_not_taken(address))
    except TimeoutError:
        why = "no whole answer in time"
    except ConfigError as error:
        yield fail(what, f"{error}. No process starts until that is mended.")
        return
    shown = re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", address)  # without what may be a password
    if not why:
        yield ok(what, f"{shown} takes them.")
        return
    yield warn(
        what,
        f"{shown} takes none from here: {why}. Alerts are sent as ever, and the spans dropped."
        " Check OTEL_EXPORTER_OTLP_ENDPOINT, and OTEL_EXPORTER_OTLP_HEADERS if it wants a token.",
    )
