"""`stoppress bench`: how fast this machine is, with peers beside it in the same run.

All it needs is its own: a Redis in a temporary folder, pretend readers, workers, clock and web as
processes, and a sink on 127.0.0.1 that plays the push services. All of it is gone at the end.
"""
