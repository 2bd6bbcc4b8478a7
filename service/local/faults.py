"""What a process says of an error that nobody foresaw: one line, without what it worked on."""

from __future__ import annotations

import traceback


def unexpected(error: BaseException) -> str:
    """Name the error and its place; its message may repeat a key, an endpoint or a password."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if "/service/" in one.filename or "/workers/" in one.filename]
    where = (ours or frames)[-1]
    return (
        f"unexpected {type(error).__name__} at {where.filename}:{where.lineno}."
        " This is a fault of Stop Press: please report this line."
    )
