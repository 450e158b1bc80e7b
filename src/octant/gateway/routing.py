"""Routing: from a path to what answers it, by one table.

Law: a path is matched as it was sent, segment by segment; `{name}` stands for one segment, as the
last one of `/v1/models/{id}` also for several, since model names hold slashes. An exact path wins
over one with names. Everything under a mounted prefix belongs to the application mounted there.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from starlette.types import ASGIApp, Receive

from octant.gateway.headers import Head
from octant.gateway.reply import Reply


class Call(NamedTuple):
    """One HTTP request and the way to answer it. `names` are those of its endpoint's path."""

    head: Head
    receive: Receive
    reply: Reply
    names: Mapping[str, str] = {}


Handler = Callable[[Call], Awaitable[None]]


class Endpoint(NamedTuple):
    """One method of one path, and what answers it. With `rest`, the last name takes slashes."""

    method: str
    path: str
    handler: Handler
    rest: bool = False


class Found(NamedTuple):
    """The endpoints of one path, by method, and what its names stand for."""

    methods: Mapping[str, Endpoint]
    names: Mapping[str, str]


class Routing:
    """All endpoints. Every `path` of `endpoints` starts with a slash; methods of one path agree."""

    def __init__(self, endpoints: Sequence[Endpoint], mounts: Mapping[str, ASGIApp]) -> None:
        self.endpoints = tuple(endpoints)
        self._mounts = tuple(mounts.items())
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._named: dict[tuple[str, ...], dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            if "{" in endpoint.path:
                methods = self._named.setdefault(tuple(endpoint.path.split("/")), {})
            else:
                methods = self._exact.setdefault(endpoint.path, {})
            methods[endpoint.method] = endpoint

    def mounted(self, path: str) -> tuple[str, ASGIApp] | None:
        """The prefix that `path` lies under, and the application there."""
        for prefix, application in self._mounts:
            if path == prefix or path.startswith(prefix + "/"):
                return prefix, application
        return None

    def find(self, path: str) -> Found | None:
        """What answers `path`, whatever the method."""
        methods = self._exact.get(path)
        if methods is not None:
            return Found(methods, {})
        segments = path.split("/")
        for pattern, named in self._named.items():
            names = _names(pattern, segments, any(endpoint.rest for endpoint in named.values()))
            if names is not None:
                return Found(named, names)
        return None


def _names(pattern: Sequence[str], segments: Sequence[str], rest: bool) -> dict[str, str] | None:
    """What each name stands for, or None where the pattern does not fit."""
    last = len(pattern) - 1
    if rest and len(segments) > last:
        segments = [*segments[:last], "/".join(segments[last:])]
    if len(segments) != len(pattern):
        return None
    names: dict[str, str] = {}
    for wanted, segment in zip(pattern, segments, strict=True):
        if wanted.startswith("{") and (segment or rest):
            names[wanted[1:-1]] = segment
        elif wanted != segment:
            return None
    return names
