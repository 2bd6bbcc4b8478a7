"""Whether an alert with the same link was sent already."""

from __future__ import annotations

from service.domain.publishing import Publishing
from service.model.notifications import Notification, Outcome, State

_MOST_SENT_BEFORE = 100  # alerts that are looked through


def with_link(publishing: Publishing, url: str, *, but: int | None = None) -> Notification | None:
    """Return the latest alert that was or will be sent with this link, if there is one.

    Drafts do not count unless they wait for a second person, nor alerts that ended before they
    reached anybody, nor the alert `but`. A link with another fragment, or without the slash at its
    end, leads to the same page.
    """
    page = _page(url)
    plan = publishing.plan()
    planned = publishing.all([*plan.of("waits"), *plan.scheduled])
    for one in (*planned, *publishing.started(_MOST_SENT_BEFORE)):
        is_same = one.id != but and one.corrects is None and _page(one.text.url) == page
        if is_same and not _ended_unseen(publishing, one):
            return one
    return None


def _ended_unseen(publishing: Publishing, one: Notification) -> bool:
    if one.state not in (State.CANCELLED, State.EXPIRED):
        return False
    return not publishing.progress(one.id).of(Outcome.ACCEPTED)


def _page(url: str) -> str:
    return url.partition("#")[0].rstrip("/")
