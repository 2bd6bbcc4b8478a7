"""The content of an alert, field by field: as callers send it, and as responses show it.

What a field means stands at `Content` in the model. A new one is added there, and twice here.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from service.api.fields import (
    Link,
    Locale,
    RequestModel,
    ResponseModel,
    characters,
    line,
    lines,
)
from service.model.notifications import DEFAULT_TTL, MAX_TTL, MIN_TTL, Action, Content

Title = Annotated[str, line(200), AfterValidator(characters)]
Body = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=1000),
    AfterValidator(lines),
]


class ActionRequest(RequestModel):
    """A button under an alert."""

    title: Annotated[str, line(60), AfterValidator(characters)]
    url: Link


class ContentRequest(RequestModel):
    """The content of an alert as a caller sends it."""

    title: Title | None = None
    url: Link | None = None
    body: Body = ""
    icon: Link | None = None
    image: Link | None = None
    actions: list[ActionRequest] = Field(default_factory=list, max_length=2)
    kind: Literal["news", "breaking"] = "news"
    urgency: Literal["very-low", "low", "normal", "high"] = "high"
    ttl: Annotated[int, Field(ge=MIN_TTL, le=MAX_TTL)] | None = None
    lang: Locale | None = None

    def content(self, site_language: str) -> Content:
        """Return it as the model has it, with what is left out filled in."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(Content)}
        fields["actions"] = tuple(Action(action.title, action.url) for action in self.actions)
        fields["ttl"] = DEFAULT_TTL[self.kind] if self.ttl is None else self.ttl
        fields["lang"] = self.lang or site_language or None
        return Content(**fields)


class ActionShown(ResponseModel):
    """A button under an alert."""

    title: str
    url: str


class ContentShown(ResponseModel):
    """The content of an alert as a response shows it."""

    title: str
    body: str
    url: str
    icon: str | None
    image: str | None
    actions: list[ActionShown]
    kind: str
    urgency: str
    ttl: int
    lang: str | None
