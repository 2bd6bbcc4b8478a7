"""Fetching what an editor or a page names: from public addresses only, and never for long."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.model.newsroom.articles import Fault
from tests.support.network.newspaper import Newspaper, redirect, response
from tests.support.network.proxy import ConnectProxy
from workers.fetching.fetch import Asking, CannotFetch, Fetched, Fetcher, Limits

LIMITS = Limits(seconds=20)  # the machine may be busy
BRIEF = Limits(seconds=0.5)


def leading_to(*addresses: str) -> Callable[[str, int], list[Any]]:
    """A name server by which each look-up leads to the next of these, and then to the last."""
    asked: list[str] = []

    def look_up(host: str, port: int) -> list[Any]:
        address = addresses[min(len(asked), len(addresses) - 1)]
        asked.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        where = (address, port, 0, 0) if ":" in address else (address, port)
        return [(family, socket.SOCK_STREAM, 6, "", where)]

    look_up.asked = asked  # type: ignore[attr-defined]
    return look_up


def fetch(paper: Newspaper, path: str = "/", limits: Limits = LIMITS, **more: Any) -> Fetched:
    return Fetcher(origins=[paper.origin], **more).fetch(f"{paper.origin}{path}", limits)


def fault(fetcher: Fetcher, address: str, limits: Limits = LIMITS) -> Fault:
    with pytest.raises(CannotFetch) as error:
        fetcher.fetch(address, limits)
    return error.value.fault


# -- what is fetched ------------------------------------------------------------------------------


def test_a_page_of_an_origin_that_is_named_is_fetched_without_cookies(paper: Newspaper) -> None:
    paper.pages["/a?b=c"] = response(b"<p>Ferry", set_cookie="a=b", x_other="yes")
    found = fetch(paper, "/a?b=c#part")
    assert (found.status, found.body, found.is_whole) == (200, b"<p>Ferry", True)
    assert found.headers["x-other"] == "yes"
    assert found.address == f"{paper.origin}/a?b=c#part"
    (head,) = paper.requests
    lines = head.lower().split("\r\n")
    assert f"host: {paper.address}" in lines
    assert "user-agent: stoppress" in lines
    assert not [line for line in lines if line.startswith(("cookie", "referer", "authorization"))]


def test_what_is_posted_arrives_whole_and_goes_to_no_other_address(paper: Newspaper) -> None:
    paper.pages["/hook"] = redirect("/elsewhere", 307)
    body = bytes(range(256)) * 500
    asking = Asking("POST", {"content-type": "application/json"}, body)
    found = Fetcher([paper.origin]).fetch(f"{paper.origin}/hook", LIMITS, asking)
    assert found.status == 307
    assert paper.bodies == [body]
    (head,) = paper.requests
    assert head.startswith("POST /hook HTTP/1.1\r\n")
    assert "content-type: application/json" in head


def test_a_cookie_of_a_redirect_is_not_sent_back(paper: Newspaper) -> None:
    paper.pages["/a"] = response(status=302, location="/b", set_cookie="a=b")
    paper.pages["/b"] = response(b"here")
    assert fetch(paper, "/a").body == b"here"
    assert "cookie" not in paper.requests[1].lower()


def test_compressed_and_chunked_pages_are_read(paper: Newspaper) -> None:
    text = b"<p>" + b"late news " * 500
    paper.pages["/gzip"] = response(gzip.compress(text), content_encoding="gzip")
    paper.pages["/zlib"] = response(zlib.compress(text), content_encoding="deflate")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    paper.pages["/chunked"] = head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    paper.pages["/until-the-end"] = b"HTTP/1.0 200 OK\r\n\r\n" + text
    for path in ("/gzip", "/zlib", "/chunked", "/until-the-end"):
        assert fetch(paper, path).body == text, path


def test_a_response_that_is_cut_off_is_kept_as_far_as_it_came(paper: Newspaper) -> None:
    paper.pages["/"] = response(b"x" * 100)[:-40]
    found = fetch(paper)
    assert (found.body, found.is_whole) == (b"x" * 60, False)
    paper.pages["/"] = response(gzip.compress(b"x" * 100)[:-8], content_encoding="gzip")
    found = fetch(paper)
    assert (found.body, found.is_whole) == (b"x" * 100, False)


def test_redirects_are_followed_five_times_at_most(paper: Newspaper) -> None:
    for number in range(6):
        paper.pages[f"/{number}"] = redirect(f"/{number + 1}", 301 + number % 3)
    paper.pages["/6"] = response(b"here")
    found = fetch(paper, "/1")
    assert (found.body, found.address) == (b"here", f"{paper.origin}/6")
    assert fault(Fetcher(origins=[paper.origin]), f"{paper.origin}/0") is Fault.REDIRECTS


def test_a_certificate_is_checked_for_the_name_and_asked_for_by_it(tmp_path: Path) -> None:
    with Newspaper(tmp_path, ["paper.example"]) as paper:
        paper.pages["/"] = response(b"here")
        origin = f"https://paper.example:{paper.port}"

        def fetcher(host: str, ca: Path | None) -> Fetcher:
            named = [f"https://{host}:{paper.port}"]
            return Fetcher(named, ca, look_up=leading_to("127.0.0.1"))

        trusting = fetcher("paper.example", paper.ca_file)
        assert trusting.fetch(f"{origin}/", LIMITS).body == b"here"
        assert paper.named == ["paper.example"]
        assert f"host: paper.example:{paper.port}\r\n" in paper.requests[0].lower()
        other = fetcher("other.example", paper.ca_file)
        assert fault(other, f"https://other.example:{paper.port}/") is Fault.CERTIFICATE
        assert fault(fetcher("paper.example", None), f"{origin}/") is Fault.CERTIFICATE


# -- where it never goes --------------------------------------------------------------------------

INWARD = {
    "this machine": "http://127.0.0.1/",
    "this machine by name": "http://localhost/",
    "another address of it": "http://127.8.9.1/",
    "no address": "http://0.0.0.0/",
    "IPv6": "http://[::1]/",
    "IPv4 in IPv6": "http://[::ffff:127.0.0.1]/",
    "NAT64": "http://[64:ff9b::7f00:1]/",
    "NAT64 of a private address": "http://[64:ff9b::10.0.0.1]/",
    "6to4": "http://[2002:7f00:1::]/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "private 10": "http://10.0.0.1/",
    "private 172": "http://172.16.0.1/",
    "private 192": "https://192.168.1.1/",
    "shared by a carrier": "http://100.64.0.1/",
    "link-local IPv6": "http://[fe80::1]/",
    "unique local IPv6": "http://[fc00::1]/",
    "decimal": "http://2130706433/",
    "octal": "http://0177.0.0.1/",
    "hexadecimal": "http://0x7f.0.0.1/",
    "short": "http://127.1/",
    "with a dot": "http://127.0.0.1./",
}


@pytest.mark.parametrize("address", INWARD.values(), ids=INWARD)
def test_no_private_address_is_connected_to_however_it_is_written(address: str) -> None:
    fetcher = Fetcher(origins=["http://127.0.0.1:1"])
    assert fault(fetcher, address) in (Fault.NOT_PUBLIC, Fault.UNKNOWN_HOST, Fault.NO_WAY)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "::1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "fd00::1"]
)
def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    paper: Newspaper, address: str
) -> None:
    fetcher = Fetcher(look_up=leading_to(address))
    assert fault(fetcher, "https://paper.example/") is Fault.NOT_PUBLIC


def test_a_name_that_leads_to_this_machine_reaches_no_server_of_it(paper: Newspaper) -> None:
    fetcher = Fetcher(look_up=leading_to("127.0.0.1"))
    assert fault(fetcher, f"http://paper.example:{paper.port}/") is Fault.NOT_PUBLIC
    # Another port, name or scheme than that of the origin that is named is another origin.
    named = Fetcher([f"http://paper.example:{paper.port}"], look_up=leading_to("127.0.0.1"))
    for address in (
        f"http://other.example:{paper.port}/",
        f"https://paper.example:{paper.port}/",
        "http://paper.example/",
    ):
        assert fault(named, address) is Fault.NOT_PUBLIC
    assert paper.taken == 0


def test_only_the_public_addresses_of_a_name_are_tried(paper: Newspaper) -> None:
    """A public one that does not answer must not lead to the private one; nobody has 2e00::1."""

    def both(host: str, port: int) -> list[Any]:
        public = leading_to("2e00::1")(host, port)
        return [*leading_to("127.0.0.1")(host, port), *public]

    fetcher = Fetcher(look_up=both)
    address = f"http://paper.example:{paper.port}/"
    assert fault(fetcher, address, BRIEF) in (Fault.TOO_LATE, Fault.UNREACHABLE)
    assert paper.taken == 0


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://169.254.169.254/latest/", Fault.NOT_PUBLIC),
        ("http://[::1]/", Fault.NOT_PUBLIC),
        ("//10.0.0.1/", Fault.NOT_PUBLIC),
        ("http://127.0.0.1:1/", Fault.NOT_PUBLIC),
        ("file:///etc/passwd", Fault.NO_ADDRESS),
        ("ftp://paper.example/", Fault.NO_ADDRESS),
        ("javascript:alert(1)", Fault.NO_ADDRESS),
        ("http://user:password@paper.example/", Fault.NO_ADDRESS),
        ("http://[::1", Fault.NO_ADDRESS),
        ("http://paper.example:port/", Fault.NO_ADDRESS),
    ],
)
def test_a_redirect_is_checked_as_the_first_address_is(
    paper: Newspaper, location: str, says: Fault
) -> None:
    paper.pages["/"] = redirect(location)
    assert fault(Fetcher(origins=[paper.origin]), f"{paper.origin}/") is says


def test_only_a_named_origin_may_lead_to_another_one(tmp_path: Path) -> None:
    with Newspaper() as public, Newspaper() as preview, Newspaper() as cms:
        public.pages["/"] = redirect(f"{preview.origin}/")
        preview.pages["/"] = redirect(f"{cms.origin}/")
        cms.pages["/"] = response(b"inside")
        named = [preview.origin, cms.origin]
        assert Fetcher(named).fetch(f"{preview.origin}/", LIMITS).body == b"inside"
        before = preview.taken
        # As if the first one were public.
        outside = Outside(named, first=public.origin)
        assert fault(outside, f"{public.origin}/") is Fault.NOT_PUBLIC
        assert (public.taken, preview.taken) == (1, before)


class Outside(Fetcher):
    """For which the server of an origin is a public one, though it is on this machine."""

    def __init__(self, origins: list[str], first: str) -> None:
        super().__init__(origins)
        self._first = first

    def _connect(self, origin: Any, deadline: float, *, inward: bool) -> Any:
        kept = self.origins
        if str(origin) == self._first:
            self.origins = [self._first]
        try:
            return super()._connect(origin, deadline, inward=inward)
        finally:
            self.origins = kept


def test_the_address_that_was_checked_is_connected_to(paper: Newspaper) -> None:
    """A name server that answers otherwise the second time is not asked a second time."""
    paper.pages["/"] = response(b"inside")
    first_public = leading_to("2e00::1", "127.0.0.1")
    fetcher = Fetcher(look_up=first_public)
    address = f"http://rebinding.example:{paper.port}/"
    assert fault(fetcher, address, BRIEF) in (Fault.TOO_LATE, Fault.UNREACHABLE)
    assert first_public.asked == ["rebinding.example"]  # type: ignore[attr-defined]
    assert paper.taken == 0


def test_a_redirect_to_the_same_name_is_looked_up_and_checked_again(paper: Newspaper) -> None:
    paper.pages["/"] = redirect("/further")
    origin = f"http://paper.example:{paper.port}"
    look_up = leading_to("127.0.0.1", "127.0.0.2")
    with pytest.raises(CannotFetch):
        # The origin is named, so that it goes on to 127.0.0.2, where nobody listens.
        Fetcher([origin], look_up=look_up).fetch(f"{origin}/", LIMITS)
    assert look_up.asked == ["paper.example"] * 2  # type: ignore[attr-defined]
    assert len(paper.requests) == 1


# -- never for long -------------------------------------------------------------------------------


def drip(piece: bytes, before: bytes = b"") -> Callable[[socket.socket], None]:
    """Send a piece again and again, each soon enough to be no silence."""

    def page(client: socket.socket) -> None:
        with suppress(OSError):
            client.sendall(before)
            while True:
                client.sendall(piece)
                time.sleep(0.02)

    return page


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "nothing at all": lambda client: client.recv(1),
    "a head in drops": drip(b"x", HEAD + b"X-Long: "),
    "fields without end": drip(b"X: y\r\n", HEAD),
    "notices without end": drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a page in drops": drip(b"x", HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "chunks in drops": drip(b"1\r\nx\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
    "compressed nothing": drip(
        b"\0\0\0\xff\xff", HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10]
    ),
}


@pytest.mark.parametrize("page", SLOW.values(), ids=SLOW)
def test_a_slow_server_is_given_up_in_time(paper: Newspaper, page: Any) -> None:
    paper.pages["/"] = page
    assert fault(Fetcher([paper.origin]), f"{paper.origin}/", BRIEF) in (
        Fault.TOO_LATE,
        Fault.NO_HTTP,  # a head that is too long
    )


def test_redirects_share_the_time_of_one_page(paper: Newspaper) -> None:
    def page(client: socket.socket) -> None:
        time.sleep(0.2)
        client.sendall(redirect("/"))

    paper.pages["/"] = page
    assert fault(Fetcher([paper.origin]), f"{paper.origin}/", BRIEF) is Fault.TOO_LATE
    assert len(paper.requests) <= 3


def test_a_silent_name_server_is_not_waited_for() -> None:
    ended = threading.Event()

    def look_up(_host: str, _port: int) -> list[Any]:
        ended.wait(30)
        return []

    fetcher = Fetcher(look_up=look_up)
    assert fault(fetcher, "https://paper.example/", BRIEF) is Fault.TOO_LATE
    ended.set()


def test_a_server_that_speaks_no_tls_is_given_up_in_time(paper: Newspaper) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        origin = f"https://127.0.0.1:{silent.getsockname()[1]}"
        assert fault(Fetcher([origin]), f"{origin}/", BRIEF) is Fault.TOO_LATE


# -- never much -----------------------------------------------------------------------------------


def test_a_long_page_is_cut(paper: Newspaper) -> None:
    paper.pages["/"] = response(b"x" * 3_000_000)
    found = fetch(paper)
    assert (len(found.body), found.is_whole) == (1 << 20, False)


def test_a_page_that_never_ends_is_cut(paper: Newspaper) -> None:
    def page(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            client.sendall(b"x" * 65536)

    paper.pages["/"] = page
    assert len(fetch(paper).body) == 1 << 20


def test_a_small_page_that_unpacks_to_much_is_cut(paper: Newspaper) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000, 9)
    assert len(bomb) < 25_000
    paper.pages["/"] = response(bomb, content_encoding="gzip")
    found = fetch(paper)
    assert (len(found.body), found.is_whole) == (1 << 20, False)


@pytest.mark.parametrize(
    "page",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        response(b"no gzip", content_encoding="gzip"),
        response(b"any", content_encoding="br"),
        response(b"any", content_encoding="gzip, gzip"),
    ],
    ids=["another protocol", "nothing", "a wrong length", "a long head", "no gzip", "br", "twice"],
)
def test_nonsense_is_refused(paper: Newspaper, page: bytes) -> None:
    paper.pages["/"] = page
    found = fault(Fetcher([paper.origin]), f"{paper.origin}/")
    assert found in (Fault.NO_HTTP, Fault.UNREACHABLE)


def test_nobody_listens_there() -> None:
    with Newspaper() as paper:
        pass
    assert fault(Fetcher([paper.origin]), f"{paper.origin}/") is Fault.UNREACHABLE


def test_a_host_that_does_not_exist_is_named_so() -> None:
    def look_up(_host: str, _port: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    def away(_host: str, _port: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    address = "https://paper.exmaple/"
    assert fault(Fetcher(look_up=look_up), address) is Fault.UNKNOWN_HOST
    assert fault(Fetcher(look_up=away), address) is Fault.NO_WAY


# -- through a proxy ------------------------------------------------------------------------------


def test_a_proxy_is_asked_for_the_address_that_was_checked(tmp_path: Path) -> None:
    with Newspaper(tmp_path, ["paper.example"]) as paper, ConnectProxy(user="stop:press") as proxy:
        paper.pages["/"] = response(b"here")
        origin = f"https://paper.example:{paper.port}"
        paths = {"paper.example": "127.0.0.1", "127.0.0.1": "127.0.0.1"}

        def look_up(host: str, port: int) -> list[Any]:
            return leading_to(paths[host])(host, port)

        fetcher = Fetcher([origin], paper.ca_file, lambda _: proxy.url, look_up)
        assert fetcher.fetch(f"{origin}/", LIMITS).body == b"here"
        assert proxy.asked == [f"127.0.0.1:{paper.port}"]
        assert paper.named == ["paper.example"]


def test_a_proxy_is_not_asked_for_a_private_address(paper: Newspaper) -> None:
    with ConnectProxy() as proxy:
        fetcher = Fetcher(proxy=lambda _: proxy.url)
        assert fault(fetcher, f"{paper.origin}/") is Fault.NOT_PUBLIC
        assert fault(fetcher, "http://169.254.169.254/") is Fault.NOT_PUBLIC
        assert proxy.asked == []
    assert paper.taken == 0


def test_a_proxy_that_refuses_or_is_away_is_no_fault_of_the_link(paper: Newspaper) -> None:
    with ConnectProxy(status=403) as proxy:
        fetcher = Fetcher([paper.origin], proxy=lambda _: proxy.url)
        assert fault(fetcher, f"{paper.origin}/") is Fault.NO_WAY
    assert fault(fetcher, f"{paper.origin}/") is Fault.NO_WAY
    assert paper.taken == 0


def test_a_name_that_only_the_proxy_knows_is_not_called_unknown() -> None:
    def look_up(_host: str, _port: int) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    fetcher = Fetcher(look_up=look_up, proxy=lambda _: "http://proxy.example:3128")
    assert fault(fetcher, "https://paper.example/") is Fault.NO_WAY
