"""Calculator: the value of an arithmetic expression, without evaluating code.

Law: numbers are exact fractions from the first to the last operation, so 0.1 + 0.2 is 0.3. Depth
and size of everything are bounded before it is computed. A result that is no whole number is
rounded to 15 significant digits; so is a power with a fractional exponent.
"""

import re
from fractions import Fraction
from typing import Any

EVENTS: frozenset[str] = frozenset()

MAX_CHARS = 500
_MAX_DEPTH = 40
# 1,233 decimal digits; a product of two such numbers takes microseconds.
_MAX_BITS = 4_096
_DIGITS = 15

_TOKEN = re.compile(
    r"\s*(?:(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*(?:[eE][+-]?\d{1,3})?|\.\d+)|(\*\*|//|[-+*/%()]))",
    re.ASCII,
)
# What people and models write for what keyboards have.
_SPELLINGS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**"})


def prepare(arguments: dict[str, Any], context: dict[str, Any]) -> None:
    """Nothing to open."""


def run(arguments: dict[str, Any], state: None) -> dict[str, Any]:
    """`{"result": number}`. Raises ValueError, in words for the model."""
    return {"result": evaluate(arguments["expression"])}


def evaluate(expression: str) -> int | float:
    """The value; a whole number is an int. Raises ValueError."""
    if len(expression) > MAX_CHARS:
        raise ValueError(f"the expression is longer than {MAX_CHARS} characters")
    parser = _Parser(_tokens(expression.translate(_SPELLINGS)))
    try:
        return _rounded(parser.whole())
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError("the result is too large") from None


def _tokens(expression: str) -> list[str]:
    tokens: list[str] = []
    place, end = 0, len(expression.rstrip())
    while place < end:
        match = _TOKEN.match(expression, place)
        if match is None:
            raise ValueError(f"cannot read {expression[place:].strip()[:20]!r}")
        tokens.append((match[1] or match[2]).replace(",", ""))
        place = match.end()
    return tokens


class _Parser:
    """Recursive descent with the precedence of Python."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0

    def whole(self) -> Fraction:
        """The value of all tokens."""
        value = self._sum()
        if self._next() is not None:
            raise ValueError(f"unexpected {self._next()!r}")
        return value

    def _next(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _take(self) -> str:
        token = self._next()
        if token is None:
            raise ValueError("the expression is not complete")
        self._place += 1
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while self._next() in ("+", "-"):
            value = _bounded(_apply(self._take(), value, self._product()))
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while self._next() in ("*", "/", "//", "%"):
            value = _bounded(_apply(self._take(), value, self._signed()))
        return value

    def _signed(self) -> Fraction:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"the expression is nested deeper than {_MAX_DEPTH}")
        if self._next() in ("+", "-"):
            value = -self._signed() if self._take() == "-" else self._signed()
        else:
            value = self._power()
        self._depth -= 1
        return value

    def _power(self) -> Fraction:
        base = self._atom()
        if self._next() != "**":
            return base
        self._take()
        return _bounded(_raised(base, self._signed()))

    def _atom(self) -> Fraction:
        token = self._take()
        if token == "(":
            value = self._sum()
            if self._take() != ")":
                raise ValueError("a closing parenthesis is missing")
            return value
        if not token[0].isdigit() and token[0] != ".":
            raise ValueError(f"unexpected {token!r}")
        return _bounded(Fraction(token))


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case "//":
            return Fraction(left // right)
        case _:
            return left % right


def _raised(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _root(base, exponent)
    if _bits(base) * abs(exponent.numerator) > _MAX_BITS and abs(base) != 1:
        raise ValueError("the result is too large")
    # Minus one to a huge power would still be computed square by square.
    power = exponent.numerator % 2 if abs(base) == 1 else exponent.numerator
    return Fraction(base**power)


def _root(base: Fraction, exponent: Fraction) -> Fraction:
    if base < 0:
        raise ValueError("a negative number has no real power with a fractional exponent")
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    return Fraction(f"{float(base) ** float(exponent):.{_DIGITS}g}")


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Fraction) -> Fraction:
    if _bits(value) > _MAX_BITS:
        raise ValueError("the result is too large")
    return value


def _rounded(value: Fraction) -> int | float:
    if value.denominator == 1:
        return value.numerator
    rounded = float(f"{float(value):.{_DIGITS}g}")
    if rounded == 0:
        raise ValueError("the result is too close to zero")
    return rounded
