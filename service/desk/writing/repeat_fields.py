"""The fields of an alert's form that say how it repeats."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from service.model.repeats import MOST_LISTED, Digest, Repeat

if TYPE_CHECKING:
    from service.desk.writing.forms import Form

# Fields with several values, each with the name under which the form sends them.
SEVERAL = {"weekdays": "weekday", "digest_topics": "digest_topic"}
# The fields of an alert that does not repeat.
NONE: dict[str, Any] = {
    "weekdays": (),
    "digest": "",
    "digest_most": str(Digest().most),
    "digest_topics": (),
    "makes_drafts": "",
}

_NO_DAY = "Tick at least one day."
_NO_TIME = "An alert repeats from a day and a time on: choose “At”, or untick the days."
_NO_ZONE = "Your browser does not say in which time zone it is, so that the alert cannot repeat."
_NO_NUMBER = f"Write how many titles in digits: 1 to {MOST_LISTED}."
_TWO_TEXTS = "Two texts cannot be tried where the text is made of other alerts. Empty title B."


def fields_of(repeat: Repeat | None) -> dict[str, Any]:
    """Return the fields for a repetition."""
    if repeat is None:
        return {}
    given = NONE | {"weekdays": repeat.weekdays, "makes_drafts": _tick(repeat.makes_drafts)}
    if (digest := repeat.digest) is not None:
        given |= {"digest": "yes", "digest_most": str(digest.most), "digest_topics": digest.topics}
    return given


def as_json(form: Form) -> dict[str, Any] | None:
    """Return the repetition as the API accepts it."""
    if not (form.weekdays or form.digest or form.makes_drafts):
        return None
    most = form.digest_most
    digest = {
        "most": int(most) if re.fullmatch("[0-9]{1,9}", most) else most,
        "topics": list(form.digest_topics),
    }
    return {
        "weekdays": list(form.weekdays),
        "digest": digest if form.digest else None,
        "makes_drafts": bool(form.makes_drafts),
    }


def complaint(form: Form, words: str) -> str:
    """Say what is wrong with the repetition; `words` are the API's."""
    most = form.digest_most
    if not form.weekdays:
        return _NO_DAY
    if form.when != "at":
        return _NO_TIME
    if form.digest and not (re.fullmatch("[0-9]{1,2}", most) and 1 <= int(most) <= MOST_LISTED):
        return _NO_NUMBER
    if form.digest and form.has_second_text:
        return _TWO_TEXTS
    return _NO_ZONE if form.zone[:1] in ("+", "-") and not form.local else words


def _tick(is_ticked: bool) -> str:
    return "yes" if is_ticked else ""
