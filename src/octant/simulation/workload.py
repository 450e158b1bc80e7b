"""Workload: what a simulation is run on, and a generator of small, nasty ones.

Law: a workload follows from its seed alone and says everything that will happen to it from outside:
who arrives when with what, who leaves early, what fails, how large and how fast the engine is.
"""

from typing import NamedTuple

from octant.compute.schedule import SchedulerSettings, SequenceRequest
from octant.core.ids import RequestId, SequenceId, TenantId
from octant.core.limits import Profile
from octant.simulation.chance import Dice, SeededEntropy
from octant.simulation.modelled_executor import Script, StepTiming, answer_token


class Arrival(NamedTuple):
    """One sequence with its fate. `cancelled_at_ns` None means that its caller stays."""

    request: SequenceRequest
    script: Script
    cancelled_at_ns: int | None


class Machine(NamedTuple):
    """The engine that a workload meets."""

    settings: SchedulerSettings
    block_count: int
    block_size: int
    max_context: int
    vocab_size: int
    timing: StepTiming


class Workload(NamedTuple):
    """Arrivals in the order of their instants, and the machine that has to cope."""

    seed: int
    machine: Machine
    arrivals: tuple[Arrival, ...]


# A deadline that no simulation reaches.
NEVER_NS = 1 << 60
_VOCAB_SIZE = 3
_LONGEST_PROMPT = 20
_LONGEST_ANSWER = 20


def random_workload(seed: int) -> Workload:
    """A small workload: few sequences, tiny pools, short blocks, many shared prefixes.

    Every prompt and answer fits the context and, with few exceptions, the pool. A third of the
    workloads has deadlines, a third has cancellations and failures.
    """
    dice = Dice(SeededEntropy(seed))
    machine = _random_machine(dice)
    crowd = _Crowd(dice, machine, hurried=dice.chance(33), troubled=dice.chance(33))
    for _ in range(dice.between(2, 7)):
        crowd.add_request()
    by_instant = sorted(crowd.arrivals, key=lambda arrival: arrival.request.arrived_ns)
    return Workload(seed, machine, tuple(by_instant))


def _random_machine(dice: Dice) -> Machine:
    block_size = dice.pick((1, 2, 3, 4, 5))
    longest = _LONGEST_PROMPT + _LONGEST_ANSWER
    blocks_for_longest = -(-longest // block_size)
    max_sequences = dice.between(1, 6)
    return Machine(
        settings=SchedulerSettings(
            max_batch_tokens=max_sequences + dice.between(1, 16),
            max_sequences=max_sequences,
            max_prefill_chunk=dice.between(1, 8),
            max_long_prefills=dice.between(1, 2),
            long_prompt_tokens=dice.between(4, 16),
            max_waiting=dice.pick((4, 64, 64, 64)),
            ageing_ns=dice.pick((1, 20, 200, 2_000)),
        ),
        block_count=blocks_for_longest + dice.pick((-1, 0, 0, 1, 3, blocks_for_longest)),
        block_size=block_size,
        max_context=longest,
        vocab_size=_VOCAB_SIZE,
        timing=StepTiming(dice.between(1, 10), dice.between(0, 2), dice.between(0, 2)),
    )


class _Crowd:
    """Draws requests one after the other; later ones may continue earlier conversations."""

    def __init__(self, dice: Dice, machine: Machine, hurried: bool, troubled: bool) -> None:
        self.arrivals: list[Arrival] = []
        self._dice = dice
        self._machine = machine
        self._hurried = hurried
        self._troubled = troubled
        self._profiles = dice.pick((tuple(Profile), (Profile.INTERACTIVE,)))
        self._spread_ns = dice.pick((0, 50, 500))
        # Shorter than a block or longer, so that prompts part at every place within one.
        self._openings = tuple(self._text(dice.between(1, 12)) for _ in range(2))

    def add_request(self) -> None:
        """One request with one or several choices."""
        dice = self._dice
        arrived_ns = dice.between(0, self._spread_ns)
        tenant = TenantId(dice.pick("AB"))
        prompt = self._prompt()
        profile = dice.pick(self._profiles)
        deadline_ns = arrived_ns + dice.between(1, 400) if self._hurried else NEVER_NS
        leader: SequenceId | None = None
        for choice in range(dice.pick((1, 1, 1, 3))):
            sequence = SequenceId(len(self.arrivals) + 1)
            max_tokens = dice.between(1, _LONGEST_ANSWER)
            request = SequenceRequest(
                sequence=sequence,
                request_id=RequestId(f"req_{sequence - choice}"),
                choice=choice,
                tenant=tenant,
                profile=profile,
                prompt=prompt,
                cache_salt=f"{tenant}/",
                max_tokens=max_tokens,
                arrived_ns=arrived_ns,
                deadline_ns=deadline_ns,
                leader=leader,
            )
            self.arrivals.append(self._fate(request, choice))
            leader = leader or sequence

    def _fate(self, request: SequenceRequest, choice: int) -> Arrival:
        dice = self._dice
        fails = self._troubled and dice.chance(20)
        leaves = self._troubled and dice.chance(30)
        longest = len(request.prompt) + request.max_tokens - 1
        script = Script(
            answer_tokens=dice.between(1, request.max_tokens),
            flavour=choice,
            fails_at=dice.between(0, longest) if fails else None,
        )
        left_ns = request.arrived_ns + dice.between(0, 200) if leaves else None
        return Arrival(request, script, left_ns)

    def _prompt(self) -> tuple[int, ...]:
        """A new text, one with a common opening, or an earlier one with its answer and more."""
        dice = self._dice
        if self.arrivals and dice.chance(25):
            earlier = dice.pick(self.arrivals)
            begin = earlier.request.prompt + self._answer(earlier)
        else:
            begin = dice.pick((*self._openings, ()))
        return (begin + self._text(dice.between(1, 10)))[:_LONGEST_PROMPT]

    def _answer(self, arrival: Arrival) -> tuple[int, ...]:
        tokens = list(arrival.request.prompt)
        for _ in range(arrival.script.answer_tokens):
            tokens.append(answer_token(tokens, arrival.script.flavour, self._machine.vocab_size))
        return tuple(tokens[len(arrival.request.prompt) :])

    def _text(self, length: int) -> tuple[int, ...]:
        last = self._machine.vocab_size - 1
        return tuple(self._dice.between(0, last) for _ in range(length))
