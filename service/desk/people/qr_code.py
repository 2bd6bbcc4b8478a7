"""QR codes on pages."""

from __future__ import annotations


def qr_code(text: str, title: str) -> str:
    """Return what a phone reads with its camera, as SVG without styles."""
    import segno  # few pages need it

    made = segno.make(text, micro=False)
    return made.svg_inline(light="#fff", omitsize=True, title=title)
