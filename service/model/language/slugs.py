"""Slugs of stories, made from their names."""

from __future__ import annotations

import re
import unicodedata

# Latin letters that Unicode does not take apart into a letter and an accent.
_WHOLE = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ı": "i"}
)
_MOST_READ = 1000  # characters; Python takes the square of their number if all are accents


def slug_of(name: str) -> str:
    """Return the slug of a name: “Fähre gesunken!” becomes `fahre-gesunken`.

    Letters lose their accents; what is no Latin letter and no digit separates words. Empty if
    nothing is left, as of a name in another script.
    """
    letters = unicodedata.normalize("NFKD", name[:_MOST_READ].casefold().translate(_WHOLE))
    plain = "".join(one for one in letters if not unicodedata.combining(one))
    return "-".join(re.findall(r"[a-z0-9]+", re.sub(r"['’]", "", plain)))
