"""Numbers out of text, with what people write around them."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import math
import re
from typing import Any

_LONGEST = 200
_GAPS = re.compile(r"(?<=\d)[ _'\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_NUMBER = re.compile(
    r"[-+\u2212]?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d+|\d+(?:[.,]\d+)?"
    r"|\.\d+)(?:[eE][-+]?\d{1,3}(?!\d))?"
)
_WHOLE_COMMA = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)")


def as_number(value: Any) -> float | None:
    """The first number in a value, whatever stands around it, or None.

    as_number("1,234.50 EUR")    1234.5; also "1 234,5", "$12", "-7%", 12
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < 1e300 and not math.isnan(value) else None
    found = _NUMBER.search(_GAPS.sub("", str(value)[:_LONGEST]))
    if found is None:
        return None
    text = found[0].replace("\u2212", "-")
    head = text.lstrip("+-")
    if _WHOLE_COMMA.match(head):
        text = text.replace(",", "")
    elif "," in text:
        text = text.replace(".", "").replace(",", ".")
    return float(text)
