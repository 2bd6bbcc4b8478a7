"""What editors and their tools send about the audience of an alert."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from service.api.fields import Invalid, Locale, RequestModel, Slug, Topics, Unfit, pattern
from service.api.problems import FieldError
from service.model.notifications import Audience
from service.model.time import clock
from service.runtime import Runtime

_EVERYONE: JsonDict = {
    "required": ["everyone"],
    "properties": {"everyone": {"const": True}, "topics": {"type": "null"}},
}
_GIVEN: dict[str, JsonDict] = {
    name: {"required": [name], "properties": {name: {"type": kind}}}
    for name, kind in (("topics", "array"), ("all_topics", "array"), ("followers_of", "string"))
}
_FOLLOWERS: JsonDict = {
    "properties": {"everyone": {"type": "null"}},
    "anyOf": [*_GIVEN.values()],
}

_ID = "^[1-9][0-9]{0,14}$"
_MOST_ALERTS = 5  # named by one audience
MOST_DAYS = 366


def _id(text: str) -> str:
    if not re.fullmatch(_ID, text):
        raise ValueError("must be the id of an alert")
    return text


def _ids(ids: list[str]) -> list[str]:
    if len(set(ids)) != len(ids):
        raise ValueError("must not name an alert twice")
    return ids


AlertIds = Annotated[
    list[Annotated[str, AfterValidator(_id), pattern(_ID)]],
    Field(max_length=_MOST_ALERTS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_ids),
]


class AudienceRequest(RequestModel):
    """Who gets an alert: `{"everyone": true}`, or the followers of any of `topics`.

    All other conditions narrow that; instead of `everyone` or `topics` it may be `all_topics` or
    `followers_of`. `all_topics`: readers who follow each of them. `followers_of`: followers of this
    running story. `new_within_days`: readers who subscribed within so many days, from the beginning
    of that day on (UTC). `not_reached_by`: readers who did not get any of these alerts, and for
    whom none is held. `clicked`: readers who clicked any of these alerts, where CLICK_AUDIENCES is
    on. Both name alerts by their ids that began at most 7 days before this one is sent, and of
    which nothing more is sent.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [_EVERYONE, _FOLLOWERS]})

    everyone: Annotated[bool | None, WithJsonSchema({"enum": [True, None]})] = None
    topics: Annotated[Topics, Field(min_length=1)] | None = None
    exclude: Topics = Field(default_factory=list)
    locales: list[Locale] = Field(default_factory=list, max_length=100)
    all_topics: Annotated[Topics, Field(min_length=1)] | None = None
    followers_of: Slug | None = None
    new_within_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None
    not_reached_by: AlertIds = Field(default_factory=list)
    clicked: AlertIds = Field(default_factory=list)

    @model_validator(mode="after")
    def _explicit(self) -> AudienceRequest:
        # Everyone is never implied, neither by `false` nor by an empty object.
        given = [self.topics, self.all_topics, self.followers_of]
        is_everyone = self.everyone is True and self.topics is None
        if not is_everyone and (self.everyone is not None or given == [None] * 3):
            words = 'must have either "everyone": true, or "topics", "all_topics" or "followers_of"'
            raise Unfit("everyone", words)
        return self

    def audience(self) -> Audience:
        """Return it as the model has it."""
        return Audience(
            everyone=self.topics is None,
            topics=tuple(self.topics or ()),
            exclude=tuple(self.exclude),
            locales=tuple(self.locales),
            all_topics=tuple(self.all_topics or ()),
            followers_of=self.followers_of or "",
            new_within_days=self.new_within_days or 0,
            not_reached_by=tuple(map(int, self.not_reached_by)),
            clicked=tuple(map(int, self.clicked)),
        )


def check_audience(
    audience: Audience, runtime: Runtime, at: float | None = None, within: str = "audience."
) -> None:
    """Raise `Invalid` if an alert that is sent now, or `at` that time, cannot have an audience."""
    refusal = runtime.publishing.conditions.refused(audience, at or clock.time())
    if refusal is not None:
        raise Invalid([FieldError(f"{within}{refusal.field}", refusal.detail)])


class AudienceCounted(AudienceRequest):
    """An audience to count; in a request about an alert, `story` stands beside it instead.

    With a running `story` its followers belong to the audience too, and readers who muted it do
    not.
    """

    story: Slug | None = None

    def audience(self) -> Audience:
        """Return it as the model has it."""
        return replace(super().audience(), story=self.story or "")
