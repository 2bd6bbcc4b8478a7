"""Every lifetime of stored data is a row of retention.py, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("service", "workers")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".lua") and path.name != "retention.py"
)
# A lifetime in Python, a Redis command with a number of its own, in Lua and in redis-py.
LIFETIMES = (
    r"^_?[A-Z_]+_(KEPT|MEMORY|LIFETIME) = ",
    r"'(P?EXPIRE|P?EX)'[^)]*, ?\d+",
    r"\bp?expire\([^)]*, ?\d+",
    r"\b(ex|px|result_ttl|failure_ttl)=\d{2,}",
)


def test_file_has_no_lifetime_of_its_own() -> None:
    for path in FILES:
        text = path.read_text()
        found = [found[0] for rule in LIFETIMES for found in re.finditer(rule, text, re.M)]
        assert found == [], path


@pytest.mark.parametrize(
    "line",
    [
        "_LINK_KEPT = 3600",
        "LEFT_MEMORY = 30 * 86_400",
        "redis.call('EXPIRE', KEYS[1], 120)",
        "redis.call('SET', KEYS[1], '', 'EX', 60)",
        "pipe.expire(key, 300)",
        'redis.set("a", "b", ex=60)',
        "failure_ttl=24 * 3600",
    ],
)
def test_rules_find_a_lifetime(line: str) -> None:
    assert any(re.search(rule, line, re.M) for rule in LIFETIMES)
