"""A desktop without a screen: a private session bus that takes a browser's notifications.

It owns org.freedesktop.Notifications (Desktop Notifications Specification 1.2) on a bus of its
own. A browser that gets the bus's address shows its notifications here as it would on a real
desktop, and a test clicks them as a reader would.
"""

import asyncio
import html
import itertools
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusDict, DBusInt32, DBusSignature, DBusStr, DBusUInt32
from dbus_fast.service import ServiceInterface, dbus_method, dbus_signal

from service.model.language.languages import LANGUAGES, texts
from tests.support.browser import programs

# Each new subscriber gets a test. Tests look at it only if they ask for it.
_TESTS = {texts(language)["alerts"]["test"] for language in LANGUAGES}

# Unlike the system's session bus it starts no services on demand, because an accessibility bus or a
# keyring that a browser asks for would leave processes behind.
_BUS_CONFIG = """\
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""

_DISMISSED_BY_USER = 2
_CLOSED_BY_CALL = 3

_BUS_SECONDS = 10.0

_DBusStrings = Annotated[list[str], DBusSignature("as")]
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class DesktopNotification:
    """What a browser asked the desktop to show."""

    id: int
    replaces_id: int  # 0 for a new notification
    title: str
    body: str  # plain text: the specification's markup escapes are undone
    actions: dict[str, str]  # labels by key; the key `default` is a click on the notification


class _NotificationServer(ServiceInterface):
    def __init__(
        self, shown: "queue.Queue[DesktopNotification]", tests: "queue.Queue[DesktopNotification]"
    ) -> None:
        super().__init__("org.freedesktop.Notifications")
        self._shown = shown
        self._tests = tests
        self._ids = itertools.count(1)

    @dbus_method(name="GetServerInformation")
    def server_information(self) -> Annotated[tuple[str, ...], DBusSignature("ssss")]:
        return "Stop Press tests", "Stop Press", "1", "1.2"

    @dbus_method(name="GetCapabilities")
    def capabilities(self) -> _DBusStrings:
        return ["actions", "body", "body-markup", "persistence"]

    @dbus_method(name="Notify")
    def notify(
        self,
        app_name: DBusStr,
        replaces_id: DBusUInt32,
        app_icon: DBusStr,
        summary: DBusStr,
        body: DBusStr,
        actions: _DBusStrings,
        hints: DBusDict,
        expire_timeout: DBusInt32,
    ) -> DBusUInt32:
        notification = DesktopNotification(
            id=replaces_id or next(self._ids),
            replaces_id=replaces_id,
            title=summary,
            body=html.unescape(body),
            actions=dict(zip(actions[::2], actions[1::2], strict=True)),
        )
        (self._tests if summary in _TESTS else self._shown).put(notification)
        return notification.id

    @dbus_method(name="CloseNotification")
    def close_notification(self, notification_id: DBusUInt32) -> None:
        self.closed(notification_id, _CLOSED_BY_CALL)

    @dbus_signal(name="NotificationClosed")
    def closed(
        self, notification_id: int, reason: int
    ) -> Annotated[tuple[int, int], DBusSignature("uu")]:
        return notification_id, reason

    @dbus_signal(name="ActionInvoked")
    def action_invoked(
        self, notification_id: int, key: str
    ) -> Annotated[tuple[int, str], DBusSignature("us")]:
        return notification_id, key


class Desktop:
    """A running desktop; a context manager that leaves no process, thread or file behind.

    A browser needs `address` as its `DBUS_SESSION_BUS_ADDRESS`.
    """

    def __init__(self) -> None:
        self.address = ""
        self._shown: queue.Queue[DesktopNotification] = queue.Queue()
        self._tests: queue.Queue[DesktopNotification] = queue.Queue()
        self._server = _NotificationServer(self._shown, self._tests)
        self._resources = ExitStack()

    def __enter__(self) -> "Desktop":
        with self._resources:
            self.address = self._resources.enter_context(_session_bus())
            self._loop = self._resources.enter_context(_running_loop())
            self._bus = self._run(self._connect())
            self._resources.callback(lambda: self._run(self._disconnect()))
            self._resources = self._resources.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def wait_for_notification(self, timeout: float = 30) -> DesktopNotification:
        """Take the oldest alert that nobody has taken, test alerts aside; TimeoutError."""
        return _take(self._shown, timeout)

    def wait_for_test_alert(self) -> DesktopNotification:
        """Take the oldest alert that says that it is a test; TimeoutError."""
        return _take(self._tests, 30)

    def forget(self) -> list[DesktopNotification]:
        """Take all notifications that nobody has taken, without waiting; no test alerts."""
        _all(self._tests)
        return _all(self._shown)

    def click(self, notification: DesktopNotification) -> None:
        """Click the notification itself."""
        self.act(notification, "default")

    def act(self, notification: DesktopNotification, key: str) -> None:
        """Click the button with that key in `notification.actions`, which closes it."""
        if key not in notification.actions:
            raise KeyError(f"the notification has no action {key!r}: {notification.actions}")
        self._emit(self._server.action_invoked, notification.id, key)
        self.dismiss(notification)

    def dismiss(self, notification: DesktopNotification) -> None:
        """Close the notification as a reader does with its ×."""
        self._emit(self._server.closed, notification.id, _DISMISSED_BY_USER)

    def _emit(self, signal: Callable[..., object], *arguments: int | str) -> None:
        self._loop.call_soon_threadsafe(signal, *arguments)

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_BUS_SECONDS)

    async def _connect(self) -> MessageBus:
        bus = await MessageBus(bus_address=self.address).connect()
        bus.export("/org/freedesktop/Notifications", self._server)
        await bus.request_name("org.freedesktop.Notifications")
        return bus

    async def _disconnect(self) -> None:
        self._bus.disconnect()
        await self._bus.wait_for_disconnect()


def _take(shown: "queue.Queue[DesktopNotification]", timeout: float) -> DesktopNotification:
    try:
        return shown.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"no notification reached the desktop in {timeout} s") from None


def _all(shown: "queue.Queue[DesktopNotification]") -> list[DesktopNotification]:
    taken = []
    with suppress(queue.Empty):
        while True:
            taken.append(shown.get_nowait())
    return taken


@contextmanager
def _session_bus() -> Iterator[str]:
    """Run a dbus-daemon; yield its address."""
    with tempfile.TemporaryDirectory(prefix="desktop-") as folder:
        config = Path(folder, "bus.conf")
        config.write_text(_BUS_CONFIG.format(socket=Path(folder, "bus")))
        command = [programs.find(programs.DBUS_DAEMON), f"--config-file={config}"]
        command += ["--nofork", "--print-address=1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
            try:
                assert daemon.stdout
                address = daemon.stdout.readline().strip()
                if not address:
                    raise RuntimeError("dbus-daemon did not start: see its own message")
                yield address
            finally:
                daemon.terminate()


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="desktop")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
