"""The hostile tool in an interpreter that refuses, as every tool of Octant's runs."""

from hostile_tool import prepare as prepare
from hostile_tool import run as run

EVENTS: frozenset[str] = frozenset()
