"""Addresses, and who calls from them."""
