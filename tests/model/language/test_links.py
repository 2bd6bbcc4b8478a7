"""Links: their usual form, and what of them an editor should know."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.model.language.links import (
    LinkParameters,
    Origin,
    asks_to_sign_in,
    is_preview,
    read_parameters,
    web_address,
    with_scheme,
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("paper.example/x", "https://paper.example/x"),
        ("paper.example", "https://paper.example"),
        ("paper.example:8443/x?y=z", "https://paper.example:8443/x?y=z"),
        ("https://paper.example/x", "https://paper.example/x"),
        ("http://paper.example/x", "http://paper.example/x"),
        ("mailto:nora@paper.example", "mailto:nora@paper.example"),
        ("/x", "/x"),
        ("ferry aground", "ferry aground"),
    ],
)
def test_a_link_without_https_gets_it(typed: str, meant: str) -> None:
    assert with_scheme(typed) == meant


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ("https://Paper.Example:443", "https://paper.example/"),
        (
            "http://paper.example.:8080/a b?c=d e#f g",
            "http://paper.example:8080/a%20b?c=d%20e#f%20g",
        ),
        ("https://paper.example/%41ä", "https://paper.example/%41%C3%A4"),
        ("https://paper.example/\ud800?\ud800#\ud800", "https://paper.example/%3F??#?"),
        ("https://\ud800.example/", ""),
        ("https://zürich.example/", "https://xn--zrich-kva.example/"),
        ("https://[2001:DB8::1]/", "https://[2001:db8::1]/"),
        ("https://paper.example/\r\nX: y", "https://paper.example/%20X:%20y"),
        ("https://paper.example\\@evil.example/", ""),
        ("https://a@paper.example/", ""),
        ("https://paper.example:99999/", ""),
        ("https:///x", ""),
        ("https://pa per.example/", ""),
        ("https://paper..example/", ""),
        ("//paper.example/", ""),
        ("ftp://paper.example/", ""),
        ("https://" + "x." * 200 + "example/", ""),
    ],
)
def test_an_address_is_brought_into_its_usual_form(given: str, usual: str) -> None:
    assert web_address(given) == usual


@given(st.text(max_size=60), st.sampled_from(["", "https://paper.example/a/b?c"]))
def test_what_becomes_an_address_is_one(text: str, base: str) -> None:
    for given_text in (text, f"https://{text}", f"https://paper.example/{text}"):
        found = web_address(given_text, base)
        if not found:
            continue
        assert found.isascii()
        assert not set(found) & set(' \r\n\t\\<>"')
        assert urlsplit(found).scheme in ("http", "https")
        assert web_address(found) == found
        assert found.startswith(str(Origin.of(found)))


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("https://paper.example/?p=12&preview=true", True),
        ("https://paper.example/ferry?Preview=True#x", True),
        ("https://paper.example/ferry?preview=1", True),
        ("https://paper.example/ferry?preview=false", False),
        ("https://paper.example/preview=true", False),
        ("https://paper.example/ferry", False),
    ],
)
def test_a_preview_is_known_by_its_parameter(address: str, is_one: bool) -> None:
    assert is_preview(address) == is_one


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("https://paper.example/login?next=/ferry", True),
        ("https://paper.example/wp-login.php", True),
        ("https://id.paper.example/oauth2/authorize", True),
        ("https://paper.example/Sign-In/", True),
        ("https://paper.example/news/login-chaos-at-the-port", False),
        ("https://paper.example/", False),
    ],
)
def test_a_page_to_sign_in_is_known_by_its_path(address: str, is_one: bool) -> None:
    assert asks_to_sign_in(address) == is_one


# -- LINK_PARAMETERS ------------------------------------------------------------------------------

OURS = frozenset(["https://paper.example", "http://localhost:8000"])


def added(link: str, text: str = "utm_source=push&utm_campaign={id}", id: int | None = 12) -> str:
    return LinkParameters(read_parameters(text), OURS).added_to(link, id)


@pytest.mark.parametrize(
    ("link", "opened"),
    [
        ("/ferry", "/ferry?utm_source=push&utm_campaign=12"),
        ("", "?utm_source=push&utm_campaign=12"),
        ("/ferry?page=2", "/ferry?page=2&utm_source=push&utm_campaign=12"),
        ("/ferry?page=2&", "/ferry?page=2&utm_source=push&utm_campaign=12"),
        ("/ferry?", "/ferry?utm_source=push&utm_campaign=12"),
        ("/ferry#live?x", "/ferry?utm_source=push&utm_campaign=12#live?x"),
        ("/ferry?a=b#live", "/ferry?a=b&utm_source=push&utm_campaign=12#live"),
        ("/ferry?utm_source=mail", "/ferry?utm_source=mail&utm_campaign=12"),
        ("/ferry?utm%5Fsource=mail", "/ferry?utm%5Fsource=mail&utm_campaign=12"),
        ("/ferry?utm_source", "/ferry?utm_source&utm_campaign=12"),
        ("/ferry?utm_source=a&utm_campaign=b", "/ferry?utm_source=a&utm_campaign=b"),
        ("/F%C3%A4hre?q=a+b%20c&q=d", "/F%C3%A4hre?q=a+b%20c&q=d&utm_source=push&utm_campaign=12"),
    ],
)
def test_parameters_are_added_and_the_rest_of_the_link_stays(link: str, opened: str) -> None:
    assert added(f"https://paper.example{link}") == f"https://paper.example{opened}"


def test_an_alerts_own_parameters_take_the_place_of_the_newsrooms() -> None:
    usual, link = LinkParameters("utm_source=push&a=b", OURS), "https://paper.example/ferry"
    assert usual.or_own("c={id}").added_to(link, 12) == f"{link}?c=12"
    assert usual.or_own("").added_to(link, 12) == f"{link}?utm_source=push&a=b"


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example/ferry",
        "https://www.paper.example/ferry",
        "https://paper.example.evil.example/ferry",
        "https://paper.example:8443/ferry",
        "http://paper.example/ferry",
    ],
)
def test_a_link_to_another_site_stays_as_it_is(link: str) -> None:
    assert added(link) == link


def test_our_own_site_is_known_in_every_spelling() -> None:
    for link in ("https://Paper.Example/ferry", "https://paper.example:443/ferry"):
        assert added(link) == f"{link}?utm_source=push&utm_campaign=12"
    assert added("http://localhost:8000/demo/", "a=b") == "http://localhost:8000/demo/?a=b"


def test_an_alert_without_a_number_shows_where_it_will_be() -> None:
    assert added("https://paper.example/", id=None).endswith("utm_campaign={id}")


def test_parameters_are_encoded_once() -> None:
    assert read_parameters("q=Fähre'&x=50%25<") == "q=F%C3%A4hre'&x=50%25%3C"
    assert LinkParameters("q=a&%C3%A4={id}").names == ["q", "ä"]
    assert LinkParameters().names == []


@pytest.mark.parametrize(
    "text",
    [
        *("utm_source", "?a=b", "a=b&", "&a=b", "a=b&&c=d", "=b", "a=b c", "a=b#c", "a={ID}"),
        *("a={", "{id}=a", "a=b\nc=d", "a=100%", "a=%zz", "a=" + "x" * 300, "a=\u200bb"),
    ],
)
def test_what_are_no_parameters_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="utm_source=push"):
        read_parameters(text)


_NAMES = st.text("abcä_-%20+", min_size=1, max_size=4)
_VALUES = st.text("abc1ä/?=.+", max_size=5)


@given(
    st.lists(st.tuples(_NAMES, _VALUES), min_size=1, max_size=4),
    st.lists(st.tuples(_NAMES, _VALUES), max_size=4),
    st.sampled_from(["", "#part", "#a=b?c"]),
    st.integers(1, 10**9),
)
def test_each_parameter_is_there_once_and_nothing_else_changes(
    ours: list[tuple[str, str]], theirs: list[tuple[str, str]], fragment: str, id: int
) -> None:
    try:
        text = read_parameters("&".join(f"{name}={value}{{id}}" for name, value in ours))
    except ValueError:
        assume(False)
    query = "&".join(f"{name}={value}" for name, value in theirs)
    link = f"https://paper.example/ferry{'?' if query else ''}{query}{fragment}"
    parameters = LinkParameters(text, OURS)
    opened = parameters.added_to(link, id)
    before, after = (
        parse_qsl(urlsplit(one).query, keep_blank_values=True) for one in (link, opened)
    )
    known = {name for name, _ in before}
    assert after[: len(before)] == before
    assert [name for name, _ in after[len(before) :]] == [
        name for name in parameters.names if name not in known
    ]
    assert all(value.endswith(str(id)) for _, value in after[len(before) :])
    assert opened.partition("#")[1:] == link.partition("#")[1:]
    assert parameters.added_to(opened, id) == opened
