"""What is read of a feed, also of an odd or a hostile one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.newsroom.feeds import MOST_ITEMS, FeedFault, FeedReading
from workers.fetching import feed_text
from workers.fetching.feed import read_feed
from workers.fetching.feed_text import LARGEST

URL = "https://paper.example/feed.xml"
LINK = "https://paper.example/ferry"
NOON = 1_795_953_600.0  # 29 November 2026, 12:00 UTC
NAMESPACES = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:media="http://search.yahoo.com/mrss/"'
    ' xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"'
    ' xmlns:content="http://purl.org/rss/1.0/modules/content/"'
    ' xmlns:atom="http://www.w3.org/2005/Atom"'
)


def rss(item: str, prolog: str = "", channel: str = "", end: str = "</channel></rss>") -> str:
    return (
        f'{prolog}<rss version="2.0" {NAMESPACES}><channel><title>The Paper</title>{channel}'
        f"{item}{end}"
    )


def entry(more: str = "", title: str = "Ferry aground", link: str = LINK) -> str:
    return f"<item><title>{title}</title><link>{link}</link>{more}</item>"


def atom(item: str, attributes: str = "") -> str:
    return (
        f'<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" {attributes}>'
        f"<title>The Paper</title><entry><title>Ferry aground</title>{item}</entry></feed>"
    )


def json_feed(**item: Any) -> str:
    made = {"id": "1", "url": LINK, "title": "Ferry aground", **item}
    return json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": [made]})


def dated(date: str) -> str:
    return rss(entry(f"<pubDate>{date}</pubDate>"))


def declaring(entities: str, title: str) -> str:
    return rss(entry(title=title), f"<!DOCTYPE rss [{entities}]>")


def saying(encoding: str, title: str) -> str:
    return rss(entry(title=title), f'<?xml version="1.0" encoding="{encoding}"?>')


UMLAUT = "Fähre"
ONE_BROKEN = rss(entry(title="Fähre für Møn ?")).encode().replace(b"?", b"\xff")
HTML = (
    '<!DOCTYPE html><html><head><link rel="alternate" type="application/rss+xml" href="/rss">'
    "<title>Error</title></head><body><p>Not now<br><item><title>No</title></item></body></html>"
)
BOMB = '<!ENTITY a "haha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

# Each row: what the desk sees, the feed, and fields of its only item.
ROWS: list[tuple[str, str | bytes, dict[str, Any]]] = [
    ("a plain item", rss(entry("<guid>https://x.example/1</guid>")), {"guid": "https://x.example/1"}),
    # Ids and links.
    ("a guid that is a number", rss(entry("<guid>17</guid>")), {"guid": "17", "link": LINK}),
    (
        "a guid that is an address, and no link",
        rss(f"<item><title>Ferry aground</title><guid>{LINK}</guid></item>"),
        {"guid": LINK, "link": LINK},
    ),
    (
        "a guid that is no permanent link, and no link",
        rss(f'<item><title>Ferry aground</title><guid isPermaLink="false">{LINK}</guid></item>'),
        {"guid": LINK, "link": ""},
    ),
    (
        "a guid that is no address is no link",
        rss("<item><title>Ferry aground</title><guid>17</guid></item>"),
        {"guid": "17", "link": ""},
    ),
    ("an id of JSON that is a number", json_feed(id=17), {"guid": "17", "link": LINK}),
    ("an id of JSON with a thousand digits", json_feed(id=int("9" * 1000)), {"guid": "9" * 500}),
    ("a link from the feed's address", rss(entry(link="/ferry")), {"link": LINK}),
    (
        "a link from xml:base",
        atom('<link href="ferry"/>', 'xml:base="https://other.example/news/"'),
        {"link": "https://other.example/news/ferry"},
    ),
    ("a link with spaces around", rss(entry(link=f"\n  {LINK} \n")), {"link": LINK}),
    ("a link that runs a script", rss(entry(link="javascript:alert(1)")), {"link": ""}),
    ("a link with a page in it", rss(entry(link="data:text/html,x")), {"link": ""}),
    ("a link to FTP", rss(entry(link="ftp://paper.example/x")), {"link": ""}),
    ("an empty link", rss(entry(link="")), {"link": ""}),
    ("a link with an ampersand", rss(entry(link=f"{LINK}?a=1&b=2")), {"link": f"{LINK}?a=1&b=2"}),
    (
        "a link of Atom with an ampersand",
        atom(f'<link href="{LINK}?a=1&amp;b=2"/>'),
        {"link": f"{LINK}?a=1&b=2"},
    ),
    (
        "several links of Atom",
        atom(f'<link rel="self" href="/x"/><link rel="alternate" href="{LINK}"/>'),
        {"link": LINK},
    ),
    ("JSON that links elsewhere", json_feed(url="", external_url=LINK), {"link": LINK}),
    # Texts.
    ("a title with line ends", rss(entry(title="\n Ferry\r\n  aground\t")), {}),
    ("a title with an entity of HTML", rss(entry(title="A&nbsp;B")), {"title": "A\xa0B"}),
    ("a title with an entity nobody knows", rss(entry(title="A &foo; B")), {"title": "A &foo; B"}),
    ("a title with a bare ampersand", rss(entry(title="A & B &")), {"title": "A & B &"}),
    ("a title encoded twice", rss(entry(title="A &amp;amp; B &amp;lt; C")), {"title": "A & B < C"}),
    ("a title in CDATA", rss(entry(title="<![CDATA[A & B &amp; C]]>")), {"title": "A & B & C"}),
    ("a title with tags", rss(entry(title="<![CDATA[<b>Ferry</b> aground]]>")), {}),
    ("a title with encoded tags", rss(entry(title="&lt;b&gt;Ferry&lt;/b&gt; aground")), {}),
    ("a title with raw tags", rss(entry(title="<b>Ferry</b> aground")), {}),
    ("a title with the sign less-than", rss(entry(title="1 < 2")), {"title": "1 < 2"}),
    ("a title with broken numbers", rss(entry(title="&#0; &#xD800;")), {"title": "\ufffd \ufffd"}),
    ("a title with numbers", rss(entry(title="A &#8211; &#x42; &#150;")), {"title": "A – B –"}),
    ("a title with control characters", rss(entry(title="Ferry\x00\x07 aground")), {}),
    ("a long title", rss(entry(title="word " * 99)), {"title": f"{'word ' * 38}word…"}),
    (
        "no title",
        rss(f"<item><link>{LINK}</link><description>Nobody is hurt.</description></item>"),
        {"title": "Nobody is hurt.", "text": ""},
    ),
    (
        "an empty title and a long text",
        rss(entry("<description>" + "hurt " * 40 + "</description>", title="")),
        {"title": "hurt " * 22 + "hurt…", "text": ("hurt " * 40).strip()},
    ),
    ("neither a title nor a text", rss(entry(title="")), {"title": "", "text": ""}),
    ("a title that nobody sees", rss(entry(title="&#8203;&#160;")), {"title": ""}),
    (
        "a text with tags and a script",
        rss(entry("<description><![CDATA[<p>A</p><script>x()</script><p>B]]></description>")),
        {"text": "A B"},
    ),
    (
        "a text in content:encoded only",
        rss(entry("<content:encoded><![CDATA[<p>A&nbsp;B</p>]]></content:encoded>")),
        {"text": "A\xa0B"},
    ),
    (
        "a text of XHTML",
        atom(
            f'<link href="{LINK}"/><content type="xhtml">'
            '<div xmlns="http://www.w3.org/1999/xhtml"><p>Nobody <b>is</b> hurt.</p></div>'
            "</content>"
        ),
        {"text": "Nobody is hurt."},
    ),
    ("a text of JSON", json_feed(content_html="<p>A &amp; B</p><p>C"), {"text": "A & B C"}),
    (
        "a full stop behind a tag",
        rss(entry("<description><![CDATA[<p>A <i>is <b>hurt</b></i>.<br>Yet.]]></description>")),
        {"text": "A is hurt. Yet."},
    ),
    (
        "what WordPress adds at the end",
        rss(
            entry(
                "<description><![CDATA[<p>Nobody is hurt.</p>\n<p>Der Beitrag <a href='/a'>F</a>"
                " erschien zuerst auf <a href='/'>Paper</a>.</p>]]></description>"
            )
        ),
        {"text": "Nobody is hurt."},
    ),
    (
        "a text that is the title",
        rss(entry("<description>Ferry aground</description>")),
        {"text": ""},
    ),
    # Pictures, languages, categories.
    (
        "a picture of Media RSS",
        rss(entry('<media:content url="https://i.example/1.jpg" medium="image"/>')),
        {"picture": "https://i.example/1.jpg"},
    ),
    (
        "a film of Media RSS, and its thumbnail",
        rss(
            entry(
                '<media:content url="https://i.example/1.mp4" type="video/mp4"/>'
                '<media:thumbnail url="https://i.example/2.jpg"/>'
            )
        ),
        {"picture": "https://i.example/2.jpg"},
    ),
    (
        "a picture as an enclosure",
        rss(entry('<enclosure url="https://i.example/1.jpg" type="image/jpeg" length="1"/>')),
        {"picture": "https://i.example/1.jpg"},
    ),
    (
        "a sound as an enclosure",
        rss(entry('<enclosure url="https://i.example/1.mp3" type="audio/mpeg" length="1"/>')),
        {"picture": ""},
    ),
    (
        "a picture of iTunes",
        rss(entry('<itunes:image href="https://i.example/1.jpg"/>')),
        {"picture": "https://i.example/1.jpg"},
    ),
    (
        "a picture without TLS",
        rss(entry('<media:content url="http://i.example/1.jpg" medium="image"/>')),
        {"picture": ""},
    ),
    (
        "a picture of JSON",
        json_feed(image="https://i.example/1.jpg"),
        {"picture": "https://i.example/1.jpg"},
    ),
    (
        "a language of Dublin Core",
        rss(entry("<dc:language>de_at</dc:language>")),
        {"language": "de-AT"},
    ),
    ("a language of XML", atom(f'<link href="{LINK}"/>', 'xml:lang="fr"'), {"language": "fr"}),
    (
        "categories",
        rss(entry("<category>World</category><category>A &amp;amp; B</category>" * 2)),
        {"categories": ("World", "A & B")},
    ),
    ("half a character in JSON", json_feed(url=f"{LINK}\ud800", title="A\ud800"), {"title": "A"}),
    (
        "an attachment of JSON",
        json_feed(
            attachments=[
                {"url": "https://x.example/a.mp3", "mime_type": "audio/mpeg"},
                None,
                {"url": "/a.jpg", "mime_type": "image/jpeg"},
            ]
        ),
        {"picture": "https://paper.example/a.jpg"},
    ),
    ("tags of JSON", json_feed(tags=["World", 3, None]), {"categories": ("World", "3")}),
    # Dates.
    ("a date of RFC 822", dated("Sun, 29 Nov 2026 13:00:00 +0100"), {"published": NOON}),
    ("a year of two digits", dated("Sun, 29 Nov 26 12:00 GMT"), {"published": NOON}),
    ("a zone of the army", dated("29 Nov 2026 12:00:00 Z"), {"published": NOON}),
    ("a zone of America", dated("Sun, 29 Nov 2026 07:00:00 EST"), {"published": NOON}),
    ("a zone of Europe", dated("Sun, 29 Nov 2026 13:00:00 CET"), {"published": NOON}),
    ("a zone of Japan", dated("Sun, 29 Nov 2026 21:00:00 JST"), {"published": NOON}),
    ("a zone nobody knows", dated("Sun, 29 Nov 2026 12:00:00 XYZ"), {"published": NOON}),
    ("a zone with a colon", dated("Sun, 29 Nov 2026 13:00:00 GMT+01:00"), {"published": NOON}),
    ("a zone of UTC", dated("Sun, 29 Nov 2026 13:00:00 UTC+01:00"), {"published": NOON}),
    ("a zone of one figure", dated("Sun, 29 Nov 2026 13:00:00 GMT+1"), {"published": NOON}),
    ("a zone before the year", dated("Sun Nov 29 13:00:00 CET 2026"), {"published": NOON}),
    ("a half of the day", dated("Sun, 29 Nov 2026 7:00:00 PM AEDT"), {"published": NOON - 14400}),
    ("noon in halves of the day", dated("Sun, 29 Nov 2026 12:00 p.m. +0000"), {"published": NOON}),
    ("slashes", dated("2026/11/29 12:00:00"), {"published": NOON}),
    ("an hour of one figure", dated("2026/11/29 9:00"), {"published": NOON - 10800}),
    ("a morning with slashes", dated("2026/11/29 9:00 AM"), {"published": NOON - 10800}),
    ("a day with slashes", dated("2026/11/29"), {"published": NOON + 43199}),
    ("a date without dashes", dated("20261129T130000+0100"), {"published": NOON}),
    ("no date of MySQL", dated("0000-00-00 00:00:00"), {"published": None}),
    ("a date without a zone", dated("2026-11-29 12:00:00"), {"published": NOON}),
    ("a date of ISO 8601", dated("2026-11-29T13:00:00+01:00"), {"published": NOON}),
    ("a day without a time ends at midnight", dated("29 Nov 2026"), {"published": NOON + 43199}),
    ("midnight is a day", dated("Sun, 29 Nov 2026 00:00:00 GMT"), {"published": NOON + 43199}),
    ("a date that is none", dated("yesterday"), {"published": None}),
    ("the 31st of February", dated("Sun, 31 Feb 2026 12:00:00 GMT"), {"published": None}),
    ("the year 1970", dated("Thu, 01 Jan 1970 00:00:01 GMT"), {"published": None}),
    ("the year 1", dated("0001-01-01T00:00:00Z"), {"published": None}),
    (
        "a date of Dublin Core",
        rss(entry("<dc:date>2026-11-29T12:00:00Z</dc:date>")),
        {"published": None, "updated": NOON},
    ),
    (
        "dates of Atom",
        atom(
            f'<link href="{LINK}"/><published>2015-01-01T12:00:00Z</published>'
            "<updated>2026-11-29T12:00:00Z</updated>"
        ),
        {"published": 1_420_113_600.0, "updated": NOON},
    ),
    (
        "dates of JSON",
        json_feed(date_published="2026-11-29T13:00:00.123+0100", date_modified="never"),
        {"published": NOON, "updated": None},
    ),
    # What comes before the feed.
    ("a style sheet", rss(entry(), '<?xml version="1.0"?>\n<?xml-stylesheet href="/x.xsl"?>'), {}),
    ("empty lines first", rss(entry(), '\n\n <?xml version="1.0"?>'), {}),
    ("a comment first", rss(entry(), "<!-- <html> & -->"), {}),
    (
        "a DOCTYPE",
        rss(entry(), '<!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://x.example/r.dtd">'),
        {},
    ),
    ("an entity of its own", declaring('<!ENTITY us "We">', "A &us;"), {"title": "A We"}),
    ("a backslash in an entity", declaring(r'<!ENTITY a "\1\g">', "A &a;"), {"title": r"A \1\g"}),
    ("an entity of a file", declaring('<!ENTITY f SYSTEM "/x">', "A&f;B"), {"title": "AB"}),
    ("a long entity", declaring(f'<!ENTITY l "{"x" * 99}">', "&l;&l;"), {"title": "&l;&l;"}),
    # Encodings.
    ("Latin-1", saying("iso-8859-1", UMLAUT).encode("latin-1"), {"title": UMLAUT}),
    ("Windows-1251", saying("windows-1251", "Паром").encode("cp1251"), {"title": "Паром"}),
    ("Latin-1 that says UTF-8", saying("utf-8", UMLAUT).encode("latin-1"), {"title": UMLAUT}),
    ("UTF-8 that says Latin-1", saying("iso-8859-1", UMLAUT).encode(), {"title": UMLAUT}),
    ("an encoding that does not exist", saying("utf-9", UMLAUT).encode(), {"title": UMLAUT}),
    ("a byte-order mark", b"\xef\xbb\xbf" + rss(entry(title=UMLAUT)).encode(), {"title": UMLAUT}),
    ("UTF-16", saying("utf-16", UMLAUT).encode("utf-16"), {"title": UMLAUT}),
    ("UTF-16 without a mark", saying("utf-16", UMLAUT).encode("utf-16-be"), {"title": UMLAUT}),
    ("one broken byte", ONE_BROKEN, {"title": "Fähre für Møn \ufffd"}),
    # XML that is broken.
    ("a feed that ends within an item", rss(entry(), end="<item><title>Anoth"), {}),
    ("a feed without an end", rss(entry(), end="\n"), {}),
    (
        "an element that is not closed",
        rss(entry("<description>A<br><b>B</description>")),
        {"text": "A B"},
    ),
    ("a prefix that is not declared", rss(entry("<foo:bar>x</foo:bar>")), {}),
    ("a comma too many in JSON is no feed", json_feed() + ",", {"fault": FeedFault.BROKEN}),
    ("a feed without items that is no XML", rss("<b><i></b>"), {"fault": FeedFault.BROKEN}),
    # What is no feed.
    ("an HTML page", HTML, {"fault": FeedFault.NOT_A_FEED}),
    ("an empty response", "", {"fault": FeedFault.NOT_A_FEED}),
    ("a picture", b"\x89PNG\r\n\x1a\n\0\0\0", {"fault": FeedFault.NOT_A_FEED}),
    ("an error as JSON", '{"error": "no such feed"}', {"fault": FeedFault.NOT_A_FEED}),
    ("a list of JSON", "[1, 2]", {"fault": FeedFault.NOT_A_FEED}),
    ("deep JSON", '{"a":' * 9999, {"fault": FeedFault.NOT_A_FEED}),
    ("a site map", "<?xml version='1.0'?><urlset><url/></urlset>", {"fault": FeedFault.NOT_A_FEED}),
    ("a DOCTYPE without an end", '<!DOCTYPE rss [<!ENTITY a "', {"fault": FeedFault.BROKEN}),
    ("a feed that ends at once", "<rss><chan", {"fault": FeedFault.BROKEN}),
    # What is meant to harm.
    ("an entity bomb", declaring(BOMB, "&i;"), {"fault": FeedFault.ENTITIES}),
    ("tags within one another", rss(entry("<a>" * 5000)), {"fault": FeedFault.BROKEN}),
    ("a tag of a megabyte", rss(entry(f"<a {'b=1 ' * 9999}/>")), {"fault": FeedFault.BROKEN}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
@pytest.mark.filterwarnings("error")
def test_what_is_read(document: str | bytes, expected: dict[str, Any]) -> None:
    body = document if isinstance(document, bytes) else document.encode()
    reading = read_feed(body, URL, "application/rss+xml")
    assert reading == FeedReading.from_json(reading.as_json())  # what the web side accepts
    if "fault" in expected:
        assert (reading.fault, reading.items) == (expected["fault"], ())
        return
    assert reading.fault is None
    (item,) = reading.items
    expected = {"title": "Ferry aground", **expected}
    assert {name: getattr(item, name) for name in expected} == expected


def items_of(count: int, *, oldest_first: bool = False) -> str:
    numbers = range(count) if oldest_first else reversed(range(count))
    dates = (
        (n, f"<pubDate>{n % 28 + 1} {MONTHS[n // 28 % 12]} {2000 + n // 336} 12:00 GMT</pubDate>")
        for n in numbers
    )
    return "".join(entry(date, title=f"Item {n}", link=f"/{n}") for n, date in dates)


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def titles(reading: FeedReading) -> list[str]:
    return [one.title for one in reading.items]


def test_a_feed_says_what_it_is_and_who_its_hub_is() -> None:
    channel = (
        "<language>de-at</language><ttl>15</ttl>"
        '<atom:link rel="hub" href="https://hub.example/"/><atom:link rel="self" href="/feed"/>'
    )
    headers = {"etag": '"1"', "last-modified": "Sun, 29 Nov 2026 12:00:00 GMT"}
    reading = read_feed(rss(entry(), channel=channel).encode(), URL, "", headers)
    assert reading == FeedReading(
        URL,
        title="The Paper",
        language="de-AT",
        etag='"1"',
        modified="Sun, 29 Nov 2026 12:00:00 GMT",
        hub="https://hub.example/",
        topic="https://paper.example/feed",
        minutes=15,
        items=reading.items,
    )


def test_a_header_that_no_request_may_have_is_not_kept() -> None:
    for value in ('"\xe9"', '"\x01"', "x" * 999):
        reading = read_feed(rss(entry()).encode(), URL, "", {"etag": value, "last-modified": value})
        assert reading.etag == reading.modified == ""


def test_a_hub_may_be_named_by_the_server_or_in_json() -> None:
    header = '<https://hub.example/>; rel="hub", </feed>; rel=self, <javascript:x>; rel=hub'
    reading = read_feed(rss(entry()).encode(), URL, "", {"link": header})
    assert (reading.hub, reading.topic) == ("https://hub.example/", "https://paper.example/feed")
    feed = {**json.loads(json_feed()), "hubs": [{"type": "WebSub", "url": "https://hub.example/"}]}
    reading = read_feed(json.dumps(feed).encode(), URL)
    assert (reading.hub, reading.topic) == ("https://hub.example/", URL)


def test_what_a_feed_says_of_its_encoding_counts_before_what_the_server_says() -> None:
    body = saying("windows-1251", "Паром").encode("cp1251")
    assert titles(read_feed(body, URL, "text/xml; charset=iso-8859-1")) == ["Паром"]
    body = rss(entry(title="Паром")).encode("cp1251")
    assert titles(read_feed(body, URL, "text/xml; charset=windows-1251")) == ["Паром"]


def test_tags_that_stay_open_in_many_items_are_no_fault() -> None:
    reading = read_feed(rss(entry("<description>A<br>B</description>") * 150).encode(), URL)
    assert len(reading.items) == 150


def test_a_page_that_is_no_feed_names_its_feeds() -> None:
    assert read_feed(HTML.encode(), URL).feeds == ("https://paper.example/rss",)


def test_an_empty_feed_has_no_fault() -> None:
    assert read_feed(rss("").encode(), URL) == FeedReading(URL, title="The Paper", topic=URL)


@pytest.mark.parametrize("oldest_first", [False, True], ids=["newest first", "oldest first"])
def test_of_ten_thousand_items_the_newest_are_read_and_few_are_parsed(oldest_first: bool) -> None:
    reading = read_feed(rss(items_of(10_000, oldest_first=oldest_first)).encode(), URL)
    assert len(reading.items) == MOST_ITEMS
    newest = [f"Item {9_999 - n}" for n in range(50)]
    assert titles(reading)[-50:][::-1] == newest if oldest_first else titles(reading)[:50] == newest


def test_of_an_endless_feed_the_whole_items_are_read() -> None:
    endless = rss(items_of(300), end="<item><title>" + "x" * LARGEST).encode()[:LARGEST]
    reading = read_feed(endless, URL)
    assert (reading.fault, titles(reading)[0]) == (None, "Item 299")
    endless = rss("<item><title>" + "x" * LARGEST).encode()[:LARGEST]
    assert read_feed(endless, URL).fault is FeedFault.TOO_LARGE
    endless = json_feed(title="x" * LARGEST).encode()[:LARGEST]
    assert read_feed(endless, URL).fault is FeedFault.TOO_LARGE


def test_a_feed_of_too_many_tags_is_read_as_far_as_is_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_text, "_MOST_TAGS", 100)
    heavy = entry(f"<description>{'<i/>' * 40}</description>")
    assert len(read_feed(rss(heavy * 5).encode(), URL).items) == 2


def test_a_document_that_is_the_name_of_a_file_is_not_opened() -> None:
    assert read_feed(b"/etc/passwd", URL).fault is FeedFault.NOT_A_FEED


PARTS = [
    *("<item>", "</item>", "<title>", "</title>", "<![CDATA[", "]]>", "<!--", "-->", "&amp;"),
    *("&#x", "<", ">", "&", "<guid>", "<link", "href='", "<?", "\x00", "\ud800", "é", "<pubDate>"),
    *("<pubDate>0000-00-00", "<pubDate>99", "12:61 PM", "GMT+99", "/", "-", ":", "0", "CET"),
    *("2026-11-29T", "</channel></rss>", "<feed>", "<entry>", "</entry>", "{", '"items":[', "}"),
]


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=30), st.booleans())
def test_nothing_that_a_feed_says_breaks_its_reading(parts: list[str], is_rss: bool) -> None:
    text = rss("".join(parts)) if is_rss else "".join(parts)
    reading = read_feed(text.encode("utf-8", "surrogatepass"), URL)
    assert reading == FeedReading.from_json(reading.as_json())
    for item in reading.items:
        assert not item.link or item.link.startswith(("http://", "https://"))
