"""What stands in the query: lists in pages, and what narrows a list.

A page has `limit` and `cursor` in the query, and `next_cursor` in the response.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeVar

from flask import request

from service.api.fields import Invalid
from service.api.problems import FieldError
from service.model.retention import DAY

T = TypeVar("T")

MOST = 100  # entries of a page
_LONGEST = 200  # characters of what is looked for
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"

_UNKNOWN = "Must be the `next_cursor` of a page of this list. Leave it out to begin with the first."


def parameters(**cursor: Any) -> tuple[Mapping[str, Any], ...]:
    """Return the query's parameters as OpenAPI has them; `cursor` is the schema of that one."""
    limit = in_query("limit", type="integer", minimum=1, maximum=MOST)
    return limit, in_query("cursor", **{"type": "string", **cursor})


def in_query(name: str, **schema: Any) -> Mapping[str, Any]:
    """Return a parameter of the query as OpenAPI has it."""
    return {"name": name, "in": "query", "required": False, "schema": schema}


def limit(usual: int = MOST) -> int:
    """Return how many entries a page is to have; `Invalid`."""
    return number("limit", usual, most=MOST)


def number(name: str, default: int, *, most: int) -> int:
    """Return a whole number from the query; `Invalid` unless it is from 1 to `most`."""
    text = request.args.get(name, str(default))
    if not re.fullmatch(r"[1-9][0-9]{0,15}", text) or not 1 <= int(text) <= most:
        raise Invalid([FieldError(name, f"Must be a whole number from 1 to {most}.")])
    return int(text)


def cursor(pattern: str) -> str:
    """Return the cursor of the query; empty: the list begins with its first entry. `Invalid`."""
    text = request.args.get("cursor")
    if text is None:
        return ""
    if not re.fullmatch(pattern.removesuffix("$"), text):
        raise unknown_cursor()
    return text


def unknown_cursor() -> Invalid:
    """Return the response to a cursor that leads nowhere."""
    return Invalid([FieldError("cursor", _UNKNOWN)])


def named(
    found: Sequence[T], name: Callable[[T], str], pattern: str, usual: int = MOST
) -> tuple[Sequence[T], str | None]:
    """Return the page of a whole list whose cursors are the names of its entries; `Invalid`.

    A cursor names the first entry of its page: a caller may have deleted those of the one before.
    """
    most, first = limit(usual), cursor(pattern)
    names = [name(one) for one in found]
    if first and first not in names:
        raise unknown_cursor()
    begin = names.index(first) if first else 0
    end = begin + most
    return found[begin:end], names[end] if end < len(names) else None


def cut(found: Sequence[T], limit: int, name: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Return a page, and the cursor of the next one; `found` may have more than the page."""
    page = found[:limit]
    return page, name(page[-1]) if len(found) > limit else None


# What narrows a list ----------------------------------------------------------------------------


def parameter(name: str, **schema: Any) -> Mapping[str, Any]:
    """Return such a parameter, a text unless `schema` says otherwise."""
    return in_query(name, **{"type": "string", "maxLength": _LONGEST, **schema})


SINCE, UNTIL = (parameter(name, pattern=_DATE) for name in ("since", "until"))


def asked(name: str, most: int = _LONGEST) -> str:
    """Return a text of the query; empty if it is not there. `Invalid` if it is too long."""
    text = request.args.get(name, "").strip()
    if len(text) > most:
        raise Invalid([FieldError(name, f"Must have at most {most} characters.")])
    return text


def one_of(name: str, known: Collection[str]) -> str:
    """Return a text of the query, which has to be one of these; empty if it is not there."""
    text = asked(name)
    if text and text not in known:
        raise Invalid([FieldError(name, f"Must be one of: {', '.join(known)}.")])
    return text


def days() -> dict[str, float]:
    """Return the beginning of the day `since` and the end of the day `until`, in UTC; `Invalid`."""
    limits = {}
    for name, more in (("since", 0), ("until", DAY)):
        if text := asked(name):
            try:
                day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)
            except ValueError:
                raise Invalid([FieldError(name, "Must be a day, such as 2026-12-24.")]) from None
            limits[name] = day.timestamp() + more
    return limits
