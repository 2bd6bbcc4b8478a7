"""The rows of `service/model/retention.py`, for tests that map stored data and pages to them."""

from __future__ import annotations

import inspect
import re

from service.model import retention


def about_a_reader() -> dict[str, int]:
    """Return the lifetimes, in seconds, of what is stored about one reader, by name."""
    source = inspect.getsource(retention)
    section = source.partition("-- about one reader --")[2].partition("\n# -- about ")[0]
    names = re.findall(r"^([A-Z_]+_KEPT) =", section, re.M)
    assert names
    return {name: getattr(retention, name) for name in names}
