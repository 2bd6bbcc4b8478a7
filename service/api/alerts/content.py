"""The content of an alert, field by field: as callers send it, and as responses show it.

What a field means stands at `Content` in the model. A new one is added there, and twice here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema

from service.api.fields import Link, Locale, RequestModel, ResponseModel, text
from service.model.language.texts import (
    VISIBLE_PATTERN,
    CheckedText,
    is_visible,
    one_line,
    several_lines,
)
from service.model.notifications import DEFAULT_TTL, MAX_TTL, MIN_TTL, Action, Content
from service.model.two_texts import MAX_SAMPLE, MAX_WAIT, MIN_SAMPLE, SecondText

_LONGEST_TITLE, _LONGEST_ACTION, _LONGEST_BODY = 200, 60, 1000  # characters


def line(most: int, *, may_be_empty: bool = False) -> Callable[[object], CheckedText]:
    """Return what reads a text of one line, and cleans it."""

    def read(given: object) -> CheckedText:
        if isinstance(given, CheckedText):
            return given
        checked = one_line(text(given))
        if not (is_visible(checked.text) or (may_be_empty and not checked.text)):
            raise ValueError("must have at least 1 character that readers can see")
        return _short(checked, most)

    return read


def _body(given: object) -> CheckedText:
    if isinstance(given, CheckedText):
        return given
    return _short(several_lines(text(given)), _LONGEST_BODY)


def _short(checked: CheckedText, most: int) -> CheckedText:
    if len(checked.text) > most:
        raise ValueError(f"must have at most {most} characters")
    return checked


def line_schema(most: int) -> WithJsonSchema:
    """Return the schema of a line that readers see."""
    return WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": most, "pattern": VISIBLE_PATTERN}
    )


def no_text() -> CheckedText:
    """Return the text of a field that was not sent."""
    return CheckedText("")


# Texts that a reader sees; a caller learns from `warnings` what became of them.
Title = Annotated[CheckedText, PlainValidator(line(_LONGEST_TITLE)), line_schema(_LONGEST_TITLE)]
ActionTitle = Annotated[
    CheckedText, PlainValidator(line(_LONGEST_ACTION)), line_schema(_LONGEST_ACTION)
]
Body = Annotated[
    CheckedText,
    PlainValidator(_body),
    WithJsonSchema({"type": "string", "maxLength": _LONGEST_BODY}),
]


class ActionRequest(RequestModel):
    """A button under an alert."""

    title: ActionTitle
    url: Link


class ContentRequest(RequestModel):
    """The content of an alert as a caller sends it."""

    title: Title = Field(default_factory=no_text)
    url: Link = Field(default_factory=str)
    body: Body = Field(default_factory=no_text)
    icon: Link | None = None
    badge: Link | None = None
    image: Link | None = None
    actions: list[ActionRequest] = Field(default_factory=list, max_length=2)
    kind: Literal["news", "breaking"] = "news"
    urgency: Literal["very-low", "low", "normal", "high"] = "high"
    ttl: Annotated[int, Field(ge=MIN_TTL, le=MAX_TTL)] | None = None
    lang: Locale | None = None

    def content(self, site_language: str, site_icon: str) -> Content:
        """Return it as the model has it, with what is left out filled in."""
        fields: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(Content)
        }
        fields |= {"title": self.title.text, "body": self.body.text}
        fields["actions"] = tuple(Action(action.title.text, action.url) for action in self.actions)
        fields["ttl"] = DEFAULT_TTL[self.kind] if self.ttl is None else self.ttl
        fields["lang"] = self.lang or site_language or None
        fields["icon"] = self.icon or site_icon or None
        return Content(**fields)

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Return field and sentence of each thing that its writer should know."""
        texts = {"title": self.title, "body": self.body}
        texts |= {f"actions.{number}.title": one.title for number, one in enumerate(self.actions)}
        for field, checked in texts.items():
            for words in checked.warnings:
                yield field, words


class SecondTextRequest(RequestModel):
    """Another text for the same alert, which is tried against the first one.

    `sample_percent` of the audience get one text or the other, half of them each. After
    `decide_after_minutes` all others get the text that more of its readers have clicked on; the
    first one if both did equally well or hardly anybody clicked.
    """

    title: Title
    body: Body = Field(default_factory=no_text)
    sample_percent: Annotated[int, Field(ge=MIN_SAMPLE, le=MAX_SAMPLE)] = 10
    decide_after_minutes: Annotated[int, Field(ge=1, le=MAX_WAIT)] = 15

    def second_text(self) -> SecondText:
        """Return it as the model has it."""
        title, body = self.title.text, self.body.text
        return SecondText(title, body, self.sample_percent, self.decide_after_minutes)

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Return field and sentence of each thing that its writer should know."""
        for name, checked in (("title", self.title), ("body", self.body)):
            for words in checked.warnings:
                yield f"second_text.{name}", words


class ActionShown(ResponseModel):
    """A button under an alert."""

    title: str
    url: str


class TextsShown(ResponseModel):
    """What an alert says and looks like, as a response shows it, also while it is being written."""

    title: str
    body: str
    url: str
    icon: str | None
    badge: str | None
    image: str | None
    actions: list[ActionShown]
    kind: str
    urgency: str


class ContentShown(TextsShown):
    """The content of an alert as a response shows it."""

    ttl: int
    lang: str | None
