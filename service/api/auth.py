"""Who may call a route, by the token that the call carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flask import g

from service.api.problems import Problem
from service.api.rate_limits import Rate, bearer_token, per_token
from service.current import runtime
from service.model.subscriptions import Subscription, SubscriptionId
from service.model.tokens import digest
from service.store.subscriptions import NotSubscribed


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call a route."""

    scheme: Literal["reader", "editor"]  # of the API's description
    problems: tuple[int, ...]  # how a call with another token, or with none, is refused
    scopes: tuple[str, ...] = ()  # of an API token, which needs one of them
    rates: tuple[Rate, ...] = ()


EACH_TOOL = per_token(600, "tools")  # whatever it calls

# A reader's browser, with the token that it was given when it subscribed.
READER = Callers("reader", (401, 404))


def tools(*scopes: str, rates: tuple[Rate, ...] = (EACH_TOOL,)) -> Callers:
    """Let tools call whose API token has one of these scopes. One without scopes has them all."""
    return Callers("editor", (401, 403), scopes, rates)


@dataclass(frozen=True, slots=True)
class Tool:
    """An API token: its name, and the digest under which it is stored."""

    name: str
    digest: str


def own_subscription(id: str) -> Subscription:
    """Return the subscription whose reader calls; `NotSubscribed` for any other token."""
    token = bearer_token()
    if token is None:
        raise _unauthorized("Send the token that this browser got when it subscribed")
    try:
        parsed = SubscriptionId.parse(id)
    except ValueError:
        raise NotSubscribed from None
    subscription = runtime().store.subscriptions.get(parsed)
    if not runtime().tokens.is_reader(token, subscription.id, subscription.auth):
        raise NotSubscribed
    return subscription


def identify_tool(scopes: tuple[str, ...]) -> None:
    """Check the API token of the current request, for `calling_tool`; `Problem` 401 or 403."""
    token = bearer_token()
    known = runtime().store.access.token(digest(token)) if token else None
    if not token or known is None:
        raise _unauthorized("Send an API token (`stoppress token add NAME` makes one)")
    if known["scopes"] and not set(scopes) & set(known["scopes"]):
        raise Problem(403, f"This API token needs the scope {' or '.join(scopes)}.")
    g.tool = Tool(known["name"], digest(token))


def calling_tool() -> Tool:
    """Return the tool that makes the current request, in a view that only tools may call."""
    tool: Tool = g.tool
    return tool


def _unauthorized(what: str) -> Problem:
    detail = f"{what}, as `Authorization: Bearer <token>`."
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
