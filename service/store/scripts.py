"""Lua scripts that are too long for a string: each in a file beside the module that calls it."""

from __future__ import annotations

from pathlib import Path

# For scripts that need the time: `now`, in ms.
NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""


def lua(name: str) -> str:
    """Return the script in `<name>.lua`."""
    return Path(__file__).with_name(f"{name}.lua").read_text(encoding="utf-8")
