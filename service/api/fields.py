"""The bases of all request and response models, how bodies are read, and the fields they share.

Requests are read strictly: no value is converted, and an unknown field is an error, because
ignoring a field silently is worse than rejecting it. No message repeats what was sent.

Validators that must look something up (topics, push services) find the `Runtime` in pydantic's
context.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from service.api.json_bodies import read_json
from service.api.problems import FieldError, Problem
from service.model.language.graphemes import cut
from service.model.language.languages import language_tag
from service.model.language.texts import has_invisible
from service.model.network.endpoints import EndpointError
from service.runtime import Runtime

M = TypeVar("M", bound=BaseModel)

LONGEST_NAME = 100  # characters of a field's name in an error
_MOST_SHOWN = 3  # errors in one sentence each; `errors` has all
_MOST_SLUGS = 5  # of topics, in an error
MOST_TOPICS = 100  # in a list
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

# Our words for pydantic's kinds of error; any other kind keeps pydantic's own.
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field that this version knows",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} character",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


class RequestModel(BaseModel):
    """Base of everything that a request may contain: these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class ResponseModel(BaseModel):
    """Base of everything that a response contains; can be made from an object of the domain."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class Invalid(Problem):
    """A request body that cannot be accepted; `errors` names each field."""

    def __init__(self, errors: list[FieldError], kind: str = "") -> None:
        # Words for a page's reader stand alone.
        shown = errors[: 1 if kind else _MOST_SHOWN]
        more = len(errors) - len(shown)
        words = [f"{errors[0].detail} Nothing was done."]
        if not kind:
            words = ["Nothing was done.", *(f"{field}: {detail}" for field, detail in shown)]
        words += [f"({more} more under errors.)"] * bool(more)
        super().__init__(422, " ".join(words), errors=errors, kind=kind)


class Unfit(ValueError):
    """Fields that do not go together; `field` is named where they are not within another one."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class UnknownName(ValueError):
    """A field that is not known, within one that says which are."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name = name


def parse(model: type[M], body: bytes, runtime: Runtime) -> M:
    """Read a JSON body; `Invalid`, or a `Problem` with 400 for a body that is no JSON object."""
    return read_fields(model, read_json(body), runtime)


def read_fields(model: type[M], fields: Mapping[str, object], runtime: Runtime) -> M:
    """Check fields that were read already, such as a form's; `Invalid`."""
    try:
        return model.model_validate(fields, context=runtime)
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError) -> Problem:
    """Return the response to a body that pydantic rejects."""
    rows = error.errors(include_url=False, include_input=False)
    if rows[0]["type"] == "model_type" and not rows[0]["loc"]:
        return Problem(400, "The body must be a JSON object.")
    raised = [row.get("ctx", {}).get("error") for row in rows]
    kind = next((one.kind for one in raised if isinstance(one, EndpointError)), "")
    return Invalid([_field_error(row) for row in rows], kind)


def _field_error(row: ErrorDetails) -> FieldError:
    context = row.get("ctx", {})
    words = _WORDS.get(row["type"], row["msg"]).format(**context)
    # A name that the caller sent may be as long as the body, or empty.
    error = context.get("error")
    place = (*row["loc"], *([error.name] if isinstance(error, UnknownName) else []))
    path = [cut(str(part), LONGEST_NAME) or '""' for part in place]
    if not path:
        path = [context["error"].field]
    return FieldError(".".join(path), f"{words[0].upper()}{words[1:]}.")


def installation(info: ValidationInfo) -> Runtime:
    """Return the `Runtime` that a validator was given as its context."""
    return cast(Runtime, info.context)


# Texts ------------------------------------------------------------------------------------------


def text(value: object) -> str:
    """Reject everything that is not text."""
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


# Links, names and lists -------------------------------------------------------------------------


# Spaces, control characters, surrogates, and what ends a link within other texts.
_NOT_IN_LINKS = re.compile(r'[\s\x00-\x1f\x7f-\x9f\ud800-\udfff\\"<>]')


def _link(text: str) -> str:
    """Accept a web address that every browser and `urlsplit` read alike."""
    if _NOT_IN_LINKS.search(text):
        raise ValueError("must not contain spaces, quotes, backslashes or control characters")
    if has_invisible(text):
        raise ValueError("must not contain invisible characters")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
        if ":" in host:
            ip_address(host)
    except ValueError:
        raise ValueError("is not a web address") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise ValueError("must begin with https://")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user name or a password")
    if len(host) > 253 or (":" not in host and not re.fullmatch(r"[\w-]+(\.[\w-]+)*\.?", host)):
        raise ValueError("must contain a valid host name, as in https://paper.example/")
    return text


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", text):
        raise ValueError(
            "must be 1 to 40 lower-case letters, digits and hyphens, and not begin with a hyphen"
        )
    return text


def known_topics(slugs: list[str], info: ValidationInfo) -> list[str]:
    """Return slugs of topics, each named once; `ValueError`."""
    if len(set(slugs)) != len(slugs):
        raise ValueError("must not name a topic twice")
    check_topics(slugs, info)
    return slugs


def check_topics(slugs: Iterable[str], info: ValidationInfo) -> None:
    """Raise `ValueError` if one of these is no topic."""
    topics = installation(info).topics
    if topics.exist(set(slugs)):
        return
    unknown = next((slug for slug in slugs if not topics.exist({slug})), "")
    # What else was sent may be any text.
    named = f": {unknown}" if re.fullmatch(SLUG, unknown) else ""
    some = [*topics.all()][:_MOST_SLUGS]
    known = f" (there are {', '.join(some)})" if some else ""
    raise ValueError(f"names a topic that this site does not have{named}{known}")


def _stories(slugs: list[str], info: ValidationInfo) -> list[str]:
    if len(set(slugs)) != len(slugs):
        raise ValueError("must not name a story twice")
    if not set(slugs) <= installation(info).stories.slugs():
        raise ValueError("names a story that is not running")
    return slugs


def pattern(regex: str, **more: Any) -> Any:
    """Describe a text by a regular expression (ECMA-262); a validator beside it checks the text."""
    return Field(json_schema_extra={"pattern": regex, **more})


# What the validators above check, for the API's description.
HOOK = "^[0-9a-f]{16,32}$"
SLUG = "^[a-z0-9][a-z0-9-]{0,39}$"
_UNSEEN = (
    r"\u00ad\u180e\u200b\u202a-\u202e\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffc"
)
_LABEL = rf"[^\s.!-,/:-@\[-^`{{-\u009f\u0000-\u0020{_UNSEEN}]+"
_REST = rf'[^\s"\\<>\u0000-\u001f\u007f-\u009f{_UNSEEN}]*'
_PORT = r"(?::(?:\d{0,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]))?"
_HERE = r"localhost|127\.0\.0\.1|\[::1\]"
_HOST = rf"\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*\.?"
_LINK = rf"^(?:https://(?:{_HOST})|http://(?:{_HERE})){_PORT}(?:[/?#]{_REST})?$"

Link = Annotated[
    str, StringConstraints(max_length=2000), AfterValidator(_link), pattern(_LINK, format="iri")
]
Locale = Annotated[
    str,
    StringConstraints(max_length=35),
    AfterValidator(language_tag),
    pattern("^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$"),
]
Slug = Annotated[str, AfterValidator(_slug), pattern(SLUG)]
_Known = Annotated[str, pattern(SLUG)]
_UNIQUE = Field(json_schema_extra={"uniqueItems": True})
Topics = Annotated[
    list[_Known], Field(max_length=MOST_TOPICS), AfterValidator(known_topics), _UNIQUE
]
Stories = Annotated[list[_Known], Field(max_length=50), AfterValidator(_stories), _UNIQUE]
