"""The stream guard: what comes out depends on the text alone, and never holds what is rejected."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from octant.core.ids import TenantId
from octant.core.stream import TextDelta
from octant.governance.governor import Governor
from octant.governance.pii.kinds import PiiKind
from octant.governance.pii.plain import plain
from octant.governance.pii.recognise import LOOK_BEHIND, Recogniser
from octant.governance.vault import Vault
from tests.support.guarded import fed, text_of
from tests.support.pii_corpus import positives
from tests.support.policies import governor

STRICT: Governor = governor(
    "[pii]\nphone_regions = ['US']\n[pii.output]\n"
    + "\n".join(f"{kind.value} = 'redact'" for kind in PiiKind)
)
TENANT = TenantId("acme")
ALL = Recogniser(frozenset(PiiKind), ("US",))
VALUES = (
    "4111 1111 1111 1111",
    "4111111111111111",
    "DE89 3704 0044 0532 0130 00",
    "GB29NWBK60161331926819",
    "536-90-4399",
    "AB 12 34 56 C",
    "RSSMRA85T10A562S",
    "X2482300W",
    "jane.doe@example.com",
    "+44 20 7946 0958",
    "(212) 555-0123",
    "203.0.113.77",
    "2001:db8::ff00:42:8329",
    "sk-abcdefghij0123456789KLMNOP",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\n-----END PRIVATE KEY-----",
)
SCRAPS = (
    *VALUES, " ", "  ", "\n", ", ", ".", "-", "--", "-----", "(", "+", "@", ":", "=", "/", "<", ">",
    '"', "password=", "api_key: ", "Bearer ", "SSN ", "hunter2xyz", "a8f5f167f44f4964e6c998dee8",
    "1", "12", "2024", "4111", "A", "AB", "Zoe", "the", "is", "de", "x", "word", "sk", "eyJ",
    "<CARD_1>", "<CARD_", "1>", "<EMAIL_1>", "é", "中文", "oct_", "\u200b", "\u00a0", "４",
    "\u0301", "_", "-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAAS", "z" * 600, "9a" * 300, "::", "fe80", "10.0.0",
)  # fmt: skip
texts = st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join)
cuts = st.lists(st.integers(0, 60), max_size=30)


def in_pieces(text: str, sizes: list[int]) -> list[str]:
    pieces: list[str] = []
    place = 0
    for size in sizes:
        pieces.append(text[place : place + size])
        place += size
    return [*pieces, text[place:]]


def vault() -> Vault:
    filled = Vault()
    filled.put(PiiKind.CARD, "5555 5555 5555 4444")
    filled.put(PiiKind.EMAIL, 'j"quote\\d@example.com')
    return filled


@settings(max_examples=150, deadline=None)
@given(texts, cuts)
@example("4111 1111 1111 1111", [1] * 19)
@example("a<CARD_1>\u200b1", [9, 1])
def test_the_output_does_not_depend_on_the_cuts(text: str, sizes: list[int]) -> None:
    whole = text_of(fed(STRICT.guard(TENANT, vault(), 1), [text]))
    assert text_of(fed(STRICT.guard(TENANT, vault(), 1), in_pieces(text, sizes))) == whole
    assert text_of(fed(STRICT.guard(TENANT, vault(), 1), list(text))) == whole


@settings(max_examples=100, deadline=None)
@given(texts, cuts)
def test_arguments_of_calls_do_not_depend_on_the_cuts_either(text: str, sizes: list[int]) -> None:
    whole = text_of(fed(STRICT.guard(TENANT, vault(), 1), [text], as_call=True))
    cut = fed(STRICT.guard(TENANT, vault(), 1), in_pieces(text, sizes), as_call=True)
    assert text_of(cut) == whole


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=4),
    st.lists(st.sampled_from((", and ", "; then ", ")\n", '" or "', " is what ")), max_size=5),
    cuts,
)
def test_no_prefix_of_the_output_holds_a_rejected_value(
    values: list[str], between: list[str], sizes: list[int]
) -> None:
    text = "Well, "
    for number, value in enumerate(values):
        text += value + (between[number] if number < len(between) else ", so ")
    sent = ""
    for item in fed(STRICT.guard(TENANT, Vault(), 1), in_pieces(text, sizes)):
        if isinstance(item, TextDelta):
            sent += item.text
            assert not any(value in sent for value in values)
            assert not any(f.start >= 0 for f in ALL.scan(plain(sent).text + " |"))
    assert sent.count("[redacted:") == len(values)


@settings(max_examples=150, deadline=None)
@given(texts, texts)
def test_what_is_not_open_is_decided(text: str, more: str) -> None:
    """The contract between recognising and streaming, stated for itself."""
    read, longer = plain(text).text, plain(text).text + plain(more).text
    closed = ALL.open_from(read)
    assert [f for f in ALL.scan(longer) if f.start < closed] == [
        f for f in ALL.scan(read) if f.start < closed
    ] or _long_token(read, closed)


def _long_token(text: str, closed: int) -> bool:
    """A token that is recognised before it ends may only grow."""
    return any(f.end == len(text) and f.end - f.start >= 512 for f in ALL.scan(text)) or (
        "-----BEGIN" in text[:closed]
    )


@settings(max_examples=100, deadline=None)
@given(texts, texts)
def test_a_text_cut_where_nothing_is_open_reads_the_same_in_parts(first: str, second: str) -> None:
    whole = plain(first + second).text
    cut = ALL.open_from(plain(first).text)
    left = whole[max(0, cut - LOOK_BEHIND) : cut]
    behind = [f for f in ALL.scan(whole) if f.start >= cut]
    if any(f.start < cut < f.end for f in ALL.scan(whole)):
        return
    shift = cut - len(left)
    parts = ALL.scan(left + whole[cut:], len(left))
    assert [(f.start + shift, f.end + shift, f.kind) for f in parts] == [tuple(f) for f in behind]


@settings(max_examples=100, deadline=None)
@given(texts, cuts)
def test_tokens_are_neither_lost_nor_doubled(text: str, sizes: list[int]) -> None:
    pieces = in_pieces(text, sizes)
    items = fed(STRICT.guard(TENANT, vault(), 1), pieces)
    tokens = [t for item in items if isinstance(item, TextDelta) for t in item.tokens]
    assert tokens == list(range(len(pieces)))


@settings(max_examples=150, deadline=None)
@given(texts, st.sampled_from((1, 4111111111111111, None)), st.booleans(), cuts)
@example("x\u200b", 4111111111111111, False, [])
def test_an_answer_in_json_stays_json_however_it_is_cut(
    text: str, number: int | None, spelled: bool, sizes: list[int]
) -> None:
    said = json.dumps({"text": text, "number": number}, ensure_ascii=spelled)
    pieces = in_pieces(said, sizes)
    items = fed(STRICT.guard(TENANT, vault(), 1, as_json=True), pieces)
    assert text_of(items) == text_of(fed(STRICT.guard(TENANT, vault(), 1, as_json=True), [said]))
    assert set(json.loads(text_of(items))) == {"text", "number"}
    tokens = [t for item in items if isinstance(item, TextDelta) for t in item.tokens]
    assert tokens == list(range(len(pieces)))


def test_every_value_of_the_corpus_is_kept_back_letter_by_letter() -> None:
    for line in positives():
        found = ALL.scan(plain(line.text).text)
        kept = [plain(line.text).text[f.start : f.end] for f in found]
        sent = text_of(fed(STRICT.guard(TENANT, Vault(), 1), list(line.text)))
        assert not any(value in plain(sent).text for value in kept), line.text
