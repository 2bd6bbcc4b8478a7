"""Firefox's side: the WebSocket protocol by which it registers and receives."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from tests.support.push_service.messages import (
    Ack,
    Channel,
    Message,
    Nack,
    b64url,
    from_b64url,
    from_point,
)

if TYPE_CHECKING:
    from tests.support.push_service.service import PushService


@dataclass(slots=True)
class _Queued:
    """A message that Firefox has not acknowledged."""

    channel: str
    topic: str | None
    deadline: float  # time.monotonic()
    frame: str


@dataclass(slots=True)
class _Browser:
    """One Firefox profile, known by its uaid; `connection` is None while it is away."""

    uaid: str
    connection: ServerConnection | None = None
    channels: dict[str, Channel] = field(default_factory=dict)
    queue: dict[str, _Queued] = field(default_factory=dict)  # by version


class Autopush:
    """Mozilla's WebSocket protocol, as Firefox 153 and autopush-rs speak it."""

    def __init__(self, service: PushService) -> None:
        self.service = service
        self.browsers: dict[str, _Browser] = {}

    async def serve(self, connection: ServerConnection) -> None:
        """Serve one browser until it disconnects."""
        try:
            hello = json.loads(await connection.recv())
            if hello["messageType"] != "hello" or hello["use_webpush"] is not True:
                raise ValueError("hello with use_webpush must come first")
            browser = await self._greet(connection, hello.get("uaid"))
            async for frame in connection:
                await self._handle(browser, connection, json.loads(frame))
        except (KeyError, ValueError) as error:
            self.service.refuse_protocol(error)
        except ConnectionClosed:
            pass  # a browser may be killed

    async def forget(self) -> None:
        """Forget all browsers: each comes back as a new one, and its old endpoints are gone."""
        browsers, self.browsers = self.browsers, {}
        for browser in browsers.values():
            for channel in browser.channels.values():
                channel.unsubscribed = True
            if browser.connection is not None:
                await browser.connection.close()

    async def _greet(self, connection: ServerConnection, uaid: str | None) -> _Browser:
        """Find the browser with this uaid and send it its messages, or make a new browser."""
        browser = self.browsers.get(uaid or "") or _Browser(secrets.token_hex(16))
        self.browsers[browser.uaid] = browser
        reply = {"messageType": "hello", "uaid": browser.uaid, "status": 200}
        await connection.send(json.dumps({**reply, "use_webpush": True, "broadcasts": {}}))
        browser.connection = connection
        now = time.monotonic()
        browser.queue = {v: m for v, m in browser.queue.items() if m.deadline > now}
        for message in browser.queue.values():
            broadcast([connection], message.frame)
        return browser

    async def _handle(
        self, browser: _Browser, connection: ServerConnection, frame: dict[str, Any]
    ) -> None:
        kind = frame.get("messageType")
        if frame in ({}, {"messageType": "ping"}):
            await connection.send(json.dumps(frame))
        elif kind == "register":
            reply = self._register(browser, frame["channelID"], frame.get("key"))
            await connection.send(json.dumps({"messageType": kind, **reply}))
        elif kind == "unregister":
            channel = browser.channels.pop(frame["channelID"], None)
            if channel is not None:
                channel.unsubscribed = True
            reply = {"channelID": frame["channelID"], "status": 200}
            await connection.send(json.dumps({"messageType": kind, **reply}))
        elif kind == "ack":
            for update in frame["updates"]:
                browser.queue.pop(update["version"], None)
                ack = Ack(update["channelID"], update["version"], update["code"])
                self.service.tell(self.service.acks, ack)
        elif kind == "nack":
            self.service.tell(self.service.nacks, Nack(frame["version"], frame["code"]))
        elif kind != "broadcast_subscribe":
            raise ValueError(f"unknown messageType {kind!r}")

    def _register(self, browser: _Browser, channel_id: str, key: str | None) -> dict[str, Any]:
        try:
            vapid_public_key = from_b64url((key or "").rstrip("="))
            from_point(vapid_public_key)
        except ValueError:
            return {"channelID": channel_id, "status": 400}
        endpoint = f"{self.service.plain_origin}/wpush/v2/{secrets.token_urlsafe(24)}"
        channel = Channel(
            endpoint=endpoint,
            vapid_public_key=vapid_public_key,
            uaid=browser.uaid,
            channel=channel_id,
        )
        browser.channels[channel_id] = channel
        self.service.register(channel)
        self.service.tell(self.service.registrations, channel)
        return {"channelID": channel_id, "status": 200, "pushEndpoint": endpoint}

    def relay(self, channel: Channel, message: Message, version: str, ttl: int) -> None:
        """Send a message on to its browser, and keep it until acknowledged or out of time."""
        browser = self.browsers[channel.uaid]
        topic = message.headers.get("topic")
        if topic is not None:  # RFC 8030 section 5.4: it replaces a message not yet delivered
            browser.queue = {
                version: queued
                for version, queued in browser.queue.items()
                if (queued.channel, queued.topic) != (channel.channel, topic)
            }
        frame = json.dumps(
            {
                "messageType": "notification",
                "channelID": channel.channel,
                "version": version,
                "ttl": ttl,
                "data": b64url(message.body),
                "headers": {"encoding": message.headers["content-encoding"]},
            }
        )
        deadline = time.monotonic() + ttl
        browser.queue[version] = _Queued(channel.channel, topic, deadline, frame)
        if browser.connection is not None:
            broadcast([browser.connection], frame)
