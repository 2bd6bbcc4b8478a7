"""Calls of readers' browsers."""
