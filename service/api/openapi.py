"""The description of the API (OpenAPI 3.1), made from its routes and the models of what is said.

`OPERATIONS` says what the routes cannot: what a call takes and gives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api import notification_requests, reader_requests
from service.api import responses as answers


@dataclass(frozen=True)
class Operation:
    """One call. `gives` is by status; None stands for an empty answer."""

    gives: dict[int, type[BaseModel] | None]
    takes: type[BaseModel] | None = None
    problems: tuple[int, ...] = ()
    security: Literal["reader", "editor"] | None = None
    parameters: tuple[dict[str, Any], ...] = ()


def _parameter(name: str, where: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": False, "schema": schema}


_MEDIA_TYPES = {answers.ProblemShown: "application/problem+json", answers.Metrics: "text/plain"}
_WITH_BODY = (400, 413, 415, 422, 429)
_OF_READERS = (401, 404)
_OF_EDITORS = (401, 403, 429)
_IDEMPOTENCY = _parameter("Idempotency-Key", "header", {"type": "string", "maxLength": 255})
_LIMIT = _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 100})
_CURSOR = _parameter("cursor", "query", {"type": "string"})

OPERATIONS = {
    "api.readers.site": Operation({200: answers.Site}),
    "api.readers.subscribe": Operation(
        {200: answers.Credentials, 201: answers.Credentials},
        reader_requests.NewSubscription,
        (*_WITH_BODY, 404, 409, 410),
    ),
    "api.readers.preferences": Operation(
        {200: answers.Preferences}, problems=_OF_READERS, security="reader"
    ),
    "api.readers.change_preferences": Operation(
        {200: answers.PreferencesChanged},
        reader_requests.ChangedPreferences,
        (*_WITH_BODY, *_OF_READERS, 409),
        "reader",
    ),
    "api.readers.unsubscribe": Operation(
        {204: None}, problems=(*_OF_READERS, 429), security="reader"
    ),
    "api.readers.missed": Operation(
        {200: answers.Missed}, problems=(*_OF_READERS, 429), security="reader"
    ),
    "api.readers.send_test": Operation(
        {202: answers.TestSent}, problems=(*_OF_READERS, 429), security="reader"
    ),
    "api.readers.export": Operation(
        {200: answers.Export}, problems=(*_OF_READERS, 429), security="reader"
    ),
    "api.readers.report": Operation({204: None}, reader_requests.NewReceipts, _WITH_BODY),
    "api.notifications.publish": Operation(
        {202: answers.Published},
        notification_requests.NewNotification,
        (*_WITH_BODY, *_OF_EDITORS, 409),
        "editor",
        (_IDEMPOTENCY,),
    ),
    "api.notifications.latest": Operation(
        {200: answers.NotificationList},
        problems=(*_OF_EDITORS, 422),
        security="editor",
        parameters=(_LIMIT, _CURSOR),
    ),
    "api.notifications.show": Operation(
        {200: answers.NotificationShown}, problems=(*_OF_EDITORS, 404), security="editor"
    ),
    **{
        f"api.notifications.{name}": Operation(
            {202: answers.StateShown}, problems=(*_OF_EDITORS, 404, 409), security="editor"
        )
        for name in ("send", "cancel", "pause", "resume")
    },
    "api.notifications.change": Operation(
        {200: answers.NotificationShown},
        notification_requests.ChangedNotification,
        (*_WITH_BODY, *_OF_EDITORS, 404, 409),
        "editor",
    ),
    "api.notifications.remove": Operation(
        {204: None}, problems=(*_OF_EDITORS, 404, 409), security="editor"
    ),
    "api.notifications.correct": Operation(
        {202: answers.Published},
        notification_requests.Correction,
        (*_WITH_BODY, *_OF_EDITORS, 404, 409),
        "editor",
        (_IDEMPOTENCY,),
    ),
    "api.notifications.test": Operation(
        {202: answers.Published},
        notification_requests.TestTo,
        (*_WITH_BODY, *_OF_EDITORS, 404, 409),
        "editor",
        (_IDEMPOTENCY,),
    ),
    "api.audience": Operation(
        {200: answers.Reach},
        notification_requests.AudienceCounted,
        (*_WITH_BODY, *_OF_EDITORS),
        "editor",
    ),
    "api.topics": Operation({200: answers.TopicList}, problems=_OF_EDITORS, security="editor"),
    "api.topic": Operation(
        {200: answers.TopicShown}, problems=(*_OF_EDITORS, 404), security="editor"
    ),
    "api.add_topic": Operation(
        {201: answers.TopicShown},
        reader_requests.NewTopic,
        (*_WITH_BODY, *_OF_EDITORS, 409),
        "editor",
    ),
    "api.change_topic": Operation(
        {200: answers.TopicShown},
        reader_requests.ChangedTopic,
        (*_WITH_BODY, *_OF_EDITORS, 404),
        "editor",
    ),
    "api.remove_topic": Operation({204: None}, problems=(*_OF_EDITORS, 404), security="editor"),
    "api.stories": Operation({200: answers.StoryList}, problems=_OF_EDITORS, security="editor"),
    "api.close_story": Operation({204: None}, problems=(*_OF_EDITORS, 404), security="editor"),
    "api.description": Operation({200: answers.Description}),
    "health.alive": Operation({200: answers.Alive}),
    "health.ready": Operation({200: answers.Ready}),
    "health.metrics": Operation({200: answers.Metrics}, problems=(401, 403), security="editor"),
}

_MEANINGS = {
    200: "Done",
    201: "Made",
    202: "Taken on",
    204: "Done",
    400: "Not JSON",
    401: "No token, or none that is known",
    403: "The token lacks the scope",
    404: "There is no such thing",
    409: "It does not fit what is there; nothing was changed",
    410: "This reader left",
    413: "The body is too large",
    415: "The body is not of JSON's type",
    422: "A field cannot be accepted; `errors` says which",
    429: "Too fast; `Retry-After` says how long to wait",
    500: "Something went wrong here",
    503: "The store is away or full",
}


def document(app: Flask) -> dict[str, Any]:
    """Return the description of every route in `OPERATIONS`, with the address it has in `app`."""
    models: set[type[BaseModel]] = {answers.ProblemShown}
    for operation in OPERATIONS.values():
        models.update(model for model in (operation.takes, *operation.gives.values()) if model)
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for rule in app.url_map.iter_rules():
        if rule.endpoint in OPERATIONS:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            (method,) = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            summary = app.view_functions[rule.endpoint].__doc__ or ""
            described = _operation(rule.endpoint, summary, sorted(rule.arguments))
            paths.setdefault(path, {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stop Press", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "reader": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that was given when this browser subscribed.",
                },
                "editor": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token: `stoppress token add NAME` makes one.",
                },
            },
        },
    }


def _operation(endpoint: str, summary: str, arguments: list[str]) -> dict[str, Any]:
    operation = OPERATIONS[endpoint]
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in arguments
    ]
    responses: dict[int, type[BaseModel] | None] = {
        **operation.gives,
        **dict.fromkeys((*operation.problems, 500, 503), answers.ProblemShown),
    }
    described: dict[str, Any] = {
        "operationId": endpoint.rpartition(".")[2],
        "summary": summary.rstrip("."),
        "parameters": [*in_path, *operation.parameters],
        "responses": {
            str(status): {"description": _MEANINGS[status], **_content(model)}
            for status, model in sorted(responses.items())
        },
    }
    if operation.takes is not None:
        described["requestBody"] = {"required": True, **_content(operation.takes)}
    if operation.security is not None:
        described["security"] = [{operation.security: []}]
    return described


def _content(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {}
    media_type = _MEDIA_TYPES.get(model, "application/json")
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"content": {media_type: {"schema": schema}}}
