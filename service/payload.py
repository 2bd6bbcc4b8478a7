"""The document that reaches the browser: a Declarative Web Push message with a receipt token.

Safari 18.4 shows it without a service worker; elsewhere ours unpacks the same document.
"""

from __future__ import annotations

import json
from typing import Any

from service.models import Notification

_RECEIPT = '"receipt":""'
_RECEIPT_LENGTH = 22


class Payload:
    """The document of one notification; only the receipt differs between its recipients."""

    def __init__(self, notification: Notification, public_url: str) -> None:
        content = notification.text
        shown: dict[str, Any] = {
            "title": content.title,
            "body": content.body,
            "navigate": content.url,
            "dir": "auto",
            # A correction replaces what it corrects, an alert of a story the one before.
            "tag": f"stop-press-{notification.corrects or notification.id}",
            "timestamp": int(notification.created_at * 1000),
        }
        if notification.story:
            shown["tag"] = f"stop-press-story-{notification.story}"
            if notification.corrects is None:
                shown["renotify"] = True
        if content.icon:
            shown["icon"] = content.icon
        if content.image:
            shown["image"] = content.image
        if content.actions:
            shown["actions"] = [
                {"action": str(number), "title": action.title, "navigate": action.url}
                for number, action in enumerate(content.actions)
            ]
        shown["data"] = {"api": public_url, "receipt": ""}
        if notification.story:
            shown["data"]["story"] = notification.story
        document = {"web_push": 8030, "notification": shown}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        # Quotes within texts are escaped, so this cannot be found in one.
        before, _, after = text.partition(_RECEIPT)
        self._before = (before + _RECEIPT[:-1]).encode()
        self._after = ('"' + after).encode()

    def carrying(self, receipt: str) -> bytes:
        """Return the document for one recipient."""
        return self._before + receipt.encode() + self._after

    @property
    def size(self) -> int:
        """Bytes of the document, receipt included."""
        return len(self._before) + _RECEIPT_LENGTH + len(self._after)
