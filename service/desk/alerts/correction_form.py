"""The form of a correction, as an editor filled it in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from flask import render_template, request

from service.api.alerts.correction_requests import NOTHING_CHANGES, Correction
from service.api.fields import Invalid
from service.current import runtime
from service.desk.fields import complaints_of, texts_of
from service.desk.words import logged_by, logged_changes
from service.domain.alerts.publishing import Conflict, UnknownNotification
from service.model.notifications import Content, Notification, State

_UNCHANGED = "Nothing has changed yet: write a new title, text or link."
_CORRECTED = (
    "This alert was corrected meanwhile. Your text is not sent: it takes the place of that"
    " correction once you press the button below."
)


def draft_of(root: Notification) -> Notification | None:
    """Return the draft of a correction of this alert that the request names, if it names one."""
    id = request.values.get("draft", type=int)
    try:
        draft = None if id is None else runtime().publishing.get(id)
    except UnknownNotification:
        return None
    return draft if draft and draft.corrects == root.id and not draft.waits_for_approval else None


def check_of(correction: Correction) -> Callable[[Notification], tuple[tuple[str, str], ...]]:
    """Return the check of a correction: `Conflict` if another one came first."""

    def check(root: Notification) -> tuple[tuple[str, str], ...]:
        if words := overtaken(root):
            raise Conflict(root.id, words)
        return correction.check(root, runtime())

    return check


def overtaken(root: Notification) -> str:
    """Say that the alert was corrected since the text of this request was written, if it was."""
    return _CORRECTED if _revision_seen(root) != root.revision else ""


def corrected_since(root: Notification) -> list[str]:
    """Say who has corrected the alert since then, and what each of them has changed."""
    newer = root.revision - _revision_seen(root)
    entries = [one for one in runtime().alert_log.of(root.id) if one.action == "corrected"]
    since = entries[-newer:] if newer > 0 else []
    return [f"{logged_by(one)}: {logged_changes(one)}" for one in since]


def _revision_seen(root: Notification) -> int:
    """Return how often the alert had been corrected when the text of this request was written."""
    draft = draft_of(root)
    of_draft = (draft.mends or draft.request) if draft else None
    written = of_draft.revision if of_draft else None
    seen = request.form.get("corrected", written, type=int)
    return root.revision if seen is None else seen


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


def text_page(
    template: str,
    root: Notification,
    form: CorrectionForm,
    *,
    nonce: str = "",
    errors: dict[str, str] | None = None,
    notice: str = "",
    done: str = "",
    **shown: Any,
) -> str:
    """Show the form of another text, and what only its own template shows.

    `notice` says what is wrong, and `done` what was done.
    """
    return render_template(
        template,
        root=root,
        form=form,
        nonce=nonce or secrets.token_urlsafe(16),
        errors=errors or {},
        notice=notice or overtaken(root),
        changes=corrected_since(root),
        done=done,
        draft=draft_of(root),
        **shown,
    )
