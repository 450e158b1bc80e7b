"""The server process: settings in, a socket that answers, and an orderly end.

    bind -> open store -> recipes of the settings -> wire -> a route ready -> first key -> announce

Law: nothing is announced before a request would succeed. The first SIGTERM or Ctrl-C lets running
requests finish within the grace while new ones are refused; the second one ends at once.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvicorn
import uvloop

from octant.adapters.system.file_limit import raise_file_limit
from octant.app import first_start, layers, wiring
from octant.app.base_recipes import base_recipes
from octant.app.settings import LoadedSettings, Settings
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.units import NS_PER_MS, s_from_ns
from octant.gateway.http_protocol import bounded_http
from octant.preparation.job import StageReport

EXIT_OK = 0

_log = logging.getLogger(__name__)

_BACKLOG = 2048
# Store, log, sockets to engines, and a margin.
_OWN_FILES = 256
# How long answers that were broken off may take to be settled and written.
_LAST_WORDS_S = 2


class StartInfo(NamedTuple):
    """What the server says of itself once it answers. `first_key` is there once, ever."""

    address: str
    model: str
    config_path: Path | None
    data_dir: Path
    first_key: str | None
    seconds: float


def run(
    loaded: LoadedSettings,
    started: Callable[[StartInfo], None],
    report: Callable[[StageReport], None],
) -> int:
    """Serves until told to stop; returns the exit status. Raises Failed when it cannot start.

    `report` is told of each preparation stage of a model that was not prepared before.
    """
    _configure_logging(loaded.settings)
    _make_room_for_connections(loaded.settings)
    return uvloop.run(_serve(loaded, started, report))


async def _serve(
    loaded: LoadedSettings,
    started: Callable[[StartInfo], None],
    report: Callable[[StageReport], None],
) -> int:
    settings, clock = loaded.settings, wiring.clock()
    began_ns = clock.monotonic_ns()
    with wiring.hold_data_dir(settings):
        config_path = first_start.configuration_file(loaded)
        # The port comes first, so that a taken one is known before a model is prepared and loaded.
        with _bind(settings) as listener:
            async with wiring.open_store(settings) as store:
                base = await asyncio.to_thread(base_recipes, settings, report)
                async with wiring.runtime(settings, store, base) as runtime:
                    await runtime.engines.wait_ready()
                    info = StartInfo(
                        address=_address(listener),
                        model=base[0].model,
                        config_path=config_path,
                        data_dir=settings.data_dir,
                        first_key=await wiring.first_key(settings, store),
                        seconds=s_from_ns(clock.monotonic_ns() - began_ns),
                    )
                    server = DrainingServer(settings, runtime, lambda: started(info))
                    await server.serve(sockets=[listener])
    return EXIT_OK


class DrainingServer(uvicorn.Server):
    """Uvicorn, announcing itself once it listens and draining before it closes its socket."""

    def __init__(
        self, settings: Settings, runtime: wiring.Runtime, announce: Callable[[], None]
    ) -> None:
        grace_ns = settings.server.drain_grace_ms * NS_PER_MS
        super().__init__(
            uvicorn.Config(
                runtime.application,
                http=bounded_http(
                    layers.gateway(settings), wiring.entropy(), wiring.clock(), runtime.events
                ),
                loop="none",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_LAST_WORDS_S,
            )
        )
        self._drain = runtime.drain
        self._engines = runtime.engines
        self._grace_ns = grace_ns
        self._announce = announce
        self._loop = asyncio.get_running_loop()
        self._leaving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then says so."""
        await super().startup(sockets)
        self._announce()

    def handle_exit(self, sig: int, frame: object) -> None:
        """The first signal drains, the second one ends the process at once."""
        if self._drain.draining:
            self.force_exit = self.should_exit = True
            return
        self._drain.begin()
        self._loop.call_soon_threadsafe(self._begin_leaving)

    def _begin_leaving(self) -> None:
        self._leaving = self._loop.create_task(self._leave())

    async def _leave(self) -> None:
        """Waits for running requests; those that outlast the grace end as draining, settled."""
        if not await self._emptied(s_from_ns(self._grace_ns)):
            _log.warning("%d requests did not finish within the grace", self._drain.inside)
            await self._engines.drain(0)
            await self._emptied(_LAST_WORDS_S)
        self.should_exit = True

    async def _emptied(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._drain.wait_empty()
        except TimeoutError:
            return False
        return True


def _make_room_for_connections(settings: Settings) -> None:
    wanted = settings.limits.max_connections + _OWN_FILES
    granted = raise_file_limit(wanted)
    if granted < wanted:
        _log.warning(
            "This process may open %d files, %d connections want %d: raise `ulimit -Hn` or lower "
            "limits.max_connections",
            granted,
            settings.limits.max_connections,
            wanted,
        )


def _bind(settings: Settings) -> socket.socket:
    """Raises Failed(ENGINE_UNAVAILABLE) when the address cannot be had."""
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Failed(
            Failure(
                kind=FailureKind.ENGINE_UNAVAILABLE,
                stage=Stage.BOUNDARY,
                message=f"Cannot listen on {host} port {port}: {error.strerror}. Another server "
                "may run there; choose another port with --port, or 0 for a free one.",
            )
        ) from error
    listener.listen(_BACKLOG)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _configure_logging(settings: Settings) -> None:
    """Log lines go to standard error; standard output belongs to the command."""
    logging.basicConfig(
        level=settings.observability.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for chatty in ("uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
