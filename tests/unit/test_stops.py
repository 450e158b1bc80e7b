"""Finding the first stop string in text that comes in pieces."""

import pytest

from octant.serving.stops import Found, StopFinder


def fed(stops: tuple[str, ...], *pieces: str) -> list[Found]:
    finder = StopFinder(stops)
    results: list[Found] = []
    for piece in pieces:
        results.append(finder.feed(piece))
        finder.check_integrity()
    return results


def test_without_stops_everything_passes() -> None:
    assert fed((), "abc", "") == [Found("abc"), Found("")]
    assert fed(("",), "abc") == [Found("abc")]


def test_a_stop_is_cut_out_and_the_rest_returned() -> None:
    assert fed(("END",), "well ENDed") == [Found("well ", "END", "ed")]


def test_only_what_may_become_a_stop_waits() -> None:
    assert fed(("</s>",), "a <", "/", "b>") == [Found("a "), Found(""), Found("</b>")]


@pytest.mark.parametrize("cut", range(9))
def test_a_stop_is_found_wherever_it_straddles(cut: int) -> None:
    text = "ab\n\nUser"
    results = fed(("\n\nUser",), text[:cut], text[cut:])
    assert "".join(found.text for found in results) == "ab"
    assert results[-1].stop == "\n\nUser" or results[0].stop == "\n\nUser"


def test_a_stop_that_begins_within_its_own_beginning_is_found() -> None:
    assert fed(("aab",), "aa", "ab") == [Found(""), Found("a", "aab", "")]
    assert fed(("abab!",), "ababab!") == [Found("ab", "abab!", "")]


def test_what_is_complete_first_wins_over_what_began_first() -> None:
    assert fed(("abcd", "bc"), "abcd") == [Found("a", "bc", "d")]


def test_of_stops_ending_together_the_longest_wins() -> None:
    assert fed(("c", "abc", "bc"), "xabc") == [Found("x", "abc", "")]


def test_flush_gives_what_was_held_and_starts_anew() -> None:
    finder = StopFinder(("stop",))
    assert finder.feed("a sto") == Found("a ")
    assert finder.flush() == "sto"
    assert finder.flush() == ""
    assert finder.feed("p") == Found("p")


def test_the_finder_can_be_used_again_after_a_stop() -> None:
    finder = StopFinder(("--",))
    assert finder.feed("a--b") == Found("a", "--", "b")
    assert finder.feed("-b--") == Found("-b", "--", "")


def test_integrity_notices_lost_text() -> None:
    finder = StopFinder(("stop",))
    finder.feed("a st")
    finder._held = "s"
    with pytest.raises(AssertionError, match="held back"):
        finder.check_integrity()
