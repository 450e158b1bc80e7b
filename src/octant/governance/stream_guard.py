"""StreamGuard: the last to see what a model says, before a caller does.

    items of the answer -> placeholders restored, values of people and secrets replaced -> items

Law: text of a value that the tenant's policy rejects never leaves, in whatever pieces it came; a
kind that is to be blocked ends the answer. Text waits only while a value could still begin in it.
Tokens go out with the text they became, none is lost; log-probabilities of changed text are not
told. Content and the arguments of each call are texts of their own. What is JSON stays JSON.
"""

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    ChoiceFinished,
    Completed,
    PositionLogprobs,
    Started,
    StreamItem,
    TextDelta,
    ToolCallDelta,
    ToolRan,
)
from octant.core.verdict import Decision, Verdict
from octant.governance.pii.kinds import PiiKind
from octant.governance.pii.plain import plain
from octant.governance.pii.recognise import Recogniser
from octant.governance.stream_lane import OutputRules, Released, StreamLane
from octant.governance.vault import Vault

RULE = "pii.output"


class GuardSettings(NamedTuple):
    """What one tenant's answers are held against.

    `watch` looks for what must not be recorded; None where nothing is recorded or all may be.
    """

    policy_version: str
    rules: OutputRules
    watch: Recogniser | None


class _Waiting(NamedTuple):
    """What one delta brought, until all of its text, from `start` to `end`, has gone out."""

    start: int
    end: int
    tokens: tuple[int, ...]
    logprobs: tuple[PositionLogprobs, ...]


class _Content:
    """The content of one choice: its lane, and what waits with text that is held."""

    def __init__(self, lane: StreamLane) -> None:
        self.lane = lane
        self._received = 0
        self._waiting: deque[_Waiting] = deque()
        self._first_is_changed = False

    def take(self, item: TextDelta) -> None:
        """Notes a delta; its text goes to the lane next."""
        start, self._received = self._received, self._received + len(item.text)
        self._waiting.append(_Waiting(start, self._received, item.tokens, item.logprobs))

    def delta(self, choice: int, released: Released) -> Sequence[StreamItem]:
        """The released text with the tokens it completes, or nothing."""
        gone = self._received - self.lane.held
        tokens: list[int] = []
        logprobs: list[PositionLogprobs] = []
        while self._waiting and self._waiting[0].end <= gone:
            waiting = self._waiting.popleft()
            tokens += waiting.tokens
            # A token tells its own text, so it is told only where all of that went out.
            if not (released.changed or self._first_is_changed):
                logprobs += waiting.logprobs
            self._first_is_changed = False
        begun = bool(self._waiting) and self._waiting[0].start < gone
        self._first_is_changed = begun and (self._first_is_changed or released.changed)
        if not (released.text or tokens or logprobs):
            return ()
        return (TextDelta(choice, released.text, tuple(tokens), tuple(logprobs)),)


class StreamGuard:
    """Guards one answer; give it every item in order.

    Lanes are one for each choice and one for each call: no more than the answer has tokens.
    """

    def __init__(
        self, settings: GuardSettings, vault: Vault, choices: int, *, as_json: bool = False
    ) -> None:
        """With `as_json` the content of every choice is meant to be one JSON text."""
        self._settings = settings
        self._vault = vault
        self._contents = tuple(_Content(self._lane(as_json=as_json)) for _ in range(choices))
        self._calls: dict[tuple[int, int], StreamLane] = {}
        self._idle = not vault and not settings.rules.actions
        self._seen: dict[tuple[int, int | None], list[str]] = {}
        self._findings: Counter[PiiKind] = Counter()
        self._blocked: PiiKind | None = None
        self._restored = False
        self._recordable = True

    @property
    def recordable(self) -> bool:
        """False once the answer holds what the tenant keeps out of telemetry; asked at the end."""
        self._watch()
        return self._recordable

    def feed(self, item: StreamItem) -> Sequence[StreamItem]:
        """What the item sets free, in order. Raises Failed(POLICY_BLOCKED) on a blocked value."""
        if self._settings.watch is not None:
            self._note(item)
        if self._idle:
            return (item,)
        match item:
            case TextDelta():
                return self._text(item)
            case ToolCallDelta():
                return self._call(item)
            case ChoiceFinished():
                return self._finish(item)
            case ToolRan():
                return (self._ran(item),)
            case Started() | Completed() | Broken():
                # What is still held of a broken answer could be a part of a value: it is not sent.
                return (item,)

    def verdict(self) -> Verdict:
        """What was decided about the answer so far."""
        found = {kind.value: count for kind, count in sorted(self._findings.items())}
        if self._blocked is not None:
            decision, rule = Decision.BLOCK, f"{RULE}.{self._blocked.value}"
            reason = f"The answer holds a value of kind {self._blocked.value!r}, which is blocked."
        elif found:
            decision, rule = Decision.CHANGE, RULE
            reason = f"{sum(found.values())} values in the answer were replaced."
        elif self._restored:
            decision, rule = Decision.CHANGE, f"{RULE}.restored"
            reason = "Placeholders in the answer became the caller's own values again."
        else:
            decision, rule = Decision.ALLOW, RULE
            reason = "Nothing in the answer had to be replaced."
        return Verdict(
            decision=decision,
            policy_version=self._settings.policy_version,
            rule=rule,
            reason=reason,
            findings=found,
        )

    def check_integrity(self) -> None:
        """Raises AssertionError when a lane does not add up."""
        for lane in (*(content.lane for content in self._contents), *self._calls.values()):
            lane.check_integrity()

    def _lane(self, *, as_json: bool = False) -> StreamLane:
        return StreamLane(self._settings.rules, self._vault, as_json=as_json)

    def _text(self, item: TextDelta) -> Sequence[StreamItem]:
        content = self._contents[item.choice]
        content.take(item)
        released = content.lane.feed(item.text)
        self._account(content.lane, released)
        return content.delta(item.choice, released)

    def _call(self, item: ToolCallDelta) -> Sequence[StreamItem]:
        lane = self._calls.get((item.choice, item.call))
        if lane is None:
            lane = self._calls[item.choice, item.call] = self._lane(as_json=True)
        released = lane.feed(item.arguments)
        self._account(lane, released)
        if not released.text and item.id is None and item.name is None:
            return ()
        name = item.name and self._whole(item.name, as_json=False)
        return (item._replace(name=name, arguments=released.text),)

    def _finish(self, item: ChoiceFinished) -> Sequence[StreamItem]:
        content = self._contents[item.choice]
        released = content.lane.finish()
        self._account(content.lane, released)
        items = list(content.delta(item.choice, released))
        for choice, call in [key for key in self._calls if key[0] == item.choice]:
            lane = self._calls.pop((choice, call))
            released = lane.finish()
            self._account(lane, released)
            if released.text:
                items.append(ToolCallDelta(choice, call, None, None, released.text))
        return (*items, item)

    def _ran(self, item: ToolRan) -> ToolRan:
        return item._replace(
            arguments=self._whole(item.arguments, as_json=True),
            answer=item.answer._replace(content=self._whole(item.answer.content, as_json=False)),
        )

    def _whole(self, text: str, *, as_json: bool) -> str:
        lane = self._lane(as_json=as_json)
        first = lane.feed(text)
        self._account(lane, first)
        last = lane.finish()
        self._account(lane, last)
        return first.text + last.text

    def _account(self, lane: StreamLane, released: Released) -> None:
        self._restored = self._restored or released.changed
        if lane.findings:
            self._findings.update(lane.findings)
            lane.findings.clear()
        if lane.blocked is not None:
            self._blocked = lane.blocked
            verdict = self.verdict()
            raise Failed(
                Failure(
                    kind=FailureKind.POLICY_BLOCKED,
                    stage=Stage.VALIDATION,
                    message=verdict.reason,
                    detail={"rule": verdict.rule, "policy_version": verdict.policy_version},
                )
            )

    def _note(self, item: StreamItem) -> None:
        """Remembers what the model wrote until the choice is over."""
        if isinstance(item, TextDelta):
            self._seen.setdefault((item.choice, None), []).append(item.text)
        elif isinstance(item, ToolCallDelta):
            self._seen.setdefault((item.choice, item.call), []).append(item.arguments)
        elif isinstance(item, ChoiceFinished):
            self._watch()

    def _watch(self) -> None:
        watch = self._settings.watch
        if watch is not None and self._recordable:
            texts = ("".join(parts) for parts in self._seen.values())
            self._recordable = not any(watch.scan(plain(text).text) for text in texts)
        self._seen.clear()
