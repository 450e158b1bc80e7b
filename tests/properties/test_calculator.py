"""The calculator agrees with exact arithmetic, and ends whatever it is given."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from octant.adapters.tools.isolated.calculator import evaluate

_NUMBERS = st.one_of(
    st.integers(0, 10_000).map(str),
    st.decimals(0, 1_000, places=3).map(str),
)
_EXPRESSIONS = st.recursive(
    _NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"-{e}"),
    ),
    max_leaves=12,
)


@given(_EXPRESSIONS)
def test_it_agrees_with_exact_fractions(expression: str) -> None:
    try:
        found = evaluate(expression)
    except ValueError as error:
        assert any(word in str(error) for word in ("zero", "nested", "longer"))
        return
    exact = _exact(expression)
    if isinstance(found, int):
        assert found == exact
    else:
        assert exact.denominator != 1
        assert abs(Fraction(found) - exact) <= abs(exact) / 10**14


@given(st.text("0123456789.+-*/%()^ e,", max_size=60))
def test_it_always_ends_in_a_value_or_a_reason(expression: str) -> None:
    try:
        assert isinstance(evaluate(expression), int | float)
    except ValueError as error:
        assert str(error)


def _exact(expression: str) -> Fraction:
    """Python's own grammar over exact numbers, for expressions made above."""
    spaced = expression.replace("(", " ( ").replace(")", " ) ").replace("-", " - ")
    exact = (f"Fraction('{t}')" if t[0].isdigit() else t for t in spaced.split())
    return eval("".join(exact), {"Fraction": Fraction})
