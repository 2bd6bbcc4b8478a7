"""Alerts, their audiences, their outcomes and their log."""
