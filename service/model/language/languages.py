"""Languages: their tags (BCP 47), their direction, and all that readers are shown in them.

Each language that we speak to readers is one file, `web/reader/languages/<language>.json`. Its
sections are what the panel, the story bell, the links in alerts and the Home Screen help say, our
own alerts, and the page `/privacy`.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError

_FOLDER = Path(__file__).resolve().parents[3] / "web" / "reader" / "languages"

LANGUAGES = tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def texts(language: str) -> dict[str, Any]:
    """Return the texts in one of LANGUAGES, by section."""
    found = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return dict(found)


def supported_language(locale: str) -> str:
    """Return which of LANGUAGES fits a reader's locale, English if none does."""
    language = locale.partition("-")[0]
    return language if language in LANGUAGES else "en"


@lru_cache(maxsize=1024)
def language_tag(text: str) -> str:
    """Return a language tag in its usual spelling (RFC 5646 section 2.1.1), `en-GB`; ValueError."""
    if len(text) > 35 or not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", text):
        raise ValueError("must be a language tag such as en or en-GB")
    subtags = text.lower().split("-")
    for at, subtag in enumerate(subtags[1:], 1):
        if len(subtag) == 1:
            break
        subtags[at] = {2: subtag.upper(), 4: subtag.title()}.get(len(subtag), subtag)
    return "-".join(subtags)


def browser_language(text: str) -> str:
    """Return the language that a browser means, as far as it is a language tag; else empty.

    Browsers give what their system calls its language: `en-US@posix`, `zh_CN.UTF-8`, or a whole
    `en-US,en;q=0.5`.
    """
    return _first_language(text.strip()[:100])


@lru_cache(maxsize=1024)
def _first_language(text: str) -> str:
    tag = re.split(r"[,;@.\s]", text)[0].replace("_", "-")
    # The longest beginning that is a tag.
    found = re.match(r"[A-Za-z]{2,3}(?![A-Za-z0-9])(-[A-Za-z0-9]{1,8}(?![A-Za-z0-9]))*", tag)
    return language_tag(found[0][:35].rstrip("-")) if found else ""


@lru_cache(maxsize=1024)
def right_to_left(tag: str) -> bool:
    """Whether a language is written from right to left; if the tag names a script, the script."""
    language, script, *_ = [*tag.split("-"), ""]
    try:
        named = f"und_{script}" if len(script) == 4 and script.isalpha() else language
        return Locale.parse(named).text_direction == "rtl"
    except UnknownLocaleError:
        return False
