"""What a second person does with an alert that waits for one: approve it, or send it back."""

from __future__ import annotations

import dataclasses

from service.domain.gate import TwoPersonRule
from service.domain.publishing import Conflict, Publishing
from service.domain.requests import Idempotency
from service.model import alert_log
from service.model.alert_log import ToolName
from service.model.notifications import Content, Notification
from service.store import Store

_CHANGED = "This alert was changed, sent back or sent meanwhile. Look at it again."
_OWN = "Another editor has to approve this alert: you, or a token of yours, wrote it or asked."


class Approvals:
    """Approves alerts for editors. An API token approves nothing."""

    def __init__(self, store: Store, publishing: Publishing, rule: TwoPersonRule) -> None:
        self._store = store
        self._publishing = publishing
        self._rule = rule

    def needed(self, content: Content, browsers: int) -> bool:
        """Whether an alert to so many browsers needs a second person."""
        return self._rule.applies(content, browsers)

    def corrections(self, root: int) -> list[Notification]:
        """Return the corrections of an alert that wait for a second person, or were sent back."""
        return [one for one in self._publishing.planned() if one.corrects == root]

    def approve(self, id: int, digest: str, *, by: str) -> int:
        """Send what this editor has seen, as `digest` names it; return the alert that is sent.

        `Conflict` if it is another text or audience by now, or if the editor has written it.
        """
        one = self._waiting(id, digest, by)
        if one.corrects is not None:
            return self._correct(one, by)
        if not self._publishing.approved(one, by=by):
            raise Conflict(id, _CHANGED)
        return id

    def _correct(self, one: Notification, by: str) -> int:
        """Send a correction, once however often it is approved; a waiting one is never changed."""
        assert one.corrects is not None  # noqa: S101 - its caller has looked
        assert one.request is not None  # noqa: S101
        text = one.content
        published = self._publishing.correct(
            one.corrects,
            title=text.title,
            body=text.body,
            url=text.url,
            replace=not one.request.leave,
            by=one.created_by,
            idempotency=Idempotency("approved", str(one.id), one.digest.encode()),
            approved_by=by,
        )
        self._store.notifications.remove(one.id, alert_log.entry(one, "approved", by))
        return published.id

    def send_back(self, id: int, digest: str, word: str, *, by: str) -> None:
        """Make an ordinary draft of what waits, and say why; `Conflict` as above."""
        one = self._waiting(id, digest, by)
        assert one.request is not None  # noqa: S101 - it waits
        request = dataclasses.replace(one.request, sent_back_by=by, word=word)
        after = dataclasses.replace(one, request=request)
        entry = alert_log.sent_back(one, word, by)
        if not self._store.notifications.change(one, after, one.created_at, entry):
            raise Conflict(id, _CHANGED)

    def _waiting(self, id: int, digest: str, by: str) -> Notification:
        one = self._publishing.get(id)
        if not one.planned or not one.waits_for_approval or one.digest != digest:
            raise Conflict(id, _CHANGED)
        if by in one.authors or isinstance(by, ToolName):
            raise Conflict(id, _OWN)
        return one
