"""Cutting, counting and comparing texts as readers see them: by graphemes and words.

A grapheme is what a reader takes for one character. A flag, a family or a letter with its accents
has several code points, and half of one is another character or none (UAX 29).
"""

from __future__ import annotations

import regex


def cut(text: str, most: int) -> str:
    """Return `text` with at most so many characters, the last of them "…" if it was cut."""
    if len(text) <= most:
        return text
    end = 0
    for found in regex.finditer(r"\X", text):
        if found.end() > most - 1:
            break
        end = found.end()
    # A single grapheme may be longer than all the room: a letter with hundreds of accents.
    return f"{text[: end or most - 1].rstrip()}…"


def length(text: str) -> int:
    """Return how many characters a reader sees in a text."""
    return len(regex.findall(r"\X", text))


def words_of(text: str) -> frozenset[str]:
    """Return the words of a text in any case, without what stands between them."""
    return frozenset(regex.findall(r"[\p{L}\p{M}\p{N}]+", text.casefold()))
