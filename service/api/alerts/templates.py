"""The API's calls about templates and saved audiences, which the desk's editors share."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from flask import Blueprint, url_for
from pydantic import BeforeValidator, Field, PlainValidator

from service.api import paging
from service.api.alerts import saved_forms
from service.api.alerts.audience_requests import AudienceRequest
from service.api.alerts.content import (
    ContentRequest,
    SecondTextRequest,
    TextsShown,
    line,
    line_schema,
)
from service.api.auth import calling_tool, tools
from service.api.calls import call
from service.api.fields import RequestModel, ResponseModel, Slug
from service.current import runtime
from service.domain.alerts.templates import LONGEST_NAME, Template
from service.model.language.texts import CheckedText
from service.model.notifications import Audience
from service.model.time.times import iso

bp = Blueprint("templates", __name__)

TEMPLATE = "^[A-Za-z0-9_-]{12}$"
_Name = Annotated[CheckedText, PlainValidator(line(LONGEST_NAME)), line_schema(LONGEST_NAME)]
_Whole = Annotated[
    int | None, BeforeValidator(lambda value: value if isinstance(value, int) else None)
]
_READ, _WRITE = tools("read", "send"), tools("send")


class TemplateAlert(ContentRequest):
    """What an alert begins with: any of the fields of a new one, without its time."""

    audience: AudienceRequest | None = None
    story: Slug | None = None
    spread_minutes: Literal[10, 30, 60, 120] | None = None
    second_text: SecondTextRequest | None = None

    def fields(self) -> dict[str, Any]:
        """Return it as the desk's form."""
        audience = self.audience.audience() if self.audience else Audience()
        return saved_forms.fields_of(
            self.content("", ""),
            replace(audience, story=self.story or ""),
            self.second_text.second_text() if self.second_text else None,
            self.spread_minutes or 0,
        )


class NewTemplate(RequestModel):
    """A template, with which editors and tools begin alerts."""

    name: _Name
    alert: TemplateAlert


class NewSavedAudience(RequestModel):
    """An audience under a name, which editors and tools choose for an alert."""

    name: _Name
    audience: AudienceRequest


class Renamed(RequestModel):
    """Another name for a template or a saved audience."""

    name: _Name


class SavedAudienceShown(ResponseModel):
    """Who gets an alert, as a new alert takes it; without what was left empty."""

    everyone: bool | None = None
    topics: list[str] = Field(default=[])
    exclude: list[str] = Field(default=[])
    locales: list[str] = Field(default=[])
    all_topics: list[str] = Field(default=[])
    followers_of: str | None = None
    new_within_days: int | None = None
    not_reached_by: list[str] = Field(default=[])
    clicked: list[str] = Field(default=[])


class SecondTextKept(ResponseModel):
    """A second text as it was left."""

    title: str
    body: str
    sample_percent: _Whole
    decide_after_minutes: _Whole


class AlertKept(TextsShown):
    """An alert as an editor or a tool has left it, with the fields of a new one.

    It may be half written: what is missing, or is no number where one is needed, is empty or null.
    """

    ttl: _Whole
    lang: str | None
    audience: SavedAudienceShown
    story: str | None
    spread_minutes: _Whole
    second_text: SecondTextKept | None


class TemplateShown(ResponseModel):
    """A template; its `alert` is what a new alert begins with."""

    id: str
    name: str
    saved_by: str
    saved_at: str
    alert: AlertKept


class TemplateList(ResponseModel):
    """The templates, by name."""

    templates: list[TemplateShown]
    next_cursor: str | None


class AudienceKept(ResponseModel):
    """A saved audience."""

    id: str
    name: str
    saved_by: str
    saved_at: str
    audience: SavedAudienceShown


class SavedAudienceList(ResponseModel):
    """The saved audiences, by name."""

    audiences: list[AudienceKept]
    next_cursor: str | None


# Templates ----------------------------------------------------------------------------------------


@bp.get("/templates")
@call(
    by=_READ,
    gives={200: TemplateList},
    parameters=paging.parameters(pattern=TEMPLATE),
    conditional=True,
)
def templates() -> TemplateList:
    """List the templates."""
    page, cursor = paging.named(runtime().templates.all(), lambda one: one.id, TEMPLATE)
    return TemplateList(templates=[_template(one) for one in page], next_cursor=cursor)


@bp.get("/templates/<template>")
@call(by=_READ, gives={200: TemplateShown}, problems=(404,), conditional=True)
def template(template: str) -> TemplateShown:
    """Show one template."""
    return _template(runtime().templates.get(template))


@bp.post("/templates")
@call(by=_WRITE, takes=NewTemplate, gives={201: TemplateShown}, problems=(409,))
def add_template(requested: NewTemplate) -> tuple[TemplateShown, dict[str, str]]:
    """Save a template; the same call again saves no second one. 409: its name is taken."""
    made = runtime().templates.add(requested.name.text, requested.alert.fields(), _saver())
    return _template(made), {"Location": url_for("api.templates.template", template=made.id)}


@bp.patch("/templates/<template>")
@call(by=_WRITE, takes=Renamed, gives={200: TemplateShown}, problems=(404, 409))
def rename_template(requested: Renamed, template: str) -> TemplateShown:
    """Give a template another name."""
    runtime().templates.rename(template, requested.name.text)
    return _template(runtime().templates.get(template))


@bp.delete("/templates/<template>")
@call(by=_WRITE, gives={204: None}, problems=(404,))
def remove_template(template: str) -> None:
    """Delete a template."""
    runtime().templates.remove(runtime().templates.get(template).id)


# Saved audiences ----------------------------------------------------------------------------------


@bp.get("/audiences")
@call(
    by=_READ,
    gives={200: SavedAudienceList},
    parameters=paging.parameters(pattern=TEMPLATE),
    conditional=True,
)
def saved_audiences() -> SavedAudienceList:
    """List the saved audiences."""
    page, cursor = paging.named(runtime().saved_audiences.all(), lambda one: one.id, TEMPLATE)
    return SavedAudienceList(audiences=[_audience(one) for one in page], next_cursor=cursor)


@bp.get("/audiences/<template>")
@call(by=_READ, gives={200: AudienceKept}, problems=(404,), conditional=True)
def saved_audience(template: str) -> AudienceKept:
    """Show one saved audience."""
    return _audience(runtime().saved_audiences.get(template))


@bp.post("/audiences")
@call(by=_WRITE, takes=NewSavedAudience, gives={201: AudienceKept}, problems=(409,))
def add_saved_audience(requested: NewSavedAudience) -> tuple[AudienceKept, dict[str, str]]:
    """Save an audience; the same call again saves no second one. 409: its name is taken."""
    fields = saved_forms.fields_of_audience(requested.audience.audience())
    made = runtime().saved_audiences.add(requested.name.text, fields, _saver())
    place = url_for("api.templates.saved_audience", template=made.id)
    return _audience(made), {"Location": place}


@bp.patch("/audiences/<template>")
@call(by=_WRITE, takes=Renamed, gives={200: AudienceKept}, problems=(404, 409))
def rename_saved_audience(requested: Renamed, template: str) -> AudienceKept:
    """Give a saved audience another name."""
    runtime().saved_audiences.rename(template, requested.name.text)
    return _audience(runtime().saved_audiences.get(template))


@bp.delete("/audiences/<template>")
@call(by=_WRITE, gives={204: None}, problems=(404,))
def remove_saved_audience(template: str) -> None:
    """Delete a saved audience."""
    runtime().saved_audiences.remove(runtime().saved_audiences.get(template).id)


def _saver() -> str:
    return calling_tool().name


def _template(one: Template) -> TemplateShown:
    alert = saved_forms.alert_of(one.fields)
    shown = AlertKept(**{**alert, "audience": _audience_shown(one)})
    return TemplateShown(
        id=one.id, name=one.name, saved_by=one.by, saved_at=iso(one.at), alert=shown
    )


def _audience(one: Template) -> AudienceKept:
    return AudienceKept(
        id=one.id,
        name=one.name,
        saved_by=one.by,
        saved_at=iso(one.at),
        audience=_audience_shown(one),
    )


def _audience_shown(one: Template) -> SavedAudienceShown:
    given = saved_forms.audience_of(one.fields)
    if not isinstance(given["new_within_days"], int):
        del given["new_within_days"]
    return SavedAudienceShown(**{name: value for name, value in given.items() if value})
