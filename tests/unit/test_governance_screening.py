"""Screening: what a model may see of a request, and the vault of what was taken out."""

import msgspec
import pytest

from octant.core.content import (
    ChatInput,
    ImagePart,
    Message,
    Role,
    TextPart,
    TextPrompt,
    TokenPrompt,
    ToolCall,
    ToolDefinition,
)
from octant.core.envelope import ContextPolicy
from octant.core.evidence import Document
from octant.core.ids import TenantId
from octant.core.verdict import Decision
from octant.governance import vault as vaults
from octant.governance.governor import Governor, Screened
from octant.governance.pii.kinds import PiiKind, Where
from octant.governance.vault import Vault
from tests.support.envelopes import chat, envelope
from tests.support.policies import built_in, governor

CARD = "4111 1111 1111 1111"
TENANT = TenantId("acme")
BUILT_IN = Governor(built_in())


def screened(text: str, by: Governor = BUILT_IN, kept: dict[str, str] | None = None) -> Screened:
    return by.screen(envelope(input=chat(text)), kept or {})


def said(result: Screened) -> str:
    assert isinstance(result.envelope.input, ChatInput)
    return "|".join(message.text for message in result.envelope.input.messages)


def test_a_text_without_values_is_left_alone() -> None:
    asked = envelope(input=chat("What is the capital of France?"))
    result = BUILT_IN.screen(asked, {})
    assert result.envelope == asked
    assert result.verdict.decision is Decision.ALLOW
    assert not result.vault
    assert result.recordable


def test_the_built_in_policy_pseudonymises_numbers_and_redacts_secrets() -> None:
    result = screened(f"{CARD}, DE89370400440532013000, 536-90-4399, password=hunter2xyz, a@b.org")
    assert said(result) == (
        "<CARD_1>, <IBAN_1>, <NATIONAL_ID_1>, password=[redacted:secret], a@b.org"
    )
    assert result.verdict.decision is Decision.CHANGE
    assert result.verdict.findings == {"card": 1, "iban": 1, "national_id": 1, "secret": 1}
    assert result.vault.placeholders["<CARD_1>"] == CARD
    assert "hunter2xyz" not in str(result.vault.placeholders)


def test_one_value_has_one_placeholder_however_it_is_written() -> None:
    result = screened(f"{CARD} 4111-1111-1111-1111 5555555555554444")
    assert said(result) == "<CARD_1> <CARD_1> <CARD_2>"


def test_placeholders_go_on_where_the_session_left_off() -> None:
    result = screened(f"{CARD} 5555555555554444", kept={"<CARD_4>": "5555 5555 5555 4444"})
    assert said(result) == "<CARD_5> <CARD_4>"
    assert set(result.vault.placeholders) == {"<CARD_4>", "<CARD_5>"}


def test_restoring_gives_back_what_was_written() -> None:
    text = f"pay {CARD} to DE89 3704 0044 0532 0130 00"
    result = screened(text)
    assert result.vault.restore(said(result)) == text


def test_text_parts_are_read_together() -> None:
    parts = (TextPart(text="4111 1111"), ImagePart(url="x"), TextPart(text=" 1111 1111"))
    asked = envelope(input=ChatInput(messages=(Message(role=Role.USER, parts=parts),)))
    result = BUILT_IN.screen(asked, {})
    assert isinstance(result.envelope.input, ChatInput)
    assert result.envelope.input.messages[0].parts == (
        TextPart(text="<CARD_1>"),
        ImagePart(url="x"),
    )


def test_every_role_and_the_arguments_of_calls_are_screened() -> None:
    call = ToolCall(id="c", name="t", arguments=f'{{"a": ["{CARD}"], "n": 4111111111111111}}')
    messages = (
        Message(role=Role.SYSTEM, parts=(TextPart(text=f"S {CARD}"),)),
        Message(role=Role.ASSISTANT, tool_calls=(call,)),
        Message(role=Role.TOOL, parts=(TextPart(text=f'{{"card": "{CARD}"}}'),), tool_call_id="c"),
    )
    result = BUILT_IN.screen(envelope(input=ChatInput(messages=messages)), {})
    assert isinstance(result.envelope.input, ChatInput)
    system, assistant, tool = result.envelope.input.messages
    assert system.text == "S <CARD_1>"
    assert assistant.tool_calls[0].arguments == '{"a": ["<CARD_1>"], "n": "<CARD_1>"}'
    assert tool.text == '{"card": "<CARD_1>"}'
    assert result.vault.restore_json(assistant.tool_calls[0].arguments) == (
        f'{{"a": ["{CARD}"], "n": "{CARD}"}}'
    )


def test_names_of_speakers_and_definitions_of_tools_are_screened() -> None:
    tool = ToolDefinition(
        name="pay",
        description=f"Pays with {CARD}.",
        parameters={"properties": {"card": {"enum": [CARD, "other"], "maxLength": 19}}},
    )
    speaker = Message(role=Role.USER, parts=(TextPart(text="Hi"),), name=CARD)
    asked = envelope(input=ChatInput(messages=(speaker,), tools=(tool,)))
    treated = BUILT_IN.screen(asked, {}).envelope.input
    assert isinstance(treated, ChatInput)
    assert treated.messages[0].name == "<CARD_1>"
    assert treated.tools[0] == ToolDefinition(
        name="pay",
        description="Pays with <CARD_1>.",
        parameters={"properties": {"card": {"enum": ["<CARD_1>", "other"], "maxLength": 19}}},
    )
    told = governor('[pii.telemetry]\ncard = "redact"')
    assert not told.screen(asked, {}).recordable


def test_documents_are_screened_and_keep_their_names() -> None:
    document = Document(id="d", title=f"Of {CARD}", text=f"It is {CARD}.", source="crm")
    asked = envelope(context=ContextPolicy(documents=(document,)))
    (treated,) = BUILT_IN.screen(asked, {}).envelope.context.documents
    assert treated == msgspec.structs.replace(document, title="Of <CARD_1>", text="It is <CARD_1>.")


def test_what_a_tool_said_in_a_message_is_data() -> None:
    by = governor("[pii.input]\ncard = 'block'\n[pii.context]\ncard = 'redact'")
    message = Message(role=Role.TOOL, parts=(TextPart(text=CARD),), tool_call_id="c")
    result = by.screen(envelope(input=ChatInput(messages=(message,))), {})
    assert said(result) == "[redacted:card]"
    assert result.verdict.decision is Decision.CHANGE


def test_a_blocked_value_blocks_and_changes_nothing() -> None:
    by = governor("[pii.input]\ncard = 'block'\nemail = 'redact'")
    asked = envelope(input=chat(f"{CARD} a@b.org"))
    result = by.screen(asked, {})
    assert result.envelope is asked
    assert result.verdict.decision is Decision.BLOCK
    assert result.verdict.rule == "pii.input.card"
    assert CARD not in result.verdict.reason
    assert not result.recordable


def test_raw_text_is_screened() -> None:
    result = BUILT_IN.screen(envelope(input=TextPrompt(text=f"Card {CARD}")), {})
    assert result.envelope.input == TextPrompt(text="Card <CARD_1>")


@pytest.mark.parametrize(
    ("rules", "decision"),
    [
        ("[pii.input]\ncard = 'redact'", Decision.WARN),
        ("[pii.input]\ncard = 'block'", Decision.BLOCK),
        ("", Decision.ALLOW),
    ],
)
def test_tokens_cannot_be_screened_and_it_is_said(rules: str, decision: Decision) -> None:
    result = governor(rules).screen(envelope(input=TokenPrompt(tokens=(1, 2))), {})
    assert result.verdict.decision is decision
    assert result.envelope.input == TokenPrompt(tokens=(1, 2))


def test_tokens_are_not_recorded_where_telemetry_may_not_hold_everything() -> None:
    asked = envelope(input=TokenPrompt(tokens=(1, 2)))
    everything = "\n".join(f"{kind.value} = 'allow'" for kind in PiiKind)
    assert governor(f"[pii.telemetry]\n{everything}").screen(asked, {}).recordable
    assert not BUILT_IN.screen(asked, {}).recordable


def test_tenants_choose_for_themselves() -> None:
    by = governor(
        "[pii.input]\nemail = 'redact'\n[tenants.acme.pii.input]\nemail = 'pseudonymise'\n"
        "[tenants.umbrella.pii.input]\nemail = 'allow'"
    )
    for tenant, text in (
        ("acme", "<EMAIL_1>"),
        ("umbrella", "a@b.org"),
        ("other", "[redacted:email]"),
    ):
        asked = envelope(input=chat("a@b.org"))
        principal = msgspec.structs.replace(asked.principal, tenant=TenantId(tenant))
        result = by.screen(msgspec.structs.replace(asked, principal=principal), {})
        assert said(result) == text


@pytest.mark.parametrize(
    ("text", "recordable"), [(f"Card {CARD}", True), ("Mail a@b.org", False), ("Hello", True)]
)
def test_a_run_is_recorded_only_without_values(text: str, recordable: bool) -> None:
    assert screened(text).recordable is recordable


def test_nothing_is_recorded_for_a_tenant_that_wants_none() -> None:
    by = governor("[tenants.acme]\nrecord = false")
    assert not screened("Hello", by).recordable
    assert not by.records_content(TENANT)
    assert by.records_content(TenantId("other"))


def test_results_of_tools_share_the_vault() -> None:
    result = screened(f"Card {CARD}")
    told = BUILT_IN.screen_text(TENANT, Where.CONTEXT, f"{CARD} belongs to Jane", result.vault)
    assert told.text == "<CARD_1> belongs to Jane"
    assert (told.verdict.decision, told.verdict.rule) == (Decision.CHANGE, "pii.context")


def test_a_blocked_result_of_a_tool_has_no_text() -> None:
    by = governor("[pii.context]\ncard = 'block'")
    told = by.screen_text(TENANT, Where.CONTEXT, f"It is {CARD}", Vault())
    assert (told.text, told.verdict.decision) == ("", Decision.BLOCK)
    assert told.verdict.rule == "pii.context.card"


def test_what_is_kept_of_an_answer_is_what_was_sent_with_placeholders_in_place() -> None:
    result = screened(f"Card {CARD}")
    said = "I noted <CARD_1>, and 5555 5555 5555 4444 is another."
    kept = BUILT_IN.screen_text(TENANT, Where.OUTPUT, said, result.vault)
    assert kept.text == "I noted <CARD_1>, and [redacted:card] is another."
    assert kept.verdict.rule == "pii.output"


def test_telemetry_is_redacted() -> None:
    assert BUILT_IN.telemetry_text(TENANT, f"failed for jane@example.com with {CARD}") == (
        "failed for [redacted:email] with [redacted:card]"
    )


def test_a_full_vault_redacts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "MAX_VALUES", 1)
    result = screened(f"{CARD} 5555555555554444 <CARD_9>")
    assert said(result) == "<CARD_1> [redacted:card] [redacted:placeholder]"
    result.vault.check_integrity()


def test_a_vault_holds_together() -> None:
    vault = Vault({"<CARD_2>": CARD})
    assert vault.put(PiiKind.CARD, CARD.replace(" ", "")) == "<CARD_2>"
    assert vault.put(PiiKind.CARD, "5555555555554444") == "<CARD_3>"
    vault.check_integrity()
    assert Vault(vault.placeholders).placeholders == vault.placeholders
