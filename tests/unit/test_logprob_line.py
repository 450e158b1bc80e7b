"""Log-probabilities go out with the first character of their token, and never without it."""

import pytest

from octant.core.stream import PositionLogprobs, TokenLogprob
from octant.serving.sequences import LogprobLine


def position(utf8: bytes) -> PositionLogprobs:
    return PositionLogprobs(TokenLogprob(1, utf8.decode(errors="replace"), utf8, -0.5), ())


def released(*steps: tuple[bytes, str]) -> list[list[bytes]]:
    """The tokens that go out as each token is added and text is sent."""
    line = LogprobLine()
    sent: list[list[bytes]] = []
    for token, text in steps:
        line.add(position(token))
        sent.append([given.chosen.utf8 for given in line.release(text, everything=False)])
    return sent


@pytest.mark.parametrize(
    "steps",
    [
        ((b" Hello", "Hello"), (b",", ","), (b" you", " you")),
        ((b" Hello", " Hello"), (b",", ","), (b" you", " you")),
        ((b"  x", " x"), (b"y", "y"), (b"z", "z")),
        ((b"\xff", "\ufffd"), (b"a", "a"), (b"b", "b")),
    ],
    ids=["space dropped", "space kept", "one of two spaces dropped", "no character"],
)
def test_every_token_goes_out_with_its_own_text(steps: tuple[tuple[bytes, str], ...]) -> None:
    assert released(*steps) == [[token] for token, _ in steps]


def test_parts_of_a_character_wait_for_the_whole_one() -> None:
    assert released((b"\xe2", ""), (b"\x82", ""), (b"\xacb", "€b")) == [
        [],
        [],
        [b"\xe2", b"\x82", b"\xacb"],
    ]


def test_what_a_stop_string_swallows_never_goes_out() -> None:
    assert released((b" Hi", "Hi"), (b".", "."), (b"STOP", "")) == [[b" Hi"], [b"."], []]


def test_a_character_that_never_comes_whole_is_not_taken_for_sent_text() -> None:
    """An undecodable byte is one character of the text, whatever U+FFFD takes in UTF-8."""
    assert released((b"\xff", "\ufffd"), (b"ST", ""), (b"OP", "")) == [[b"\xff"], [], []]
