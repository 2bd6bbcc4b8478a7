"""How an alert repeats: as callers send it, and as responses show it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from service.api.fields import Invalid, RequestModel, ResponseModel, Topics
from service.api.problems import FieldError
from service.model.notifications import Audience, SendAt
from service.model.time import repeats
from service.model.time.repeats import MOST_LISTED, Digest, Repeat
from service.model.two_texts import SecondText

_NO_TIME = "Is only possible together with `send_at`, whose time of day it repeats."
_NO_ZONE = (
    "Is only possible for a `send_at` with the name of a zone, such as"
    " 2026-03-29T18:00[Europe/Riga], or with `local_time`."
)
_NAMES_ALERTS = (
    "Is not possible for an audience that names alerts: it is known for a week only who got them."
)
_TWO_TEXTS = "Is not possible together with `second_text`, because its text is made when it is due."

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _days(days: list[str]) -> list[str]:
    if len(set(days)) != len(days):
        raise ValueError("must not name a day twice")
    return days


class DigestRequest(RequestModel):
    """A text made of the titles of the alerts sent since the last time, at most `most` of them.

    With `topics` only of alerts to followers of any of these.
    """

    most: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 5
    topics: Topics = Field(default_factory=list)


class RepeatRequest(RequestModel):
    """On which days of the week an alert repeats, at the time of day of its `send_at`.

    With a `digest` its text is made when it is due: in `title` and `body`, `{count}` becomes the
    number of alerts sent since the last time (7 days at most) and `{titles}` their titles; without
    a `body` these are the text. Where there are none, it is skipped. With `makes_drafts` it becomes
    a draft for an editor when it is due.
    """

    weekdays: Annotated[
        list[Weekday],
        Field(min_length=1, max_length=7, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_days),
    ]
    digest: DigestRequest | None = None
    makes_drafts: bool = False

    def checked(
        self,
        send_at: SendAt | None,
        audience: Audience,
        second_text: SecondText | None,
    ) -> Repeat:
        """Return it as the model has it; `Invalid` if it does not go with the rest."""
        words, field = "", "repeat"
        if send_at is None:
            words = _NO_TIME
        elif not (send_at.zone or send_at.wall):
            words = _NO_ZONE
        elif audience.not_reached_by or audience.clicked:
            words = _NAMES_ALERTS
        elif self.digest is not None and second_text is not None:
            words, field = _TWO_TEXTS, "repeat.digest"
        if words:
            raise Invalid([FieldError(field, words)])
        digest = Digest(self.digest.most, tuple(self.digest.topics)) if self.digest else None
        days = repeats.in_order(self.weekdays)
        return Repeat(days, digest=digest, makes_drafts=self.makes_drafts)

    @classmethod
    def of(cls, repeat: Repeat | None) -> RepeatRequest | None:
        """Return the request for a repetition, unchecked: one of its topics may be gone."""
        if repeat is None:
            return None
        digest = repeat.digest and DigestRequest.model_construct(
            most=repeat.digest.most, topics=[*repeat.digest.topics]
        )
        return cls.model_construct(
            weekdays=[*repeat.weekdays], digest=digest, makes_drafts=repeat.makes_drafts
        )


class DigestShown(ResponseModel):
    """How the text is made of the alerts sent since the last time."""

    most: int
    topics: list[str]


class RepeatShown(ResponseModel):
    """How a planned alert repeats; `series` is the id of the first one."""

    weekdays: list[str]
    digest: DigestShown | None
    makes_drafts: bool
    series: str


def shown(repeat: Repeat | None) -> RepeatShown | None:
    """Show a repetition."""
    if repeat is None:
        return None
    return RepeatShown(
        weekdays=[*repeat.weekdays],
        digest=DigestShown.model_validate(repeat.digest) if repeat.digest else None,
        makes_drafts=repeat.makes_drafts,
        series=str(repeat.series),
    )
