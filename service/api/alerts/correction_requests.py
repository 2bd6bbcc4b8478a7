"""What editors and their tools send to correct an alert."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypedDict

from pydantic import ConfigDict

from service.api.alerts.content import Body, Title
from service.api.alerts.notification_requests import check_size
from service.api.fields import Invalid, Link, RequestModel
from service.api.problems import FieldError
from service.model.notifications import Notification
from service.runtime import Runtime

NOTHING_CHANGES = "Nothing would change. Send a new title, body or url."


class NewTexts(TypedDict):
    """The new texts of an alert; None for those that stay as they are."""

    title: str | None
    body: str | None
    url: str | None


class Correction(RequestModel):
    """A new text for an alert; a missing field stays as it is.

    `reached` decides what happens on screens that have the alert: the new text replaces the old
    one there, or they are left alone.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("title", "body", "url")
            ]
        }
    )

    title: Title | None = None
    body: Body | None = None
    url: Link | None = None
    reached: Literal["replace", "leave"] = "replace"

    def texts(self) -> NewTexts:
        """Return the new texts."""
        title, body = (given and given.text for given in (self.title, self.body))
        return NewTexts(title=title, body=body, url=self.url)

    def check(self, root: Notification, runtime: Runtime) -> tuple[tuple[str, str], ...]:
        """Return field and sentence of each thing that its writer should know.

        Raises `Invalid` if it changes nothing, or makes the alert too long to be pushed. Where some
        browsers have the other of two texts, any text changes something.
        """
        before = root.text
        changes = {name: text for name, text in self.texts().items() if text is not None}
        one_text = root.second_text is None or root.revision > 0
        if one_text and all(getattr(before, name) == text for name, text in changes.items()):
            raise Invalid([FieldError("title", NOTHING_CHANGES)])
        content = replace(before, **changes)  # type: ignore[arg-type]
        given = {"title": self.title, "body": self.body}
        odd = [(name, words) for name, one in given.items() if one for words in one.warnings]
        return (*odd, *check_size(content, root.story, runtime, own=root.link_parameters))
