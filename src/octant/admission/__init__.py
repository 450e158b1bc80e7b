"""L1 admission: pure decisions about limits, budgets, queues and deadlines.

`control.py` is the door: everything else here is a part of it.
"""
