"""The vocabulary: frozen values that every layer speaks.

Law: nothing here does I/O, reads a clock or imports another part of Octant.
"""
