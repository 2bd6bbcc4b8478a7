"""What the forms of an alert and of a correction have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import abort, request
from werkzeug.datastructures import MultiDict

from service.api.fields import Invalid
from service.model.language.links import with_scheme

# For an empty field the API's message is correct, but not how to put it to an editor.
_EMPTY = {
    "title": "Write a title.",
    "url": "Paste the link to the story.",
    "audience": "Choose at least one topic, or everyone.",
}


def read_nonce() -> str:
    """Return the nonce of this request's form: the same form sent twice has the same nonce."""
    given = request.form.get("nonce", "")
    return given if is_nonce(given) else abort(400)


def is_nonce(text: str) -> bool:
    """Whether this may be the key of a form."""
    return re.fullmatch(r"[\w-]{16,64}", text, re.ASCII) is not None


def texts_of(form: MultiDict[str, str]) -> dict[str, Any]:
    """Return title, text and link as they were typed."""
    return {
        "title": " ".join(filter(None, map(str.strip, re.split("[\r\n]", form.get("title", ""))))),
        "body": with_plain_line_ends(form.get("body", "")),
        "url": with_scheme(form.get("url", "").strip()),
    }


def with_plain_line_ends(text: str) -> str:
    """Return a text; browsers send each line end as two characters (HTML, form submission)."""
    return text.replace("\r\n", "\n").strip()


# The fields in the order in which the form of an alert has them.
_FIELDS = (
    *("url", "title", "body", "audience", "story", "locales", "new_within_days"),
    *("image", "icon", "badge", "actions", "ttl", "urgency", "lang"),
    *("send_at", "repeat", "spread_minutes", "second_text"),
)
_PLACES = {field: place for place, field in enumerate(_FIELDS)}


# Parts of the audience with a field of their own.
_PARTS = {f"audience.{name}": name for name in ("locales", "new_within_days")}


def complaints_of(invalid: Invalid, given: Mapping[str, object]) -> dict[str, str]:
    """Return what is wrong, by field, as the form has them; those `given` must not be empty."""
    errors = {_field_of(error.field): error.detail for error in invalid.errors}
    empty = {field: _EMPTY[field] for field, value in given.items() if not value}
    errors |= {field: words for field, words in empty.items() if field in errors}
    return dict(sorted(errors.items(), key=lambda one: _PLACES.get(one[0], len(_PLACES))))


def _field_of(name: str) -> str:
    """Return the field of the form that a field of the API belongs to: `audience.locales.0`."""
    parts = name.split(".")
    return _PARTS.get(".".join(parts[:2]), parts[0])
