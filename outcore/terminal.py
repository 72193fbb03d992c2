"""Text from elsewhere on its way to a person's terminal."""

from __future__ import annotations

import re
from typing import TextIO

# All control characters but tabs and line ends. A terminal takes them for commands: to clear the
# screen, set its title, put something on the clipboard.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str, stream: TextIO) -> str:
    """`text` as `stream` can take it: with escapes for characters that its encoding lacks.

    On a terminal, control characters are shown as escapes too.
    """
    encoding = stream.encoding or "utf-8"
    if stream.isatty():
        text = _CONTROL.sub(lambda one: f"\\x{ord(one[0]):02x}", text.replace("\r\n", "\n"))
    return text.encode(encoding, "backslashreplace").decode(encoding)


def commands(text: str) -> bool:
    """Whether `text` has a control character that a terminal would take for a command."""
    return _CONTROL.search(text) is not None
