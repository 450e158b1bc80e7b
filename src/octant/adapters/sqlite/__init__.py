"""Durable state in one SQLite file. `store.py` is the door."""
