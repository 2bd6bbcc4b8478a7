"""Files of readers are read to their end, or a sentence says why not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.local.reader_files import NotReaders, Row, open_rows


@given(content=st.binary(max_size=400) | st.text(alphabet='ab",;\n\r{}[]:\0', max_size=300))
@example(content=b"\xef")  # the beginning of a byte-order mark
@example(content=b"\xef\xbb")
@example(content=b"\xff\xfe")
@example(content=b"\xff\xfe\x00")
@example(content="[" * 100_000)
@example(content='{"a":' * 100_000)
def test_no_file_ends_the_reading_but_by_a_word(
    content: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        with open_rows(path) as (rows, _):
            assert all(isinstance(row, Row) for row in rows)
    except NotReaders:
        pass


def test_a_spreadsheet_or_an_archive_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "readers.xlsx"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(NotReaders, match="ZIP archive or a spreadsheet"), open_rows(path):
        pass


@pytest.mark.parametrize(
    "content",
    [
        b"a," * (1 << 20) + b"z\n1,2\n",
        b"a,b\n" + b"x" * (3 << 20) + b"\n1,2\n",
        b'{"a": "' + b"x" * (3 << 20) + b'"}\n{"a": 1}\n',
        b"\xff\xfe" + "a,b\n1,2\n".encode("utf-16-le")[:-1],
        b'a,b\r\n"1\r\n\r\n",2\r\n',
        b"a,b\r1,2\r",
    ],
    ids=["columns", "line", "JSON line", "half", "CRLF", "CR"],
)
def test_a_file_of_an_odd_form_ends_no_more_than_its_own_rows(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "readers"
    path.write_bytes(content)
    found = []
    with suppress(NotReaders), open_rows(path) as (rows, _):
        found.extend(rows)
    assert found and (len(found) > 1 or not found[0].why)


def test_blank_lines_may_stand_before_a_header(tmp_path: Path) -> None:
    path = tmp_path / "readers.csv"
    path.write_text("\ufeff\n \r\nendpoint;auth\nhttps://push.example/1;secret\n")
    with open_rows(path) as (rows, _):
        assert [row.fields for row in rows] == [
            {"endpoint": "https://push.example/1", "auth": "secret"}
        ]
