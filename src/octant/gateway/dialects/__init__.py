"""Dialects: one file for each API, from its body to core values and from stream items to its bytes.

Law: a dialect is pure; it knows no HTTP, no key and no clock.
"""
