"""Amounts of memory in words."""

from __future__ import annotations

GB = 1 << 30


def size(bytes: float) -> str:
    """Say an amount of memory."""
    return f"{bytes / GB:.1f} GB" if bytes >= GB else f"{bytes / (1 << 20):.0f} MB"
