"""A publisher's own site, on another origin than Stop Press: pages, workers, response headers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from flask import Flask, Response, request
from werkzeug.serving import WSGIRequestHandler, make_server

HTML, JAVASCRIPT = "text/html", "text/javascript"

# The publisher's page. Its own script is a file, since a strict policy has no inline scripts.
PAGE = """<!doctype html>
<html lang="{lang}" dir="{direction}"><title>{title}</title>
<script src="/page.js"></script>
{script}
<h1>{title}</h1>
"""
PAGE_SCRIPT = """
window.violations = [];
window.errors = [];
window.told = [];
document.addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.effectiveDirective} ${event.blockedURI}`);
});
addEventListener("error", (event) => errors.push(`${event.message}`));
addEventListener("unhandledrejection", (event) => errors.push(`${event.reason}`));
navigator.serviceWorker.addEventListener("message", ({ data }) => told.push(data));
navigator.serviceWorker.startMessages();
"""


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Say nothing: browsers ask for icons that are not there."""


@dataclass
class Publisher:
    """The site; a context manager. `files` may be added to while it runs."""

    headers: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[str, str]] = field(default_factory=dict)  # by path: type, text
    asked: list[str] = field(default_factory=list)  # paths, queries included

    def __post_init__(self) -> None:
        app = Flask(__name__, static_folder=None)
        app.add_url_rule("/", "file", self._answer, defaults={"path": ""})
        app.add_url_rule("/<path:path>", "file", self._answer)
        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.origin = f"http://127.0.0.1:{self._server.port}"
        self.files["/page.js"] = (JAVASCRIPT, PAGE_SCRIPT)

    def page(
        self, path: str, stop_press: str, title: str = "Paper", lang: str = "en", **data: str
    ) -> str:
        """Add a page with the script of Stop Press, `data` its attributes; return its address."""
        attributes = " ".join(f'data-{name}="{value}"' for name, value in data.items())
        nonce = (
            'nonce="n4711"' if "nonce" in self.headers.get("Content-Security-Policy", "") else ""
        )
        script = f'<script type="module" async src="{stop_press}/optin.js" {attributes} {nonce}>'
        direction = "rtl" if lang == "ar" else "ltr"
        text = PAGE.format(title=title, script=f"{script}</script>", lang=lang, direction=direction)
        if nonce:
            text = text.replace("<script src", f"<script {nonce} src")
        self.files[path] = (HTML, text)
        return self.origin + path

    def worker(self, path: str, text: str) -> None:
        """Add a service worker's file."""
        self.files[path] = (JAVASCRIPT, text)

    def _answer(self, path: str) -> Response:
        self.asked.append(request.full_path.rstrip("?"))
        if (found := self.files.get(f"/{path}")) is None:
            return Response("There is nothing here.", 404, self.headers)
        kind, text = found
        return Response(text, 200, {"Cache-Control": "no-cache", **self.headers}, mimetype=kind)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
