"""The installation: its processes, totals, conversions, what is wrong."""
