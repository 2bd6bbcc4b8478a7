"""Calls for alerts, drafts, topics and templates."""
