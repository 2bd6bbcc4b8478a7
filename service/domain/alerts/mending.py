"""What an editor does when something is wrong with an alert that readers have, or are getting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from service.domain.alerts.corrections import Corrections
from service.domain.alerts.publishing import Conflict, Publishing
from service.domain.alerts.requests import Idempotency, Published
from service.domain.alerts.waiting_corrections import Undo
from service.model.notifications import Notification, State

_NOBODY_YET = (
    "No push service has accepted this alert yet, so there is nothing to replace, and nothing was"
    " stopped. Cancel the alert instead."
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An alert with which something is wrong, and how many browsers that concerns."""

    root: Notification  # the alert itself, where another text of it is wrong too
    running: list[Notification]  # the alert and its corrections, as far as they are being sent
    not_sent: int  # browsers that do not have it yet, and get it unless it is stopped
    held: int  # browsers that get it when their quiet hours end
    reached: int  # browsers that have it
    old_text: int  # those of them that wait for the correction

    @property
    def paused(self) -> bool:
        """Whether nothing of it leaves, although it is not over."""
        return bool(self.running) and all(one.state is State.PAUSED for one in self.running)

    @property
    def leaves_by_wave(self) -> bool:
        """Whether browsers get it when their quiet hours end, while nothing is decided."""
        return self.held > 0 and self.root.state is not State.PAUSED

    @property
    def open(self) -> bool:
        """Whether other browsers would yet get the alert itself."""
        return self.held > 0 or any(one.id == self.root.id for one in self.running)

    @property
    def stage(self) -> str:
        """A text that changes when more than the numbers has changed."""
        states = (f"{one.id}{one.state.value}" for one in self.running)
        return f"{self.root.state.value}.{self.root.revision}.{'.'.join(states)}"


class Mending:
    """Pauses an alert with its corrections, goes on with them, or takes the alert back."""

    def __init__(self, publishing: Publishing, corrections: Corrections) -> None:
        self._publishing = publishing
        self._corrections = corrections

    def trouble(self, id: int) -> Trouble:
        """Return what there is to decide about an alert; `Conflict` for one without corrections."""
        root = self._corrections.root(id)
        running = self._running(root)
        undone = {one.id: self._undone(one) for one in running}
        return Trouble(
            root=root,
            running=running,
            not_sent=undone.pop(root.id, 0),
            held=self._publishing.held(root).waiting,
            reached=self._corrections.reached(root),
            old_text=sum(undone.values()),
        )

    def halt(self, id: int, *, by: str) -> Trouble:
        """Pause an alert and its corrections, so that nothing leaves while an editor thinks."""
        root = self._corrections.root(id)
        stay: set[int] = set()  # what only a correction had paused, and an editor pauses now
        for waiting in self._corrections.waiting.of(root.id):
            if self._corrections.waiting.put_back(waiting, "taken back", by, goes_on=False):
                stay.update(waiting.mends.paused if waiting.mends else ())
        for one in self._running(self._corrections.root(id)):
            with suppress(Conflict):  # paused already, or over since
                self._publishing.pause(one.id, by=by, anew=one.id in stay)
        return self.trouble(id)

    def go_on(self, id: int, *, by: str) -> None:
        """Resume what is paused of an alert and its corrections."""
        for one in self._running(self._corrections.root(id)):
            if one.state is State.PAUSED:
                with suppress(Conflict):
                    self._publishing.resume(one.id, by=by)

    def retract(
        self,
        id: int,
        *,
        title: str | None,
        body: str | None,
        url: str | None,
        by: str,
        idempotency: Idempotency,
        check: Callable[[Notification], tuple[tuple[str, str], ...]],
        undo_seconds: float = 0.0,
        draft: Notification | None = None,
    ) -> Published:
        """Stop an alert and put this text in its place, without its picture and buttons.

        `Conflict` if nobody has it; then it is not stopped either. See `Corrections.correct`.
        Stopping needs no second person, even where the text does. While it can be taken back, the
        alert is only paused.
        """
        if (before := self._publishing.responses.earlier(idempotency)) is not None:
            return before
        root = self._corrections.root(id)
        check(root)  # before anything is stopped
        stops = not root.over or self._publishing.held(root).waiting > 0
        if stops and not self._corrections.reached(root):
            raise Conflict(root.id, _NOBODY_YET)
        undo = Undo(undo_seconds, State.CANCELLED) if undo_seconds else None
        if stops and undo is None:
            self._stop(root, by)
        published = self._corrections.correct(
            root.id,
            title=title,
            body=body,
            url=url,
            replace=True,
            by=by,
            idempotency=idempotency,
            check=check,
            bare=True,
            undo=undo,
            draft=draft,
        )
        if stops and published.state is State.DRAFT:  # its text waits for a second person
            self._stop(root, by)
        return published

    def _stop(self, root: Notification, by: str) -> None:
        with suppress(Conflict):  # it ended meanwhile
            self._publishing.cancel(root.id, by=by)

    def _running(self, root: Notification) -> list[Notification]:
        family = [root, *self._publishing.all(root.corrections)]
        return [one for one in family if one.state in (State.SENDING, State.PAUSED)]

    def _undone(self, one: Notification) -> int:
        progress = self._publishing.progress(one.id)
        # It may have been paused before its audience was frozen.
        waits_to_begin = not progress.recipients and one.corrects is None
        recipients = self._publishing.reach(one.audience) if waits_to_begin else progress.recipients
        return recipients - progress.done
