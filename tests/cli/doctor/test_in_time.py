"""A check of the doctor ends, whatever the other side sends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from service.cli.doctor import addresses, collector, fetching, sign_in
from service.cli.doctor.findings import Finding
from service.config import Config
from service.runtime import Runtime
from tests.support.network.relay import Dripping


def web(environment: dict[str, str], address: str) -> Iterator[Finding]:
    runtime = Runtime.open(Config.read({**environment, "SITE_URL": address}))
    return addresses.Addresses(runtime).web()


def provider(environment: dict[str, str], address: str) -> Iterator[Finding]:
    known = {"OIDC_CLIENT_ID": "desk", "OIDC_CLIENT_SECRET": "secret"}
    return sign_in.provider(Config.read({**environment, **known, "OIDC_ISSUER": address}))


def traces(environment: dict[str, str], address: str) -> Iterator[Finding]:
    return collector.collector(Config.read({"OTEL_EXPORTER_OTLP_ENDPOINT": address}))


def page(environment: dict[str, str], address: str) -> Iterator[Finding]:
    reads = fetching.Fetching(Config.read(environment), {address})
    with pytest.raises(fetching.CannotFetch, match="no answer within") as raised:
        reads.page(f"{address}/")
    yield Finding("fail", "Site", str(raised.value))


@pytest.mark.parametrize(
    ("check", "module", "limit", "says"),
    [
        (web, addresses, "_ANSWER", "does not answer from here"),
        (provider, sign_in, "_SECONDS", "(no whole answer in time)"),
        (traces, collector, "_SECONDS", "takes none from here: no whole answer in time."),
        (page, fetching, "_SECONDS", "no answer"),
    ],
)
def test_an_answer_that_never_ends_is_given_up(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[[dict[str, str], str], Iterator[Finding]],
    module: ModuleType,
    limit: str,
    says: str,
) -> None:
    monkeypatch.setattr(module, limit, 0.5)
    with Dripping() as port:
        (found,) = check(environment, f"http://{port.address}")
    assert says in found.says
