"""Texts of alerts as readers see them: one way to write each, and what to warn a caller of.

Alerts come from other programs. What no screen shows (control characters, invisible ones) becomes
a space, a line end or nothing, because refusing it would stop a breaking alert for a character that
its writer cannot see.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from service.model.language.graphemes import cut

# Each of them ends a line somewhere (UAX 14).
_LINE_ENDS = "\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"
# Only from the first of several spaces: else a long row of them takes the square of its length.
_IN_A_LINE = re.compile(rf"(?<! ) *[\t{_LINE_ENDS}][ \t{_LINE_ENDS}]*")
# Invisible characters that no language needs: soft hyphen, Mongolian vowel separator, zero width
# space, bidirectional embeddings and overrides, word joiner, invisible operators, deprecated
# format characters, Hangul fillers, byte order mark, annotations, replaced objects, tags, and what
# is no character. Joiners (emoji, Persian, Hindi), direction marks and isolates (Arabic, Hebrew)
# stay.
_INVISIBLE = (
    "\u00ad\u180e\u200b\u202a-\u202e\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffc"
    "\U000e0000-\U000e007f\ufdd0-\ufdef\ufffe\uffff"
)
# Tags make flags, such as that of Scotland.
_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
_DROPPED = re.compile(rf"(?P<flag>{_FLAG})|[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f{_INVISIBLE}]")
_BLANK = "\u115f\u1160\u2800"  # letters and symbols that look like nothing
# A visible character, nearly, as a regular expression of ECMA-262, for the API's description.
VISIBLE_PATTERN = (
    r"[^\s\u0000-\u001f\u007f-\u009f\u00ad\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffc]"
)
_ENTITY = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});|&(?:amp|lt|gt|quot|nbsp)\b"
)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]*(?:\s[^<>]*)?/?>|<!--|<!\[CDATA\[")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[nrt](?![A-Za-z]))")
_MOST_COMPOSED = 4000  # characters; no text of ours has as many, also in pieces
_MOST_NAMED = 5  # characters in one warning
_LONGEST_QUOTE = 60


class CheckedText(NamedTuple):
    """A text as readers will see it, and what its writer should know."""

    text: str
    warnings: tuple[str, ...] = ()  # sentences


def one_line(given: str) -> CheckedText:
    """Return a text of one line."""
    kept = composed(_IN_A_LINE.sub(" ", _DROPPED.sub(_flag, given)).strip())
    return CheckedText(kept, (*_unseen(given, f"\t{_LINE_ENDS}"), *_markup(kept)))


def several_lines(given: str) -> CheckedText:
    """Return a text that may have line ends, each written as one character."""
    given = given.replace("\r\n", "\n")
    seen = _DROPPED.sub(_flag, given.replace("\t", " "))
    kept = composed(re.sub(f"[{_LINE_ENDS}]", "\n", seen).strip())
    return CheckedText(kept, (*_unseen(given, f"\t{_LINE_ENDS[1:]}"), *_markup(kept)))


def has_invisible(text: str) -> bool:
    """Whether a text has characters that no reader sees, such as a zero width space."""
    return one_line(text).text != composed(text)


def composed(text: str) -> str:
    """Return a text with each letter and its accents in one piece, where Unicode has one (NFC).

    It looks the same and is shorter. macOS and some editors write the pieces. The end of a text
    that is too long for us stays as it is: for accents in a wrong order Python takes the square of
    their number.
    """
    return unicodedata.normalize("NFC", text[:_MOST_COMPOSED]) + text[_MOST_COMPOSED:]


def is_visible(text: str) -> bool:
    """Whether a reader sees anything of a text."""
    return any(unicodedata.category(c)[0] not in "ZM" and not _is_blank(c) for c in text)


def _is_blank(character: str) -> bool:
    # Not all of category C: the emoji of next year are unassigned (Cn) to this Python.
    return character in _BLANK or unicodedata.category(character) in ("Cc", "Cf")


def _flag(found: re.Match[str]) -> str:
    return found["flag"] or ""


def _unseen(given: str, spaces: str) -> Iterator[str]:
    dropped = {found[0] for found in _DROPPED.finditer(given) if not found["flag"]}
    if odd := dropped | {*given} & {*spaces}:
        names = [f"U+{ord(c):04X}" for c in sorted(odd)]
        named = ", ".join(names[:_MOST_NAMED]) + (" and others" if names[_MOST_NAMED:] else "")
        yield f"Characters that no reader sees were left out, or became a space: {named}."


def _markup(text: str) -> Iterator[str]:
    """Warn of HTML, entities and escapes, which readers would see as they are typed."""
    entities = (found for found in _ENTITY.finditer(text) if html.unescape(found[0]) != found[0])
    for found in (next(entities, None), _TAG.search(text), _ESCAPE.search(text)):
        if found is not None:
            shown = cut(found[0], _LONGEST_QUOTE)
            yield f"Readers will see “{shown}” as it is, because alerts are plain text."
    if "\ufffd" in text:
        yield "Contains U+FFFD: a character was lost before the text came here (wrong encoding)."
