"""Tables as files (CSV, RFC 4180), which spreadsheet programs open with a click."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from flask import Response, stream_with_context

_UTF_8 = "\ufeff"  # by this mark at the beginning Excel knows that a file is UTF-8
# Where a cell may begin that a program takes for a formula: at the beginning of a text, and behind
# a semicolon or a tab, by which a program divides the lines in many countries, or a new line. Some
# programs leave out spaces and quotes there, and know the wide signs of East Asia too.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def table(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """Give out rows as a file with this name."""
    headers = {"Content-Disposition": f"attachment; filename={name}.csv"}
    lines = stream_with_context(_lines(columns, rows))
    return Response(lines, mimetype="text/csv", headers=headers)


def _lines(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    buffer = io.StringIO()
    buffer.write(_UTF_8)
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _harmless(text: str) -> str:
    """Return a text that no table program takes for a formula."""
    return _FORMULA.sub(r"\1'", text)
