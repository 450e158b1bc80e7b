"""EngineSupervisor: keeps one engine process running behind an EngineClient.

    launch -> loading, warming, probing -> ready -> (crash | hang | refusal) -> pause -> launch
                                  |          |
                             wrong answer  drain -> stopped

Law: one engine at a time, and nothing of it is left before the next one starts: its requests have
failed, its process is gone, its link is closed. None is ready before it gave the known answer, if
there is one. Every task lives inside `run`.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from octant.core.events import EngineStateChanged, RequestEvent
from octant.core.failure import Failed, Failure, FailureKind
from octant.core.record import Record
from octant.core.route import DeploymentState
from octant.core.stage import Stage
from octant.core.units import NS_PER_MS, NS_PER_S, s_from_ns
from octant.ports.clock import Clock
from octant.ports.entropy import Entropy
from octant.ports.link import ServerLink
from octant.ports.process import ChildProcess, ProcessLauncher
from octant.ports.sink import EventSink
from octant.serving.engine_client import EngineClient
from octant.serving.known_answer import PROBE_REQUEST, KnownAnswer, what_is_wrong
from octant.serving.messages import from_engine
from octant.serving.messages.from_engine import Leaving, Progress, Reached, Ready
from octant.serving.restart_policy import RestartPolicy, RestartSettings
from octant.serving.stall_watch import StallWatch

_log = logging.getLogger(__name__)

# What a process wrote before it died arrives within this time or not at all.
_LAST_WORDS_NS = 50 * NS_PER_MS
_DRAIN_POLL_NS = 10 * NS_PER_MS
# Until a load has been measured.
_GUESSED_LOAD_NS = 2 * NS_PER_S


class SupervisorSettings(Record, frozen=True, kw_only=True):
    """Bounds of an engine's life.

    `stall_ns` without a step while work is outstanding, or without a word, is a hang: far above the
    longest step (1.2 s for a chunk of 512 tokens on two cores with a 0.6B model). `load_timeout_ns`
    covers loading, warming and probing. `stop_grace_ns` is what an idle engine may take to leave.
    """

    stall_ns: int = 30 * NS_PER_S
    load_timeout_ns: int = 600 * NS_PER_S
    stop_grace_ns: int = 2 * NS_PER_S
    restart: RestartSettings = RestartSettings()

    @property
    def tick_ns(self) -> int:
        """How often an engine is looked at."""
        return min(self.stall_ns // 8, NS_PER_S)


class EngineSupervisor:
    """Belongs to one event loop; its owner runs `run` as a task and ends it by `drain`."""

    def __init__(
        self,
        client: EngineClient,
        *,
        launcher: ProcessLauncher,
        command: Callable[[str], Sequence[str]],
        links: Callable[[], ServerLink],
        events: EventSink,
        clock: Clock,
        entropy: Entropy,
        settings: SupervisorSettings,
        known_answer: KnownAnswer | None = None,
    ) -> None:
        """`command` gives the program that connects to an address; `links` opens a fresh link."""
        self._client = client
        self._launcher = launcher
        self._command = command
        self._links = links
        self._events = events
        self._clock = clock
        self._settings = settings
        self._known_answer = known_answer
        self._policy = RestartPolicy(settings.restart, entropy)
        self._state = DeploymentState.LOADING
        self._announced: tuple[DeploymentState, str] | None = None
        self._failure: Failure | None = None
        self._child: ChildProcess | None = None
        self._watch: StallWatch | None = None
        self._launches = 0
        self._launched_ns = 0
        self._load_ns = _GUESSED_LOAD_NS
        self._draining = False
        self._why_stopped = "shutting down"
        self._loaded = asyncio.Event()
        self._decided = asyncio.Event()
        self._stop = asyncio.Event()
        self._finished = asyncio.Event()
        self._finished.set()

    @property
    def state(self) -> DeploymentState:
        """Where the deployment stands."""
        return self._state

    @property
    def engine_pid(self) -> int | None:
        """The process id of the engine, None between engines."""
        return self._child.pid if self._child else None

    @property
    def load_ns(self) -> int:
        """How long the last engine took from its launch until it was loaded; a guess before."""
        return self._load_ns

    @property
    def restarts(self) -> int:
        """How often an engine has taken the place of another one."""
        return max(0, self._launches - 1)

    @property
    def failure(self) -> Failure | None:
        """Why the last engine ended, None while none has."""
        return self._failure

    async def wait_ready(self) -> None:
        """Returns once the engine is ready. Raises Failed with the reason when it cannot be."""
        await self._decided.wait()
        if self._state is not DeploymentState.READY:
            raise Failed(self._failure or self._stopped())

    async def run(self) -> None:
        """Keeps an engine running until `drain` has ended it; cancelling kills the engine."""
        self._finished.clear()
        try:
            while not self._stop.is_set():
                failure = await self._run_engine()
                if self._draining:
                    break
                await self._pause_after(failure)
        finally:
            self._move(DeploymentState.STOPPED, self._why_stopped)
            self._finished.set()

    async def drain(self, grace_ns: int, reason: str = "shutting down") -> None:
        """Takes no new work, lets the present finish within the grace, then ends the engine."""
        self._draining = True
        self._why_stopped = reason
        if self._state is DeploymentState.READY:
            self._move(DeploymentState.DRAINING, reason)
        until_ns = self._clock.monotonic_ns() + grace_ns
        while self._client.outstanding and self._clock.monotonic_ns() < until_ns:
            await self._clock.sleep(_DRAIN_POLL_NS)
        self._stop.set()
        await self._finished.wait()

    # One engine

    async def _run_engine(self) -> Failure:
        """From launch to the end of the process; returns why it ended."""
        self._launches += 1
        self._launched_ns = self._clock.monotonic_ns()
        self._watch = None
        self._loaded.clear()
        self._reach(DeploymentState.LOADING)
        try:
            link = self._links()
        except Failed as error:
            return error.failure
        try:
            self._child = await self._launcher.launch(self._command(link.address))
            return await self._attend(link, self._child)
        except Failed as error:
            return error.failure
        finally:
            self._child = None
            link.close()

    async def _attend(self, link: ServerLink, child: ChildProcess) -> Failure:
        failure = self._stopped()
        try:
            failure = await self._first_reason(link, child)
        except Exception as error:
            # The last border: a defect of ours must not leave the route without an engine for good.
            _log.exception("supervising the engine of %s met a defect", self._client.route)
            failure = self._lost(f"its supervision met a defect ({type(error).__name__})")
        finally:
            self._failure = failure
            self._reach(DeploymentState.LOADING)
            self._client.detach(self._for_requests(failure))
            child.kill()
            await child.wait()
        return failure

    async def _first_reason(self, link: ServerLink, child: ChildProcess) -> Failure:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(link))
            exiting = group.create_task(self._exit(child))
            reasons = [
                reading,
                group.create_task(self._prove()),
                group.create_task(self._leave()),
                group.create_task(self._hang()),
                exiting,
            ]
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
            if exiting.done():
                last_words = group.create_task(self._clock.sleep(_LAST_WORDS_NS))
                await asyncio.wait([reading, last_words], return_when=asyncio.FIRST_COMPLETED)
                last_words.cancel()
            for reason in reasons:
                reason.cancel()
        return next(reason.result() for reason in reasons if not reason.cancelled())

    async def _read(self, link: ServerLink) -> Failure:
        """Ends when the engine says that it leaves."""
        while True:
            try:
                message = from_engine.decode(await link.receive())
            except msgspec.MsgspecError as error:
                return self._lost(f"its message cannot be read: {error}")
            match message:
                case Progress():
                    self._take(message)
                    # Messages that have piled up are received without a pause in which the
                    # readers of their streams could run.
                    await asyncio.sleep(0)
                case Reached():
                    self._reach(message.state)
                case Ready():
                    self._become_loaded(link, message)
                case Leaving():
                    return message.failure

    async def _prove(self) -> Failure:
        """Makes a loaded engine ready; ends when its answer is not the known one."""
        await self._loaded.wait()
        if self._known_answer is not None and not self._draining:
            wrong = await what_is_wrong(self._known_answer, self._client)
            if wrong is not None and not self._draining:
                return _unproven(wrong)
        if self._draining:
            self._move(DeploymentState.DRAINING, self._why_stopped)
        else:
            self._move(DeploymentState.READY, "")
        # Nothing more can go wrong here; the other reasons end the engine.
        return await asyncio.get_running_loop().create_future()

    async def _exit(self, child: ChildProcess) -> Failure:
        return self._lost(f"its process ended with {_status(await child.wait())}")

    async def _hang(self) -> Failure:
        """Ends when the engine has to be taken for hanging."""
        while True:
            await self._clock.sleep(self._settings.tick_ns)
            now_ns = self._clock.monotonic_ns()
            if self._watch is not None:
                reason = self._watch.tick(now_ns, self._client.outstanding)
                if reason is not None:
                    return self._stalled(reason)
            elif now_ns - self._launched_ns > self._settings.load_timeout_ns:
                limit_s = s_from_ns(self._settings.load_timeout_ns)
                return self._stalled(f"it was not ready {limit_s:g} s after its launch")

    async def _leave(self) -> Failure:
        """Ends when the engine was told to stop and did not in time."""
        await self._stop.wait()
        self._client.stop_engine()
        await self._clock.sleep(self._settings.stop_grace_ns if self._watch is not None else 0)
        return self._stopped()

    # Facts from the engine

    def _take(self, progress: Progress) -> None:
        if self._watch is not None:
            self._watch.heard(progress.step)
        for event in progress.events:
            if not (isinstance(event, RequestEvent) and event.request_id == PROBE_REQUEST):
                self._events.emit(event)
        self._client.take(progress)

    def _reach(self, state: DeploymentState) -> None:
        """On the way to READY, the reason is why the engine before this one ended."""
        if not self._draining:
            self._move(state, self._failure.message if self._failure else "")

    def _become_loaded(self, link: ServerLink, message: Ready) -> None:
        now_ns = self._clock.monotonic_ns()
        self._load_ns = now_ns - self._launched_ns
        self._watch = StallWatch(self._settings.stall_ns, self._settings.tick_ns, now_ns)
        self._client.attach(link, message.facts)
        self._loaded.set()

    # Between engines

    async def _pause_after(self, failure: Failure) -> None:
        self._failure = failure
        restart = self._policy.after(failure, self._clock.monotonic_ns())
        state = DeploymentState.FAILED if restart.failed else DeploymentState.LOADING
        self._move(state, failure.message, restart.delay_ns)
        async with asyncio.TaskGroup() as group:
            waits: list[asyncio.Task[Any]] = [
                group.create_task(self._clock.sleep(restart.delay_ns)),
                group.create_task(self._stop.wait()),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def _move(self, state: DeploymentState, reason: str, delay_ns: int = 0) -> None:
        self._client.move(state, reason, delay_ns + self._load_ns)
        if (state, reason) == self._announced:
            return
        self._announced = (state, reason)
        self._state = state
        if state in (DeploymentState.READY, DeploymentState.FAILED, DeploymentState.STOPPED):
            self._decided.set()
        else:
            self._decided.clear()
        self._log_state(state, reason, delay_ns)
        self._events.emit(
            EngineStateChanged(
                at_ns=self._clock.monotonic_ns(),
                route=self._client.route,
                state=state,
                reason=reason,
                restarts=self.restarts,
            )
        )

    def _log_state(self, state: DeploymentState, reason: str, delay_ns: int) -> None:
        """What went wrong is a warning, an engine that keeps failing an error."""
        on_the_way = (DeploymentState.LOADING, DeploymentState.WARMING, DeploymentState.PROBING)
        level = logging.DEBUG if state in on_the_way else logging.INFO
        if reason and state is DeploymentState.LOADING:
            level = logging.WARNING
        elif state is DeploymentState.FAILED:
            level = logging.ERROR
        again = f"; next try in {s_from_ns(delay_ns):.1f} s" if delay_ns else ""
        because = f": {reason}" if reason else ""
        _log.log(level, "%s is %s%s%s", self._client.route, state.value, because, again)

    def _for_requests(self, failure: Failure) -> Failure:
        """What the requests of an ended engine are told; its own failure is not theirs."""
        if self._draining or failure.kind is FailureKind.DRAINING:
            return self._stopped()
        if failure.kind in (FailureKind.ENGINE_LOST, FailureKind.ENGINE_STALLED):
            return failure
        return self._lost(failure.message.rstrip("."))

    def _lost(self, reason: str) -> Failure:
        return Failure(
            kind=FailureKind.ENGINE_LOST,
            stage=self._stage,
            message=f"The engine was lost: {reason}. It is being restarted; try again.",
        )

    def _stalled(self, reason: str) -> Failure:
        return Failure(
            kind=FailureKind.ENGINE_STALLED,
            stage=self._stage,
            message=f"The engine hung and was ended: {reason}. It is being restarted; try again.",
        )

    def _stopped(self) -> Failure:
        return Failure(
            kind=FailureKind.DRAINING,
            stage=Stage.DECODE,
            message=f"The engine was stopped: {self._why_stopped}. Try again in a moment.",
            retry_after_ns=NS_PER_S,
        )

    @property
    def _stage(self) -> Stage:
        return Stage.LOAD if self._watch is None else Stage.DECODE


def _unproven(wrong: str) -> Failure:
    return Failure(
        kind=FailureKind.PREPARATION_FAILED,
        stage=Stage.WARM,
        message=f"The model failed its probe: {wrong}. Deploy an artifact that the recipe was "
        "measured with, or measure the recipe anew.",
    )


def _status(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    return f"signal {-status} ({signal.Signals(-status).name})"
