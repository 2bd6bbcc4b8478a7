"""The form of a correction, as an editor filled it in."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from flask import request

from service.api.alerts.correction_requests import NOTHING_CHANGES
from service.api.fields import Invalid
from service.current import runtime
from service.desk.fields import complaints_of, texts_of
from service.domain.alerts.publishing import UnknownNotification
from service.model.notifications import Content, Notification, State

_UNCHANGED = "Nothing has changed yet: write a new title, text or link."


def draft_of(root: Notification) -> Notification | None:
    """Return the draft of a correction of this alert that the request names, if it names one."""
    id = request.values.get("draft", type=int)
    try:
        draft = None if id is None else runtime().publishing.get(id)
    except UnknownNotification:
        return None
    return draft if draft and draft.corrects == root.id and not draft.waits_for_approval else None


@dataclass(frozen=True, slots=True)
class CorrectionForm:
    """The form of a correction: the whole new text."""

    title: str
    body: str
    url: str
    reached: str = "replace"  # or "leave": what to do for browsers that have the old text
    go_on: bool = True  # send a paused alert to the other browsers then

    @classmethod
    def of(cls, text: Content) -> CorrectionForm:
        """Return the form filled with the current text."""
        return cls(text.title, text.body, text.url)

    @classmethod
    def of_draft(cls, draft: Notification) -> CorrectionForm:
        """Return the form as it was when this correction was taken back."""
        text, mends = draft.content, draft.mends
        leave, goes_on = (
            (mends.leave, mends.then == State.SENDING.value) if mends else (False, True)
        )
        return cls(text.title, text.body, text.url, "leave" if leave else "replace", goes_on)

    @classmethod
    def read(cls) -> CorrectionForm:
        """Read the form of this request."""
        return cls(
            **texts_of(request.form),
            reached=request.form.get("reached", "replace"),
            go_on="go_on" in request.form,
        )

    def as_json(self) -> bytes:
        """Return the correction as the API takes it."""
        document = asdict(self)
        del document["go_on"]
        return json.dumps(document).encode()

    def complaints(self, invalid: Invalid) -> dict[str, str]:
        """Return what is wrong, by field."""
        errors = complaints_of(invalid, {"title": self.title, "url": self.url})
        unchanged = errors.get("title") == NOTHING_CHANGES
        return errors | ({"title": _UNCHANGED} if unchanged else {})
