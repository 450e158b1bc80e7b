"""What the calculator says, and what it refuses before computing it."""

import pytest

from octant.adapters.tools.isolated.calculator import evaluate


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("0.1 + 0.2", 0.3),
        ("1 / 3", 0.333333333333333),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("7.5 % 2", 1.5),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("2 ** 3 ** 2", 512),
        ("2 ^ 10", 1024),
        ("9 ** 0.5", 3),
        ("(-1) ** 99999999999", -1),
        ("1,200 × 3", 3600),
        ("10 ÷ 4 − 1", 1.5),
        ("1e3 + .5", 1000.5),
        ("12 * 15 / 100", 1.8),
        ("--5", 5),
        ("12345678901234567890 * 10", 123456789012345678900),
        ("4.50", 4.5),
        ("3.", 3),
    ],
)
def test_values(expression: str, value: float) -> None:
    found = evaluate(expression)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "not complete"),
        ("2 +", "not complete"),
        ("(2", "not complete"),
        ("(2 3)", "closing parenthesis"),
        ("2)", r"unexpected '\)'"),
        ("2 3", "unexpected '3'"),
        ("* 2", r"unexpected '\*'"),
        ("two", "cannot read 'two'"),
        ("2 + x", "cannot read"),
        ("__import__('os')", "cannot read"),
        ("1 if 1 else 2", "cannot read"),
        ("1/0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("0 ** -0.5", "division by zero"),
        ("(-8) ** 0.5", "negative number"),
        ("9 ** 9 ** 9", "too large"),
        ("10 ** 999 * 10 ** 999", "too large"),
        ("1e999 * 1e999", "too large"),
        ("(10 ** 400 + 0.5) ** 0.5", "too large"),
        ("2 ** -2000", "close to zero"),
        ("(" * 60 + "1" + ")" * 60, "nested deeper"),
        ("-" * 60 + "1", "nested deeper"),
        ("1+" * 300 + "1", "longer than 500"),
        ("٣ + 1", "cannot read"),
    ],
)
def test_refusals_say_why(expression: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        evaluate(expression)
