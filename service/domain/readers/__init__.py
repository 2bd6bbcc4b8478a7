"""Readers: how they subscribe, leave, are asked, and what they are sent besides."""
