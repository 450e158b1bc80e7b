"""Octant: a production AI runtime in one Python package.

Five files tell the whole: `core/envelope.py`, `orchestration/request_path.py`,
`compute/token_scheduler.py`, `preparation/pipeline.py`, `app/wiring.py`.
"""

__version__ = "0.1.0"
