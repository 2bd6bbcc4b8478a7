"""What was done with an alert: an entry of its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from service.model.notifications import Content, Notification, State

# What is shown with its old and its new text; of anything else only that it was changed.
_TEXTS = ("title", "body", "url")
# An entry's id, as Redis gives it and takes it back.
ENTRY_ID = "[1-9][0-9]{0,14}-[0-9]{1,15}"
# The number in entries about all alerts.
ALL = 0
# How a new alert begins, and what a change makes of a planned one.
_BEGUN = {State.DRAFT: "written", State.SCHEDULED: "scheduled", State.SENDING: "sent"}
ACTIONS = (
    *("written", "scheduled", "sent", "taken back", "changed", "deleted"),
    *("started", "missed", "outdated", "paused", "resumed", "corrected", "cancelled"),
    *("stopped", "released", "asked", "approved", "sent back", "chosen", "skipped"),
    *("overtaken", "handed in", "imported", "refused"),
)


COMMAND_LINE = "the command line of "  # begins the name of who works from a shell


class ToolName(str):
    """The name of an API token, where the address of an editor may stand as well."""

    made_by: str = ""  # the editor who made the token; empty: the operator

    @classmethod
    def of(cls, name: str, made_by: str) -> ToolName:
        """Return the name of a token, and who made it."""
        tool = cls(name)
        tool.made_by = made_by
        return tool


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One action; the store adds when it was, by Redis' time."""

    alert: int  # or `ALL`
    title: str  # of the alert then
    action: str  # one of `ACTIONS`
    by: str = ""  # an editor's address, or the name of a token; empty: the clock
    tool: bool = False  # whether it is a token's
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # old and new, by field
    others: tuple[str, ...] = ()  # names of other fields that changed
    at: float = 0.0  # seconds since 1970
    id: str = ""  # of the entry, as Redis orders them


def entry(one: Notification, action: str, by: str = "") -> LogEntry:
    """Return an entry for what is done with an alert."""
    return LogEntry(one.id, one.text.title, action, by, isinstance(by, ToolName))


def moved(one: Notification, action: str, by: str) -> LogEntry:
    """Return the entry for an alert that is paused, resumed or cancelled.

    The entry of a correction is in the log of the alert that it corrects, whose page shows it.
    """
    return replace(entry(one, action, by), alert=one.corrects or one.id)


def chosen(one: Notification, text: str, by: str) -> LogEntry:
    """Return the entry for one of two texts (A or B) that all other readers get."""
    return replace(entry(one, "chosen", by), others=(f"text {text}",))


def sent_back(one: Notification, word: str, by: str) -> LogEntry:
    """Return the entry for an alert that a second person did not approve."""
    return replace(entry(one, "sent back", by), others=(word,))


def about_all(action: str, by: str) -> LogEntry:
    """Return an entry for what is done with all alerts at once."""
    return LogEntry(ALL, "All alerts", action, by, isinstance(by, ToolName))


def imported(readers: int, known: int, by: str) -> LogEntry:
    """Return the entry for an import; `known` readers of the file were here already."""
    title = "1 reader" if readers == 1 else f"{readers:,} readers"
    others = (f"{known:,} {'was' if known == 1 else 'were'} here already",) if known else ()
    return LogEntry(ALL, title, "imported", by, isinstance(by, ToolName), others=others)


def refused(by: str) -> LogEntry:
    """Return an entry for sign-ins that were refused, in the name of an editor."""
    return LogEntry(ALL, "Sign-in", "refused", by)


def begun(one: Notification, by: str) -> LogEntry:
    """Return the entry for a new alert."""
    return entry(one, _begins(one), by)


def changed(before: Notification, after: Notification, by: str) -> LogEntry:
    """Return the entry for a planned alert that is changed, and perhaps sent by that."""
    action = _begins(after)
    if action in (_begins(before), _BEGUN[State.DRAFT]) and action != "asked":
        action = "changed"
    texts, others = _differences(before.content, after.content)
    parts = {
        "audience": after.audience != before.audience,
        "spread": after.spread_minutes != before.spread_minutes,
        "second text": after.second_text != before.second_text,
        "time": action != "sent" and after.send_at != before.send_at,
        "repetition": _rule(after) != _rule(before),
    }
    others += [name for name, differs in parts.items() if differs]
    return replace(entry(after, action, by), texts=texts, others=tuple(others))


def _rule(one: Notification) -> tuple[object, ...]:
    """Return what an editor chose of how an alert repeats."""
    return one.repeat.rule if one.repeat else ()


def _begins(one: Notification) -> str:
    """Return the action that has brought an alert, planned or just sent, into its state."""
    if one.waits_for_approval:
        return "asked"
    return "sent" if one.waits_for_undo else _BEGUN.get(one.state, "cancelled")


def corrected(root: Notification, text: Content, by: str) -> LogEntry:
    """Return the entry for an alert that gets another text."""
    texts, others = _differences(root.text, text)
    one = entry(root, "corrected", by)
    return replace(one, title=text.title, texts=texts, others=tuple(others))


def _differences(before: Content, after: Content) -> tuple[dict[str, tuple[str, str]], list[str]]:
    texts, others = {}, []
    for one in fields(Content):
        old, new = getattr(before, one.name), getattr(after, one.name)
        if old != new and one.name in _TEXTS:
            texts[one.name] = (old, new)
        elif old != new:
            others.append(one.name)
    return texts, others
