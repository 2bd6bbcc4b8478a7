"""Which new passwords are refused: too short, too long, or too easy to guess."""

from __future__ import annotations

import re
from collections.abc import Iterable

SHORTEST_PASSWORD = 12  # characters; NIST SP 800-63B asks for 8 and advises against other rules
LONGEST_PASSWORD = 200
_LEAST_GUESSES = 1e10  # that a password takes, as zxcvbn estimates; three words take 1e11
_LEAST_OF_OWN = 4  # letters of a password beside words of this installation
_ZXCVBN_READS = 72  # characters; it refuses longer texts, on which it would take seconds
# Phrases that zxcvbn takes for some words like others, without spaces and signs.
_FAMOUS = (
    *("correcthorsebatterystaple", "thequickbrownfox", "tobeornottobe", "maytheforcebewithyou"),
    *("threewordsdowell", "threewordsworkwell", "stopthepresses"),
)


def why_refused(password: str, own: Iterable[str]) -> str:
    """Return in a sentence why a new password is refused; empty if it is not.

    `own` are words of this installation and of the editor.
    """
    if len(password) < SHORTEST_PASSWORD:
        return f"Use at least {SHORTEST_PASSWORD} characters."
    if len(password) > LONGEST_PASSWORD:
        return f"Use at most {LONGEST_PASSWORD} characters."
    return "That password is too easy to guess." if _is_easy(password, own) else ""


def _is_easy(password: str, own: Iterable[str]) -> bool:
    """Whether a password is common, a pattern, or made of words of this installation (`own`)."""
    from zxcvbn import zxcvbn  # its lists of words take 10 MB, which only a new password needs

    letters = re.sub(r"[\W\d_]", "", password.lower())
    words = [word for text in own for word in (text, *re.split(r"\W+", text)) if word]
    rest = letters
    for word in words:
        rest = rest.replace(word, "")
    if letters.startswith(_FAMOUS) or (rest != letters and len(rest) < _LEAST_OF_OWN):
        return True
    estimate = zxcvbn(password[:_ZXCVBN_READS], user_inputs=[*words, "stop press", "stoppress"])
    return bool(estimate["guesses"] < _LEAST_GUESSES)
