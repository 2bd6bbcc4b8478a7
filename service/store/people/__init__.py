"""Editors, their sessions and tokens, and what they sign in with."""
