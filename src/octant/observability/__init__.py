"""What happened, computed from events and nothing else: traces, metrics, figures.

Law: everything here is a fold over `core.events`. No clock, no I/O, no threads, so production and
simulation compute the same figures.
"""
