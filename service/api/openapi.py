"""The description of the API (OpenAPI 3.1), made of what each route says of itself (`calls.py`)."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Flask, current_app
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.alerts.templates import TEMPLATE
from service.api.auth import EACH_TOOL
from service.api.calls import Call, call, call_of
from service.api.fields import HOOK, SLUG
from service.api.operations.operations import JOB_ID
from service.api.problems import ProblemShown
from service.api.responses import Description, Metrics
from service.model.subscriptions import ID_PATTERN

bp = Blueprint("openapi", __name__)

_MEDIA_TYPES = {ProblemShown: "application/problem+json", Metrics: "text/plain"}
_VARIABLE = re.compile(r"<(?:(\w+):)?(\w+)>")  # of a path: converter and name
_IN_PATH = {
    ("int", "id"): {"type": "integer", "minimum": 0},
    ("", "id"): {"type": "string", "pattern": ID_PATTERN},
    ("", "hook"): {"type": "string", "pattern": HOOK},
    ("", "slug"): {"type": "string", "pattern": SLUG},
    ("", "template"): {"type": "string", "pattern": TEMPLATE},
    ("", "article"): {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    ("", "job"): {"type": "string", "pattern": JOB_ID},
    ("", "feed"): {"type": "string", "pattern": "^[0-9a-f]{12}$"},
}
_MEANINGS = {
    200: "Done",
    201: "Created",
    202: "Accepted",
    204: "Done",
    304: "It is as the caller knows it (`If-None-Match`)",
    400: "The body is not JSON, or has a field twice; a header is wrong, such as another host's",
    401: "No token, or an unknown one",
    403: "The token lacks the scope",
    404: "There is no such thing",
    409: "It conflicts with what is stored; nothing was changed",
    410: "This reader has unsubscribed; or the plan of this `Idempotency-Key` was withdrawn",
    412: "The alert is not as `If-Match` says; `etag` is that of now",
    413: "The body is too large",
    415: "The body is not of JSON's type, or is compressed",
    422: "A field cannot be accepted; `errors` says which",
    429: "Too many requests; `Retry-After` says how long to wait",
    500: "Something went wrong here",
    503: "The store is away or full",
}
_HEADERS = {
    "RateLimit": "What is left of the caller's rates (draft-ietf-httpapi-ratelimit-headers)",
    "RateLimit-Policy": "The caller's rates",
    "ETag": "Names this state of what is shown, for `If-None-Match` and `If-Match`",
    "Retry-After": "Seconds to wait",
}


@bp.get("/openapi.json")
@call(gives={200: Description}, rates=(EACH_TOOL,))
def description() -> Description:
    """Describe this API (OpenAPI 3.1)."""
    return Description(document(current_app))


def document(app: Flask) -> dict[str, Any]:
    """Return the description of every call of `app`, with the address it has there."""
    models: set[type[BaseModel]] = {ProblemShown}
    paths: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if (one := call_of(view)) is not None:
            models.update(model for model in (one.takes, *one.gives.values()) if model)
            path = _VARIABLE.sub(r"{\2}", rule.rule)
            (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            paths.setdefault(path, {})[method.lower()] = {
                "operationId": view.__name__,
                "summary": (view.__doc__ or "").rstrip("."),
                **_operation(one, _VARIABLE.findall(rule.rule)),
            }
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stop Press", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "headers": {
                name: {"description": meaning, "schema": {"type": "string"}}
                for name, meaning in _HEADERS.items()
            },
            "securitySchemes": {
                "reader": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that this browser got when it subscribed.",
                },
                "editor": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token: `stoppress token add NAME` makes one.",
                },
            },
        },
    }


def _operation(one: Call, variables: list[tuple[str, str]]) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _IN_PATH[converter, name]}
        for converter, name in variables
    ]
    # 400 is for any request that names another host; 500 and 503 are for any, too.
    given: dict[int, type[BaseModel] | None] = {
        **one.gives,
        **dict.fromkeys((*one.problems, 400, 500, 503), ProblemShown),
    }
    described: dict[str, Any] = {
        "parameters": [*in_path, *one.parameters],
        "responses": {
            str(status): {
                "description": _MEANINGS[status],
                **_headers(one, status),
                **_content(model),
            }
            for status, model in sorted(given.items())
        },
    }
    if one.takes is not None:
        described["requestBody"] = {"required": True, **_content(one.takes)}
    if one.by is not None:
        described["security"] = [{one.by.scheme: [*one.by.scopes]}]
    return described


def _headers(one: Call, status: int) -> dict[str, Any]:
    names = ["RateLimit", "RateLimit-Policy"] if one.limited else []
    takes_etag = any(given["name"] in ("If-Match", "If-None-Match") for given in one.parameters)
    if takes_etag and status in (200, 304, 412):
        names.append("ETag")
    if status in (429, 503):
        names.append("Retry-After")
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {"headers": headers} if headers else {}


def _content(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {}
    media_type = _MEDIA_TYPES.get(model, "application/json")
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"content": {media_type: {"schema": schema}}}
