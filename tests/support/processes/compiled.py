"""What each application would make anew, made once in a process: routes, templates and digests.

To compile them takes most of the time in which an application starts, and half of a page's. To read
redis-py's version from a file, and to copy 170 names one by one, takes most of the time in which a
test connects to Redis.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from hashlib import sha1
from pathlib import Path
from types import CodeType

import redis.utils
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from jinja2.bccache import Bucket
from redis.client import CaseInsensitiveDict
from redis.commands.core import Script

from service import app as wiring

_add_routes = wiring.add_routes
# What blueprints give to an application, by their names; under None is what is the application's.
_OF_BLUEPRINTS = (
    *("error_handler_spec", "before_request_funcs", "after_request_funcs"),
    *("teardown_request_funcs", "template_context_processors"),
    *("url_value_preprocessors", "url_default_functions"),
)


def share() -> None:
    """Let all applications of this process, and of those forked from it, share what is made."""
    wiring.add_routes = _add_same_routes
    Flask.jinja_options = {**Flask.jinja_options, "bytecode_cache": _Templates()}
    Script.__init__ = _new_script  # type: ignore[method-assign]
    CaseInsensitiveDict.__init__ = _new_dict  # type: ignore[method-assign]
    redis.utils.get_lib_version = cache(redis.utils.get_lib_version)


@cache
def routes() -> Flask:
    """Return an application that has nothing but routes."""
    app = Flask(wiring.__name__, static_folder=None)
    own = deepcopy([getattr(app, name)[None] for name in _OF_BLUEPRINTS[1:]])
    _add_routes(app)
    assert own == [getattr(app, name)[None] for name in _OF_BLUEPRINTS[1:]], "copy these too"
    app.url_map.update()
    app.url_map.add = _refuse  # type: ignore[method-assign]
    return app


def _refuse(*_: object) -> None:
    raise AssertionError("all applications share their routes: replace one's `view_functions`")


def _add_same_routes(app: Flask) -> None:
    """Do what `service.app.add_routes` does: 250 routes and what belongs to them."""
    first = routes()
    assert not app.blueprints and not app.view_functions
    app.url_map = first.url_map
    app.blueprints |= first.blueprints
    app.view_functions |= first.view_functions
    for name in _OF_BLUEPRINTS:
        known = getattr(app, name)
        known |= {part: of for part, of in getattr(first, name).items() if part is not None}
    for status, handlers in first.error_handler_spec[None].items():
        app.error_handler_spec[None][status] |= handlers
    for name in ("filters", "globals", "tests"):
        known = getattr(app.jinja_env, name)
        known |= {one: it for one, it in getattr(first.jinja_env, name).items() if one not in known}


def _new_script(script: Script, client: redis.Redis, text: str) -> None:
    script.registered_client, script.script, script.sha = client, text, _digest(text)


def _new_dict(made: CaseInsensitiveDict, data: dict[str, object]) -> None:
    dict.update(made, zip(map(str.upper, data), data.values(), strict=True))


@cache
def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


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
