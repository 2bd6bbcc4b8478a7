"""Files of readers that move in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.support.client import browser

Import = Callable[..., dict[str, int]]


def reader(number: int) -> tuple[str, str, str]:
    """Return endpoint, p256dh and auth."""
    made = browser(number)
    return made["endpoint"], made["keys"]["p256dh"], made["keys"]["auth"]


def table(rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)
