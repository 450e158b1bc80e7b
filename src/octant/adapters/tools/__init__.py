"""Octant's own tools, each call in a process of its own."""
