"""outcore: Recursive Language Models as a local inference engine (arXiv 2512.24601).

from pathlib import Path
from outcore import RLM

with RLM() as rlm:
    print(rlm.completion(Path("corpus.txt"), "Who betrayed the captain?").response)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outcore.config import Budget, Settings
from outcore.version import __version__

if TYPE_CHECKING:
    from outcore.engine.rlm import RLM, Completion

__all__ = ["RLM", "Budget", "Completion", "Settings", "__version__"]


def __getattr__(name: str) -> Any:
    # The engine imports jupyter_client and transformers; `outcore --help` should not.
    if name in ("RLM", "Completion"):
        from outcore.engine import rlm

        return getattr(rlm, name)
    raise AttributeError(f"module 'outcore' has no attribute {name!r}")
