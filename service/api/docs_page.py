"""The page `/api/docs`: the description of the API (`openapi.py`) as people read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from flask import (
    Blueprint,
    Response,
    current_app,
    render_template,
    request,
    send_from_directory,
)
from markupsafe import Markup, escape

from service.api.openapi import document

_WEB = Path(__file__).parents[2] / "web"

bp = Blueprint("docs", __name__, template_folder=str(_WEB))

_REF = "#/components/schemas/"
_FOR = {
    "editor": "For the newsroom's tools, with an API token",
    "reader": "For a reader's browser, with its own token",
    "": "For everybody",
}
_PROBLEM = "ProblemShown"  # the body of each response from 400 on


class Field(NamedTuple):
    """A field of a body, or a parameter."""

    name: str
    kind: str  # in words
    shapes: list[str]  # names of the shapes that it leads to
    is_needed: bool
    default: str
    description: Markup


class Shape(NamedTuple):
    """What a body, or a part of one, is made of."""

    name: str
    paragraphs: list[Markup]
    fields: list[Field]


class Call(NamedTuple):
    """A call of the API."""

    name: str
    method: str
    path: str
    summary: Markup
    scopes: list[str]  # any of which a token needs; none: any token
    parameters: list[Field]
    takes: str  # name of a shape
    responses: list[tuple[str, Markup, str]]  # status, meaning, name of a shape


@bp.get("/api/docs")
def docs() -> str:
    """Show all calls, and the shapes of their bodies."""
    return _page(request.script_root)


@lru_cache(maxsize=2)
def _page(_root: str) -> str:
    """Return the page as it is below that path; it takes a tenth of a second to make."""
    description = document(current_app)
    calls: dict[str, list[Call]] = {who: [] for who in _FOR}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            who, scopes = _security(operation)
            calls[who].append(_call(path, method, operation, scopes))
    shapes = [_shape(*one) for one in description["components"]["schemas"].items()]
    return render_template(
        "api/docs.html", groups=_FOR, calls=calls, shapes=shapes, problem=_PROBLEM
    )


@bp.get("/api/docs.css")
def style() -> Response:
    """Serve the style of that page."""
    return send_from_directory(_WEB / "api", "docs.css")


def _security(operation: Mapping[str, Any]) -> tuple[str, list[str]]:
    for requirement in operation.get("security", ()):
        for who, scopes in requirement.items():
            return who, scopes
    return "", []


def _call(path: str, method: str, operation: Mapping[str, Any], scopes: list[str]) -> Call:
    parameters = [
        _field(f"{one['name']} ({one['in']})", one["schema"], is_needed=one["required"])
        for one in operation.get("parameters", ())
    ]
    responses = [
        (status, _words(one["description"]), _shape_of(one))
        for status, one in operation["responses"].items()
    ]
    return Call(
        operation["operationId"],
        method.upper(),
        path,
        _words(operation["summary"]),
        scopes,
        parameters,
        _shape_of(operation.get("requestBody", {})),
        responses,
    )


def _shape_of(body: Mapping[str, Any]) -> str:
    for content in body.get("content", {}).values():
        return str(content["schema"]["$ref"]).removeprefix(_REF)
    return ""


def _shape(name: str, schema: Mapping[str, Any]) -> Shape:
    needed = schema.get("required", ())
    fields = [
        _field(one, within, is_needed=one in needed)
        for one, within in schema.get("properties", {}).items()
    ]
    parts = schema.get("description", "").split("\n\n")
    paragraphs = [_words(" ".join(part.split())) for part in parts if part]
    return Shape(name, paragraphs, fields)


def _field(name: str, schema: Mapping[str, Any], *, is_needed: bool) -> Field:
    default = schema.get("default")
    missing = "" if default is None else _literal(default).strip('"')
    shapes = list(dict.fromkeys(_refs(schema)))
    description = _words(schema.get("description", ""))
    return Field(name, _kind(schema), shapes, is_needed, missing, description)


def _words(text: str) -> Markup:
    """Return a text with its names of fields, in backquotes, as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped


def _refs(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(ref := schema.get("$ref"), str):
            yield ref.removeprefix(_REF)
        for part in ("anyOf", "allOf", "items", "additionalProperties"):
            yield from _refs(schema.get(part))
    elif isinstance(schema, list):
        for one in schema:
            yield from _refs(one)


def _kind(schema: Mapping[str, Any]) -> str:
    """Say in words what a value may be."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REF)
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return " or ".join(map(_literal, schema["enum"]))
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(map(_kind, schema[several])))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}{_limits(schema, 'Items', '')}"
    if kind == "string":
        return f"{_FORMATS.get(schema.get('format', ''), 'text')}{_limits(schema, 'Length', '')}"
    numbers = {"integer": "whole number", "number": "number"}
    return f"{numbers.get(kind, kind)}{_limits(schema, '', 'imum')}"


_FORMATS = {"iri": "link", "uri": "link", "date-time": "time (RFC 3339)", "date": "date"}


def _limits(schema: Mapping[str, Any], of: str, ending: str) -> str:
    """Say between which numbers a value, or its length, must be."""
    least, most = (schema.get(f"{end}{of}{ending}") for end in ("min", "max"))
    unit = {"Length": " characters", "Items": ""}.get(of, "")
    if least and most is not None:
        return f", {least:,} to {most:,}{unit}"
    return f", up to {most:,}{unit}" if most is not None else ""


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
