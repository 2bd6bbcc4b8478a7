"""What a second person does with an alert that waits for one: approve it, or send it back."""

from __future__ import annotations

import dataclasses

from service.domain.gate import TwoPersonRule
from service.domain.publishing import Conflict, Publishing
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

    def approve(self, id: int, digest: str, *, by: str) -> None:
        """Send what this editor has seen, as `digest` names it.

        `Conflict` if it is another text or audience by now, or if the editor has written it.
        """
        one = self._waiting(id, digest, by)
        is_correction = one.corrects is not None
        send = self._publishing.approved_correction if is_correction else self._publishing.approved
        if not send(one, by=by):
            raise Conflict(id, _CHANGED)

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
