"""Sends spans to an OpenTelemetry collector, if a setting names one (decision 131).

Without the setting nothing of the library is loaded (`service/local/otlp.py` does that).
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType

from service.config import Config, ConfigError
from service.model.operations import traces

_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

_send_rest: Callable[[], None] | None = None


def collector(config: Config, environ: Mapping[str, str]) -> str:
    """Return the address that takes spans; empty: none is set, or OpenTelemetry is switched off.

    `ConfigError` if it is to be another protocol than ours.
    """

    def given(name: str) -> str:
        return environ.get(name, "").strip()

    is_off = given("OTEL_SDK_DISABLED").lower() == "true" or given("OTEL_TRACES_EXPORTER") == "none"
    base = config.otel_exporter_otlp_endpoint
    address = given(_TRACES) or (f"{base.rstrip('/')}/v1/traces" if base else "")
    if is_off or not address:
        return ""
    name = next((name for name in _PROTOCOLS if given(name)), "")
    if name and given(name) != _PROTOCOL:
        raise ConfigError(f"{name}: must be {_PROTOCOL}, whose port mostly is 4318")
    return address


def begin(process: str, config: Config) -> None:
    """Let this process send its spans; `ConfigError` if it cannot.

    Called after a fork, and after the log has begun.
    """
    global _send_rest
    if not (address := collector(config, os.environ)):
        return
    sender = _library().Sender(process, address)
    _send_rest = sender.send_rest
    atexit.register(end)
    traces.record_by(sender.begin)


def end() -> None:
    """Send what is left, or give up after two seconds; the end of Python does it by itself."""
    if _send_rest is not None:
        _send_rest()


def why_not_taken(address: str) -> str:
    """Ask a collector to take no spans at all; return why it does not; empty: it does.

    `ConfigError` if it cannot be asked.
    """
    return str(_library().why_not_taken(address))


def _library() -> ModuleType:
    try:
        return import_module("service.local.otlp")
    except ImportError:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs the libraries of OpenTelemetry, which are not"
            " installed. In the folder of Stop Press run:"
            f" {sys.executable} -m pip install -e '.[telemetry]'"
        ) from None
