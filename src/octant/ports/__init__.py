"""The few doors to the outside: protocols that adapters implement.

Law: a port speaks only `core` values; no port names a technology.
"""
