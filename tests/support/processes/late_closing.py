"""Web processes that are interrupted at the worst moment of their end."""

from __future__ import annotations

import time
from typing import Any

from service.local.web_worker import Worker


class LateClosing(Worker):
    """One that gets no time between its last look for connections and the end of its socket."""

    def _accept_all(self, listener: Any) -> None:
        super()._accept_all(listener)
        time.sleep(0.5)
