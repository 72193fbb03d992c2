"""Numbers out of text, with what people write around them."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import math
import re
from typing import Any

_LONGEST = 200
_GAP = r"[ _'\u00a0\u2009\u202f]"
_GAPS = re.compile(_GAP)
_GROUPED = re.compile(rf"(?<![\d.,])\d{{1,3}}(?:{_GAP}\d{{3}})+(?!\d)")
_DIGIT = re.compile(r"\d")
# `0,125` is an eighth, and no thousand.
_THOUSANDS = r"(?!0{1,3},\d{3}(?!,\d{3}))\d{1,3}(?:,\d{3})+(?!\d)"
_SIGN = r"(?P<sign>\A\s*[-+\u2212]\s?|[-+\u2212])?(?:[$\u20ac\u00a3\u00a5]\s?)?"
_POWER = r"(?P<power>[eE][-+]?\d{1,3}(?!\d))?"
_NUMBER = re.compile(
    rf"{_SIGN}(?P<digits>{_THOUSANDS}(?:\.\d+)?|\d{{1,3}}(?:\.\d{{3}})+,\d+|\d+(?:[.,]\d+)?"
    rf"|\.\d+){_POWER}"
)
_BY_COMMA = re.compile(
    rf"{_SIGN}(?P<digits>\d{{1,3}}(?:\.\d{{3}})+(?!\d)(?:,\d+)?|\d+(?:,\d+)?|,\d+){_POWER}"
)
_WHOLE_COMMA = re.compile(_THOUSANDS)
# As books are kept: (12.50) and 12.50- are what was paid out.
_NEGATIVE = re.compile(r"\s*(?:\([^-+\u2212()]*\)|[^-+\u2212()]*\d\s?[-\u2212])\s*")
_MOST = 1e300


def as_number(value: Any, comma: bool = False) -> float | None:
    """The first number in a value, whatever stands around it, or None.

    as_number("1,234.50 EUR")    1234.5; also "1 234,5", "-$12", "-7%", "(3.50)", 12

    A comma before three digits stands for thousands, unless comma=True says that it is always
    the decimal mark.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < _MOST and not math.isnan(value) else None
    written = str(value)
    first = _DIGIT.search(written)
    if first is None:
        return None
    # A number is not cut short by what stands before it, and has its sign and point with it.
    begin = 0 if first.start() <= _LONGEST else first.start() - 2
    near = written[begin : first.start() + _LONGEST]
    near = _GROUPED.sub(lambda one: _GAPS.sub("", one[0]), near)
    found = (_BY_COMMA if comma else _NUMBER).search(near)
    if found is None:
        return None
    text = found["digits"]
    if not comma and _WHOLE_COMMA.match(text):
        text = text.replace(",", "")
    elif comma or "," in text:
        text = text.replace(".", "").replace(",", ".")
    number = float(text + (found["power"] or ""))
    sign = (found["sign"] or "").strip()
    if sign in ("-", "\u2212") or (not sign and _NEGATIVE.fullmatch(near)):
        number = -number
    return number if abs(number) < _MOST else None
