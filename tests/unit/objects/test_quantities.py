"""Quantities against plain fractions, and the canonical notation of Kubernetes."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm.objects import quantities
from krm.objects.quantities import Form, Quantity

SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{suffix: Fraction(10 ** (3 * power)) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
}
signs = st.sampled_from(["", "+", "-"])
numbers = st.one_of(
    st.from_regex(r"[0-9]{1,12}", fullmatch=True),
    st.from_regex(r"[0-9]{1,9}\.[0-9]{0,12}", fullmatch=True),
    st.from_regex(r"\.[0-9]{1,12}", fullmatch=True),
)
exponents = st.integers(-20, 20)


def rounded(exact: Fraction) -> Fraction:
    """Away from zero, to nano."""
    units = exact * 10**9
    return Fraction(math.ceil(units) if units > 0 else math.floor(units), 10**9)


@given(signs, numbers, st.sampled_from(sorted(SUFFIXES)))
def test_value_is_exact_to_nano(sign: str, number: str, suffix: str) -> None:
    exact = Fraction(Decimal(sign + number)) * SUFFIXES[suffix]
    assert Fraction(quantities.parse(sign + number + suffix).value) == rounded(exact)


@given(signs, numbers, st.sampled_from("eE"), exponents)
def test_exponents_are_exact_to_nano(sign: str, number: str, e: str, exponent: int) -> None:
    exact = Fraction(Decimal(sign + number)) * Fraction(10) ** exponent
    found = quantities.parse(f"{sign}{number}{e}{exponent}")
    assert Fraction(found.value) == rounded(exact)
    assert found.form is Form.DECIMAL_EXPONENT


@given(signs, numbers, st.sampled_from([*SUFFIXES, "e3", "E-2"]))
def test_canonical_form_is_read_back_as_the_same_and_is_its_own_canonical_form(
    sign: str, number: str, suffix: str
) -> None:
    first = quantities.parse(sign + number + suffix)
    shown = quantities.text(first)
    assert quantities.parse(shown).value == first.value
    assert quantities.text(quantities.parse(shown)) == shown
    assert "." not in shown


@given(st.lists(st.tuples(numbers, st.sampled_from(sorted(SUFFIXES))), min_size=1, max_size=8))
def test_sum_is_exact(terms: list[tuple[str, str]]) -> None:
    found = [quantities.parse(number + suffix) for number, suffix in terms]
    total = sum(found[1:], found[0])
    assert Fraction(total.value) == sum(Fraction(one.value) for one in found)


@pytest.mark.parametrize(
    ("given_text", "canonical"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0Gi", "0"),
        ("500m", "500m"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("+1", "1"),
        ("-1500m", "-1500m"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1000m", "1"),
        ("1000000k", "1G"),
        ("12E", "12E"),
        ("1e3", "1e3"),
        ("1.5e3", "1500"),
        ("1E3", "1e3"),
        ("12e-7", "1200e-9"),
        ("1e-1", "100e-3"),
        ("1024", "1024"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1023Ki", "1023Ki"),
        ("1025.5Ki", "1050112"),
        ("1.0001Ki", "1024102400u"),
        ("1e19", "10e18"),
        ("0.0000000001", "1n"),
        ("-0.0000000001", "-1n"),
        ("1.0000000000", "1"),
        ("100Ei", "100Ei"),
    ],
)
def test_canonical_notation(given_text: str, canonical: str) -> None:
    assert str(quantities.parse(given_text)) == canonical


@pytest.mark.parametrize(("number", "canonical"), [(3, "3"), (1500, "1500"), (0.25, "250m"), (1e22, "10e21")])
def test_numbers_are_quantities(number: float, canonical: str) -> None:
    assert quantities.text(quantities.parse(number)) == canonical


@pytest.mark.parametrize(
    "bad",
    [
        *("", " ", "1 ", "a", "1e3Ki", "1ki", "1K", "1mi", "--1", "1.2.3", ".", "e3", "1e", "1e1000", "1,5", "0x10"),
        *("1" * 65, "\u0661", "NaN", "inf", "1Zi", "1\n", float("nan"), float("inf"), True, None, [1], 10**70),
    ],
    ids=repr,
)
def test_what_is_no_quantity_is_a_value_error(bad: object) -> None:
    with pytest.raises(ValueError):
        quantities.parse(bad)  # type: ignore[arg-type]  # what a broken object may hold


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [("1Gi", "1G", "2073741824"), ("500m", "1Ki", "1024500m"), ("0", "1Gi", "1Gi"), ("1e3", "1k", "2e3")],
)
def test_sum_keeps_the_notation_of_its_first_term_that_is_not_zero(one: str, other: str, total: str) -> None:
    assert str(quantities.parse(one) + quantities.parse(other)) == total


def test_sum_has_the_form_of_its_first_term() -> None:
    assert (quantities.parse("1Gi") + quantities.parse("1G")).form is Form.BINARY_SI
    assert quantities.ZERO + Quantity(Decimal(1), Form.BINARY_SI) == Quantity(Decimal(1), Form.BINARY_SI)
