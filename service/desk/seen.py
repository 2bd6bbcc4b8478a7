"""What an editor saw when a form was opened, so that nobody overwrites another's change unseen."""

from __future__ import annotations

from flask import request

from service.desk.blueprint import bp
from service.model.tokens import digest

CHANGED = (
    "Another editor has changed this {} since you opened this page. Above you see how it is now."
    " Press “Change” to set all fields as they are below."
)


@bp.app_template_filter("seen")
def seen(one: object) -> str:
    """Return what tells a thing from the same one after a change."""
    return digest(repr(one))[:16]


def is_seen(one: object) -> bool:
    """Whether the form of this request was opened on a thing as it is now."""
    return request.form.get("seen") in (None, seen(one))
