"""Users of Redis with the least rights, one for each kind of process.

`stoppress redis-users` prints them as `ACL SETUSER` lines. Tests run each kind of process as its
user, and compare the commands with those in our code.

Web, worker and clock share the code that plans alerts, and so most commands. What keeps them apart
is the keys: only web processes and commands can see who may sign in. A fetch process, which parses
what strangers write, sees no more than its own jobs, the articles that it is to read and the calls
that it is to make. Only the clock, beside these two, sees webhooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_CONNECTING = "asking client|setname cluster|slots info ping select time"
_SCRIPTS = "evalsha exec multi script|exists script|load"
_DATA = (
    "bitcount bitop del exists expire get getbit getrange hdel hexists hget hgetall hincrby hkeys"
    " hlen hmget hset hsetnx incr incrby pexpire pttl sadd set setbit smembers srem unlink xadd"
    " zadd zcard zcount zrange zrangebyscore zrem zremrangebyscore zrevrange zscore"
)
_JOBS = (
    "del exists expire get hdel hget hgetall hmget hset llen sadd set smembers srem zadd zrem"
    " hincrby xadd zrange zrangebyscore zremrangebyscore"
)
_WAKING = "llen lpush rpush"  # a job for the workers
_EVERY = f"{_CONNECTING} {_SCRIPTS} {_DATA} {_WAKING}"

_SUBSCRIBING = "hvals srandmember"
_ACCESS = "mget ttl"
_KEEPING = "wait"  # for replicas, if STORE_WAIT_REPLICAS says so
_LOOKING = "lrange"  # at jobs that wait
# RQ takes a job by `blmove`. Processes of the release before also subscribe to its channel.
_TAKING_JOBS = (
    "blmove client|info eval hincrbyfloat lrange lrem persist scard subscribe unsubscribe unwatch"
    " watch"
)
_COMMANDS = {
    "web": f"{_EVERY} {_SUBSCRIBING} {_ACCESS} {_KEEPING} {_LOOKING} bitfield_ro pfadd pfcount"
    " scard sismember zincrby zpopmin xrange xrevrange zremrangebyrank zrevrangebyscore zrevrank",
    "worker": f"{_EVERY} {_TAKING_JOBS} bitfield",
    "clock": f"{_EVERY} {_LOOKING} pfcount xrange xtrim",
    "fetch": f"{_CONNECTING} {_SCRIPTS} {_TAKING_JOBS} {_JOBS}",
    "commands": f"{_EVERY} {_SUBSCRIBING} {_ACCESS} {_KEEPING} cluster|nodes pfcount scard setrange"
    " strlen xrevrange zrevrangebyscore",
}

# All keys of the tag `{g}` but those of `access.py`, `two_step.py`, `passkeys.py`,
# `paired_browsers.py`, `webhooks.py`, `calls.py`, `causes.py` and `publish_hooks.py` in
# `service/store`.
_SHARED = (
    "active canary scheduled started waves log totals totals:* idempotency:* links:* n n:* ended"
    " readers_alerts:* topics topics:* stories days clicks:since names:* hosts:* resting limited"
    " paced proof released doubted believed pace:* start:* layout stop keys keys:retired retiring"
    " clock clock:* processes web settings feeds feeds:* feed:* feed-request:* counted speed:*"
)
_PARTITIONS = "{[^g]*}:*"
_QUEUE = ("rq:*", "stoppress:alive:*", "stoppress:written")
# RQ's keys of the queue of fetch processes, of these processes and of their jobs.
_FETCHING = (
    *("{g}:article:*", "{g}:feed-request:*", "{g}:call:*", "rq:queues", "rq:workers"),
    *("rq:*:stoppress-fetch", "rq:*:stoppress-fetch:*"),
    *("rq:clean_groups", "rq:groups", "rq:rl-keys"),  # its housekeeping; we have neither
    *("rq:worker:fetch.*", "rq:*:fetch-*", "stoppress:alive:rq:worker:fetch.*"),
)
_SENDING = (_PARTITIONS, *(f"{{g}}:{name}" for name in _SHARED.split()), *_QUEUE)
_CLOCK = (*_SENDING, "{g}:webhooks", "{g}:webhooks:*", "{g}:call:*", "{g}:causes")
_ALL = ("{*}:*", "rq:*", "stoppress:*")
_KEYS = {"web": _ALL, "worker": _SENDING, "clock": _CLOCK, "fetch": _FETCHING, "commands": _ALL}
_CHANNELS = {"worker": ("rq:pubsub:*",), "fetch": ("rq:pubsub:fetch.*",)}


class RedisUser(NamedTuple):
    """A user of Redis for one kind of process."""

    process: str
    keys: Sequence[str]
    channels: Sequence[str]
    commands: Sequence[str]

    @property
    def name(self) -> str:
        """The name of the user."""
        return f"stoppress-{self.process}"

    @property
    def rules(self) -> list[str]:
        """Its rights, as `ACL SETUSER` takes them."""
        keys = [f"~{pattern}" for pattern in self.keys]
        channels = [f"&{pattern}" for pattern in self.channels]
        commands = [f"+{command}" for command in self.commands]
        return ["resetkeys", *keys, "resetchannels", *channels, "-@all", *commands]


def redis_users() -> list[RedisUser]:
    """Return the users for each kind of process and for commands, and one for all of them."""
    users = [
        RedisUser(
            process,
            _KEYS[process],
            _CHANNELS.get(process, ()),
            sorted({*commands.split()}),
        )
        for process, commands in _COMMANDS.items()
    ]
    everything = sorted({command for user in users for command in user.commands})
    return [*users, RedisUser("up", _ALL, _CHANNELS["worker"], everything)]
