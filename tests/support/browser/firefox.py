"""A real Firefox without a screen, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).

Firefox's push client talks to the tests' push service, its notifications go to the tests' desktop,
and nothing else leaves the machine. Measured with Firefox ESR 153.
"""

import base64
import itertools
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from websockets.sync.client import connect

from tests.support.browser import programs

_LOG_NAME = "firefox.log"

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_COMMAND_SECONDS = 30.0
_POLL_SECONDS = 0.05

_CLOSED_PORT = 9  # discard: nothing listens there, so that this proxy leads nowhere

_PREFS: dict[str, bool | int | str] = {
    # WebDriver's recommended preferences switch push off unless it is set by hand.
    "dom.push.connection.enabled": True,
    "dom.push.testing.allowInsecureServerURL": True,
    # The default is 5 s, doubling: too long for a test that restarts the push service.
    "dom.push.retryBaseInterval": 200,
    # While an element slides in, a test would aim at the wrong place.
    "ui.prefersReducedMotion": 1,
    # Each site that a test visits has the process that the one before left, not a new one, and none
    # is started in advance.
    "dom.ipc.processPrelaunch.enabled": False,
    "dom.ipc.processCount.webIsolated": 1,
    "dom.ipc.processReuse.unusedGraceMs": 600_000,
    # The rest keeps Firefox off the network. Loopback addresses bypass the proxy; with all of
    # these a recording proxy saw no attempt to leave in 20 s, without the last three it saw 3.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": _CLOSED_PORT,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": _CLOSED_PORT,
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.activity-stream.testing.shouldInitializeFeeds": False,
    "browser.region.network.url": "",
    "browser.region.update.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "termsofuse.bypassNotification": True,
    "toolkit.telemetry.server": "",
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.usage.uploadEnabled": False,
    "telemetry.fog.test.localhost_port": -1,
}

# WebDriver, "Keyboard actions": keys that are no character have a code point of their own.
_KEYS = {
    "Backspace": "\ue003",
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Shift": "\ue008",
    "Escape": "\ue00c",
    "Space": " ",
    "ArrowLeft": "\ue012",
    "ArrowUp": "\ue013",
    "ArrowRight": "\ue014",
    "ArrowDown": "\ue015",
}

# The middle of the first matching element once it is laid out and the page has loaded, else null:
# an element appears before the script that makes it work. Open shadow roots are searched too,
# because our panel lives in one.
_AIM = """
(() => {
  const find = (root) => root.querySelector(%(selector)s) ?? [...root.querySelectorAll("*")]
    .filter((element) => element.shadowRoot)
    .reduce((found, element) => found ?? find(element.shadowRoot), null);
  const element = document.readyState === "complete" ? find(document) : null;
  element?.scrollIntoView({block: "center", behavior: "instant"});
  const box = element?.getBoundingClientRect();
  return box?.width && box?.height ? [box.x + box.width / 2, box.y + box.height / 2] : null;
})()
"""

_Found = TypeVar("_Found")


class BiDiError(Exception):
    """Firefox refused a command, or the page's JavaScript threw."""


class PageError(BiDiError):
    """The page's JavaScript threw."""


class Firefox:
    """A running Firefox; a context manager that leaves no process or file behind.

    `push_url` is the WebSocket address of the push service, `bus_address` that of the session
    bus. A `profile_dir` of the caller's is kept, so that the same reader can come back. Without
    one every start is a new reader.
    """

    def __init__(self, *, push_url: str, bus_address: str, profile_dir: Path | None = None) -> None:
        self._push_url = push_url
        self._bus_address = bus_address
        self._profile_dir = profile_dir
        self._command_ids = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self._resources = ExitStack()

    def __enter__(self) -> "Firefox":
        with self._resources:
            folder = tempfile.TemporaryDirectory(prefix="firefox-")
            home = Path(self._resources.enter_context(folder))
            profile = self._profile_dir or home / "profile"
            profile.mkdir(exist_ok=True)
            (profile / "user.js").write_text(_user_js(self._push_url))
            process = self._resources.enter_context(_process(home, profile, self._bus_address))
            self._socket = self._resources.enter_context(
                # A screenshot exceeds the library's limit of 1 MiB for one message. No pings,
                # because they would use `random` within a hypothesis test, which forbids that.
                connect(
                    f"{_bidi_address(home)}/session", proxy=None, max_size=None, ping_interval=None
                )
            )
            # Firefox listens long before it has started, and answers this when it has.
            self._call("session.new", {"capabilities": {}}, _START_SECONDS)
            self._resources.callback(self._close, process)
            self._resources = self._resources.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one BiDi command and return its result; BiDiError if it is refused."""
        return self._call(method, params, _COMMAND_SECONDS)

    def _call(self, method: str, params: dict[str, Any], seconds: float) -> dict[str, Any]:
        command_id = next(self._command_ids)
        self._socket.send(json.dumps({"id": command_id, "method": method, "params": params}))
        deadline = time.monotonic() + seconds
        while True:
            message = json.loads(self._socket.recv(timeout=deadline - time.monotonic()))
            if message["type"] == "event":
                self._events.append(message)
            if message.get("id") != command_id:
                continue
            if message["type"] == "error":
                raise BiDiError(f"{method}: {message['error']}: {message['message']}")
            result: dict[str, Any] = message["result"]
            return result

    @contextmanager
    def listening(self, *names: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Record the BiDi events of these names in all tabs and workers.

        Yields a function that returns the events since its last call.
        """

        def new_events() -> list[dict[str, Any]]:
            self.command("session.status")  # its response comes after them
            events, self._events = self._events, []
            return events

        self.command("session.subscribe", events=list(names))
        try:
            new_events()
            yield new_events
        finally:
            self.command("session.unsubscribe", events=list(names))
            self._events = []

    def open(self, url: str, *, behind: bool = False) -> "Tab":
        """Open a tab in front, or behind the others; return when its page has loaded."""
        made = self.command("browsingContext.create", type="tab", background=behind)
        tab = Tab(self, made["context"])
        tab.go(url)
        return tab

    def tabs(self) -> list[str]:
        """Return the addresses of all tabs."""
        return [context["url"] for context in self._contexts()]

    def close_tabs(self) -> None:
        """Close every tab but the first, because a Firefox without tabs ends."""
        for context in self._contexts()[1:]:
            Tab(self, context["context"]).close()

    def wait_for_tab(self, url_part: str) -> "Tab":
        """Return the first tab whose address contains `url_part`; TimeoutError."""

        def find() -> "Tab | None":
            matching = (tab for tab in self._contexts() if url_part in tab["url"])
            return next((Tab(self, tab["context"]) for tab in matching), None)

        return _poll(find, 30, lambda: f"no tab with {url_part!r}, only {self.tabs()}")

    def allow_notifications(self, origin: str, state: str = "granted") -> None:
        """Answer the notification prompt for `origin`: "granted", "denied" or "prompt".

        Without a screen no prompt can be clicked, and `subscribe()` would wait for ever.
        """
        self.command(
            "permissions.setPermission",
            descriptor={"name": "notifications"},
            state=state,
            origin=origin,
        )

    def collect_garbage(self) -> None:
        """Have all processes look for garbage, as a Firefox that runs out of memory does."""
        windows = self.command("browsingContext.getTree", **{"moz:scope": "chrome"})["contexts"]
        self.command(
            "script.evaluate",
            expression='Services.obs.notifyObservers(null, "memory-pressure", "heap-minimize")',
            target={"context": windows[0]["context"]},
            awaitPromise=False,
        )

    def _contexts(self) -> list[dict[str, Any]]:
        tree = self.command("browsingContext.getTree", maxDepth=0)
        contexts: list[dict[str, Any]] = tree["contexts"]
        return contexts

    def _close(self, process: "subprocess.Popen[bytes]") -> None:
        self.command("browser.close")
        process.wait(_STOP_SECONDS)


@dataclass(frozen=True)
class Tab:
    """One tab of a Firefox."""

    firefox: Firefox
    context: str

    def go(self, url: str) -> None:
        """Go to `url` and return when the page has loaded."""
        self._command("browsingContext.navigate", url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Return the awaited value of a JavaScript expression, as JSON carries it.

        PageError if it throws or its promise is rejected.
        """
        result = self.firefox.command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self.context},
            awaitPromise=True,
        )
        if result["type"] == "exception":
            raise PageError(result["exceptionDetails"]["text"])
        return json.loads(result["result"].get("value", "null"))

    def wait_until(self, expression: str, timeout: float = 30) -> Any:
        """Evaluate the expression until it is true, and return its value; TimeoutError."""

        def look() -> Any:
            try:
                return self.evaluate(expression)
            except PageError:
                raise
            except BiDiError:  # the page went away meanwhile
                return None

        return _poll(
            look,
            timeout,
            lambda: f"{expression} is still {self.evaluate(expression)!r}",
        )

    def click(self, selector: str, timeout: float = 30) -> None:
        """Wait until an element that matches the CSS selector is laid out, and click it.

        The click goes through the browser's input handling, so that it counts as the reader's own.
        A selector matches within the document or within one shadow root, not across.
        """
        aim = _AIM % {"selector": json.dumps(selector)}
        x, y = _poll(lambda: self.evaluate(aim), timeout, lambda: f"nothing to click: {selector}")
        self._input(
            "pointer",
            {"type": "pointerMove", "x": round(x), "y": round(y)},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        )

    def press(self, *keys: str) -> None:
        """Press keys one after another: characters, or names such as "Tab" or "Shift+Tab"."""
        for key in keys:
            names = key.split("+") if len(key) > 1 else [key]
            codes = [_KEYS.get(name, name) for name in names]
            self._input(
                "key",
                *({"type": "keyDown", "value": code} for code in codes),
                *({"type": "keyUp", "value": code} for code in reversed(codes)),
            )

    def resize(self, width: int, height: int) -> None:
        """Set the size of the page's viewport in CSS pixels."""
        self._command("browsingContext.setViewport", viewport={"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        """Write what the viewport shows to a PNG file."""
        picture = self._command("browsingContext.captureScreenshot")["data"]
        path.write_bytes(base64.b64decode(picture))

    def close(self) -> None:
        """Close the tab."""
        self._command("browsingContext.close")

    def _input(self, device: str, *actions: dict[str, Any]) -> None:
        self._command("browsingContext.activate")
        self._command(
            "input.performActions",
            actions=[{"type": device, "id": device, "actions": actions}],
        )

    def _command(self, method: str, **params: Any) -> dict[str, Any]:
        return self.firefox.command(method, context=self.context, **params)


@contextmanager
def _process(home: Path, profile: Path, bus_address: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Firefox in a process group of its own, and end what is left of the group."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "DBUS_SESSION_BUS_ADDRESS": bus_address,
        # Without it Firefox ignores the address of `services.settings.server`.
        "MOZ_REMOTE_SETTINGS_DEVTOOLS": "1",
    }
    programs.require_libnotify()
    command = [programs.find(programs.FIREFOX), "-headless", "-no-remote", "-new-instance"]
    command += ["-profile", str(profile), "--remote-debugging-port=0", "about:blank"]
    command += ["-remote-allow-system-access"]  # for `collect_garbage`
    with (
        (home / _LOG_NAME).open("wb") as log,
        subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        ) as process,
    ):
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _bidi_address(home: Path) -> str:
    """Return the WebSocket address that Firefox announces once it listens."""
    log = home / _LOG_NAME

    def announced() -> "re.Match[str] | None":
        return re.search(r"WebDriver BiDi listening on (ws://\S+)\n", log.read_text())

    return _poll(announced, _START_SECONDS, lambda: f"Firefox is silent: {log.read_text()}")[1]


def _user_js(push_url: str) -> str:
    prefs = _PREFS | {"dom.push.serverURL": push_url}
    return "".join(
        f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in prefs.items()
    )


def _poll(probe: Callable[[], _Found | None], timeout: float, explain: Callable[[], str]) -> _Found:
    """Return the first true value of `probe`; TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout} s: {explain()}")
        time.sleep(_POLL_SECONDS)
    return found
