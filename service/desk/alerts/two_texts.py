"""Two texts of an alert at the desk: how they do in the sample, and choosing one by hand."""

from __future__ import annotations

from dataclasses import dataclass

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from service.current import runtime
from service.desk.blueprint import bp
from service.desk.permissions import allowed
from service.desk.session import signed_in
from service.desk.words import chance_words, difference_words
from service.model.notifications import Content, Notification
from service.model.roles import Role
from service.model.two_texts import (
    LEVEL,
    TEXTS,
    Decision,
    SecondText,
    Tried,
    better,
    sample_shares,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One text and what became of it in the sample."""

    text: str  # A or B
    content: Content
    tried: Tried


@dataclass(frozen=True, slots=True)
class Trial:
    """Two texts as the alert's page shows them."""

    rows: list[Row]
    going_on: bool  # only the sample gets the alert so far
    decides_at: float  # seconds since 1970
    decision: Decision | None
    leading: str  # the text that the clock would choose now
    difference: str  # in words; empty if there is nothing to compare
    chance: str
    beyond_chance: bool


@bp.post("/alerts/<int:id>/choose")
@allowed(Role.SENDS)
def choose(id: int) -> ResponseReturnValue:
    """Send one of two texts to all who are not in the sample."""
    text = request.form.get("text", "")
    if text not in TEXTS:
        raise BadRequest
    runtime().text_choice.choose(id, text, by=signed_in().email)
    return redirect(url_for("desk.alert", id=id), 303)


def trial_of(one: Notification) -> Trial | None:
    """Return both texts of an alert that is or was sent; None if it has one."""
    if one.second_text is None:
        return None
    tried = runtime().text_choice.tried(one)
    chance = runtime().text_choice.chance(tried)
    contents = (one.content, one.text_b)
    return Trial(
        rows=[Row(*row) for row in zip(TEXTS, contents, tried, strict=True)],
        going_on=one.sampling and not one.over,
        decides_at=one.decides_at,
        decision=one.decision,
        leading=better(tried),
        difference="" if chance is None else difference_words(tried),
        chance="" if chance is None else chance_words(chance),
        beyond_chance=chance is not None and chance <= LEVEL,
    )


def sample_sizes(second: SecondText | None, browsers: int) -> tuple[int, int] | None:
    """Return about how many of so many browsers get each text at first, and how many the rest."""
    if second is None:
        return None
    each = round(browsers * sample_shares(second.sample_percent))
    return each, browsers - 2 * each
