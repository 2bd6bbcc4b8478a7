"""How many calls a minute one caller may make. All processes count together, in Redis.

The response says what is left (draft-ietf-httpapi-ratelimit-headers), without asking Redis for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from flask import Flask, Response, current_app, g, request
from redis import RedisError

from service.api.problems import Problem
from service.model.keys import mac
from service.model.network.addresses import network_of
from service.model.network.rates import Counted
from service.model.operations.process_log import say_at_times
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


# Seconds after which a caller tries again who got 429 or 503 and is not told more exactly.
_AGAIN = "60"

# In a WSGI environment: a rate in which this request was counted before it came to Flask, and what
# was left of it.
COUNTED = "stoppress.counted"


class Limits:
    """Counts the calls of this process.

    `count(what, who, most, seconds)` counts one call, of which `most` may come in these seconds.
    Addresses are counted as HMACs under `address_key`: none is ever stored.
    """

    def __init__(self, count: Callable[[str, str, int, int], Counted], address_key: bytes) -> None:
        self._count = count
        self._key = address_key

    def init_app(self, app: Flask) -> None:
        """Let the routes of an application count here."""
        app.extensions["stoppress.limits"] = self
        app.after_request(_say_what_is_left)

    def count(self, rate: Rate) -> Counted | None:
        """Count the current request, unless it was counted already; None if it cannot be."""
        before: tuple[Rate, Counted] | None = request.environ.get(COUNTED)
        if before is not None and before[0] is rate:
            return before[1]
        what = f"{rate.shared or request.endpoint} by {rate.per}"
        try:
            return self._count(what, self._who(rate), rate.most, rate.seconds)
        except RedisError as error:
            # A Redis that is full cannot count. Readers must still be able to unsubscribe then, and
            # editors to cancel an alert.
            line = f"{what}: not counted: {type(error).__name__}"
            say_at_times("web", line, logging.ERROR)
            return None

    def count_from(self, address: str, rate: Rate) -> Counted:
        """Count a call outside Flask, by a rate for addresses; `RedisError`."""
        what = f"{rate.shared} by {rate.per}"
        return self._count(what, self.code(address), rate.most, rate.seconds)

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
    counted = _limits().count(rate)
    return counted is None or counted.fits


def caller() -> str:
    """Return the code under which the network that makes the current request counts."""
    return _limits().caller()


def check(*rates: Rate) -> None:
    """Count the current request; `Problem` 429 if it exceeds one of the rates."""
    for rate in rates:
        counted = _limits().count(rate)
        if counted is None:
            continue
        if "rates" not in g:
            g.rates = []
        g.rates.append((rate, counted))
        if not counted.fits:
            when = "in a minute" if rate.seconds == RATE_KEPT else "tomorrow"
            again = {"Retry-After": str(counted.resets_in)}
            raise Problem(429, f"Too many requests. Try again {when}.", headers=again)


def bearer_token() -> str | None:
    """Return the token of an `Authorization: Bearer` header (RFC 6750 section 2.1)."""
    # Werkzeug's `request.authorization` raises errors for some strange headers.
    scheme, _, text = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    token = text.strip()
    is_token = token and "=" not in token.rstrip("=")  # else these are parameters (RFC 9110, 11.4)
    return token if is_token and scheme.lower() == "bearer" else None


def _say_what_is_left(response: Response) -> Response:
    if response.status_code in (429, 503):
        response.headers.setdefault("Retry-After", _AGAIN)
    # One that failed before it came to Flask has no view here.
    before = request.environ.get(COUNTED)
    rates: list[tuple[Rate, Counted]] = g.get("rates") or ([before] if before else [])
    if rates:
        view = str(request.endpoint).rpartition(".")[2]
        response.headers["RateLimit-Policy"] = ", ".join(policy(rate, view) for rate, _ in rates)
        response.headers["RateLimit"] = ", ".join(left(*one, view) for one in rates)
    return response


def policy(rate: Rate, view: str = "") -> str:
    """Return a rate as `RateLimit-Policy` has it."""
    return f'"{rate.shared or view} by {rate.per}";q={rate.most};w={rate.seconds}'


def left(rate: Rate, counted: Counted, view: str = "") -> str:
    """Return what is left of a rate as `RateLimit` has it."""
    name = f'"{rate.shared or view} by {rate.per}"'
    return f"{name};r={max(0, counted.left)};t={counted.resets_in}"


def network() -> str:
    """Return the network that counts as one caller."""
    return network_of(request.remote_addr or "")
