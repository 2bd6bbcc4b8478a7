"""The doctor's check that push services can be reached from here, through a proxy or directly."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit

from service.cli.doctor.calls import OTHER_NAME, OUTDATED, UNTRUSTED, certificate_fault
from service.cli.doctor.findings import Finding, Level, ok
from service.config import Config
from service.model.network.endpoints import origin_of
from service.runtime import Runtime

_ANSWER = 5.0  # seconds, as our workers wait
_SILENT = "no answer within five seconds"
_UNKNOWN = "its name is not known"
_NO_TLS = "it does not speak TLS"
_NO_PASSWORD = "the proxy wants a user and a password, or refuses them"  # noqa: S105
_ALWAYS = {
    "Google": "https://fcm.googleapis.com",
    "Mozilla": "https://updates.push.services.mozilla.com",
    "Apple": "https://web.push.apple.com",
}


def way_out(runtime: Runtime, level: Level) -> Iterator[Finding]:
    """Connect to each push service that readers' browsers have; `level` if that fails.

    Nothing is sent: name, connection and TLS are what can be wrong on the way.
    """
    what, config = "Way out", runtime.config
    named = {origin: origin for origin in config.push_services if "*" not in origin}
    places = {**_ALWAYS, **_microsoft(runtime), **named}
    faults = dict.fromkeys(places, _SILENT)
    file = config.push_ca_bundle
    tls = ssl.create_default_context(cafile=None if file is None else str(file))

    def look(name: str) -> None:
        faults[name] = _fault(config, places[name], tls)

    threads = [threading.Thread(target=look, args=[name], daemon=True) for name in places]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _ANSWER
    for thread in threads:  # a silent name server takes longer, and nothing can end that
        thread.join(max(0.0, deadline - time.monotonic()))
    by_fault: dict[str, list[str]] = {}
    for name, fault in faults.copy().items():
        by_fault.setdefault(fault, []).append(name)
    for fault, names in by_fault.items():
        if not fault:
            continue
        yield Finding(
            level,
            what,
            f"There is no way to {_listed(names)} from here ({fault}), so their readers get no"
            f" alerts. {_todo(config, places[names[0]], fault)}",
        )
    if by_fault.keys() == {""}:
        yield ok(what, f"{_listed(list(places))} can be reached from here.")


def _microsoft(runtime: Runtime) -> dict[str, str]:
    """Return one of Microsoft's many hosts, if a reader has one."""
    origins = map(origin_of, runtime.store.names.bases.all())
    found = (one for one in origins if runtime.endpoints.service(one) == "microsoft")
    first = next(found, None)
    return {"Microsoft": first} if first else {}


def _todo(config: Config, origin: str, fault: str) -> str:
    host = origin.partition("://")[2]
    if fault == UNTRUSTED:
        return "Set PUSH_CA_BUNDLE to a file of the certificates that are trusted here."
    if fault == OUTDATED:
        return "Check the time of this host; if it is right, the fault is theirs."
    if fault in (OTHER_NAME, _NO_TLS):
        return (
            f"Something between here and {host} answers in its place, such as a firewall: let"
            " connections to it pass unchanged."
        )
    proxy = config.proxy_to(origin)
    if proxy is not None:
        where = urlsplit(proxy)
        if fault == _NO_PASSWORD:
            return "Put both into PUSH_PROXY or HTTPS_PROXY, as in http://user:password@host:port."
        return (
            f"Check PUSH_PROXY or HTTPS_PROXY ({where.hostname}:{where.port}), and that this proxy"
            f" lets CONNECT {host} pass."
        )
    if fault == _UNKNOWN:
        return (
            f"Let this host's name server (/etc/resolv.conf) find {host}, or set PUSH_PROXY to your"
            " proxy, such as http://proxy.example:3128"
        )
    return (
        f"Let connections to {host if ':' in host else f'port 443 of {host}'} pass, or set"
        " PUSH_PROXY to your proxy, such as http://proxy.example:3128"
    )


def _fault(config: Config, origin: str, tls: ssl.SSLContext) -> str:
    """Return why an origin cannot be connected to; empty if it can."""
    proxy = config.proxy_to(origin)
    connection = _connection(urlsplit(origin), proxy, tls)
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        return certificate_fault(error)
    except ssl.SSLError:
        return _NO_TLS
    except (socket.gaierror, UnicodeError):  # the latter of a name that is too long
        return "the name of the proxy is not known" if proxy else _UNKNOWN
    except TimeoutError:
        return _SILENT
    except ConnectionRefusedError:
        return "the proxy refuses the connection" if proxy else "the connection is refused"
    except (OSError, HTTPException) as error:
        status = re.search(r"Tunnel connection failed: (\d{3})", str(error))
        if status and status[1] == "407":
            return _NO_PASSWORD
        return f"the proxy answers {status[1]}" if status else "the connection is cut"
    finally:
        connection.close()
    return ""


def _connection(to: SplitResult, proxy: str | None, tls: ssl.SSLContext) -> HTTPConnection:
    host, port = to.hostname or "", to.port or (443 if to.scheme == "https" else 80)
    via = urlsplit(proxy) if proxy else None
    where = (host, port) if via is None else (via.hostname or "", via.port)
    if to.scheme == "https":
        connection: HTTPConnection = HTTPSConnection(*where, timeout=_ANSWER, context=tls)
    else:
        connection = HTTPConnection(*where, timeout=_ANSWER)
    if via is not None:
        headers = {}
        if via.username:
            user = f"{unquote(via.username)}:{unquote(via.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        connection.set_tunnel(host, port, headers)
    return connection


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
