"""HPACK (RFC 7541) for a client that POSTs the same headers again and again."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import hpack
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from workers.http.exchange import Headers

_TABLE_SIZE: Final = 4096  # bytes; the peer may allow less, and more would not help
_LARGEST_HEADERS: Final = 65_536  # bytes of an answer's headers when decoded
_KEPT_BLOCKS: Final = 256
_STATUS_LITERALS: Final = frozenset(
    bytes((kind | entry,)) for kind in (0x00, 0x10, 0x40) for entry in range(8, 15)
)
# The name of a field that also changes what a 2xx means, plain and by Huffman's code.
_WNS_STATUS: Final = b"x-wns-status"
_WNS_STATUS_CODED: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(_WNS_STATUS)


@lru_cache(4096)
def _integer(number: int, prefix: int, bits: int) -> bytes:
    """Encode an integer with a prefix of `bits` bits (RFC 7541 section 5.1)."""
    largest = (1 << bits) - 1
    if number < largest:
        return bytes((prefix | number,))
    encoded = bytearray((prefix | largest,))
    number -= largest
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


@lru_cache(4096)
def _content_length(size: int) -> bytes:
    """Encode `content-length` (entry 28 of the static table) as a literal without indexing."""
    digits = b"%d" % size
    return _integer(28, 0, 4) + _integer(len(digits), 0, 7) + digits


class RequestEncoder:
    """Encodes the headers of the requests of one connection."""

    def __init__(self, authority: str) -> None:
        self._pseudo = ((":method", "POST"), (":scheme", "https"), (":authority", authority))
        self._encoder = hpack.Encoder()
        # By identity of the headers, which each entry keeps alive.
        self._kept: dict[int, tuple[Headers, bytes, bytes]] = {}

    def resize(self, size: int) -> None:
        """Apply the peer's SETTINGS_HEADER_TABLE_SIZE, in bytes."""
        self._encoder.header_table_size = min(size, _TABLE_SIZE)
        self._kept.clear()

    def encode(self, path: str, headers: Headers, size: int) -> bytes:
        """Return the header block of a request with a body of `size` bytes."""
        kept = self._kept.get(id(headers))
        _, pseudo, regular = self._encode(headers) if kept is None else kept
        raw = path.encode("ascii")
        # `:path` is entry 4 of the static table. Each path is used once, so none is indexed.
        length = _integer(len(raw), 0, 7)
        return b"%b\x04%b%b%b%b" % (pseudo, length, raw, regular, _content_length(size))

    def _encode(self, headers: Headers) -> tuple[Headers, bytes, bytes]:
        """Encode the fields that many requests share: all but `:path` and `content-length`.

        The result is kept if it added nothing to the table: it then stays right until a field is
        added. `authorization` is indexed although RFC 7541 section 7.1 warns against that: it is
        the same for thousands of requests, and nobody else can put text into this connection to
        guess it. `ttl` changes every second and is never indexed.
        """
        indexed = [*self._pseudo, *(field for field in headers if field[0] != "ttl")]
        table = self._encoder.header_table
        needed = sum(32 + len(name) + len(value) for name, value in indexed)
        too_large = needed > self._encoder.header_table_size
        settled = not table.resized and (too_large or all(map(self._is_in_table, indexed)))
        encoded = (
            headers,
            self._encoder.encode([(n, v, too_large) for n, v in self._pseudo]),
            self._encoder.encode([(n, v, too_large or n == "ttl") for n, v in headers]),
        )
        if not settled or len(self._kept) >= _KEPT_BLOCKS:
            self._kept.clear()
        if settled:
            self._kept[id(headers)] = encoded
        return encoded

    def _is_in_table(self, field: tuple[str, str]) -> bool:
        found = self._encoder.header_table.search(field[0].encode(), field[1].encode())
        return found is not None and found[2] is not None


class AnswerDecoder:
    """Decodes the header blocks of the answers of one connection.

    We ask the peer for a table of size 0. Google's encoder would fill a table with a `location` and
    a date that no two answers share, and every answer would have to be decoded in full only to keep
    the table right (30 µs, measured). Without a table each answer stands alone, and of a 2xx only
    the status is read, unless it has Microsoft's X-WNS-Status. A peer must say in a block that it
    stopped using its table; h2o 2.2 acknowledges our setting and goes on using one. RFC 9113
    section 4.3.1 asks us to end such a connection, but that would lose the answers to messages that
    the peer took.
    """

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=_LARGEST_HEADERS)

    def decode(self, block: bytes) -> tuple[int, str, str]:
        """Return the status (0 if there is none), Retry-After, X-WNS-Status; `ValueError`."""
        if (
            not self._decoder.header_table_size
            and (status := _first_status(block)) // 100 == 2
            and _WNS_STATUS_CODED not in block
            and _WNS_STATUS not in block
        ):
            return status, "", ""
        try:
            headers = dict(reversed(list(self._decoder.decode(block, raw=True))))
        except (hpack.HPACKError, IndexError) as error:
            raise ValueError("not HPACK, or too much of it") from error
        retry_after, wns_status = (
            bytes(headers.get(name, b"")).decode("latin-1")
            for name in (b"retry-after", _WNS_STATUS)
        )
        return _number(headers.get(b":status", b"")), retry_after, wns_status


def _first_status(block: bytes) -> int:
    """Return the status if it is the first field, in one of its usual forms; else 0."""
    first = block[:1]
    if first >= b"\x80":  # an entry of the table
        return _status(first)
    # A literal of any kind, with the name of one of the entries 8 to 14.
    if first in _STATUS_LITERALS and len(block) > 1:
        return _status(block[: 2 + (block[1] & 0x7F)])
    return 0


@lru_cache(1024)
def _status(field: bytes) -> int:
    try:
        ((name, value),) = hpack.Decoder().decode(field, raw=True)
    except (hpack.HPACKError, IndexError, ValueError):
        return 0
    return _number(value) if name == b":status" else 0


def _number(status: bytes | str) -> int:
    return int(status) if len(status) == 3 and status.isdigit() else 0
