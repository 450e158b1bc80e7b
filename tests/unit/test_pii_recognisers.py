"""Recognisers one by one: what is a value, where it ends, and what only looks like one."""

import pytest

from octant.governance.pii.kinds import PiiKind
from octant.governance.pii.payment import IBAN_LENGTHS, luhn_fits
from octant.governance.pii.plain import plain
from octant.governance.pii.recognise import Recogniser

ALL = Recogniser(frozenset(PiiKind), ("US", "GB"))


def found(text: str, recogniser: Recogniser = ALL) -> list[tuple[str, str]]:
    return [(f.kind.value, text[f.start : f.end]) for f in recogniser.scan(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4111111111111111.", "4111111111111111"),
        ("(4111 1111 1111 1111)", "4111 1111 1111 1111"),
        ("4111-1111-1111-1111-", "4111-1111-1111-1111"),
        ("x=4111111111111111&y", "4111111111111111"),
        ("4111111111111111 12/26 123", "4111111111111111"),
        ("3782 822463 10005", "3782 822463 10005"),
    ],
)
def test_a_card_ends_where_its_number_ends(text: str, value: str) -> None:
    assert found(text) == [("card", value)]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "a4111111111111111",
        "4111111111111111a",
        "41111111111111111111",
        "0.4111111111111111",
        "1111111111111111",
        "4 012 888 888 881 881",
    ],
)
def test_what_is_no_card(text: str) -> None:
    assert found(text) == []


def test_luhn_knows_its_own_check_digit() -> None:
    assert [d for d in "0123456789" if luhn_fits("411111111111111" + d)] == ["1"]


@pytest.mark.parametrize("written", ["DE89370400440532013000", "de89 3704 0044 0532 0130 00"])
def test_an_iban_ends_with_its_country_s_length(written: str) -> None:
    assert found(f"{written} is my account") == [("iban", written)]
    assert found(written + "1") == []


def test_every_country_of_the_registry_has_a_length_in_bounds() -> None:
    assert len(IBAN_LENGTHS) > 80
    assert all(15 <= length <= 33 for length in IBAN_LENGTHS.values())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<jane@example.com>", "jane@example.com"),
        ("mailto:jane@example.com?subject=x", "jane@example.com"),
        ("'jane@example.com'", "jane@example.com"),
        ("jane@example.com.", "jane@example.com"),
        ("a" * 80 + "@example.com", "a" * 64 + "@example.com"),
    ],
)
def test_an_email_address_ends_where_a_sentence_goes_on(text: str, value: str) -> None:
    assert found(text) == [("email", value)]


def test_national_numbers_are_known_in_the_regions_that_were_named() -> None:
    nowhere = Recogniser(frozenset({PiiKind.PHONE}), ())
    for text in ("020 7946 0958", "(212) 555-0123"):
        assert found(text) == [("phone", text)]
        assert found(text, nowhere) == []
    assert found("+44 20 7946 0958", nowhere) == [("phone", "+44 20 7946 0958")]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("10.1.2.3:80", ["10.1.2.3"]),
        ("1.2.3.4.5", []),
        ("v1.2.3.4", []),
        ("127.0.0.1 and ::1", []),
        ("[2001:db8::7]:443", ["2001:db8::7"]),
        ("std::vector and 10:30:45", []),
    ],
)
def test_addresses_of_machines(text: str, values: list[str]) -> None:
    assert [value for _, value in found(text)] == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SSN 536904399", "536904399"),
        ("ssn: 536904399.", "536904399"),
        ("BSN is 111222333", "111222333"),
        ("536904399", None),
        ("order 111222333", None),
        ("BSN 111222334", None),
    ],
)
def test_nine_bare_digits_need_their_name(text: str, value: str | None) -> None:
    assert found(text) == ([("national_id", value)] if value else [])


def test_a_private_key_is_taken_to_its_end_also_without_one() -> None:
    body = "\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\nggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    head, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
    assert found(f"a {head}{body}{end} b") == [("secret", f"{head}{body}{end}")]
    assert found(f"a {head}{body} b") == [("secret", f"{head}{body.rstrip()}")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password=hunter2xyz", "hunter2xyz"),
        ('{"api_key": "a8f5f167f44f4964e6c998dee827110c"}', "a8f5f167f44f4964e6c998dee827110c"),
        ("password: correcthorse", None),
        ("max_tokens=4096", None),
        ("key=the-quick-brown-fox-jumps", None),
    ],
)
def test_a_value_behind_a_name_has_to_look_like_a_secret(text: str, value: str | None) -> None:
    assert found(text) == ([("secret", value)] if value else [])


def test_the_more_telling_kind_wins_at_the_same_place() -> None:
    assert found("password: jane.doe1@example.com") == [("secret", "jane.doe1@example.com")]


@pytest.mark.parametrize(
    "written",
    [
        "４１１１ １１１１ １１１１ １１１１",
        "4111\u00a01111\u20071111\u202f1111",
        "4111\u20101111\u20111111\u20121111",
        "4111\u200b1111\u2060 1111\ufeff1111",
        "٤١١١١١١١١١١١١١١١",
        "4\u03361\u03361\u03361\u0336 1111 1111 1111",
    ],
)
def test_disguises_come_off(written: str) -> None:
    assert [f.kind for f in ALL.scan(plain(written).text)] == [PiiKind.CARD]


def test_places_of_plain_text_lead_back_to_the_original() -> None:
    written = "a\u200b４1\u0336é "
    read = plain(written)
    assert read.text == "a41é "
    assert [written[read.original(i, len(written))] for i in range(len(read.text))] == [
        "a", "４", "1", "é", " "
    ]  # fmt: skip
    assert read.original(len(read.text), len(written)) == len(written)
