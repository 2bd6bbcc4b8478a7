"""Headers of a response: those of most responses are checked once, as gunicorn checks them."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.http import wsgi
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName

from service.local.web_worker import Response

HEADERS = [
    ("Content-Type", "application/json"),
    ("Content-Length", "12"),
    ("Vary", "  Origin "),
    ("Vary", "Origin"),
    ("Connection", "close"),  # which is for gunicorn to say
    ("RateLimit", "60;t=1"),
    ("Set-Cookie", "session=secret"),
]


def response(kind: Any) -> Any:
    return kind(None, None, None)


def test_the_same_headers_are_sent_each_time() -> None:
    theirs = response(wsgi.Response)
    theirs.process_headers(HEADERS)
    for _ in range(2):
        ours = response(Response)
        ours.process_headers(HEADERS)
        assert ours.headers == theirs.headers
        assert ours.response_length == theirs.response_length == 12
    assert not [name for name, _ in Response._checked if name in ("Set-Cookie", "RateLimit")]


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (("Vary", "a\r\nb: c"), InvalidResponseHeader),
        (("Va ry", "a"), InvalidResponseHeaderName),
        (("Vary", None), TypeError),
    ],
)
def test_a_wrong_header_is_refused_each_time(header: Any, error: type[Exception]) -> None:
    for _ in range(2):
        with pytest.raises(error):
            response(Response).process_headers([header])
