"""How many calls a minute one caller may make. All processes count together, in Redis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flask import Flask, Response, current_app, request
from redis import RedisError

from service.api.problems import Problem
from service.model.addresses import network_of
from service.model.keys import mac
from service.model.retention import RATE_KEPT
from service.model.tokens import digest


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `most` calls within some seconds, by default a minute."""

    most: int
    per: Literal["address", "token"]
    shared: str = ""  # routes with the same name here count together; else each counts alone
    seconds: int = RATE_KEPT


def per_address(most: int, shared: str = "") -> Rate:
    """Limit the calls from one network address."""
    return Rate(most, "address", shared)


def per_token(most: int, shared: str = "") -> Rate:
    """Limit the calls with one token. Anybody can get tokens, by subscribing: limit addresses too.

    Calls without a token count for their address.
    """
    return Rate(most, "token", shared)


# In a WSGI environment: the rate in which this request was counted before it came to Flask.
COUNTED = "stoppress.counted"


class Limits:
    """Counts the calls of this process.

    `fits(what, who, most, seconds)` counts one call, and says whether it is among the first `most`
    of these seconds. Addresses are counted as HMACs under `address_key`: none is ever stored.
    """

    def __init__(self, fits: Callable[[str, str, int, int], bool], address_key: bytes) -> None:
        self._fits = fits
        self._key = address_key

    def init_app(self, app: Flask) -> None:
        """Let the routes of an application count here."""
        app.extensions["stoppress.limits"] = self
        app.after_request(_say_when_to_retry)

    def fits(self, rate: Rate) -> bool:
        """Count the current request; whether it is within the rate."""
        if request.environ.get(COUNTED) is rate:
            return True
        what = f"{rate.shared or request.endpoint} by {rate.per}"
        try:
            return self._fits(what, self._who(rate), rate.most, rate.seconds)
        except RedisError as error:
            # A Redis that is full cannot count. Readers must still be able to unsubscribe then, and
            # editors to cancel an alert.
            current_app.logger.error("%s: not counted: %s", what, type(error).__name__)
            return True

    def fits_from(self, address: str, rate: Rate) -> bool:
        """Count a call outside Flask; whether it is within a rate for addresses; `RedisError`."""
        what = f"{rate.shared} by {rate.per}"
        return self._fits(what, self.code(address), rate.most, rate.seconds)

    def _who(self, rate: Rate) -> str:
        token = bearer_token() if rate.per == "token" else None
        return digest(token)[:32] if token else self.caller()

    def caller(self) -> str:
        """Return the code of the network that makes the current request."""
        return self.code(request.remote_addr or "")

    def code(self, address: str) -> str:
        """Return the code of the network that an address belongs to."""
        return mac(self._key, network_of(address).encode()).hex()[:32]


def _limits() -> Limits:
    limits: Limits = current_app.extensions["stoppress.limits"]
    return limits


def fits(rate: Rate) -> bool:
    """Count the current request; whether it is within the rate."""
    return _limits().fits(rate)


def caller() -> str:
    """Return the code under which the network that makes the current request counts."""
    return _limits().caller()


def check(*rates: Rate) -> None:
    """Count the current request; `Problem` 429 if it exceeds one of the rates."""
    for rate in rates:
        if not fits(rate):
            when = "in a minute" if rate.seconds == RATE_KEPT else "tomorrow"
            again = {"Retry-After": str(rate.seconds)}
            raise Problem(429, f"Too many requests. Try again {when}.", headers=again)


def bearer_token() -> str | None:
    """Return the token of an `Authorization: Bearer` header (RFC 6750 section 2.1)."""
    # Werkzeug's `request.authorization` raises errors for some strange headers.
    scheme, _, text = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    token = text.strip()
    is_token = token and "=" not in token.rstrip("=")  # else these are parameters (RFC 9110, 11.4)
    return token if is_token and scheme.lower() == "bearer" else None


def _say_when_to_retry(response: Response) -> Response:
    if response.status_code == 429:
        response.headers.setdefault("Retry-After", "60")  # seconds, unless the error says how many
    return response


def network() -> str:
    """Return the network that counts as one caller."""
    return network_of(request.remote_addr or "")
