"""Backends that crash, hang, leak and lie, and what the suite makes of each."""
