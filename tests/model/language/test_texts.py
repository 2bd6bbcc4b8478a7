"""Texts of alerts as readers see them, and where they are cut."""

from __future__ import annotations

import time

import pytest

from service.model.language.graphemes import cut
from service.model.language.slugs import slug_of
from service.model.language.texts import has_invisible, is_visible, one_line, several_lines

UNSEEN = "Characters that no reader sees were left out, or became a space: {}."


@pytest.mark.parametrize(
    ("given", "seen", "named"),
    [
        ("bell\x07", "bell", "U+0007"),
        ("one\x0btwo", "one two", "U+000B"),
        ("one\u2028two", "one two", "U+2028"),
        ("one \r\n two", "one two", "U+000A, U+000D"),
        ("one\ttwo", "one two", "U+0009"),
        ("one\x85two\x1f", "one two", "U+001F, U+0085"),
        ("one\n\n", "one", "U+000A"),
        ("\ufeffone", "one", "U+FEFF"),
        ("in\u00advi\u200bsi\u2060ble", "invisible", "U+00AD, U+200B, U+2060"),
        ("\u202eevil\u202c", "evil", "U+202C, U+202E"),
        ("Ferry\U000e0061\U000e007f", "Ferry", "U+E0061, U+E007F"),
        (
            "a\x00b\x01c\x02d\x03e\x04f\x05",
            "abcdef",
            "U+0000, U+0001, U+0002, U+0003, U+0004 and others",
        ),
    ],
)
def test_what_no_reader_sees_becomes_a_space_or_nothing(given: str, seen: str, named: str) -> None:
    assert one_line(given) == (seen, (UNSEEN.format(named),))


@pytest.mark.parametrize(
    "text",
    [
        "Ferry aground",
        "Fähre « auf\u00a0Grund »",
        "👩‍👩‍👧 and 🏴󠁧󠁢󠁥󠁮󠁧󠁿, 3️⃣",
        "می‌خواهم",  # with a zero width non-joiner
        "שלום (HTML)\u200f",
        "\u2068العبّارة\u2069",
        "R&D; AT&T",
        "2 < 3 > 1",
        "Ein <3 für alle",
        "C:\\news",
    ],
)
def test_a_text_that_readers_see_stays_as_it_is(text: str) -> None:
    assert one_line(text) == (text, ())
    assert several_lines(text) == (text, ())


def test_a_text_of_several_lines_keeps_them() -> None:
    assert several_lines("One.\r\nTwo.\n\nThree.\n") == ("One.\nTwo.\n\nThree.", ())
    text, warnings = several_lines("One.\u2029Two.\rThree\tfour\x07")
    assert text == "One.\nTwo.\nThree four"
    assert warnings == (UNSEEN.format("U+0007, U+0009, U+000D, U+2029"),)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Fish &amp; chips", "&amp;"),
        ("It&#8217;s on", "&#8217;"),
        ("It&#x2019;s on", "&#x2019;"),
        ("now&nbsp;or never", "&nbsp;"),
        ("A <b>bold</b> move", "<b>"),
        ("One<br/>two", "<br/>"),
        ("Fish &amp chips", "&amp"),
        ("<![CDATA[Ferry]]>", "<![CDATA["),
        ("It\\u2019s on", "\\u2019"),
        ("One\\n Two", "\\n"),
        ('<a href="https://paper.example">Ferry</a>', '<a href="https://paper.example">'),
    ],
)
def test_markup_is_kept_with_a_warning(text: str, shown: str) -> None:
    kept, (warning,) = one_line(text)
    assert kept == text
    assert f"“{shown}”" in warning
    assert "plain text" in warning


def test_a_lost_character_is_noticed() -> None:
    kept, (warning,) = one_line("F\ufffdhre")
    assert kept == "F\ufffdhre"
    assert "U+FFFD" in warning


@pytest.mark.parametrize(
    "text", ["", " ", "\u200d", "\u200e\u200f", "\u2800", "\u115f\u1160", "\ufe0f", "\u0301"]
)
def test_some_texts_look_like_nothing(text: str) -> None:
    assert not is_visible(text)


@pytest.mark.parametrize("text", ["1", "…", "ä", "日", "🛳️", "🇱🇻", "\U0001fae9", "€"])
def test_all_others_are_visible(text: str) -> None:
    assert is_visible(text)


ONE = {
    "accent": "e\u0301",
    "many accents": "e\u0301\u0323\u0308",
    "flag": "🇱🇻",
    "flag of England": "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "family": "👩‍👩‍👧‍👦",
    "skin tone": "👍🏽",
    "keycap": "3️⃣",
    "heart": "❤️‍🔥",
    "jamo": "\u1112\u1161\u11ab",
    "Hindi": "नि",
    "Tamil": "கௌ",
    "Thai": "กำ",
}


@pytest.mark.parametrize("one", ONE.values(), ids=ONE.keys())
def test_a_text_is_never_cut_within_what_a_reader_takes_for_one_character(one: str) -> None:
    text = one * 20
    for most in range(len(one) + 1, len(text)):
        shown = cut(text, most)
        assert len(shown) <= most
        assert shown.endswith("…")
        assert shown[:-1] in (one * n for n in range(1, 20))
    assert cut(text, len(text)) == text


def test_a_single_character_that_is_longer_than_the_room_is_cut_all_the_same() -> None:
    assert cut("e" + "\u0301" * 500, 60) == "e" + "\u0301" * 58 + "…"


def seconds(text: str) -> float:
    """The shortest time of three for reading a title."""
    times = []
    for _ in range(3):
        began = time.process_time()
        one_line(text)
        times.append(time.process_time() - began)
    return min(times)


def test_a_long_row_of_spaces_takes_no_longer_than_letters_do() -> None:
    # Else a CMS that sends 60,000 of them stops a web process for a minute.
    assert seconds(f"a{16_000 * ' '}b") < 100 * seconds(16_000 * "a")
    assert one_line("a  b   \t  c").text == "a  b c"


@pytest.mark.timeout(30)  # it took some minutes
def test_accents_in_a_wrong_order_take_no_time() -> None:
    text = f"e{100_000 * chr(0x301)}{100_000 * chr(0x323)}"
    assert len(one_line(text).text) == len(several_lines(text).text) > 100_000
    assert not has_invisible(text)
    assert slug_of(text) == "e"
    assert one_line("u\u0308" * 1000).text == "ü" * 1000
