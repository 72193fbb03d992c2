"""What stands for a served model where its replies are remembered."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Up to this size a file's content is hashed; of larger ones, length and time of change.
_SMALL = 1 << 20


def digest(folder: Path, *served: str) -> str:
    """Digest of a folder of weights and of how it is served.

    Weights are not read through again at every start: a changed file has another time.

    Args:
        folder: weights, tokenizer and configuration.
        served: whatever else changes replies: version of the server, number format.
    """
    found = hashlib.sha256(repr(served).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        stat = path.stat()
        found.update(f"\0{path.relative_to(folder)}\0{stat.st_size}\0".encode())
        if stat.st_size <= _SMALL:
            found.update(path.read_bytes())
        else:
            found.update(str(stat.st_mtime_ns).encode())
    return found.hexdigest()
