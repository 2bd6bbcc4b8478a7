"""What each application would compile anew, compiled once in a process: routes and templates.

To compile them takes most of the time in which an application starts, and half of a page's. To read
redis-py's version from a file takes most of the time in which a test connects to Redis.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import redis.utils
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

_compile = Rule.compile
_rules: dict[object, dict[str, Any]] = {}
# What `Rule.compile` finds out of a route; the last two are methods of the rule.
_FOUND = ("_parts", "_trace", "_converters", "arguments", "_build", "_build_unknown")


def share() -> None:
    """Let all applications of this process, and of those forked from it, share what is compiled."""
    Rule.compile = _compile_once  # type: ignore[method-assign]
    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": _Templates()}
    redis.utils.get_lib_version = cache(redis.utils.get_lib_version)


def _compile_once(rule: Rule) -> None:
    assert rule.map is not None
    if rule.defaults or rule.host or rule.map.host_matching:
        return _compile(rule)
    key = (rule.rule, rule.subdomain, rule.merge_slashes)
    if key not in _rules:
        _compile(rule)
        _rules[key] = {name: getattr(rule, name) for name in _FOUND}
    for name, found in _rules[key].items():
        setattr(rule, name, found.__func__.__get__(rule) if hasattr(found, "__func__") else found)
    return None


class _Templates(FileSystemBytecodeCache):
    """Kept in this process, and in files for others: to compile all templates takes a second."""

    def __init__(self) -> None:
        folder = Path(__file__).with_name("__pycache__") / "templates"
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(str(folder))
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))
        if bucket.code is None:
            super().load_bytecode(bucket)
            self._keep(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        super().dump_bytecode(bucket)
        self._keep(bucket)

    def _keep(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._code[bucket.key, bucket.checksum] = bucket.code
