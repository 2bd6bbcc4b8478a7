"""Files with the readers of another service, as programs and spreadsheets write them.

CSV with a header, JSON lines, or one JSON array; compressed by gzip or not. A row that cannot be
read is yielded as such, and ends nothing.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_SAMPLE = 4096  # bytes from which the kind of a file is seen
_MOST_LINES = 20  # of one row, in quotes
_LONGEST_ROW = 1 << 20  # characters; more is no row, but a file of another kind
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DELIMITERS = ",;\t|"
# By the mark with which a text of that encoding begins.
_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Row(NamedTuple):
    """A row: its fields by name in lower case, or why it cannot be read."""

    number: int  # from 1, without the header
    fields: Mapping[str, Any]
    why: str = ""
    whole: Mapping[str, Any] = {}  # the JSON object of which the fields are


class NotReaders(Exception):
    """The file holds no rows; the message says why."""


@contextmanager
def open_rows(path: Path) -> Iterator[tuple[Iterator[Row], IO[bytes]]]:
    """Open a file; return its rows, and the file, whose position says how far it was read."""
    if not path.is_file():
        raise NotReaders("it is a pipe or a device, and the file is read twice: save it first")
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        data = cast("IO[bytes]", gzip.GzipFile(fileobj=file) if packed else file)
        begins = _beginning(data)
        if begins.startswith(_ZIP):
            raise NotReaders(
                "the file is a ZIP archive or a spreadsheet: unpack it, or save it as CSV"
            )
        encoding = _ENCODINGS.get(begins[:2], "utf-8-sig")
        text = io.TextIOWrapper(data, encoding, errors="replace", newline="")
        try:
            yield _rows(text, begins.decode(encoding, "replace")), file
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise NotReaders("the file is damaged, or cut off; what came before was read") from None
        finally:
            text.detach()


def _beginning(data: IO[bytes]) -> bytes:
    try:
        return data.read(_SAMPLE)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise NotReaders("the file is damaged") from None
    finally:
        data.seek(0)


def _rows(text: IO[str], begins: str) -> Iterator[Row]:
    sample = begins.lstrip("\ufeff \t\r\n")
    if not sample:
        raise NotReaders("the file is empty")
    if sample[0] == "[":
        return _array(text)
    return _json_lines(text) if sample[0] == "{" else _table(text)


def _array(text: IO[str]) -> Iterator[Row]:
    try:
        found = read_json(text.read())
    except ValueError as error:
        raise NotReaders(f"the file is no JSON: {error}") from None
    except RecursionError:
        raise NotReaders("the file is no list of readers: it is nested too deeply") from None
    for number, row in enumerate(found, 1):
        yield _row(number, row)


def _json_lines(text: IO[str]) -> Iterator[Row]:
    number = 0
    for line in _lines(text):
        if not line.strip():
            continue
        number += 1
        try:
            yield _row(number, read_json(line))
        except (ValueError, RecursionError):
            yield Row(number, {"line": line[:200]}, "the line is no JSON")


def read_json(text: str) -> Any:
    """Read JSON; half a character of UTF-16, which nothing can write, becomes a question mark."""
    found = json.loads(text)
    if _SURROGATE.search(text):
        return json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
    return found


def _lines(text: IO[str]) -> Iterator[str]:
    while line := text.readline(_LONGEST_ROW):
        yield line


def _row(number: int, row: object) -> Row:
    if not isinstance(row, dict):
        return Row(number, {"row": str(row)[:200]}, "it is no JSON object")
    if row.keys() == {"row", "why", "given"} and isinstance(row["given"], dict):
        row = row["given"]  # as `stoppress import` writes what it refused
    return Row(number, dict(_flat(row)), whole=row)


def _flat(row: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of an object, those of objects within it as `outer.inner`."""
    for name, value in row.items():
        full = f"{within}{column_name(name)}"
        if isinstance(value, dict) and within.count(".") < 3:
            yield from _flat(value, f"{full}.")
        else:
            yield full, value


def _table(text: IO[str]) -> Iterator[Row]:
    lines = (line.replace("\0", "") for line in _lines(text))
    # None of them has a character where a file is the beginning of a byte-order mark and no more.
    # Excel writes and reads a line before the header that names the delimiter.
    first = next((line for line in lines if line.strip() and not line.startswith("sep=")), "")
    delimiter = max(_DELIMITERS, key=first.count)
    names = [column_name(name) for name in _cells(first, delimiter)]
    while names and not names[-1]:  # spreadsheets end lines with commas
        names.pop()
    if len(names) < 2:
        raise NotReaders("the first line is no header: it must name the columns")
    return _of_table(lines, names, delimiter)


def _of_table(lines: Iterator[str], names: list[str], delimiter: str) -> Iterator[Row]:
    number = 0
    for record in _records(lines):
        if not record.strip():
            continue
        number += 1
        cells = _cells(record, delimiter)
        while len(cells) > len(names) and not cells[-1].strip():
            cells.pop()
        fields = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
        right = len(cells) == len(names)
        yield Row(number, fields, "" if right else _other_columns(len(cells), len(names)))


def _other_columns(found: int, wanted: int) -> str:
    return f"it has {found} columns, and the header {wanted}"


def _records(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines, joined where a line break is within quotes.

    A quote that is never closed costs its own line, and not all that follow.
    """
    waiting: deque[str] = deque()
    for line in lines:
        waiting.append(line)
        while waiting and (whole := _whole(waiting)):
            yield "".join(waiting.popleft() for _ in range(whole))
    while waiting:
        yield "".join(waiting.popleft() for _ in range(_whole(waiting) or 1))


def _whole(waiting: deque[str]) -> int:
    """Return how many of these lines make a record; 0: the next line decides."""
    quotes = 0
    for count, line in enumerate(waiting, 1):
        quotes += line.count('"')
        if quotes % 2 == 0:
            return count
    return 1 if len(waiting) >= _MOST_LINES else 0


def _cells(record: str, delimiter: str) -> list[str]:
    reader = csv.reader([record], delimiter=delimiter, skipinitialspace=True)
    try:
        return next(reader, [])
    except csv.Error:
        return [record]


def column_name(text: str) -> str:
    """Return a column's name in one spelling: `Push Endpoint` is `push_endpoint`."""
    return text.strip().strip("\ufeff").lower().replace(" ", "_").replace("-", "_")
