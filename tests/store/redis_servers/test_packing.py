"""Commands reach Redis as redis-py would send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import DataError, Redis
from redis.connection import HiredisRespSerializer

from service.store.redis_servers.connection import connect

WORDS = st.one_of(
    st.text(max_size=20), st.binary(max_size=300), st.integers(), st.floats(allow_nan=False)
)


@pytest.fixture
def redis(redis_url: str) -> Redis:
    return connect(redis_url)


@given(st.sampled_from(["GET", "EVALSHA", "CONFIG GET", b"PING"]), st.lists(WORDS, max_size=20))
def test_a_command_is_packed_as_redis_py_packs_it(
    command: str | bytes, words: list[object]
) -> None:
    connection = connect("redis://127.0.0.1:1").connection_pool.make_connection()
    ours, theirs = connection.pack_command(command, *words), HiredisRespSerializer()
    assert ours == theirs.pack(command, *words)


def test_what_redis_py_makes_bytes_of_is_sent_as_bytes(redis: Redis) -> None:
    redis.set("k", bytearray(b"late"))
    assert redis.get("k") == b"late"
    redis.set("k", memoryview(b"later"))
    assert redis.get("k") == b"later"


def test_a_word_that_redis_cannot_read_is_refused_before_it_is_sent(redis: Redis) -> None:
    for word in (None, ["a list"], {}):
        with pytest.raises(DataError):
            redis.execute_command("SET", "k", word)
    assert redis.get("k") is None
