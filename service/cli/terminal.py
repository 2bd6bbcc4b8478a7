"""Sizes as a shell shows them."""

from __future__ import annotations

GB = 1 << 30


def size(bytes: float) -> str:
    """Say an amount of memory."""
    return f"{bytes / GB:.1f} GB" if bytes >= GB else f"{bytes / (1 << 20):.0f} MB"


def printable(text: str) -> str:
    """Return text from elsewhere without what moves a terminal's cursor, colours it or hides."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
