"""`stoppress bench`: how fast Stop Press is on this machine, beside other senders in the same run.

It runs an installation of its own: a Redis in a temporary folder, pretend readers, workers, a clock
and web processes, and a sink on 127.0.0.1 as the push service. At the end all of it is deleted.
"""
