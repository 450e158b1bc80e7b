"""What governance costs: microseconds to authorise, to screen a text, to guard a delta.

    python benchmarks/governance.py

Processor time, the best of several rounds, so that other work on the machine disturbs least.
`plain` is prose without digits, `numbers` an invoice, `values` has a card and an address in every
line.
"""

import time
from collections.abc import Callable
from itertools import count

from octant.app.policy_file import built_in_policy
from octant.core.content import ChatInput, Message, Role, TextPart
from octant.core.envelope import Api, ContextPolicy, ModelConstraints, RequestEnvelope, ToolGrant
from octant.core.evidence import Document
from octant.core.identity import Principal, Scope
from octant.core.ids import ActorId, KeyId, RequestId, TenantId, TraceId
from octant.core.limits import Deadline, DeadlineOrigin, Profile
from octant.core.sampling import Sampling
from octant.core.stream import TextDelta
from octant.governance.authorization import Action
from octant.governance.governor import Governor
from octant.governance.pii.kinds import PiiKind
from octant.governance.vault import Vault

ROUNDS = 7
TEXTS = {
    "plain": "The quick brown fox jumps over the lazy dog, and then it sleeps until the morning. ",
    "numbers": "Order 12 of 2024-11-21 cost 45.30 EUR for item 7788, ref 90210; call back later. ",
    "values": "The card 4111 1111 1111 1111 is that of jane@example.com, who was at 10.0.0.7. ",
}
TENANT = TenantId("acme")


def main() -> None:
    """Prints one line for each figure."""
    governor = Governor(built_in_policy().document)
    asked = envelope("Hello")
    much = envelope(
        "Hello",
        tools=ToolGrant(allowed=("calculator", "clock")),
        context=ContextPolicy(documents=tuple(Document(id=str(n), text="") for n in range(4))),
    )
    print(f"admit, model only               {best(lambda: governor.admit(asked), 2_000):9.1f} us")
    print(f"admit, 2 tools and 4 documents  {best(lambda: governor.admit(much), 1_000):9.1f} us")
    print(f"one ruling of Cedar, not known  {best(unknown_ruling(governor), 500):9.1f} us")
    for name, line in TEXTS.items():
        for size in (1_024, 8_192):
            request = envelope((line * 110)[:size])
            spent = best(lambda request=request: governor.screen(request, {}), 50)
            print(f"screen {size // 1_024} KB of {name:18} {spent:12.1f} us")
    for name, line in TEXTS.items():
        deltas = [TextDelta(0, f" {word}", (1,)) for word in (line * 10).split(" ")]
        print(f"guard, a delta of {name:12} {guarded(governor, deltas):12.2f} us")
    idle = [TextDelta(0, " word", (1,))] * 100
    print(f"guard, a caller's own value     {guarded(governor, idle, vault()):9.2f} us")


def envelope(text: str, **changes: object) -> RequestEnvelope:
    """A chat request with one message."""
    fields: dict[str, object] = {
        "request_id": RequestId("req_0"),
        "trace_id": TraceId("0"),
        "principal": Principal(
            actor=ActorId("alice"),
            tenant=TENANT,
            key_id=KeyId("key_1"),
            scopes=(Scope.INFERENCE,),
        ),
        "api": Api.CHAT_COMPLETIONS,
        "input": ChatInput(messages=(Message(role=Role.USER, parts=(TextPart(text=text),)),)),
        "input_bytes": len(text),
        "sampling": Sampling(),
        "model": ModelConstraints(name="m"),
        "profile": Profile.INTERACTIVE,
        "deadline": Deadline(at_ns=1, origin=DeadlineOrigin.PROFILE),
        "received_ns": 0,
        "received_unix_ns": 0,
    }
    return RequestEnvelope(**(fields | changes))  # pyright: ignore[reportArgumentType]


def vault() -> Vault:
    """A vault with one card in it."""
    filled = Vault()
    filled.put(PiiKind.CARD, "4111 1111 1111 1111")
    return filled


def unknown_ruling(governor: Governor) -> Callable[[], object]:
    """Questions that were not asked before."""
    tenants = count()

    def ask() -> None:
        principal = Principal(
            actor=ActorId("alice"),
            tenant=TenantId(f"t{next(tenants)}"),
            key_id=KeyId("key_1"),
            scopes=(Scope.INFERENCE,),
        )
        governor.authorise(principal, Action.USE_SOURCE, "d", {})

    return ask


def guarded(governor: Governor, deltas: list[TextDelta], filled: Vault | None = None) -> float:
    """Microseconds per delta."""

    def answer() -> None:
        guard = governor.guard(TENANT, filled or Vault(), 1)
        for delta in deltas:
            guard.feed(delta)

    return best(answer, 20) / len(deltas)


def best(work: Callable[[], object], times: int) -> float:
    """Microseconds of one call in the best round."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - started) / times * 1e6)
    return min(rounds)


if __name__ == "__main__":
    main()
