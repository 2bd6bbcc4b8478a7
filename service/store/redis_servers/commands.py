"""How long a command may be: some services refuse a request with 4,000 arguments or more.

Amazon ElastiCache Serverless takes 3,999. Values whose number grows with the readers go to a script
as one packed argument, and to other commands some at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

MOST_ARGUMENTS = 3_999  # of a command, its name included
MOST_AT_ONCE = MOST_ARGUMENTS - 99  # that grow with the data; the others have room beside them


def some_at_once(values: Iterable[T], arguments: int = 1) -> Iterator[list[T]]:
    """Cut values, each so many arguments of a command, into lists that fit into one command."""
    rest = iter(values)
    while some := list(islice(rest, MOST_AT_ONCE // arguments)):
        yield some
