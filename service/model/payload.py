"""The document that reaches the browser: a Declarative Web Push message with a receipt token.

Safari 18.4 shows it without a service worker. In other browsers our worker reads the same document.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from service.model.graphemes import cut
from service.model.languages import right_to_left, supported_language, texts
from service.model.notifications import Notification

_AS_IT_IS = ("lang", "icon", "image")  # fields of `Content` with the same name in the document
_RECEIPT = '"receipt":""'
_RECEIPT_LENGTH = 22
_NO_RECEIPT = '"receipt":null'


class Payload:
    """The document of one notification; only the receipt differs between its recipients."""

    def __init__(self, notification: Notification, public_url: str) -> None:
        content = notification.text
        shown: dict[str, Any] = {
            "title": content.title,
            "body": content.body,
            "navigate": content.url,
            "dir": "rtl" if content.lang and right_to_left(content.lang) else "auto",
            # A correction replaces the alert that it corrects; a story's alert the one before.
            "tag": f"stop-press-{notification.corrects or notification.id}",
            "timestamp": int((notification.started_at or notification.created_at) * 1000),
        }
        if notification.story:
            shown["tag"] = f"stop-press-story-{notification.story}"
            if notification.corrects is None:
                shown["renotify"] = True
        shown |= {name: value for name in _AS_IT_IS if (value := getattr(content, name))}
        if content.actions:
            shown["actions"] = [
                {"action": str(number), "title": action.title, "navigate": action.url}
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


_LINES = 5  # titles at most
_LINE = 120  # characters of each


def combined(
    wave: Notification, alerts: Sequence[Notification], language: str, public_url: str
) -> Payload:
    """Return one document for all alerts that were held for a reader, the oldest first."""
    if len(alerts) == 1:
        return Payload(alerts[0], public_url)
    titles = [alert.text.title for alert in reversed(alerts)]
    lines = [cut(title, _LINE) for title in titles]
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = [f"+ {len(lines) - _LINES + 1}"]
    parts = urlsplit(alerts[-1].text.url)
    content = replace(
        wave.content,
        title=texts(supported_language(language))["alerts"]["slept"],
        body="\n".join(lines),
        url=f"{parts.scheme}://{parts.netloc}/",  # the front page
        lang=alerts[-1].text.lang,
    )
    return Payload(replace(wave, content=content), public_url)
