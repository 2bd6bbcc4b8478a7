"""Calls of monitors, and for operators."""
