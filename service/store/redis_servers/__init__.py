"""Connections to one Redis, to Sentinel's or to a cluster; how scripts are run."""
