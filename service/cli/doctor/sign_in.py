"""The doctor's check of the provider with which editors may sign in."""

from __future__ import annotations

from collections.abc import Iterator

from service.cli.doctor.findings import Finding
from service.config import Config, ConfigError
from service.domain.people.provider import ProviderError
from service.runtime import provider_of


def provider(config: Config) -> Iterator[Finding]:
    """Read the provider's metadata, if the settings name one, as web processes do."""
    what, issuer = "OIDC_ISSUER", config.oidc_issuer
    try:
        if found := provider_of(config):
            found.begin()
            yield Finding("ok", what, f"{issuer} answers.")
    except ConfigError as error:  # web processes do not start
        yield Finding("fail", what, f"{error}.")
    except ProviderError as error:
        yield Finding(
            "warn",
            what,
            f"{issuer} cannot be used from here ({error.cause}), so editors have to sign in in"
            " another way. Check this address, and HTTPS_PROXY and REQUESTS_CA_BUNDLE if they are"
            " set.",
        )
