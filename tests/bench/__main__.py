"""`python -m tests.bench`: all of `stoppress bench`, and more that only this project needs.

Besides pywebpush it measures web-push for Node and webpush-go, if `node` and `go` are installed.
The section `choices` counts the readers of an alert one by one, without the engine's code; `moving`
imports and exports, beside PostgreSQL if it is installed (Debian's package `postgresql`).
"""

from __future__ import annotations

from tests.bench.choices import choices
from tests.bench.moving import moving
from tests.bench.programs import WEB_PUSH_VERSION, WEBPUSH_GO_VERSION, web_push, webpush_go
from workers.bench.__main__ import SECTIONS, command
from workers.bench.peers import PEERS

ALL_SECTIONS = {
    **SECTIONS,
    "moving": ("a list of another service imported and exported", moving),
    "choices": ("readers' preferences, against counting them one by one", choices),
}
ALL_PEERS = {
    **PEERS,
    f"web-push {WEB_PUSH_VERSION} for Node, keep-alive": web_push,
    f"webpush-go {WEBPUSH_GO_VERSION}, one HTTP/2 client": webpush_go,
}

if __name__ == "__main__":
    command(ALL_SECTIONS, ALL_PEERS)(prog_name="python -m tests.bench")
