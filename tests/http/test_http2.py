"""HTTP/2 without sockets: requests, answers, protocol errors."""

from __future__ import annotations

import hpack
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.network.frames import (
    HEADERS,
    SETTINGS,
    SETTINGS_ACK,
    Post,
    error_of,
    head,
    posting,
    raw,
    sent,
)
from workers.http.exchange import Headers

# -- requests ----------------------------------------------------------------------------------


def test_the_same_headers_cost_few_bytes_from_the_second_request_on() -> None:
    connection = posting(3)
    blocks = [frame.data for frame in sent(connection) if isinstance(frame, HeadersFrame)]
    assert len(blocks[0]) > 200
    assert len(blocks[1]) == len(blocks[2]) < 50
    decoder = hpack.Decoder()
    expected = {(":method", "POST"), (":path", "/push/2"), ("content-length", "469"), *HEADERS}
    assert expected <= {tuple(field) for field in [decoder.decode(b) for b in blocks][2]}


def test_pseudo_headers_come_first() -> None:
    frames = [frame for frame in sent(posting(2)) if isinstance(frame, HeadersFrame)]
    decoder = hpack.Decoder()
    for frame in frames:
        names = [name for name, _ in decoder.decode(frame.data)]
        assert [name for name in names if name[0] == ":"] == names[:4]


def test_a_ttl_never_enters_the_header_table() -> None:
    connection = posting(1)
    decoder = hpack.Decoder()
    for second in range(200):
        connection.request(Post(1, headers=(("ttl", str(second)), *HEADERS[1:])))
    blocks = [frame.data for frame in sent(connection) if isinstance(frame, HeadersFrame)]
    for block in blocks:
        decoder.decode(block)
    assert not any(name == b"ttl" for name, _ in decoder.header_table.dynamic_entries)
    assert max(map(len, blocks[1:])) < 60


@pytest.mark.parametrize("size", [0, 100, 500, 700, 4096, 1 << 20])
def test_the_header_table_is_as_large_as_the_peer_allows(size: int) -> None:
    connection = posting(2)
    decoder = hpack.Decoder()
    for frame in sent(connection):
        if isinstance(frame, HeadersFrame):
            decoder.decode(frame.data)
    connection.receive(SettingsFrame(0, {SettingCodes.HEADER_TABLE_SIZE: size}).serialize())
    decoder.max_allowed_table_size = size
    topics: list[Headers] = [(*HEADERS[1:], ("topic", f"topic-{n}")) for n in range(20)]
    for n in range(200):
        connection.request(Post(n, headers=topics[n * n % 20]))
    for n, frame in enumerate(f for f in sent(connection) if isinstance(f, HeadersFrame)):
        fields = [tuple(field) for field in decoder.decode(frame.data)]
        assert fields[4:-1] == list(topics[n * n % 20])
        assert fields[3] == (":path", f"/push/{n}")


def test_no_more_streams_are_opened_than_the_peer_allows() -> None:
    connection = posting(0)
    assert connection.room == 100
    connection.receive(SETTINGS)
    assert connection.room == 256
    connection.receive(SettingsFrame(0, {SettingCodes.MAX_CONCURRENT_STREAMS: 2}).serialize())
    assert connection.room == 2
    connection.request(Post(0))
    connection.request(Post(1))
    assert connection.room == 0
    connection.receive(head(1))
    assert connection.room == 1


def test_a_connection_that_has_used_up_its_streams_takes_no_more() -> None:
    connection = posting(1)
    connection._next_stream = 2**31 - 3
    assert connection.room == 1
    connection.request(Post(1))
    assert connection.room == 0


def test_bodies_wait_for_the_windows_of_connection_and_stream() -> None:
    connection = posting(0)
    connection.receive(SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: 100}).serialize())
    sent(connection)
    connection.request(Post(0, b"x" * 300))
    assert [len(f.data) for f in sent(connection) if isinstance(f, DataFrame)] == [100]
    connection.receive(WindowUpdateFrame(1, window_increment=150).serialize())
    assert [len(f.data) for f in sent(connection)] == [150]
    # The window of a stream may become negative, and grow again (RFC 9113 section 6.9.2).
    connection.receive(SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: 20}).serialize())
    connection.receive(WindowUpdateFrame(1, window_increment=80).serialize())
    assert not [f for f in sent(connection) if isinstance(f, DataFrame)]
    connection.receive(SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: 65_535}).serialize())
    (last,) = [f for f in sent(connection) if isinstance(f, DataFrame)]
    assert (len(last.data), "END_STREAM" in last.flags) == (50, True)


def test_a_connection_whose_window_is_used_up_has_no_room() -> None:
    connection = posting(0)
    connection.receive(SETTINGS)
    for n in range(16):
        connection.request(Post(n, bytes(4096)))
    assert connection.room == 0
    frames = [f for f in sent(connection) if isinstance(f, DataFrame)]
    assert sum(len(f.data) for f in frames) == 65_535
    connection.receive(WindowUpdateFrame(0, window_increment=1 << 20).serialize())
    assert [(f.stream_id, len(f.data)) for f in sent(connection)] == [(31, 1)]
    assert connection.room == 240


def test_a_lost_connection_knows_which_requests_were_never_written() -> None:
    connection = posting(1)
    written = len(connection.out)
    connection.request(Post(1))
    lost = connection.abandon(written, "connection lost")
    assert [post.untouched for post in lost] == [False, True]
    assert {post.failure for post in lost} == {"connection lost"}


# -- answers -----------------------------------------------------------------------------------


def test_1xx_padding_priority_trailers_and_unknown_frames_are_understood() -> None:
    connection = posting(2)
    padded = DataFrame(1, b"because", pad_length=200, flags=["PADDED"]).serialize()
    block = hpack.Encoder().encode([(":status", "404")])
    prioritised = HeadersFrame(
        1, block, pad_length=9, depends_on=0, stream_weight=7, exclusive=True
    )
    prioritised.flags |= {"PADDED", "PRIORITY", "END_HEADERS"}
    pieces = [
        SETTINGS,
        raw(0xBE, 0, 0, b"unknown"),
        head(1, (":status", "103"), ("link", "</a>"), end=False),
        PriorityFrame(1, depends_on=0, stream_weight=3).serialize(),
        prioritised.serialize(),
        padded,
        head(1, ("x-trailer", "that"), ("retry-after", "9")),
    ]
    (ended,) = connection.receive(b"".join(pieces))
    assert ended.seen() == (0, 404, "", b"because", "", False)


def test_headers_of_an_answer_may_be_continued() -> None:
    connection = posting(1)
    fields = [(":status", "429"), ("retry-after", "7")]
    block = hpack.Encoder().encode(fields)
    data = SETTINGS + HeadersFrame(1, block[:3], flags=["END_STREAM"]).serialize()
    for at in range(3, len(block)):
        flags = ["END_HEADERS"] if at + 1 == len(block) else []
        data += ContinuationFrame(1, block[at : at + 1], flags=flags).serialize()
    (ended,) = connection.receive(data)
    assert ended.seen() == (0, 429, "7", b"", "", False)


@pytest.mark.parametrize("table", [0, 200, 4096])
def test_the_status_is_read_in_each_of_its_forms(table: int) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = table
    statuses = [200, 201, 204, 201, 400, 404, 410, 429, 500, 503, 299, 307, 201]
    connection = posting(len(statuses))
    connection.receive(SETTINGS + SETTINGS_ACK)
    for number, status in enumerate(statuses):
        fields = [(":status", str(status)), ("location", f"/m/{number}"), ("retry-after", "3")]
        block = encoder.encode(fields, huffman=bool(number % 2))
        frame = HeadersFrame(2 * number + 1, block, flags=["END_HEADERS", "END_STREAM"])
        (ended,) = connection.receive(frame.serialize())
        assert ended.status == status
        if status >= 300:
            assert ended.retry_after == "3"


@pytest.mark.parametrize("name", [b"\x08", b"\x0e", b"\x18", b"\x1c", b"\x48", b"\x4e"])
@pytest.mark.parametrize("value", [b"\x03201", b"\x82\x10\x03"], ids=["plain", "huffman"])
def test_a_status_may_take_its_name_from_any_table_entry_with_it(name: bytes, value: bytes) -> None:
    connection = posting(2)
    no_table = raw(1, 5, 1, b"\x20\x88")
    (_, ended) = connection.receive(SETTINGS + no_table + raw(1, 5, 3, name + value))
    assert ended.status == 201


def test_a_peer_that_keeps_its_table_although_we_allow_none_is_understood() -> None:
    connection = posting(6)
    encoder = hpack.Encoder()
    connection.receive(SETTINGS + SETTINGS_ACK)
    sizes = {4: 0, 8: 4096}  # later it goes without a table, and then uses one again
    for stream, status in ((1, "201"), (3, "429"), (5, "201"), (7, "201"), (9, "201"), (11, "429")):
        if stream - 1 in sizes:
            encoder.header_table_size = sizes[stream - 1]
        block = encoder.encode([(":status", status), ("retry-after", "9"), ("x-name", "value")])
        answer = HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]).serialize()
        (ended,) = connection.receive(answer)
        assert ended.status == int(status)
        if status == "429":
            assert ended.retry_after == "9"


def test_a_long_answer_is_cut_short() -> None:
    connection = posting(2)
    connection.receive(SETTINGS + head(1, (":status", "403"), end=False))
    (ended,) = connection.receive(DataFrame(1, b"x" * 5000).serialize())
    assert (ended.status, len(ended.answer)) == (403, 4096)
    assert RstStreamFrame in map(type, sent(connection))
    # The rest of that answer is ignored, and takes nothing of the window.
    assert connection.receive(DataFrame(1, b"x" * 5000).serialize()) == []
    assert connection.receive(head(3))[0].status == 201


def test_our_window_is_given_back() -> None:
    connection = posting(100)
    sent(connection)
    given = 0
    for n in range(100):
        answer = head(2 * n + 1, (":status", "500"), end=False)
        body = DataFrame(2 * n + 1, bytes(3000), flags=["END_STREAM"]).serialize()
        assert len(connection.receive((SETTINGS if n == 0 else b"") + answer + body)) == 1
        given += sum(
            f.window_increment for f in sent(connection) if isinstance(f, WindowUpdateFrame)
        )
    assert 300_000 - 33_000 < given <= 300_000


def test_pings_and_settings_are_acknowledged() -> None:
    connection = posting(0)
    sent(connection)
    connection.receive(SETTINGS + PingFrame(0, b"12345678").serialize())
    acknowledged = sent(connection)
    assert [type(frame) for frame in acknowledged] == [SettingsFrame, PingFrame]
    assert all("ACK" in frame.flags for frame in acknowledged)
    connection.receive(PingFrame(0, b"12345678", flags=["ACK"]).serialize() + SETTINGS_ACK)
    assert sent(connection) == []


def test_refused_streams_are_untouched() -> None:
    connection = posting(3)
    connection.receive(SETTINGS)
    refused = RstStreamFrame(1, error_code=ErrorCodes.REFUSED_STREAM).serialize()
    broken = RstStreamFrame(3, error_code=ErrorCodes.INTERNAL_ERROR).serialize()
    ended = connection.receive(refused + broken)
    assert [post.untouched for post in ended] == [True, False]


def test_goaway_refuses_later_streams_and_lets_the_others_finish() -> None:
    connection = posting(4)
    # A graceful end: first a warning, then the last stream (RFC 9113 section 6.8).
    warning = GoAwayFrame(0, last_stream_id=2**31 - 1).serialize()
    assert connection.receive(SETTINGS + warning) == []
    assert connection.room == 0
    ended = connection.receive(GoAwayFrame(0, last_stream_id=3).serialize())
    assert [(post.name, post.status, post.untouched) for post in ended] == [
        (2, 0, True),
        (3, 0, True),
    ]
    assert [post.name for post in connection.receive(head(1) + head(3))] == [0, 1]
    assert connection.is_idle
    assert not connection.failure


def test_an_answer_before_the_whole_body_was_sent_ends_the_request() -> None:
    connection = posting(0)
    connection.receive(SettingsFrame(0, {SettingCodes.INITIAL_WINDOW_SIZE: 10}).serialize())
    connection.request(Post(0))
    sent(connection)
    (ended,) = connection.receive(head(1, (":status", "413")))
    assert ended.status == 413
    assert [type(frame) for frame in sent(connection)] == [RstStreamFrame]
    connection.receive(WindowUpdateFrame(1, window_increment=1000).serialize())
    assert sent(connection) == []


@pytest.mark.parametrize("text", ["", "20", "2o1", "abc", "2010"])
def test_an_answer_without_a_status_ends_only_its_stream(text: str) -> None:
    connection = posting(2)
    fields = [(":status", text)] if text else [("x-no", "status")]
    ended = connection.receive(SETTINGS + head(1, *fields) + head(3))
    assert [(post.status, post.failure) for post in ended] == [
        (0, "the answer makes no sense"),
        (201, ""),
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (raw(6, 0, 0, bytes(8)), ErrorCodes.PROTOCOL_ERROR),  # before its settings
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(0, 0, 1, bytes(16_385)), ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(4, 0, 0, bytes(5)), ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(4, 1, 0, bytes(6)), ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(4, 0, 1), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(4, 0, 0, b"\0\5\0\0\0\1"), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(4, 0, 0, b"\0\4\xff\0\0\0"), ErrorCodes.FLOW_CONTROL_ERROR),
        (SETTINGS + raw(6, 0, 0, bytes(7)), ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(6, 0, 1, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(7, 0, 0, bytes(7)), ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(8, 0, 0, bytes(3)), ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(8, 0, 0, bytes(4)), ErrorCodes.FLOW_CONTROL_ERROR),
        (SETTINGS + raw(8, 0, 0, b"\x7f\xff\xff\xff"), ErrorCodes.FLOW_CONTROL_ERROR),
        (SETTINGS + raw(3, 0, 1, bytes(3)), ErrorCodes.FRAME_SIZE_ERROR),
        (SETTINGS + raw(3, 0, 0, bytes(4)), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + head(99), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + head(2), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(1, 4, 0, b"\x88"), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(0, 0, 4, b"x"), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(0, 8, 1, b"\xffx"), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(1, 4, 1, b"\x40\x7f"), ErrorCodes.COMPRESSION_ERROR),
        (SETTINGS + raw(1, 0, 1, b"\x88") + raw(6, 0, 0, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + raw(9, 4, 1, b"\x88"), ErrorCodes.PROTOCOL_ERROR),
        (SETTINGS + PushPromiseFrame(1, 2, b"\x88").serialize(), ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_a_protocol_error_ends_the_connection(data: bytes, code: ErrorCodes) -> None:
    connection = posting(1)
    assert connection.receive(data) == []
    assert error_of(connection) == code


@pytest.mark.parametrize(
    "flood",
    [
        raw(6, 0, 0, bytes(8)),
        SETTINGS,
        raw(0, 0, 1),
        raw(8, 0, 1, b"\0\0\0\1"),
        raw(0xEE, 0, 0),
        raw(2, 0, 1, bytes(5)),
        head(1, (":status", "100"), end=False),
    ],
    ids=["ping", "settings", "empty data", "window", "unknown", "priority", "1xx"],
)
def test_a_flood_of_useless_frames_ends_the_connection(flood: bytes) -> None:
    connection = posting(1)
    start = SETTINGS + (head(1, (":status", "200"), end=False) if flood == raw(0, 0, 1) else b"")
    assert connection.receive(start + flood * 20_000) == []
    assert error_of(connection) == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("piece", [b"", b"x" * 16_000])
def test_endless_headers_end_the_connection(piece: bytes) -> None:
    connection = posting(1)
    connection.receive(SETTINGS + raw(1, 0, 1, b"\x88"))
    for _ in range(20_000):
        connection.receive(raw(9, 0, 1, piece))
        if connection.failure:
            break
    assert error_of(connection) == ErrorCodes.ENHANCE_YOUR_CALM


def test_a_small_block_with_huge_decoded_headers_ends_the_connection() -> None:
    connection = posting(1)
    encoder = hpack.Encoder()
    block = encoder.encode([("x-large", "x" * 3000)], huffman=False)
    block += b"\xbe" * 1000  # the same again and again
    connection.receive(SETTINGS + raw(1, 5, 1, block))
    assert error_of(connection) == ErrorCodes.COMPRESSION_ERROR
