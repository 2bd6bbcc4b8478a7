"""Subscriptions, what readers follow, and what becomes of them."""
