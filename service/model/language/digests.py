"""The text of a digest: an alert about the alerts since the last one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from service.model.language.graphemes import cut
from service.model.language.languages import LANGUAGES, texts
from service.model.notifications import Content, Notification, State

LONGEST_TITLE, LONGEST_BODY = 200, 1000  # characters of an alert
_PLACE = re.compile(r"\{(count|titles)\}")  # what is replaced in the title and the text
# What takes the place of an alert that an editor retracts.
_IN_ERROR = frozenset(texts(language)["alerts"]["in_error"] for language in LANGUAGES)
_SHORTEST = 40  # characters that are left of a text which is too long to be pushed


def belongs(one: Notification, topics: frozenset[str], audience: frozenset[str]) -> bool:
    """Whether a digest of these topics (empty: of all) has this alert.

    `audience` are the topics that the alert has now. A digest has no other digest, and no alert
    that an editor has paused, cancelled or retracted.
    """
    if one.corrects is not None or one.wave or one.to_one or one.withheld:
        return False
    if one.text.title in _IN_ERROR:
        return False
    if one.repeat is not None and one.repeat.digest is not None:
        return False
    is_sent = one.state in (State.SENDING, State.SENT)
    return is_sent and (not topics or not topics.isdisjoint(audience))


def filled(
    content: Content,
    alerts: Sequence[Notification],
    most: int,
    fits: Callable[[Content], bool] = lambda _content: True,
) -> Content:
    """Return the content with the present titles of alerts, the newest first.

    `{count}` becomes the number of all, `{titles}` the titles of the first `most` ones; without a
    text these are the text. What other editors wrote is put in as it is. The text is cut until it
    `fits`. With a single alert the link leads to its story.
    """
    titles = [one.text.title for one in alerts[:most]]

    def written(text: str, between: str) -> str:
        values = {"count": str(len(alerts)), "titles": between.join(titles)}
        return _PLACE.sub(lambda found: values[found[1]], text)

    made = replace(
        content,
        title=cut(written(content.title, " · "), LONGEST_TITLE),
        body=cut(written(content.body or "{titles}", "\n"), LONGEST_BODY),
        url=alerts[0].text.url if len(alerts) == 1 else content.url,
    )
    while not fits(made) and len(made.body) > _SHORTEST:
        made = replace(made, body=cut(made.body, max(_SHORTEST, len(made.body) * 9 // 10)))
    return made
