"""HTTP/2 with any bytes in any pieces, and against a server of the `h2` library."""

from __future__ import annotations

from itertools import pairwise

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.network.frames import HEADERS, SETTINGS, SETTINGS_ACK, Post, posting, raw
from workers.http.http2 import Connection

# -- any bytes ---------------------------------------------------------------------------------


def some_answers() -> bytes:
    encoder = hpack.Encoder()
    data = SETTINGS + PingFrame(0, b"12345678").serialize()
    for stream, status in ((1, "201"), (5, "429"), (3, "500"), (7, "201")):
        if stream == 7:
            data += SETTINGS_ACK
            encoder.header_table_size = 0
        fields = [(":status", status), ("retry-after", "5"), ("location", f"/m/{stream}")]
        block = encoder.encode(fields)
        data += HeadersFrame(stream, block[:2]).serialize()
        data += ContinuationFrame(stream, block[2:], flags=["END_HEADERS"]).serialize()
        data += DataFrame(stream, b"because", flags=["END_STREAM"]).serialize()
        data += WindowUpdateFrame(0, window_increment=stream).serialize()
    data += RstStreamFrame(9, error_code=7).serialize()
    return data + GoAwayFrame(0, last_stream_id=9).serialize()


def outcome_of(data: bytes, cuts: list[int]) -> tuple[list[object], str, bytes]:
    connection = posting(6)
    connection.out.clear()
    edges = [0, *sorted(cuts), len(data)]
    ended = [post.seen() for at, to in pairwise(edges) for post in connection.receive(data[at:to])]
    return list(ended), connection.failure, bytes(connection.out)


@given(cuts=st.lists(st.integers(0, len(some_answers())), max_size=30))
def test_the_result_does_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    whole = outcome_of(some_answers(), [])
    assert len(whole[0]) == 6
    assert outcome_of(some_answers(), cuts) == whole


frames = st.builds(
    raw,
    st.integers(0, 10),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5, 99, 2**31 - 1, 2**32 - 1]),
    st.binary(max_size=40),
)


@given(
    data=st.one_of(st.binary(max_size=300), st.lists(frames, max_size=12).map(b"".join)),
    acknowledged=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=5),
)
def test_garbage_ends_at_most_the_connection(
    data: bytes, acknowledged: bool, cuts: list[int]
) -> None:
    data = SETTINGS + (SETTINGS_ACK if acknowledged else b"") + data
    whole = outcome_of(data, [])
    assert outcome_of(data, [cut for cut in cuts if cut < len(data)]) == whole
    names = [post[0] for post in whole[0]]
    assert len(set(names)) == len(names)


# -- against h2 --------------------------------------------------------------------------------


class AgainstH2(RuleBasedStateMachine):
    """Our client and a server of `h2` do random things; their bytes are exchanged in pieces."""

    @initialize(
        window=st.sampled_from([0, 1, 100, 65_535, 1 << 20]),
        streams=st.sampled_from([1, 3, 100]),
        table=st.sampled_from([0, 300, 4096]),
    )
    def connect(self, window: int, streams: int, table: int) -> None:
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.server.local_settings = type(self.server.local_settings)(
            client=False,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: window,
                SettingCodes.MAX_CONCURRENT_STREAMS: 100,
                SettingCodes.HEADER_TABLE_SIZE: 4096,
            },
        )
        self.server.initiate_connection()
        self.client = Connection[Post]("push.example")
        self.made: dict[int, Post] = {}
        self.ended: dict[int, tuple[int, bool]] = {}
        self.heard: dict[int, bytes] = {}
        self.open: set[int] = set()
        self.whole: set[int] = set()
        self.expected: dict[int, int] = {}
        self.gone_away = False
        self.flush()
        self.server.update_settings(
            {SettingCodes.MAX_CONCURRENT_STREAMS: streams, SettingCodes.HEADER_TABLE_SIZE: table}
        )

    def to_server(self, size: int) -> None:
        data = bytes(self.client.out[:size])
        del self.client.out[:size]
        for event in self.server.receive_data(data):
            if isinstance(event, RequestReceived):
                fields = dict(event.headers)
                assert fields[":path"] == self.made[event.stream_id].path
                assert fields["authorization"] == dict(HEADERS)["authorization"]
                self.heard[event.stream_id] = b""
                self.open.add(event.stream_id)
            elif isinstance(event, DataReceived):
                self.heard[event.stream_id] += event.data
            elif isinstance(event, StreamEnded):
                assert self.heard[event.stream_id] == self.made[event.stream_id].body
                self.whole.add(event.stream_id)
            elif isinstance(event, StreamReset):
                self.open.discard(event.stream_id)

    def to_client(self, data: bytes) -> None:
        for post in self.client.receive(data):
            assert post.stream not in self.ended
            self.ended[post.stream] = post.status, post.untouched
        assert not self.client.failure

    def flush(self) -> None:
        while self.client.out or (data := self.server.data_to_send()):
            if not self.client.out:
                self.to_client(data)
            else:
                self.to_server(len(self.client.out))

    @rule(size=st.integers(0, 3000), topic=st.integers(0, 5))
    def post(self, size: int, topic: int) -> None:
        if self.client.room > 0:
            post = Post(len(self.made), bytes(size), (("topic", f"{topic}" * 40), *HEADERS))
            self.client.request(post)
            self.made[post.stream] = post

    @rule(size=st.integers(1, 5000))
    def client_writes(self, size: int) -> None:
        self.to_server(size)

    @rule(cut=st.integers(1, 500))
    def server_writes(self, cut: int) -> None:
        data = self.server.data_to_send()
        self.to_client(data[:cut])
        self.to_client(data[cut:])

    @precondition(lambda self: self.open & self.whole)
    @rule(
        preferences=st.integers(0, 1000),
        status=st.sampled_from([201, 410, 429, 500]),
        body=st.integers(0, 5000),
        trailers=st.booleans(),
    )
    def answer(self, preferences: int, status: int, body: int, trailers: bool) -> None:
        streams = sorted(self.open & self.whole)
        stream = streams[preferences % len(streams)]
        fields = [(":status", str(status)), ("location", f"/m/{stream}")]
        self.server.send_headers(stream, fields, end_stream=not body and not trailers)
        if body:
            self.server.send_data(stream, bytes(body), end_stream=not trailers)
        if trailers:
            self.server.send_headers(stream, [("x-trailer", "1")], end_stream=True)
        self.expected[stream] = status
        self.open.discard(stream)

    @precondition(lambda self: self.open)
    @rule(preferences=st.integers(0, 1000), refuse=st.booleans())
    def reset(self, preferences: int, refuse: bool) -> None:
        streams = sorted(self.open)
        stream = streams[preferences % len(streams)]
        code = ErrorCodes.REFUSED_STREAM if refuse else ErrorCodes.INTERNAL_ERROR
        self.server.reset_stream(stream, code)
        self.open.discard(stream)
        self.expected[stream] = -7 if refuse else 0

    @precondition(lambda self: self.open)
    @rule(preferences=st.integers(0, 1000), more=st.integers(1, 5000))
    def widen(self, preferences: int, more: int) -> None:
        streams = sorted(self.open - self.whole)
        assume(streams)
        self.server.increment_flow_control_window(more, streams[preferences % len(streams)])
        self.server.increment_flow_control_window(more)

    @rule(
        window=st.sampled_from([0, 50, 65_535, 1 << 20]), streams=st.sampled_from([1, 5, 50, 100])
    )
    def change_settings(self, window: int, streams: int) -> None:
        # h2 takes one acknowledgement for all its settings, so no other may be on its way.
        self.flush()
        self.server.update_settings(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: window,
                SettingCodes.MAX_CONCURRENT_STREAMS: streams,
            }
        )

    @precondition(lambda self: self.made)
    @rule(preferences=st.integers(0, 1000))
    def cancel(self, preferences: int) -> None:
        streams = sorted(self.made.keys() - self.ended.keys())
        assume(streams)
        stream = streams[preferences % len(streams)]
        self.client.cancel(self.made[stream])
        self.ended[stream] = 0, False
        self.expected.pop(stream, None)
        # Not tested here: what h2 makes of frames that crossed the reset.
        self.flush()
        self.open.discard(stream)

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "made"):
            under_way = {post.stream for post in self.client._streams.values()}
            assert under_way | self.ended.keys() == self.made.keys()
            assert not under_way & self.ended.keys()

    def teardown(self) -> None:
        if not hasattr(self, "made"):
            return
        self.flush()
        for stream, status in self.expected.items():
            if status > 0:
                assert self.ended[stream] == (status, False)
            elif self.ended[stream][0] == 0:
                assert self.ended[stream] == (0, status == -7)


AgainstH2.TestCase.settings = settings(
    max_examples=settings.default.max_examples // 4, stateful_step_count=40
)
test_every_request_ends_as_the_h2_server_says = AgainstH2.TestCase
