"""Kubernetes quantities (``500m``, ``1.5Gi``, ``2e3``) in exact arithmetic, and back in canonical notation.

The grammar and the canonical form are those of ``k8s.io/apimachinery/pkg/api/resource``: no precision lost,
no fraction written, the largest suffix that allows both. A sum keeps the notation of its first term.
"""

from __future__ import annotations

import decimal
import functools
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final


class Form(StrEnum):
    """The notation that a quantity was written in."""

    DECIMAL_SI = "DecimalSI"
    BINARY_SI = "BinarySI"
    DECIMAL_EXPONENT = "DecimalExponent"


_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE])([+-]?\d{1,3})|([KMGTPE]i|[numkMGTPE]))?", re.ASCII)
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_EXACT: Final = decimal.Context(
    prec=400, Emax=999_999, Emin=-999_999, traps=[decimal.Inexact, decimal.InvalidOperation]
)
_NANO: Final = Decimal("1e-9")
MAX_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount and the notation that it is shown in."""

    value: Decimal
    form: Form = Form.DECIMAL_SI

    def __add__(self, other: Quantity) -> Quantity:
        form = other.form if not self.value else self.form
        return Quantity(_EXACT.add(self.value, other.value), form)

    def __str__(self) -> str:
        return text(self)


ZERO: Final = Quantity(Decimal(0))


def parse(given: str | int | float) -> Quantity:
    """The quantity that ``given`` spells. Raises ``ValueError``. Fractions below 1e-9 round up, as Kubernetes does."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f"{given!r} is not a quantity")  # noqa: TRY004 - callers catch one error for all bad input
    return _parse(given if isinstance(given, str) else repr(given))


@functools.lru_cache(maxsize=4096)  # a cluster's objects spell few different amounts, over and over
def _parse(spelled: str) -> Quantity:
    found = _QUANTITY.fullmatch(spelled) if len(spelled) <= MAX_LENGTH else None
    if found is None:
        raise ValueError(f"{spelled[:50]!r} is not a quantity such as 500m, 1.5Gi or 2")
    number, e, exponent, suffix = found.groups()
    value = Decimal(number)
    if e:
        form, value = Form.DECIMAL_EXPONENT, value.scaleb(int(exponent), _EXACT)
    elif suffix in _BINARY:
        form, value = Form.BINARY_SI, _EXACT.multiply(value, Decimal(2 ** _BINARY[suffix]))
    else:
        form, value = Form.DECIMAL_SI, value.scaleb(_DECIMAL[suffix or ""], _EXACT)
    if value.as_tuple().exponent < -9:  # type: ignore[operator]  # finite by the grammar above
        context = decimal.Context(prec=400, rounding=decimal.ROUND_UP)
        value = value.quantize(_NANO, context=context)
    return Quantity(value, form)


def text(quantity: Quantity) -> str:
    """Canonical notation of ``quantity``."""
    value = quantity.value
    if not value:
        return "0"
    if quantity.form is Form.BINARY_SI and abs(value) >= 1024 and value == value.to_integral_value():
        return _binary(int(value))
    if quantity.form is Form.DECIMAL_EXPONENT:
        digits, exponent = _decimal(value)
        return f"{digits}e{exponent}" if exponent else str(digits)
    digits, exponent = _decimal(value, top=18)
    return f"{digits}{_DECIMAL_SUFFIX[exponent]}"


def _binary(whole: int) -> str:
    for suffix, bits in reversed(_BINARY.items()):
        if whole % (1 << bits) == 0:
            return f"{whole >> bits}{suffix}"
    return str(whole)


def _decimal(value: Decimal, top: int = 999) -> tuple[int, int]:
    """``value`` as digits * 10**exponent with the largest exponent that is a multiple of 3 and at most ``top``."""
    sign, digits, exponent = value.normalize(_EXACT).as_tuple()
    power = int(exponent)
    lowered = min(power - power % 3, top)
    number = int("".join(map(str, digits))) * 10 ** (power - lowered)
    return (-number if sign else number), lowered
