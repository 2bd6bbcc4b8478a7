"""What there is already as much of as there may be."""

from __future__ import annotations


class TooMany(Exception):
    """There are as many of these as there may be; the message says so, and what to do."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__(f"There are {most} {what}, as many as there may be. Remove one first.")
