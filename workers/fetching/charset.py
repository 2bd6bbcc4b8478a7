"""In which character encoding a page is written."""

from __future__ import annotations

import codecs
import re

# By the WHATWG's labels, which pages use: the encoding as Python names it. ASCII and Latin-1 mean
# Windows-1252. Python's other codecs are no encodings of pages, and some of them are slow.
_ENCODINGS = {
    "utf-8": "utf8 utf-8 unicode-1-1-utf-8",
    "cp1252": "ascii us-ascii latin1 iso-8859-1 iso8859-1 iso_8859-1 windows-1252 cp1252",
    "iso8859-15": "iso-8859-15 latin9",
    "cp1250": "windows-1250 cp1250",
    "iso8859-2": "iso-8859-2 latin2",
    "cp1251": "windows-1251 cp1251",
    "koi8-r": "koi8-r koi8",
    "koi8-u": "koi8-u",
    "iso8859-5": "iso-8859-5",
    "cp1253": "windows-1253 cp1253",
    "iso8859-7": "iso-8859-7 greek",
    "cp1254": "windows-1254 cp1254 iso-8859-9 latin5",
    "cp1255": "windows-1255 cp1255",
    "iso8859-8": "iso-8859-8 hebrew",
    "cp1256": "windows-1256 cp1256",
    "iso8859-6": "iso-8859-6 arabic",
    "cp1257": "windows-1257 cp1257",
    "iso8859-13": "iso-8859-13",
    "cp1258": "windows-1258 cp1258",
    "cp874": "windows-874 tis-620 iso-8859-11",
    "cp932": "shift_jis shift-jis sjis x-sjis windows-31j ms_kanji",
    "euc_jp": "euc-jp x-euc-jp",
    "iso2022_jp": "iso-2022-jp",
    "gb18030": "gb18030 gbk gb2312 gb_2312-80 x-gbk",
    "big5hkscs": "big5 big5-hkscs x-x-big5",
    "cp949": "euc-kr ks_c_5601-1987 korean windows-949",
}
_BY_LABEL = {label: name for name, labels in _ENCODINGS.items() for label in labels.split()}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_META_WITHIN = 4096  # bytes; browsers look at 1024
_HEADER = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE | re.ASCII)
_META = re.compile(
    rb"""<(?:meta[^>]{0,500}?charset|\?xml[^>]{0,200}?encoding)\s{0,9}=\s{0,9}["']?([\w.:-]{1,40})""",
    re.IGNORECASE,
)


def decoded(document: bytes, content_type: str) -> str:
    """Return a page as text; what is no character of its encoding becomes U+FFFD."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if document.startswith(mark):
            return document[len(mark) :].decode(encoding, "replace")
    return document.decode(_encoding(document, content_type), "replace")


def _encoding(document: bytes, content_type: str) -> str:
    # A server may say Latin-1 of every page. What is valid UTF-8 and not just ASCII is UTF-8.
    valid = _is_utf_8(document)
    if valid and not document.isascii():
        return "utf-8"
    named = _HEADER.search(content_type)
    label = named[1] if named else ""
    named_by_header = _BY_LABEL.get(label.lower())
    return named_by_header or named_encoding(document) or ("utf-8" if valid else "cp1252")


def named_encoding(document: bytes) -> str | None:
    """Return the encoding that a page names itself, in a `<meta>` or as XML; None: none we know."""
    meta = _META.search(document[:_META_WITHIN])
    return _BY_LABEL.get(meta[1].decode("ascii", "replace").lower()) if meta else None


def _is_utf_8(document: bytes) -> bool:
    try:
        # Not final, because a long page is cut anywhere.
        codecs.getincrementaldecoder("utf-8")().decode(document)
    except UnicodeDecodeError:
        return False
    return True
