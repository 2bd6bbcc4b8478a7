"""Which names this service answers to: its own, and this machine's for what runs beside it.

Nothing that we answer repeats a `Host` header. A page that has another name, which leads here (DNS
rebinding), can do nothing in an editor's browser.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request

from service.api.problems import Problem
from service.model.network.addresses import bracketed, host_name, is_loopback
from service.model.operations.process_log import is_due

# Load balancers and monitors call by the address of a process.
_FOR_MONITORS = ("/healthz", "/readyz", "/metrics")


class WrongHost(Problem):
    """A request for a host that is not ours, or a form that a page of another host sends."""


class Hosts:
    """The names of one installation."""

    def __init__(self, public_url: str, bind: str, others: tuple[str, ...], *, known: bool) -> None:
        """`known`: a setting names this service; else it answers to any name."""
        self._public_url = public_url
        self._known = known
        named = (urlsplit(public_url).netloc, bracketed(bind), *others)
        self._ours = frozenset(map(host_name, named)) - {"", "0.0.0.0", "[::]"}  # noqa: S104

    def init_app(self, app: Flask) -> None:
        """Check each request to an application, before anything else looks at it."""
        app.extensions["stoppress.hosts"] = self
        # Flask-WTF would compare a form's page with the Host header; `check_page` does it better.
        app.config["WTF_CSRF_SSL_STRICT"] = False
        app.before_request(self._check)
        app.after_request(_relative)

    def _check(self) -> None:
        # A request without the header (HTTP/1.0) comes from no browser.
        environ = request.environ
        host = environ.get("HTTP_HOST", "")
        if not host or environ.get("PATH_INFO") in _FOR_MONITORS:
            return
        if self.accepts(host):
            return
        if is_due("another host"):  # else strangers could fill the disk
            current_app.logger.warning("refused a request for another host: %s", ascii(host[:100]))
        raise WrongHost(
            400,
            f"This service is at {self._public_url}, and the request names another host. If that"
            " address is wrong, set SITE_URL. If a proxy is in between, let it pass on the Host"
            " header. Further names of this service belong into TRUSTED_HOSTS.",
        )

    def accepts(self, host: str) -> bool:
        """Whether requests may name this host."""
        return self.are_ours(host) if self._known else bool(host_name(host))

    def are_ours(self, host: str) -> bool:
        """Whether a host, with or without a port, is one of this service."""
        name = host_name(host)
        return name in self._ours or is_loopback(name)

    def check_page(self) -> None:
        """Refuse a form that another site's page sends; `WrongHost`."""
        page = request.headers.get("Origin", "null")
        if page == "null":
            page = request.headers.get("Referer", "")
        host = page.partition("://")[2].partition("/")[0]
        if page and host != request.host and not self.are_ours(host):
            raise WrongHost(
                400,
                f"The form comes from another address than {self._public_url}, where this desk is"
                " (SITE_URL). Open the desk there.",
            )


def check_page() -> None:
    """Refuse a form that another site's page sends to this application; `WrongHost`."""
    hosts: Hosts = current_app.extensions["stoppress.hosts"]
    hosts.check_page()


def _relative(response: Response) -> Response:
    """Let a redirect to another path name no host, as Werkzeug's do that add a slash."""
    to = (response.location or "") if 300 <= response.status_code < 400 else ""
    if to and to.startswith(request.host_url):  # which raises an error for a strange host
        response.location = "/" + to.removeprefix(request.host_url).lstrip("/")
        response.set_data(b"")
    return response
