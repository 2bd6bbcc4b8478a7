"""Takes messages to push services: HTTP/2 over few long-lived connections, by libcurl's multi."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import pycurl

Key = TypeVar("Key")

_MAX_ANSWER: Final = 4096
# In plain words: libcurl's own differ with the TLS library and the moment.
_FAILURES: Final = {
    pycurl.E_COULDNT_RESOLVE_HOST: "host name unknown",
    pycurl.E_COULDNT_CONNECT: "connection refused",
    pycurl.E_OPERATION_TIMEDOUT: "timed out",
    pycurl.E_SSL_CONNECT_ERROR: "TLS failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "certificate not trusted",
}
# Above 1,023 descriptors libcurl's select returns at once, in a loop that eats a core (measured).
_MAX_IDLE_CONNECTIONS: Final = 256
# Seconds in which answers that trickle in may gather: each waking of libcurl costs as much as
# several requests. Measured at 2,500/s, on a busy machine: 100-138 µs of CPU per request with it,
# 124-211 without.
_GATHER: Final = 0.005


# Without slots, which Python 3.10 cannot give to a frozen and generic class.
@dataclass(frozen=True)
class Answer(Generic[Key]):
    """What became of one request.

    `status` is 0 where no answer came, and `reason` then says why; otherwise `reason` is the
    beginning of the answer's body, which may repeat the endpoint and is not for logs.
    `retry_after` is in seconds. `delivered_maybe` is False where it is known that the push service
    did not process the request.
    """

    key: Key
    status: int
    retry_after: float | None
    reason: str
    delivered_maybe: bool


class _Exchange:
    """A libcurl handle with its settings, used for one request after another."""

    def __init__(self, options: dict[int, Any]) -> None:
        self.key: object = None
        self.body = bytearray()
        self.curl = pycurl.Curl()
        for option, value in options.items():
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._keep)

    def _keep(self, data: bytes) -> int:
        """Keep the beginning of an answer; returning less than was given ends the request."""
        kept = data[: _MAX_ANSWER - len(self.body)]
        self.body += kept
        return len(kept)

    def prepare(self, key: object, url: str, headers: list[str], body: bytes) -> None:
        self.key = key
        self.body.clear()
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.HTTPHEADER, headers)
        self.curl.setopt(pycurl.POSTFIELDS, body)

    def answer(self, code: int, text: str) -> Answer[Any]:
        """Read the answer; once a status has come it counts, whatever libcurl says of the rest."""
        status: int = self.curl.getinfo(pycurl.RESPONSE_CODE)
        if status < 200:
            failure = _FAILURES.get(code, "connection lost")
            reason = f"{failure}: {text}" if text else failure
            return Answer(self.key, 0, None, reason, self._delivered_maybe(text))
        return Answer(
            self.key,
            status,
            # libcurl takes both forms, a date as at most 6 h (measured): more than we ever wait.
            self.curl.getinfo(pycurl.RETRY_AFTER) or None,
            self.body.decode(errors="replace"),
            status < 300 or (status >= 500 and status != 503),
        )

    def _delivered_maybe(self, text: str) -> bool:
        """Whether the request may have been processed although no answer came.

        "Connection died" is what libcurl says of streams that were refused (REFUSED_STREAM, or a
        GOAWAY that does not cover them) as often as it tried.
        """
        sent: int = self.curl.getinfo(pycurl.REQUEST_SIZE)
        return sent > 0 and not text.startswith("Connection died")


class Transport:
    """Requests under way from this process, at most `streams` at a time.

    Made after a fork and used by that process alone: a copy of it in another process, even only
    closed there, breaks the connections of this one (measured). `plain_origins` may be sent to
    without TLS. Timeouts are in seconds.
    """

    def __init__(
        self,
        *,
        streams: int = 256,
        connections: int = 4,
        ca_bundle: Path | None = None,
        plain_origins: frozenset[str] = frozenset(),
        connect_timeout: float = 5.0,
        timeout: float = 15.0,
    ) -> None:
        options = {
            pycurl.POST: True,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
            # Wait for a stream of a connection being made instead of making one for each request.
            pycurl.PIPEWAIT: True,
            pycurl.PROTOCOLS: pycurl.PROTO_HTTPS | (pycurl.PROTO_HTTP if plain_origins else 0),
            pycurl.FOLLOWLOCATION: False,
            pycurl.PROXY: "",  # else libcurl obeys https_proxy
            pycurl.CONNECTTIMEOUT_MS: int(connect_timeout * 1000),
            pycurl.TIMEOUT_MS: int(timeout * 1000),
            pycurl.NOSIGNAL: True,
        }
        if ca_bundle is not None:
            options[pycurl.CAINFO] = str(ca_bundle)
        self._pid = os.getpid()
        self._plain_origins = plain_origins
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, connections)
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, -(-streams // connections))
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MAX_IDLE_CONNECTIONS)
        self._idle = [_Exchange(options) for _ in range(streams)]
        self._under_way: dict[pycurl.Curl, _Exchange] = {}

    @property
    def free(self) -> int:
        """How many more requests may be started now."""
        return len(self._idle)

    def start(
        self, key: object, origin: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> None:
        """Begin to POST `body`; `poll` returns the answer with `key`.

        `ValueError` for a URL that is neither https nor of a plain origin.
        """
        self._check_process()
        if not origin.startswith("https://") and origin not in self._plain_origins:
            raise ValueError("messages are sent by https only")
        if not self._idle:
            raise RuntimeError("all streams are taken: poll() until some are free")
        exchange = self._idle.pop()
        lines = [f"{name}: {value}" for name, value in headers]
        exchange.prepare(key, origin + path, [*lines, "Expect:"], body)
        self._under_way[exchange.curl] = exchange
        self._multi.add_handle(exchange.curl)

    def poll(self, timeout: float) -> list[Answer[Any]]:
        """Send and receive; return the answers that have come, waiting `timeout` s for the first.

        Comes back early without one when something else happened, and at once when nothing is
        under way.
        """
        self._check_process()
        self._multi.perform()
        answers = self._answers()
        if len(answers) * 8 < len(self._under_way):
            if not answers:
                self._multi.select(timeout)
            time.sleep(_GATHER)
            self._multi.perform()
            answers += self._answers()
        return answers

    def close(self) -> None:
        """Give up what is under way and close all connections."""
        self._check_process()
        for exchange in self._under_way.values():
            self._multi.remove_handle(exchange.curl)
        for exchange in [*self._under_way.values(), *self._idle]:
            exchange.curl.close()
        self._under_way.clear()
        self._idle.clear()
        self._multi.close()

    def _answers(self) -> list[Answer[Any]]:
        answers = []
        more = 1
        while more:
            more, succeeded, failed = self._multi.info_read(len(self._under_way) + 1)
            answers += [self._finish(curl, pycurl.E_OK, "") for curl in succeeded]
            answers += [self._finish(*failure) for failure in failed]
        return answers

    def _finish(self, curl: pycurl.Curl, code: int, text: str) -> Answer[Any]:
        exchange = self._under_way.pop(curl)
        answer = exchange.answer(code, text)
        self._multi.remove_handle(curl)
        self._idle.append(exchange)
        return answer

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this Transport belongs to another process: make one after the fork")
