"""What is read of an article's page, also of a hostile one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.newsroom.articles import Article
from workers.fetching.article import read_article

URL = "https://paper.example/news/ferry?ref=1"


def page(head: str, body: str = "<p>Text", html: str = "<html>") -> bytes:
    return f"<!doctype html>{html}<head>{head}</head><body>{body}</body></html>".encode()


def meta(**values: str) -> str:
    return "".join(
        f'<meta property="{name.replace("_", ":", 1)}" content="{value}">'
        for name, value in values.items()
    )


def linked(data: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(data)}</script>'


def read(head: str, **more: Any) -> Article:
    return read_article(page(head, **more), URL)


NEWS = {
    "@context": "https://schema.org",
    "@type": "NewsArticle",
    "headline": "Ferry aground",
    "description": "Nobody is hurt.",
    "image": ["https://img.example/1.jpg", "https://img.example/2.jpg"],
    "articleSection": "World",
    "inLanguage": "en-GB",
    "isAccessibleForFree": False,
}
FULL = Article(
    title="Ferry aground",
    text="Nobody is hurt.",
    picture="https://img.example/1.jpg",
    section="World",
    language="en-GB",
)


def test_open_graph_is_read() -> None:
    head = meta(
        og_title="Ferry aground",
        og_description="Nobody is hurt.",
        og_image="https://img.example/1.jpg",
        article_section="World",
        og_locale="en_GB",
        og_url="https://paper.example/ferry",
    )
    assert read(head) == Article(
        "Ferry aground",
        "Nobody is hurt.",
        "https://img.example/1.jpg",
        "World",
        "en-GB",
        "https://paper.example/ferry",
    )


def test_twitter_is_read_where_open_graph_says_nothing() -> None:
    head = "".join(
        f'<meta name="twitter:{name}" content="{value}">'
        for name, value in {
            "title": "Ferry aground",
            "description": "Nobody is hurt.",
            "image": "/1.jpg",
        }.items()
    )
    found = read(head)
    assert (found.title, found.text) == ("Ferry aground", "Nobody is hurt.")
    assert found.picture == "https://paper.example/1.jpg"


@pytest.mark.parametrize(
    "data",
    [
        NEWS,
        [NEWS],
        [{"@type": "BreadcrumbList"}, NEWS],
        {"@context": "https://schema.org", "@graph": [{"@type": "WebPage"}, NEWS]},
        {"@type": "WebPage", "mainEntity": NEWS},
        {**NEWS, "@type": ["Thing", "https://schema.org/ReportageNewsArticle"]},
        {**NEWS, "image": {"@type": "ImageObject", "url": "https://img.example/1.jpg"}},
        {**NEWS, "image": [{"@id": "https://img.example/1.jpg"}], "articleSection": ["World"]},
        {**NEWS, "inLanguage": {"@type": "Language", "name": "English", "alternateName": "en-GB"}},
        {**NEWS, "isAccessibleForFree": "False"},
        {**NEWS, "isAccessibleForFree": "https://schema.org/False"},
    ],
    ids=range(11),
)
def test_json_ld_is_read_in_all_its_forms(data: object) -> None:
    found = read(linked(data))
    assert found.for_subscribers
    assert Article(found.title, found.text, found.picture, found.section, found.language) == FULL


@pytest.mark.parametrize(
    "script",
    [
        '{"@type": "NewsArticle", "headline": "Ferry aground",}',
        '{"@type": "NewsArticle", "headline": "Ferry\naground"}',
        '<!-- {"@type": "NewsArticle", "headline": "Ferry aground"} -->',
        '//<![CDATA[\n{"@type": "NewsArticle", "headline": "Ferry aground"}\n//]]>',
        '{"@type": "NewsArticle", "headline": "Ferry aground"};',
        '{"@type": "NewsArticle", "headline": "Ferry aground", "wordCount": ' + "9" * 9000 + "}",
    ],
)
def test_json_ld_with_the_usual_faults_is_read(script: str) -> None:
    head = f'<script type="application/ld+json">{script}</script>'
    assert read(head).title == "Ferry aground"


@pytest.mark.parametrize("script", ["", "{", "[" * 100_000, '{"a":' * 50_000, "null", '"x"', "{}"])
def test_broken_json_ld_costs_nothing_of_the_rest(script: str) -> None:
    head = f'<script type="application/ld+json">{script}</script>'
    assert read(head + meta(og_title="Ferry aground")).title == "Ferry aground"


def test_half_a_character_in_json_ld_is_left_out() -> None:
    names = ("headline", "description", "articleSection", "inLanguage", "image", "thumbnailUrl")
    found = read(linked({"@type": "NewsArticle", **dict.fromkeys(names, "/a\ud83d")}))
    assert (found.title, found.text, found.section) == ("/a", "/a", "/a")
    assert found.picture == "https://paper.example/a"


def test_several_scripts_complete_one_another() -> None:
    first = {"@type": "NewsArticle", "headline": "Ferry aground"}
    second = {"@type": "NewsArticle", "headline": "Another", "articleSection": "World"}
    found = read(linked({"@type": "WebSite"}) + linked(first) + linked(second))
    assert (found.title, found.section) == ("Ferry aground", "World")


def test_the_title_of_the_page_is_the_last_resort_and_loses_the_papers_name() -> None:
    name = meta(og_site_name="The Paper")
    for between in (" | ", " - ", " – ", " — ", " · ", ": "):
        assert read(f"<title>Ferry aground{between}The paper</title>{name}").title == (
            "Ferry aground"
        )
    assert read(f"<title>The Paper</title>{name}").title == "The Paper"
    assert read("<title>Ferry aground | Elsewhere</title>").title == "Ferry aground | Elsewhere"


@pytest.mark.parametrize(
    ("written", "is_read"),
    [
        ("F&auml;hre &amp; Schlepper", "Fähre & Schlepper"),
        ("F&amp;auml;hre &amp;amp; Schlepper", "Fähre & Schlepper"),
        ("&#8220;Ferry&#x201d;", "“Ferry”"),
        ("&amp;quot;Ferry&amp;quot;", '"Ferry"'),
        ("AT&T & Sons; 3 &lt; 5", "AT&T & Sons; 3 < 5"),
        ("&lt;b&gt;Ferry&lt;/b&gt; aground", "Ferry aground"),
        ("&amp;lt;em class='x'&amp;gt;Ferry&amp;lt;/em&amp;gt;", "Ferry"),
        ("Ferry&lt;br/&gt;aground", "Ferry aground"),
        ("Ferry&nbsp;aground", "Ferry\u00a0aground"),
        ("  Ferry\n   aground\t", "Ferry aground"),
        ("Fer&shy;ry\u200b", "Ferry"),
        ("a <3 b", "a <3 b"),
    ],
)
def test_entities_are_decoded_and_tags_are_off(written: str, is_read: str) -> None:
    assert read(meta(og_title=written)).title == is_read
    assert read(meta(og_title="x", og_description=written)).text == is_read


def test_entities_in_json_ld_are_decoded_too() -> None:
    data = {**NEWS, "headline": "F&auml;hre &amp;quot;Nora&amp;quot;", "description": "<p>Text</p>"}
    found = read(linked(data))
    assert (found.title, found.text) == ('Fähre "Nora"', "Text")


@pytest.mark.parametrize(
    ("written", "is_read"),
    [
        ("/p/1.jpg", "https://paper.example/p/1.jpg"),
        ("1.jpg", "https://paper.example/news/1.jpg"),
        ("//img.example/1.jpg?w=1&amp;h=2", "https://img.example/1.jpg?w=1&h=2"),
        ("https://img.example/1.jpg?w=1&amp;amp;copy=2", "https://img.example/1.jpg?w=1&copy=2"),
        ("/Fähre am Abend.jpg", "https://paper.example/F%C3%A4hre%20am%20Abend.jpg"),
        ("https://IMG.Example:443/1.jpg", "https://img.example/1.jpg"),
        ("https://bücher.example/1.jpg", "https://xn--bcher-kva.example/1.jpg"),
        ("http://img.example/1.jpg", ""),
        ("data:image/png;base64,AAAA", ""),
        ("javascript:alert(1)", ""),
        ("https://user:pw@img.example/1.jpg", ""),
        ("https://[::1/1.jpg", ""),
        ("https://img.example/" + "x" * 3000, ""),
        ("", ""),
    ],
)
def test_a_pictures_address_is_whole_and_https(written: str, is_read: str) -> None:
    found = read(meta(og_image=written))
    assert found.picture == is_read
    assert found.only_http_picture is written.startswith("http:")


def test_a_picture_that_cannot_be_used_gives_way_to_the_next() -> None:
    head = meta(og_image="http://img.example/1.jpg")
    head += meta(**{"og_image:secure_url": "https://img.example/2.jpg"})
    assert read(head).picture == "https://img.example/2.jpg"


def test_the_base_of_a_page_counts() -> None:
    head = '<base href="https://static.example/x/"><link rel="canonical" href="/ferry">'
    found = read(head + meta(og_image="1.jpg"))
    assert found.picture == "https://static.example/x/1.jpg"
    assert found.address == "https://static.example/ferry"


def test_the_language_of_the_page_comes_first() -> None:
    assert read(meta(og_locale="en_US"), html='<html lang="lv">').language == "lv"
    assert read(meta(og_locale="ar_EG")).language == "ar-EG"
    assert read(meta(og_locale="en_US"), html='<html lang="English, mostly">').language == "en-US"


def test_long_texts_are_cut_between_words() -> None:
    found = read(meta(og_title="late news " * 100, og_description="late news " * 1000))
    assert len(found.title) <= 200
    assert len(found.text) <= 300
    assert found.title.endswith("news…") or found.title.endswith("late…")


def test_a_page_that_asks_for_a_password_is_no_article() -> None:
    form = '<form><input name="u"><input type="PASSWORD"></form>'
    assert read("<title>Sign in</title>", body=form).asks_to_sign_in
    assert not read("<title>Ferry</title>" + linked(NEWS), body=form).asks_to_sign_in
    assert not read(meta(og_type="article"), body=form).asks_to_sign_in
    assert not read("<title>Ferry</title>").asks_to_sign_in


# -- encodings ------------------------------------------------------------------------------------

TITLES = {
    "utf-8": "Fähre läuft auf Grund",
    "cp1252": "Fähre läuft auf „Grund“",
    "cp1251": "Паром сел на мель",
    "koi8-r": "Паром сел на мель",
    "cp932": "フェリーが座礁",
    "euc_jp": "フェリーが座礁",
    "iso2022_jp": "フェリーが座礁",
    "gb18030": "渡轮搁浅",
    "big5": "渡輪擱淺",
    "cp949": "여객선 좌초",
    "iso8859-2": "Łódź na mieliźnie",
    "cp1256": "جنوح عبّارة",
}
LABELS = {
    **{"cp1252": "ISO-8859-1", "cp932": "Shift_JIS", "euc_jp": "EUC-JP", "gb18030": "GB2312"},
    **{"iso2022_jp": "iso-2022-jp", "big5": "Big5", "cp949": "EUC-KR", "iso8859-2": "ISO-8859-2"},
    **{"cp1251": "windows-1251", "cp1256": "windows-1256"},
}


@pytest.mark.parametrize("encoding", TITLES)
def test_a_page_is_read_in_the_encoding_that_it_or_its_server_names(encoding: str) -> None:
    label = LABELS.get(encoding, encoding)
    title = f"<title>{TITLES[encoding]}</title>".encode(encoding)
    for before, content_type in (
        (b"", f"text/html; charset={label}"),
        (b"", f'text/html;charset="{label.lower()}"'),
        (f"<meta charset={label}>".encode(), "text/html"),
        (
            f'<meta http-equiv="Content-Type" content="text/html; charset={label}">'.encode(),
            "text/html; charset=none-such",
        ),
    ):
        found = read_article(b"<html><head>" + before + title, URL, content_type)
        assert found.title == TITLES[encoding], (before, content_type)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_counts_most(encoding: str) -> None:
    document = f"<title>{TITLES['cp1251']}</title>".encode(encoding)
    assert read_article(document, URL, "text/html; charset=iso-8859-1").title == TITLES["cp1251"]


def test_utf_8_is_seen_where_the_server_says_latin_1_of_every_page() -> None:
    document = f"<title>{TITLES['utf-8']}</title>".encode()
    assert read_article(document, URL, "text/html; charset=iso-8859-1").title == TITLES["utf-8"]
    cut = document + "ä".encode()[:1]  # as a long page is
    assert read_article(cut, URL, "").title == TITLES["utf-8"]


def test_no_codec_of_python_that_is_no_encoding_is_used() -> None:
    document = b"<title>Ferry \xe4</title>"
    for label in ("base64", "zlib", "idna", "punycode", "unicode_escape", "rot13", "utf-7", "\xff"):
        assert read_article(document, URL, f"text/html; charset={label}").title == "Ferry ä"


# -- hostile pages --------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [
        *(b"<", b">", b"&", b";", b'"', b"'", b"=", b"/", b"!", b"-", b"--", b"[", b"]", b"{"),
        *(b"}", b",", b":", b"\0", b"\xff", b"\xef\xbb\xbf", b"<!--", b"-->", b"<![CDATA["),
        *(b"<title>", b"</title>", b"<script type=application/ld+json>", b"</script>", b"<base "),
        *(b'<meta property="og:title" content="', b'<meta charset="', b'"@type":"NewsArticle"'),
        *(b'"headline":"', b'"image":', b'"@graph":[', b"&amp;", b"&#99999999;", b"&#xd800;"),
        *(b"<link rel=canonical href=", b"<html lang=", b"https://[", b"http://a:b", b"\\ud800"),
        *("\u202e\ufffd\U0001f468\u200d".encode(), b"content=", b"<svg><title>", b"<input "),
    ]
)


@given(
    st.one_of(
        st.binary(max_size=2000),
        st.lists(_PIECES, max_size=60).map(b"".join),
        st.lists(_PIECES, max_size=8).map(lambda pieces: b"".join(pieces) * 50),
    ),
    st.one_of(st.just("text/html"), st.text(max_size=80)),
    st.sampled_from([URL, "https://[::1]/", "http://127.0.0.1:1/?"]),
)
def test_no_page_raises(document: bytes, content_type: str, address: str) -> None:
    found = read_article(document, address, content_type)
    assert len(found.title) <= 200
    assert len(found.text) <= 300
    assert len(found.section) <= 100
    assert len(found.address) <= 2000
    assert found.picture == "" or found.picture.startswith("https://")
    for value in (found.title, found.text, found.section):
        value.encode()  # no half of a surrogate pair
        assert "\n" not in value


def _numbered(tag: bytes, n: int) -> bytes:
    return b"".join(b"<%s a%d=%d>" % (tag, i, i) for i in range(n))


# What takes other parsers the square of its length (decision 90), as much of it as we read.
HOSTILE = {
    "comments": b"<!--",
    "declarations": b"<!",
    "ends": b"</",
    "instructions": b"<?",
    "CDATA": b"<![CDATA[",
    "open quotes": b'<p a="',
    "divisions": b"<div>",
    "forms": b"<form><div>",
    "bold": b"<b><div>",
    "lists": b"<ul><li>",
    "links": b"<a>",
    "tables": b"<table><tr><td>",
    "scripts": b"<script type=application/ld+json>",
    "commas": b'<script type=application/ld+json>{"a":1' + b",   " * 40_000,
    "spaces": b'<script type="application/ld+json">' + b" " * 200_000,
    "brackets": b"<script type=application/ld+json>" + b"[" * 200_000,
    "objects": b"<script type=application/ld+json>" + b'{"@graph":[' * 20_000,
    "formatting": _numbered(b"b", 30_000) + b"<p>x" * 60_000,
    "attributes": b"<p " + b" ".join(b"a%d" % i for i in range(110_000)),
    "entities": b'<meta property="og:title" content="' + b"&amp;" * 200_000,
    "tags in a title": b"<title>" + b"<b" * 200_000,
    "ampersands": b"<title>" + b"&" * 500_000,
    "blanks in a title": b"<title>" + b"\n " * 250_000 + b"x",
    "nothing": b"\0",
}


@pytest.mark.timeout(30)  # half a second here; others took minutes
@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_no_page_takes_long(piece: bytes) -> None:
    read_article((piece * (1 + (1 << 20) // len(piece)))[: 1 << 20], URL)
