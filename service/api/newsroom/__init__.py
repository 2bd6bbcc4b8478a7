"""Calls for feeds, webhooks, publish hooks and settings."""
