"""The doctor's check of the provider with which editors may sign in."""

from __future__ import annotations

from collections.abc import Iterator

from service.cli.doctor.calls import in_time
from service.cli.doctor.findings import Finding, fail, ok, warn
from service.config import Config, ConfigError
from service.domain.people.provider import ProviderError
from service.runtime import provider_of

_SECONDS = 10.0


def provider(config: Config) -> Iterator[Finding]:
    """Read the provider's metadata, if the settings name one, as web processes do."""
    what, issuer = "OIDC_ISSUER", config.oidc_issuer
    try:
        if found := provider_of(config):
            in_time(_SECONDS, found.begin)
            yield ok(what, f"{issuer} answers.")
    except ConfigError as error:  # web processes do not start
        yield fail(what, f"{error}.")
    except (ProviderError, TimeoutError) as error:
        cause = error.cause if isinstance(error, ProviderError) else "no whole answer in time"
        yield warn(
            what,
            f"{issuer} cannot be used from here ({cause}), so editors have to sign in in"
            " another way. Check this address, and HTTPS_PROXY and REQUESTS_CA_BUNDLE if they are"
            " set.",
        )
