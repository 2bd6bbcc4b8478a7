"""Sizes and stretches of time as a shell shows them."""

from __future__ import annotations

GB = 1 << 30


def size(bytes: float) -> str:
    """Say an amount of memory."""
    return f"{bytes / GB:.1f} GB" if bytes >= GB else f"{bytes / (1 << 20):.0f} MB"


def lasting(seconds: float) -> str:
    """Say a stretch of time in its largest unit."""
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0, seconds):.0f} s"
