"""Who may call a route, by the token that the call carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flask import g

from service.api.problems import Problem
from service.api.rate_limits import Rate, bearer_token, per_token
from service.current import runtime
from service.domain.people.api_tokens import ApiToken
from service.model.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call a route."""

    scheme: Literal["reader", "editor"]  # its name in the API's description
    problems: tuple[int, ...]  # the statuses of calls that are refused whatever the route
    scopes: tuple[str, ...] = ()  # an API token needs one of these
    rates: tuple[Rate, ...] = ()


# A reader's browser, with the token that it got when it subscribed.
READER = Callers("reader", (401, 404))
EACH_TOOL = per_token(600, "tools")  # for all calls of a tool together


def tools(*scopes: str, rates: tuple[Rate, ...] = (EACH_TOOL,)) -> Callers:
    """Let tools call whose API token has one of these scopes. One without scopes has them all."""
    # 422: the query has a parameter that the call does not know.
    return Callers("editor", (401, 403, 422), scopes, rates)


def own_subscription(id: str) -> Subscription:
    """Return the subscription whose reader calls; `NotSubscribed` for any other token."""
    token = bearer_token()
    if token is None:
        raise _unauthorized("Send the token that this browser got when it subscribed")
    return runtime().subscriptions.of_reader(id, token)


def identify_tool(scopes: tuple[str, ...]) -> None:
    """Check the API token of the current request, for `calling_tool`; `Problem` 401 or 403."""
    token = bearer_token()
    tool = runtime().api_tokens.find(token) if token else None
    if tool is None:
        why = "This token is unknown or was revoked. " if token else ""
        raise _unauthorized(f"{why}Send an API token (`stoppress token add NAME` makes one)")
    if not tool.may(scopes):
        make = f"`stoppress token add NAME --scope {scopes[0]}` makes one"
        raise Problem(403, f"Send a token with the scope {' or '.join(scopes)} ({make}).")
    runtime().api_tokens.note_use(tool)
    g.tool = tool


def calling_tool() -> ApiToken:
    """Return the token of the tool that calls, in a view that only tools may call."""
    tool: ApiToken = g.tool
    return tool


def _unauthorized(what: str) -> Problem:
    detail = f"{what}, as `Authorization: Bearer <token>`."
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
