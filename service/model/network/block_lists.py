"""Names that ad blockers keep from loading.

EasyList's rules against notifications are patterns over whole addresses, so that a host's first
label counts as the name of a file does. These are their common part; docs/site.md says which names
to choose.
"""

from __future__ import annotations

import re

_BLOCKED = re.compile(
    r"/(push[-_]?notifications?|web-?push(-worker)?|push-sw|push-worker|push_(app|subscription)"
    r"|pushmessageworker|pushv2|one-?signal(sdkworker)?|notifyme)[./]"
    r"|[-_]push[-_](sw|notifications?)[./]",
    re.IGNORECASE,
)


def is_blocked(address: str) -> bool:
    """Whether the name of a host, folder or file is one that block lists know."""
    return _BLOCKED.search(f"{address}/") is not None
