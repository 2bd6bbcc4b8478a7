"""What a second person does with an alert that waits for one: approve it, or send it back."""

from __future__ import annotations

import dataclasses

from service.domain.alerts.corrections import Corrections
from service.domain.alerts.gate import TwoPersonRule, authors_of, now_in_ms
from service.domain.alerts.publishing import Conflict, Publishing
from service.domain.alerts.topics import Topics
from service.model import alert_log
from service.model.alert_log import ToolName
from service.model.notifications import Audience, Content, Notification, Request, State
from service.store import Store

_CHANGED = "This alert was changed, sent back or sent meanwhile. Look at it again."
_NO_DRAFT = "This alert is scheduled: only a draft can be handed in."
_OWN = "Another editor has to approve this alert: you, or a token of yours, wrote it or asked."


class Approvals:
    """Approves alerts for editors. An API token approves nothing."""

    def __init__(
        self,
        store: Store,
        publishing: Publishing,
        corrections: Corrections,
        rule: TwoPersonRule,
    ) -> None:
        self._store = store
        self._publishing = publishing
        self._corrections = corrections
        self._rule = rule

    def needed(self, content: Content, browsers: int) -> bool:
        """Whether an alert to so many browsers needs a second person."""
        return self._rule.applies(content, browsers)

    def corrections(self, root: int) -> list[Notification]:
        """Return the corrections of an alert that are not sent: those that wait, and drafts."""
        asked = self._publishing.plan().of("waits", "sent back", "correction")
        drafts = [one for one in self._publishing.all(asked) if one.corrects == root]
        return [*self._corrections.waiting.of(root), *drafts]

    def waiting(self) -> int:
        """Return how many drafts wait for an editor who sends: handed in, or for a second one."""
        return len(self._publishing.plan().of("waits"))

    def hand_in(self, id: int, *, by: str) -> None:
        """Ask an editor who sends to decide about a draft; no effect on one that waits already."""
        one = self._publishing.to_change(id)
        if one.waits_for_approval:
            return
        if one.state is not State.DRAFT:
            raise Conflict(id, _NO_DRAFT)
        request = Request(by, now_in_ms(), handed_in=True)
        after = dataclasses.replace(one, request=request, authors=authors_of(by, one))
        entry = alert_log.entry(one, "handed in", by)
        if not self._store.notifications.change(one, after, now_in_ms(), entry):
            raise Conflict(id, _CHANGED)

    def approve(self, id: int, digest: str, *, by: str) -> None:
        """Send or schedule the alert in the version that this editor has seen (`digest`).

        `Conflict` if text or audience have changed since, or if this editor has written it.
        """
        one = self._waiting(id, digest, by)
        is_correction = one.corrects is not None
        send = self._corrections.approved if is_correction else self._publishing.approved
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

    def merge(self, topics: Topics, slug: str, into: str, *, by: str) -> int:
        """Let the followers of a topic follow another one, to which its slug then leads.

        Returns how many scheduled alerts wait for a second person since, because more browsers get
        them. `UnknownTopic`; a second call does no harm.
        """
        asked = self.before_merge(slug, into, by=by) if slug in topics.all() else 0
        topics.merge(slug, into)
        return asked + self.after_merge(into, by=by)

    def before_merge(self, slug: str, into: str, *, by: str) -> int:
        """Ask for a second person for each scheduled alert that needs one once topics are merged.

        Returns how many these are. It is done before the merge, so that no alert leaves in between
        and none is left out if this is cut off.
        """
        asked = 0
        for one in self._scheduled():
            asked += self._ask_again(one, {slug, into}, by)
        return asked

    def after_merge(self, into: str, *, by: str) -> int:
        """Ask for each alert that was scheduled while a merge into this topic was under way.

        `before_merge` may not have seen it, and its editor not how large its audience became. An
        alert that a second person has approved stays scheduled. A second call does no harm.
        """
        asked = 0
        for one in self._scheduled():
            if one.approved_by:
                continue
            audience = self._store.topics.current_audience(one.audience)
            if into in (*audience.topics, *audience.all_topics):
                many = self._rule.applies(one.content, self._publishing.reach(audience))
                asked += many and self._ask(one, by)
        return asked

    def _scheduled(self) -> list[Notification]:
        found = self._publishing.all(self._publishing.plan().scheduled)
        return [one for one in found if one.state is State.SCHEDULED and one.corrects is None]

    def _ask_again(self, one: Notification, merged: set[str], by: str) -> bool:
        """Make a draft that waits of a scheduled alert, if a merge makes its audience too large."""
        audience = self._store.topics.current_audience(one.audience)
        larger = _with_merged(audience, merged)
        if larger == audience:
            return False
        browsers = self._publishing.reach(larger)
        enlarged = browsers > self._publishing.reach(audience)
        if not enlarged or not self._rule.applies(one.content, browsers):
            return False
        if self._ask(one, by):
            return True
        now = self._store.notifications.get(one.id)  # changed meanwhile, begun or deleted
        if now is None or now.state is not State.SCHEDULED:
            return False
        return self._ask_again(now, merged, by)

    def _ask(self, one: Notification, by: str) -> bool:
        """Make a draft that waits of a scheduled alert; False if it was changed meanwhile."""
        after = dataclasses.replace(
            one,
            state=State.DRAFT,
            send_at=None if one.waits_for_undo else one.send_at,
            request=Request(by, now_in_ms()),
            approved_by="",
        )
        entry = alert_log.entry(one, "asked", by)
        return self._store.notifications.change(one, after, now_in_ms(), entry)

    def _waiting(self, id: int, digest: str, by: str) -> Notification:
        one = self._publishing.get(id)
        if not one.planned or not one.waits_for_approval or one.digest != digest:
            raise Conflict(id, _CHANGED)
        if by in one.authors or isinstance(by, ToolName):
            raise Conflict(id, _OWN)
        return one


def _with_merged(audience: Audience, merged: set[str]) -> Audience:
    """Return an audience that is at least as large as what a merge of these topics makes of it."""
    topics = audience.topics
    if not merged.isdisjoint(topics):
        topics = (*topics, *sorted(merged.difference(topics)))
    every = tuple(slug for slug in audience.all_topics if slug not in merged)
    return dataclasses.replace(audience, topics=topics, all_topics=every)
