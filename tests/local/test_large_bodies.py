"""How much of a request a web process keeps before a thread gets it."""

from __future__ import annotations

import pytest

from service.local.web_worker import Unfinished, Worker


def begun(path: str, number: int = 0, size: int = 500_000) -> Unfinished:
    """A request of which all but the last bytes of its body have come."""
    one = Unfinished(number, "10.0.0.7")
    one.bytes += f"POST {path} HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode()
    one.bytes += bytes(min(size - 1, 500_000))
    return one


@pytest.mark.parametrize(
    ("path", "size", "is_refused"),
    [
        ("/api/v1/hooks/4711", 500_000, False),
        ("http://push.example/api/v1/hooks/4711", 500_000, False),
        ("/api/v1/%68ooks%2f4711", 500_000, False),
        ("/api/v1/hooks/4711", 1_100_000, True),
        ("/api/v1/notifications", 500_000, True),
        ("/api/v1/notifications?/api/v1/hooks/", 500_000, True),
    ],
)
def test_a_story_of_a_cms_is_waited_for_and_other_large_bodies_are_refused_unread(
    path: str, size: int, is_refused: bool
) -> None:
    assert begun(path, size=size).is_whole() is is_refused


def test_strangers_who_begin_many_stories_lose_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, dropped = object.__new__(Worker), list[Unfinished]()
    stories = [begun("/api/v1/hooks/4711", number) for number in range(17)]
    others = [begun("/api/v1/receipts", 100 + number, size=2000) for number in range(50)]
    assert not any(one.is_whole() for one in [*stories, *others])
    monkeypatch.setattr(worker, "_drop", dropped.append)
    worker._unfinished = {one.connection: one for one in [*others, *stories[:16]]}
    worker._limit_stories()
    assert dropped == []
    worker._unfinished[16] = stories[16]
    worker._limit_stories()
    assert dropped == [stories[0]]


class _Bytes(bytearray):
    """Counts how many bytes are searched."""

    searched = 0

    def find(self, sub: object, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        end = len(self) if end is None else min(end, len(self))
        self.searched += max(0, end - start)
        return super().find(sub, start, end)  # type: ignore[arg-type]


@pytest.mark.parametrize("before", [b"", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"])
def test_headers_and_trailers_that_come_byte_by_byte_are_searched_once(before: bytes) -> None:
    one = Unfinished(1, "10.0.0.7")
    one.bytes = _Bytes(b"POST /api/v1/hooks/4711 HTTP/1.1\r\n" + before)
    assert not one.is_whole()
    for byte in b"X: y\r\n\rz\n" * 1000 + b"\r\nX: y\r\n\r":
        one.bytes.append(byte)
        assert not one.is_whole()
    one.bytes += b"\n"
    assert one.is_whole()
    assert one.bytes.searched < 5 * len(one.bytes)
