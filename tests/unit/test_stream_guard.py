"""The stream guard item by item: order, tokens, log-probabilities, calls, tools, and the end."""

import pytest

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.ids import RouteId, TenantId
from octant.core.stage import Stage
from octant.core.stream import (
    Broken,
    Completed,
    PositionLogprobs,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolRan,
)
from octant.core.tools import SideEffect, ToolAnswer, ToolOutcome, ToolStatus
from octant.core.usage import Usage
from octant.core.verdict import Decision
from octant.governance.pii.kinds import PiiKind
from octant.governance.vault import Vault
from tests.support.guarded import FINISHED, fed, text_of
from tests.support.policies import governor

TENANT = TenantId("acme")
REDACTING = governor("[pii.output]\ncard = 'redact'\nemail = 'redact'\nsecret = 'redact'")
OPEN = governor(
    "[telemetry]\nrecord = false\n[pii.telemetry]\n"
    + "\n".join(f"{kind.value} = 'allow'" for kind in PiiKind)
)
CARD = "4111 1111 1111 1111"


def logprobs(text: str) -> tuple[PositionLogprobs, ...]:
    return (PositionLogprobs(TokenLogprob(1, text, text.encode(), -0.5), ()),)


def test_ordinary_words_are_not_held_back() -> None:
    guard = governor("[pii.output]\ncard = 'redact'\nsecret = 'redact'").guard(TENANT, Vault(), 1)
    for word in ("The", " answer", " is", " clear", ",", " and", " short", "."):
        (item,) = guard.feed(TextDelta(0, word, (1,)))
        assert item == TextDelta(0, word, (1,))


def test_a_word_waits_while_it_may_become_an_address() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    assert guard.feed(TextDelta(0, "mail jane", (1,))) == (TextDelta(0, "mail ", ()),)
    assert guard.feed(TextDelta(0, "@example.com", (2,))) == ()
    assert guard.feed(TextDelta(0, " now", (3,))) == (TextDelta(0, "[redacted:email] ", (1, 2)),)
    assert guard.feed(FINISHED) == (TextDelta(0, "now", (3,)), FINISHED)


def test_log_probabilities_of_changed_text_are_not_told() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    items = [
        item
        for text in ("Pay ", "4111 1111", " 1111 1111", ", then ", "go")
        for item in guard.feed(TextDelta(0, text, (1,), logprobs(text)))
    ]
    items += guard.feed(FINISHED)
    told = [p.chosen.text for item in items if isinstance(item, TextDelta) for p in item.logprobs]
    assert told == ["Pay ", "go"]
    assert text_of(items) == "Pay [redacted:card], then go"


def test_log_probabilities_of_held_text_wait_with_it() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    assert guard.feed(TextDelta(0, "is 4111", (7,), logprobs("is 4111"))) == (
        TextDelta(0, "is ", ()),
    )


def test_tokens_without_text_go_out_when_nothing_is_held() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    assert guard.feed(TextDelta(0, "", (5,))) == (TextDelta(0, "", (5,)),)


def test_a_callers_own_values_come_back() -> None:
    vault = Vault()
    placeholder = vault.put(PiiKind.CARD, CARD)
    assert placeholder == "<CARD_1>"
    guard = REDACTING.guard(TENANT, vault, 1)
    assert text_of(fed(guard, list("I noted <CARD_1>, not <CARD_2>."))) == (
        f"I noted {CARD}, not <CARD_2>."
    )
    assert guard.verdict().decision is Decision.CHANGE
    assert guard.verdict().rule == "pii.output.restored"
    assert guard.verdict().findings == {}


def test_a_value_in_arguments_is_restored_as_json_and_redacted_as_json() -> None:
    vault = Vault({"<SECRET_1>": 'a"b\\c'})
    guard = REDACTING.guard(TENANT, vault, 1)
    written = '{"key": "<SECRET_1>", "card": 4111111111111111, "to": "j\\u0061ne@example.com"}'
    assert text_of(fed(guard, list(written), as_call=True)) == (
        '{"key": "a\\"b\\\\c", "card": "[redacted:card]", "to": "[redacted:email]"}'
    )


def test_a_call_keeps_its_name_and_id_in_its_first_delta() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    items = fed(guard, ["4111", "1111"], as_call=True)
    deltas = [item for item in items if isinstance(item, ToolCallDelta)]
    assert [(d.id, d.name, d.arguments) for d in deltas] == [
        ("call_1", "tool", ""),
        (None, None, "41111111"),
    ]


def test_content_and_calls_are_texts_of_their_own() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    items = [*guard.feed(TextDelta(0, "4111 1111 ", (1,)))]
    items += guard.feed(ToolCallDelta(0, 0, "call_1", "tool", "{}"))
    items += guard.feed(TextDelta(0, "1111 1111", (2,)))
    items += guard.feed(FINISHED)
    assert "".join(item.text for item in items if isinstance(item, TextDelta)) == "[redacted:card]"


def test_choices_do_not_mix() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 2)
    first = guard.feed(TextDelta(0, "4111 1111 ", ()))
    second = guard.feed(TextDelta(1, "1111 1111 ", ()))
    assert (first, second) == ((), ())
    third = guard.feed(TextDelta(0, "1111 1111.", ()))
    assert third == ()
    assert text_of(guard.feed(FINISHED)) == "[redacted:card]."


def test_a_blocked_value_ends_the_answer_before_any_of_it_is_sent() -> None:
    guard = governor("[pii.output]\ncard = 'block'").guard(TENANT, Vault(), 1)
    sent = ""
    with pytest.raises(Failed) as caught:
        for letter in f"It is {CARD}, as you know.":
            sent += text_of(guard.feed(TextDelta(0, letter, ())))
    assert sent == "It is "
    assert caught.value.failure.kind is FailureKind.POLICY_BLOCKED
    assert caught.value.failure.stage is Stage.VALIDATION
    assert guard.verdict().decision is Decision.BLOCK
    assert guard.verdict().rule == "pii.output.card"
    assert CARD not in caught.value.failure.message


def test_findings_are_counted_and_nothing_else_of_them() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    fed(guard, [f"{CARD} and a@b.org and c@d.org."])
    verdict = guard.verdict()
    assert (verdict.decision, verdict.findings) == (Decision.CHANGE, {"card": 1, "email": 2})
    assert verdict.policy_version == REDACTING.version


def test_a_tool_that_ran_is_shown_with_the_callers_values() -> None:
    outcome = ToolOutcome(
        call_id="c",
        tool="t",
        version="1",
        step=1,
        status=ToolStatus.SUCCEEDED,
        side_effect=SideEffect.READ,
        idempotency_key="k",
        arguments_digest="sha256:0",
    )
    ran = ToolRan("t", '{"n": "<CARD_1>"}', ToolAnswer(outcome, "<CARD_1> belongs to a@b.org"))
    (shown,) = REDACTING.guard(TENANT, Vault({"<CARD_1>": CARD}), 1).feed(ran)
    assert isinstance(shown, ToolRan)
    assert shown.arguments == f'{{"n": "{CARD}"}}'
    assert shown.answer.content == f"{CARD} belongs to [redacted:email]"


def test_what_is_held_of_a_broken_answer_is_not_sent() -> None:
    guard = REDACTING.guard(TENANT, Vault(), 1)
    assert guard.feed(TextDelta(0, "4111 1111 1111", ())) == ()
    failure = Failure(kind=FailureKind.ENGINE_LOST, stage=Stage.DECODE, message="")
    assert guard.feed(Broken(failure, Usage())) == (Broken(failure, Usage()),)


def test_without_choices_and_without_a_vault_items_pass_as_they_are() -> None:
    guard = OPEN.guard(TENANT, Vault(), 1)
    items = [
        Started(RouteId("r"), 1, 3),
        TextDelta(0, f"{CARD} <CARD_1>", (1,), logprobs(CARD)),
        ToolCallDelta(0, 0, "c", "t", CARD),
        FINISHED,
        Completed(Usage()),
    ]
    for item in items:
        (passed,) = guard.feed(item)
        assert passed is item
    assert guard.verdict().decision is Decision.ALLOW
    assert guard.recordable


@pytest.mark.parametrize(
    ("text", "recordable"), [("All is well.", True), ("Write to jane@example.com.", False)]
)
def test_an_answer_with_a_value_is_not_for_the_records(text: str, recordable: bool) -> None:
    allowing = governor()
    guard = allowing.guard(TENANT, Vault(), 1)
    assert text_of(fed(guard, list(text))) == text
    assert guard.recordable is recordable


def test_a_long_key_is_dropped_as_it_arrives() -> None:
    line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwMIIEvQIBADANBgkqhkiG9w0BAQEF"
    body = "\n".join([line] * 40)
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    guard = REDACTING.guard(TENANT, Vault(), 1)
    assert text_of(fed(guard, list(f"Key: {key} end"))) == "Key: [redacted:secret] end"
    assert guard.verdict().findings == {"secret": 1}
