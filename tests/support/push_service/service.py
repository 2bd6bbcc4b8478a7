"""The push service itself: its ports, its thread, and what a test can do with it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from h2.errors import ErrorCodes
from websockets.asyncio.server import serve
from websockets.typing import Subprotocol

from tests.support.push_service.autopush import Autopush
from tests.support.push_service.certificates import HOST, Certificate, make_certificates
from tests.support.push_service.judge import Judge, Refusal
from tests.support.push_service.messages import (
    Ack,
    Answer,
    Channel,
    Message,
    Nack,
    Registration,
    Rule,
    Subscription,
)
from tests.support.push_service.transports import ByAlpn, Connection, Http1, Request

MAX_TTL = 30 * 24 * 3600  # seconds that Mozilla grants at most


class PushService:
    """The push service, a context manager; the package's docstring describes it.

    An exception in a rule, or an error of the service itself, is raised when the block ends.
    """

    def __init__(
        self,
        *,
        strict_subject: bool = False,
        http2: bool = True,
        certificate: Certificate = "good",
        host: str = HOST,
    ) -> None:
        """With `strict_subject`, `sub` may not name localhost, .local or .invalid, as at Apple.

        `host` is the address at which it listens.
        """
        self._host = host
        self.received: list[Message] = []  # in the order of the responses
        self.disowned: list[Message] = []  # reported as not taken by HTTP/2; never in `received`
        self.refusals: list[Refusal] = []  # without 410, which is not the sender's fault
        self.registrations: list[Channel] = []
        self.acks: list[Ack] = []
        self.nacks: list[Nack] = []
        self.connections: set[Connection] = set()
        self.connection_numbers = itertools.count(1)
        self._protocols = ["h2", "http/1.1"] if http2 else ["http/1.1"]
        self._certificate = certificate
        self._judge = Judge(strict_subject)
        self._autopush = Autopush(self)
        self._rule: Rule = lambda message: None
        self._let_through: int | None = None  # messages that are still answered; None: all
        self._held: list[partial[None]] = []
        self._name = secrets.token_urlsafe(8)  # a Firefox profile must not see a version twice
        self._numbers = itertools.count(1)
        self._waiting: list[tuple[Callable[[], bool], threading.Event]] = []
        self._acks_waited_for = 0
        self._faults: list[BaseException] = []

    def __enter__(self) -> PushService:
        self._folder = tempfile.TemporaryDirectory(prefix="push-service-")
        self.ca_file, self._certificates = make_certificates(Path(self._folder.name), self._host)
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="push-service")
        self._thread.start()
        started.result()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._folder.cleanup()
        if kind is None and self._faults:
            raise self._faults[0]

    # What a test does

    def subscribe(self, vapid_public_key: bytes, *, plain: bool = False) -> Subscription:
        """Subscribe a pretend browser; `plain` gives it an endpoint without TLS."""
        origin = self.plain_origin if plain else self.origin
        subscription = Subscription(
            endpoint=f"{origin}/wpush/v2/{secrets.token_urlsafe(24)}",
            vapid_public_key=vapid_public_key,
            private_key=ec.generate_private_key(ec.SECP256R1()),
            auth=secrets.token_bytes(16),
        )
        self.register(subscription)
        return subscription

    def accept_any(self, vapid_public_key: bytes) -> None:
        """Treat every endpoint `/push/<anything>` as registered with this key."""
        self._judge.key_of_any = vapid_public_key

    def answer_with(self, rule: Rule) -> None:
        """From now on let `rule` choose the answers; for None the judgement decides.

        The rule runs in the service's own thread and must not wait.
        """
        self._rule = rule

    def hold_after(self, n: int) -> None:
        """Answer so many of the messages that come from now on, and the others after `go_on`.

        The send is then neither over nor further before the test has done what it wants to do.
        A sender gives a message up after 15 seconds.
        """
        self._let_through = n

    def held_from(self) -> Counter[str]:
        """Count the messages of which the answer is held, by the address that they came from."""
        names = [one.args[0].transport.get_extra_info("peername") for one in list(self._held)]
        return Counter(name[0] for name in names if name)  # a connection that is lost has none

    def go_on(self, *, until_held: bool = False) -> None:
        """Answer what is held, and all that comes; or hold again what comes."""
        let_through = 0 if until_held else None
        asyncio.run_coroutine_threadsafe(self._answer_held(let_through), self._loop).result()

    async def _answer_held(self, let_through: int | None) -> None:
        self._let_through = let_through
        held, self._held = self._held, []
        for answer in held:
            answer()

    def begin_anew(self) -> None:
        """Forget earlier messages and the rule; browsers stay registered."""
        for news in (self.received, self.disowned, self.refusals, self.acks, self.nacks):
            news.clear()
        self._acks_waited_for = 0
        self.answer_with(lambda message: None)

    def present(self, certificate: Certificate) -> None:
        """From now on present this certificate; all connections end."""
        self._certificate = certificate
        asyncio.run_coroutine_threadsafe(self._listen_anew(), self._loop).result()

    def forget_browsers(self) -> None:
        """Forget all browsers, as a push service may, so that they must subscribe again."""
        asyncio.run_coroutine_threadsafe(self._autopush.forget(), self._loop).result()

    def wait_for(self, n: int, timeout: float) -> list[Message]:
        """Wait until `n` messages were received since the start, and return all received ones."""
        self._wait(lambda: len(self.received) >= n, timeout, f"{n} messages")
        return self.received[:]

    def wait_for_ack(self, timeout: float) -> Ack:
        """Wait for the next ack, and return it."""
        position = self._acks_waited_for
        self._wait(lambda: len(self.acks) > position, timeout, f"ack {position + 1}")
        self._acks_waited_for += 1
        return self.acks[position]

    def _wait(self, arrived: Callable[[], bool], timeout: float, what: str) -> None:
        waiting = (arrived, threading.Event())
        self._waiting.append(waiting)
        try:
            if not arrived() and not waiting[1].wait(timeout):
                raise TimeoutError(
                    f"no {what} within {timeout} s: {len(self.received)} messages,"
                    f" {len(self.acks)} acks, refusals {self.refusals[:3]}"
                )
        finally:
            self._waiting.remove(waiting)

    # What its transports and browsers call

    def register(self, registration: Registration) -> None:
        """Accept messages to a new endpoint."""
        self._judge.registrations[registration.endpoint] = registration

    def tell(self, news: list[Any], item: object) -> None:
        """Append to one of the lists that a test may wait on, and wake the test if it has enough.

        If every message woke the test, the two threads would compete for the interpreter's lock.
        """
        news.append(item)
        for arrived, woken in tuple(self._waiting):
            if arrived():
                woken.set()

    def refuse_protocol(self, error: Exception) -> None:
        """Record that a client violated HTTP itself."""
        self.refusals.append(Refusal(400, 999, f"{type(error).__name__}: {error}"))

    def take(self, connection: Connection, stream: int, request: Request, body: bytes) -> None:
        """Judge a message and respond, after the delay that the rule sets."""
        message = _message(connection, request, body)
        refusal = self._refusal(message)
        answer = self._rule(message) or (refusal.answer() if refusal else Answer())
        finish = self._accept if answer.status == 201 and refusal is None else self._answer
        if self._let_through is not None:
            if not self._let_through:
                self._held.append(partial(finish, connection, stream, message, answer))
                return
            self._let_through -= 1
        if answer.delay > 0:
            self._loop.call_later(answer.delay, finish, connection, stream, message, answer)
        else:
            finish(connection, stream, message, answer)

    def disown(self, connection: Connection, request: Request, body: bytes) -> None:
        """Record a message that came too late to be taken."""
        self.disowned.append(_message(connection, request, body))

    def _refusal(self, message: Message) -> Refusal | None:
        try:
            self._judge.judge(message, time.time())
        except Refusal as refusal:
            if refusal.status != 410:
                self.refusals.append(refusal.with_traceback(None))
            return refusal
        return None

    def _accept(
        self, connection: Connection, stream: int, message: Message, answer: Answer
    ) -> None:
        version = f"{self._name}-{next(self._numbers)}"
        ttl = min(int(message.headers["ttl"]), MAX_TTL)
        headers = {"location": f"{self.origin}/m/{version}", "ttl": str(ttl), **answer.headers}
        self._answer(connection, stream, message, replace(answer, headers=headers))
        channel = self._judge.registrations.get(message.endpoint)
        if isinstance(channel, Channel) and message.status == 201:
            self._autopush.relay(channel, message, version, ttl)

    def _answer(
        self, connection: Connection, stream: int, message: Message, answer: Answer
    ) -> None:
        """Record the message, then respond, so that a test with the response finds the message."""
        if answer.refuse_stream:
            self.disowned.append(message)
            connection.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
            return
        unanswered = answer.hang or answer.reset or answer.close or answer.reset_stream
        if not unanswered:
            message.status = answer.status
        self.tell(self.received, message)
        if answer.reset:
            connection.reset()
        elif answer.close:
            connection.close()
        elif answer.reset_stream:
            connection.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        elif not answer.hang:
            connection.respond(stream, answer.status, answer.headers, answer.body, answer.goaway)

    # Its thread

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                self._faults.append(error)
            else:
                started.set_exception(error)

    async def _serve(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._note_fault)
        self._stop = asyncio.Event()
        self._https = await self._listen(port=0)
        plain = await self._loop.create_server(lambda: Http1(self), self._host, 0)
        protocol = Subprotocol("push-notification")
        # No pings, because they would use `random` within a hypothesis test, which forbids that.
        browsers = await serve(
            self._autopush.serve, self._host, 0, subprotocols=[protocol], ping_interval=None
        )
        self.origin = f"https://{_address(self._https.sockets[0])}"
        self.plain_origin = f"http://{_address(plain.sockets[0])}"
        self.websocket_url = f"ws://{_address(next(iter(browsers.sockets)))}/"
        started.set_result(None)
        await self._stop.wait()
        await self._close(self._https, plain)
        browsers.close()
        self._abort_connections()
        await browsers.wait_closed()
        await self._https.wait_closed()
        await plain.wait_closed()

    async def _listen(self, port: int) -> asyncio.Server:
        """Listen over TLS with a new context, so that no session outlives its certificate."""
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(self._certificates[self._certificate])
        tls.set_alpn_protocols(self._protocols)
        return await self._loop.create_server(lambda: ByAlpn(self), self._host, port, ssl=tls)

    async def _listen_anew(self) -> None:
        port = self._https.sockets[0].getsockname()[1]
        await self._close(self._https)
        self._abort_connections()
        self._https = await self._listen(port)

    async def _close(self, *servers: asyncio.Server) -> None:
        """Close servers, after what they accepted just now is made into connections.

        Otherwise asyncio would never close its sockets.
        """
        for listening in itertools.chain.from_iterable(server.sockets for server in servers):
            self._loop.remove_reader(listening.fileno())
        for _ in range(3):  # turns of the loop: its task, its transport, its handshake
            await asyncio.sleep(0)
        for server in servers:
            server.close()

    def _abort_connections(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()

    def _note_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._faults.append(context.get("exception") or RuntimeError(context["message"]))


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()
    return f"{host}:{port}"


def _message(connection: Connection, request: Request, body: bytes) -> Message:
    return Message(
        endpoint=f"{connection.scheme}://{request.authority}{request.path}",
        path=request.path,
        method=request.method,
        headers=request.headers,
        body=body,
        http_version=connection.http_version,
        connection=connection.number,
        at=time.monotonic(),
    )
