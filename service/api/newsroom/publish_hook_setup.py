"""The API's calls that set up publish hooks; `publish_hooks.py` takes the calls of a CMS."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, model_validator

from service.api import paging
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.fields import (
    HOOK,
    Invalid,
    Locale,
    RequestModel,
    ResponseModel,
    Slug,
    UnknownName,
    check_topics,
    installation,
    pattern,
)
from service.api.newsroom.webhooks import Secret
from service.api.problems import FieldError, Problem, respond
from service.api.responses import Id, OrNull, Time
from service.current import runtime
from service.domain.newsroom.publish_hooks import WrongHook
from service.domain.people.api_tokens import ApiToken
from service.model.newsroom.publish_hooks import EVERYONE, FIELDS, NOBODY, HookCall, PublishHook
from service.model.time.times import iso

bp = Blueprint("publish_hooks", __name__, url_prefix="/publish-hooks")

_BY = tools("webhooks")
_MAY_NOT_SEND = (
    "A publish hook sends alerts, so a token needs the scopes webhooks and send to set one up."
)


def _topics(by_section: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    check_topics(by_section.values(), info)
    return by_section


def _otherwise(text: str, info: ValidationInfo) -> str:
    if text not in (EVERYONE, NOBODY) and not installation(info).topics.exist({text}):
        raise ValueError("must be the slug of a topic, * for everyone, or empty")
    return text


_Name = Annotated[str, StringConstraints(min_length=1, max_length=60)]
_Place = Annotated[str, StringConstraints(max_length=200)]
_Needed = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Section = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Topics = Annotated[dict[_Section, Slug], Field(max_length=100), AfterValidator(_topics)]
_Otherwise = Annotated[
    str,
    StringConstraints(max_length=40),
    AfterValidator(_otherwise),
    pattern(r"^(\*|[a-z0-9][a-z0-9-]{0,39})?$"),
]
# What the domain checks stands here for the API's description alone.
_Header = Annotated[str, pattern(r"^([A-Za-z][A-Za-z0-9-]{0,99})?$")]
_Secret = Annotated[str, pattern(r"^(.{16,500})?$")]


class HookPlaces(RequestModel):
    """Where the CMS's document has what: `post.title`, or `/post/title`.

    `url` may be an address with places in it, `https://paper.example/{post.slug}`. `story` is what
    tells a story from others; without it that is its link.
    """

    title: _Needed
    url: _Needed
    body: _Place = ""
    image: _Place = ""
    section: _Place = ""
    story: _Place = ""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        unknown = [name for name in given if name not in FIELDS] if isinstance(given, dict) else []
        if unknown:
            raise UnknownName(unknown[0], f"is not known; the names are {', '.join(FIELDS)}")
        return given


class NewPublishHook(RequestModel):
    """An address of ours that a CMS calls when it publishes a story.

    `topics` says which section goes to which topic; `otherwise` what becomes of all others: the
    slug of a topic, `*` for everyone, or nothing. With a `header` calls have an HMAC-SHA256 of the
    body there, and else they are signed as Standard Webhooks says. A `secret` that the CMS has made
    can be given; without one, or with an empty one, we make it.
    """

    name: _Name
    places: HookPlaces
    topics: _Topics = Field(default_factory=dict)
    otherwise: _Otherwise = NOBODY
    draft: bool = True
    lang: Locale | None = None
    header: _Header = ""
    secret: _Secret | None = None


class ChangedPublishHook(RequestModel):
    """Changes to a publish hook; a field that is null or missing stays as it is."""

    name: _Name | None = None
    places: HookPlaces | None = None
    topics: _Topics | None = None
    otherwise: _Otherwise | None = None
    draft: bool | None = None
    lang: Locale | None = None
    header: _Header | None = None


class HookCallShown(ResponseModel):
    """A call of a CMS, and what came of it."""

    at: Time
    status: int
    detail: str
    alert: Annotated[Id | None, OrNull]


class PublishHookShown(ResponseModel):
    """A publish hook, the `address` that the CMS calls, and its last calls, the latest first."""

    id: str
    address: str
    name: str
    places: dict[str, str]
    topics: dict[str, str]
    otherwise: str
    draft: bool
    lang: str | None
    header: str
    created_at: str
    created_by: str
    calls: list[HookCallShown]


class AddedPublishHook(Secret):
    """The `address` that the CMS calls, and the secret, which no later response has."""

    address: str


class PublishHookList(ResponseModel):
    """The publish hooks, the oldest first; `next_cursor` leads to further ones."""

    hooks: list[PublishHookShown]
    next_cursor: str | None


@bp.get("")
@call(
    by=_BY,
    gives={200: PublishHookList},
    parameters=paging.parameters(pattern=HOOK),
    conditional=True,
)
def publish_hooks() -> PublishHookList:
    """List the publish hooks."""
    page, cursor = paging.named(runtime().publish_hooks.all(), lambda row: row[0].id, HOOK)
    return PublishHookList(hooks=[_shown(*row) for row in page], next_cursor=cursor)


@bp.get("/<hook>")
@call(by=_BY, gives={200: PublishHookShown}, problems=(404,), conditional=True)
def publish_hook(hook: str) -> PublishHookShown:
    """Show one publish hook."""
    return _now(hook)


@bp.post("")
@call(by=_BY, takes=NewPublishHook, gives={201: AddedPublishHook}, problems=(409,))
def add_publish_hook(requested: NewPublishHook) -> tuple[AddedPublishHook, dict[str, str]]:
    """Add a publish hook; the response has its secret, and the address to call."""
    tool = _sender()
    new = _changed(PublishHook("", "", ""), requested)
    made, secret = runtime().publish_hooks.add(new, requested.secret or "", by=tool.by or tool.name)
    place = url_for("api.publish_hooks.publish_hook", hook=made.id)
    added = AddedPublishHook(id=made.id, secret=secret, address=_address(made.id))
    return added, {"Location": place}


@bp.patch("/<hook>")
@call(by=_BY, takes=ChangedPublishHook, gives={200: PublishHookShown}, problems=(404,))
def change_publish_hook(requested: ChangedPublishHook, hook: str) -> PublishHookShown:
    """Change a publish hook; its secret stays."""
    _sender()
    runtime().publish_hooks.change(hook, lambda before: _changed(before, requested))
    return _now(hook)


@bp.post("/<hook>/secret")
@call(by=_BY, gives={200: Secret}, problems=(404,))
def renew_publish_hook(hook: str) -> Secret:
    """Make a new secret; the one before counts no more."""
    _sender()
    return Secret(id=hook, secret=runtime().publish_hooks.new_secret(hook))


@bp.delete("/<hook>")
@call(by=_BY, gives={204: None}, problems=(404,))
def remove_publish_hook(hook: str) -> None:
    """Remove a publish hook: no program calls it any more."""
    runtime().publish_hooks.remove(hook)


def _sender() -> ApiToken:
    """Return the calling token; `Problem` unless it may send alerts as well."""
    tool = calling_tool()
    if not tool.may(("send",)):
        raise Problem(403, _MAY_NOT_SEND)
    return tool


def _changed(before: PublishHook, requested: NewPublishHook | ChangedPublishHook) -> PublishHook:
    given = requested.model_dump(exclude={"secret"}, exclude_none=True)
    if (places := given.pop("places", None)) is not None:
        given["paths"] = {name: place for name in FIELDS if (place := places[name].strip())}
    if "topics" in given:
        given["topics"] = {name.strip().lower(): slug for name, slug in given["topics"].items()}
    return replace(before, **given)


@bp.errorhandler(WrongHook)
def _refuse(wrong: WrongHook) -> ResponseReturnValue:
    errors = [
        FieldError(f"places.{name}" if name in FIELDS else name, detail)
        for name, detail in wrong.errors.items()
    ]
    return respond(Invalid(errors))


def _now(id: str) -> PublishHookShown:
    one = runtime().publish_hooks.get(id)
    return _shown(one, runtime().publish_hooks.calls_of(id))


def _shown(one: PublishHook, calls: list[HookCall]) -> PublishHookShown:
    return PublishHookShown(
        id=one.id,
        address=_address(one.id),
        name=one.name,
        places=one.paths,
        topics=one.topics,
        otherwise=one.otherwise,
        draft=one.draft,
        lang=one.lang or None,
        header=one.header,
        created_at=iso(one.created_at),
        created_by=one.created_by,
        calls=[HookCallShown.model_validate(call) for call in calls],
    )


def _address(id: str) -> str:
    return f"{runtime().config.public_url}/api/v1/hooks/{id}"
