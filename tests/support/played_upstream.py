"""A played upstream on a thread of its own, for tests that start real servers and block."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.faulty_upstream import Asked, FaultyUpstream, Reply


@contextmanager
def played_upstream(reply: Callable[[Asked], Reply]) -> Iterator[FaultyUpstream]:
    """Listens until the scope is left; `reply` is called on its thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    upstream = FaultyUpstream(reply)
    try:
        asyncio.run_coroutine_threadsafe(upstream.start(), loop).result()
        yield upstream
        asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def upstreams_variable(*tables: dict[str, Any]) -> dict[str, str]:
    """The environment of a server with these upstreams and one engine of its own."""
    return {"OCTANT_UPSTREAMS": json.dumps(tables), "OCTANT_DEPLOYMENTS__PRECISE": "false"}
