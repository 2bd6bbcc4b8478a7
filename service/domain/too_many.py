"""The refusal of one more topic, feed, webhook or publish hook than may be stored."""

from __future__ import annotations


class TooMany(Exception):
    """As many are stored as may be; the message says so, and what to do."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__(f"There are {most} {what}, as many as there may be. Remove one first.")
