"""What Redis' errors mean, in words for operators; Redis' own may repeat what was to be stored."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    InvalidResponse,
    RedisError,
    TimeoutError,
)

from service.store.redis_servers.cluster_nodes import ServerFails
from service.store.redis_servers.connection import NotMaster
from service.store.redis_servers.names import NameServerSilent


class Unreachable(ConnectionError):
    """A Redis that does not answer; the message is one line that names its setting and says why."""


_CLUSTER = (
    "is a node of a cluster: write STORE_URL as redis+cluster://host,host, and give the queue"
    " (REDIS_URL) a Redis that is none"
)


class Loading(Unreachable):
    """A Redis that will be ready when its data is loaded, or converted by another process."""


# By a part of Redis' error. redis-py has a class for some of them and drops their code; where a
# script failed, Redis 6.2 has the code somewhere in its message.
_REASONS = {
    "SentinelsAway": "cannot be found, because none of its sentinels answers. Try again in a"
    " moment",
    "MasterIsDown": "has no master now, as its sentinels say. Try again in a moment",
    "UnknownMaster": "cannot be found, because its sentinels know no master of the name that"
    " REDIS_URL or STORE_URL has after the /",
    "SentinelsRefuse": "cannot be found, because its sentinels refuse our user or password"
    " (sentinel_username, sentinel_password)",
    "NotCluster": "is no cluster: write STORE_URL as redis://",
    "NotCovered": "has lost a part of its cluster. Try again in a moment",
    "CLUSTERDOWN": "has lost a part of its cluster. Try again in a moment",
    "SlotMoves": "is moving data from one node to another. Try again in a moment",
    "IsSentinel": "is a sentinel: write redis+sentinel://host,host/ and the name of its master",
    "NotSentinel": "cannot be found, because a server that should be a sentinel is none",
    "TooFewReplicas": "has fewer replicas that answer than STORE_WAIT_REPLICAS asks for, so nothing"
    " was stored. Try again in a moment",
    "NotKept": "was replaced by another server, which has lost this. Try again in a moment",
    "OutOfMemory": "is full. It needs more memory before it accepts anything new",
    "OOM": "is full. It needs more memory before it accepts anything new",
    "MISCONF": "cannot write to its disk, which may be full. Until it can, it accepts nothing new",
    "ReadOnly": "is a read-only replica. It accepts nothing new until it is the master again",
    "READONLY": "is a read-only replica. It accepts nothing new until it is the master again",
    "MasterDown": "is a replica that has lost its master",
    "MASTERDOWN": "is a replica that has lost its master",
    "NOREPLICAS": "has too few replicas (min-replicas-to-write). Until it has, it accepts nothing"
    " new",
    "UNBLOCKED": "has just become a replica. Try again in a moment",
    "BusyLoading": "is loading its data. Try again in a moment",
    "BUSY": "is busy with a script that does not end. Its own log says more",
    "Script killed": "has ended a script of ours, as an operator told it to. Try again in a moment",
    "DENIED": "has no password, and so lets in only callers on its own machine (protected mode)",
    "unknown command": "does not know a command that we need. docs/operations.md says which servers"
    " do",
    "max number of clients": "has reached its limit of connections. Try again in a moment",
    "NOPERM": "refuses our user. REDIS_URL or STORE_URL needs a user with more rights",
    "NoPermission": "refuses our user. REDIS_URL or STORE_URL needs a user with more rights",
    "Authentication": "refuses our password. REDIS_URL or STORE_URL needs the right one",
    "NOAUTH": "refuses our password. REDIS_URL or STORE_URL needs the right one",
    "DB index": "does not have that database. REDIS_URL or STORE_URL names it at the end",
    "Moved": _CLUSTER,
    "CrossSlot": _CLUSTER,
    "ClusterDown": _CLUSTER,
    "InvalidResponse": "is no Redis, or one that expects TLS (rediss://)",
}
# States in which Redis answers no PING, and which may end by themselves.
_PASSING = ("BUSY", "MISCONF", "MasterDown")
# The same for a connection that could not be made or was lost.
_UNREACHABLE = {
    "refused": "the connection is refused",
    "not known": "its name is not known",
    "No address associated": "its name is not known",
    "name resolution": "the name server does not answer",
    "CERTIFICATE_VERIFY": "its certificate is not trusted",
    "SSL": "it does not speak TLS as rediss:// asks",
    "No such file": "there is no such socket",
    "Not a directory": "there is no such socket",
    "Permission denied": "we may not open its socket",
    "No route": "there is no way to it",
    "unreachable": "there is no way to it",
}


def reason(error: RedisError) -> str:
    """Return what is the matter with Redis, as the end of a sentence, without its full stop."""
    message = f"{type(error).__name__} {error}"
    found = next((why for part, why in _REASONS.items() if part in message), None)
    if found is None and isinstance(error, ConnectionError | TimeoutError):
        return "cannot be reached. Try again in a moment"
    return found or "reports an error. Its own log says which"


def cause_of(error: RedisError) -> RedisError:
    """Return the error behind a `ServerFails`; any other error unchanged."""
    return error.cause if isinstance(error, ServerFails) else error


def is_away(error: RedisError) -> bool:
    """Whether no Redis answers; else one does, and refuses."""
    return isinstance(error, ConnectionError | TimeoutError) and not isinstance(error, NotMaster)


def why_unreachable(error: RedisError) -> str:
    """Return the reason for an operator who starts a process: also why a connection was lost."""
    if isinstance(error, ServerFails):
        return (
            f"{why_unreachable(error.cause)} (at {error.address}, as its cluster or its sentinels"
            " announce it)"
        )
    found = reason(error).partition(". Try again")[0]
    if isinstance(error, NameServerSilent):
        return f"{found}: {error}"
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    causes = (why for part, why in _UNREACHABLE.items() if part in str(error))
    return f"{found}: {cause}" if (cause := next(causes, "")) else found


def in_one_line(error: RedisError) -> str:
    """Return what a command, a worker or a clock says of an error of Redis."""
    return str(error) if isinstance(error, Unreachable) else f"Redis {why_unreachable(error)}"


def may_pass(error: RedisError) -> bool:
    """Whether a process that starts should wait, since Redis may be starting or moving as well."""
    error = cause_of(error)
    if any(state in f"{type(error).__name__} {error}" for state in _PASSING):
        return True
    if isinstance(error, AuthenticationError | AuthorizationError | InvalidResponse):
        return False
    return isinstance(error, ConnectionError | TimeoutError)
