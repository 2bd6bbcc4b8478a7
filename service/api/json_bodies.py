"""Reads JSON bodies, and says what is wrong with one that is no JSON or says two things at once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from service.api.problems import Problem
from service.model.language.graphemes import cut

_HALF = re.compile("[\ud800-\udfff]")
_LONGEST_NAME = 60  # characters of a field's name in a message


def read_json(body: bytes) -> Any:
    """Return a JSON document; a `Problem` with 400 says what is wrong.

    RFC 8259 leaves open what two fields of the same name mean, and what half a character is
    (sections 4 and 8.2). Readers of one alert must not be shown one or the other by chance.
    """
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise _problem("It begins with a byte order mark; send UTF-8 without one")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _problem(f"It is not UTF-8, from byte {error.start} on") from None
    if not text.strip():
        raise _problem("It is empty")
    try:
        document = _DECODER.decode(text)
        half = _half(document, "") if "\\u" in text else None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _problem(f"{error.msg.partition(':')[0]} ({where})") from None
    except RecursionError:
        raise _problem("It is nested too deeply") from None
    except ValueError:  # more digits than Python reads
        raise _problem("It has a number that is too long") from None
    if half is not None:
        raise Problem(
            400,
            f"{cut(half, _LONGEST_NAME) or 'The body'} has half a character (a lone surrogate, such"
            " as \\ud83d): a text was cut within an emoji. Nothing was done.",
        )
    return document


def _problem(why: str) -> Problem:
    return Problem(400, f"The body is not JSON. {why}.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        named = _HALF.sub("\ufffd", cut(twice, _LONGEST_NAME)) or '""'
        raise Problem(400, f"The body has {named} twice. Nothing was done; send it once.")
    return fields


# Made once: to make one takes as long as to read a reader's body.
_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def one_spelling(body: bytes) -> bytes:
    """Return a JSON document with its fields in one order; a body that is no JSON unchanged.

    Some programs write the same fields in another order when they repeat a call.
    """
    try:
        return json.dumps(_DECODER.decode(body.decode()), sort_keys=True).encode()
    except (ValueError, RecursionError, Problem):
        return body


def _half(value: Any, path: str) -> str | None:
    """Return the path of a text with half a character, if there is one."""
    if isinstance(value, str):
        return path if _HALF.search(value) else None
    if isinstance(value, dict):
        if any(map(_HALF.search, value)):
            return path
        children: Iterable[tuple[object, Any]] = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        return None
    found = (_half(one, f"{path}.{name}".lstrip(".")) for name, one in children)
    return next((one for one in found if one is not None), None)
