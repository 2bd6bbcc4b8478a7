"""The document that reaches the browser: a Declarative Web Push message with a receipt token.

Safari 18.4 shows it without a service worker. In other browsers our worker reads the same document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from service.model.language.graphemes import cut
from service.model.language.languages import right_to_left, supported_language, texts
from service.model.language.links import NO_PARAMETERS, LinkParameters
from service.model.notifications import Content, Notification

# Fields of `Content` that have the same name in the document.
_AS_IT_IS = ("lang", "icon", "badge", "image")
_RECEIPT = '"receipt":""'
_RECEIPT_LENGTH = 22
_NO_RECEIPT = '"receipt":null'
# Bytes of a document from which on some browsers do not take it. Firefox on Android takes messages
# of 2,744 bytes (autopush's bridge to it), which are 103 bytes longer than the document.
LARGE = 2600
_SMALL = 1900  # bytes of the document that they get instead; UC Browser takes messages of 2,048


class Payload:
    """The document of one notification; only the receipt differs between its recipients."""

    def __init__(
        self,
        notification: Notification,
        public_url: str,
        parameters: LinkParameters = NO_PARAMETERS,
    ) -> None:
        self._notification, self._public_url = notification, public_url
        self._parameters = parameters
        links = parameters.or_own(notification.link_parameters)
        self._small: Payload | None = None
        content = notification.text
        id = notification.corrects or notification.id
        shown: dict[str, Any] = {
            "title": content.title,
            "body": content.body,
            "navigate": links.added_to(content.url, id),
            "dir": "rtl" if content.lang and right_to_left(content.lang) else "auto",
            # A correction replaces the alert that it corrects; a story's alert the one before.
            "tag": f"stop-press-{id}",
            "timestamp": int((notification.started_at or notification.created_at) * 1000),
        }
        if notification.story:
            shown["tag"] = f"stop-press-story-{notification.story}"
            if notification.corrects is None:
                shown["renotify"] = True
        shown |= {name: value for name in _AS_IT_IS if (value := getattr(content, name))}
        if content.actions:
            shown["actions"] = [
                {
                    "action": str(number),
                    "title": action.title,
                    "navigate": links.added_to(action.url, id),
                }
                for number, action in enumerate(content.actions)
            ]
        shown["data"] = {"api": public_url, "receipt": ""}
        if notification.story:
            shown["data"]["story"] = notification.story
        if notification.reporting < 1:
            shown["data"]["report"] = notification.reporting
        document = {"web_push": 8030, "notification": shown}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        # Quotes in texts are escaped, so that no text contains this.
        before, _, after = text.partition(_RECEIPT)
        self._before = (before + _RECEIPT[:-1]).encode()
        self._after = ('"' + after).encode()
        self._bare = (before + _NO_RECEIPT + after).encode()

    def carrying(self, receipt: str | None) -> bytes:
        """Return the document for one recipient; None: without a receipt, nothing is counted."""
        if receipt is None:
            return self._bare
        return self._before + receipt.encode() + self._after

    @property
    def size(self) -> int:
        """Bytes of the document with its receipt."""
        return len(self._before) + _RECEIPT_LENGTH + len(self._after)

    def small(self) -> Payload:
        """Return a document for browsers that take no large one.

        It has no picture and no buttons, and a shorter text if it would still be too long.
        """
        if self._small is None:
            one = self._with(replace(self._notification.text, image=None, actions=()))
            if one.size > _SMALL:
                one = one._with(replace(one._notification.text, icon=None, badge=None))
            body, title = self._notification.text.body, self._notification.text.title
            one = one._shorter(lambda c, n: replace(c, body=shortened(body, n)), len(body))
            one = one._shorter(lambda c, n: replace(c, title=shortened(title, n)), len(title))
            self._small = one
        return self._small

    def _with(self, content: Content) -> Payload:
        one = replace(self._notification, content=content, corrected=None, decision=None)
        return Payload(one, self._public_url, self._parameters)

    def _shorter(self, cut: Callable[[Content, int], Content], most: int) -> Payload:
        """Cut a text of `most` characters, as far as necessary."""
        content, one = self._notification.text, self
        while one.size > _SMALL and most > _SHORTEST:
            # No character takes more than six bytes, so this never cuts off too much at once.
            most = max(_SHORTEST, most - max(1, (one.size - _SMALL) // 6))
            one = self._with(cut(content, most))
        return one


_SHORTEST = 40  # characters that are left of a text
_LONG_WORD = 40  # characters; a text is cut within such a word


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, cut between two words if there are any."""
    if len(text) <= most:
        return text
    shorter = cut(text, most)
    before, _, after = shorter.rpartition(" ")
    return f"{before.rstrip()}…" if before and len(after) < _LONG_WORD else shorter


_LINES = 5  # titles at most
_LINE = 120  # characters of each


def combined(
    wave: Notification,
    alerts: Sequence[Notification],
    language: str,
    public_url: str,
    parameters: LinkParameters = NO_PARAMETERS,
) -> Payload:
    """Return one document for all alerts that were held for a reader, the oldest first."""
    if len(alerts) == 1:
        return Payload(alerts[0], public_url, parameters)
    titles = [alert.text.title for alert in reversed(alerts)]
    lines = [cut(title, _LINE) for title in titles]
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = [f"+ {len(lines) - _LINES + 1}"]
    latest = alerts[-1]
    parts = urlsplit(latest.text.url)
    front_page = f"{parts.scheme}://{parts.netloc}/"
    content = replace(
        wave.content,
        title=texts(supported_language(language))["alerts"]["slept"],
        body="\n".join(lines),
        # With the latest alert's id, because a wave is in no list.
        url=parameters.added_to(front_page, latest.corrects or latest.id),
        lang=latest.text.lang,
    )
    return Payload(replace(wave, content=content), public_url)
