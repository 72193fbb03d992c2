"""outcore: Recursive Language Models as a local inference engine (arXiv 2512.24601).

from pathlib import Path
from outcore import RLM

with RLM() as rlm:
    print(rlm.completion(Path("corpus.txt"), "Who betrayed the captain?").answer)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from outcore.config import Budget, DirectMode, RootMode, Settings, SettingsChanges, Tier
from outcore.errors import (
    BadContext,
    BadReply,
    BudgetExceeded,
    ConfigError,
    EngineDied,
    IncompleteAnswer,
    ModelError,
    ModelUnavailable,
    OutcoreError,
    PromptTooLong,
    SandboxError,
    SandboxUnavailable,
    WeightsError,
)
from outcore.version import __version__

__all__ = [
    "RLM",
    "BadContext",
    "BadReply",
    "Budget",
    "BudgetExceeded",
    "Citation",
    "Completion",
    "ConfigError",
    "Context",
    "DirectMode",
    "EngineDied",
    "IncompleteAnswer",
    "ModelError",
    "ModelUnavailable",
    "OutcoreError",
    "Progress",
    "PromptTooLong",
    "RootMode",
    "SandboxError",
    "SandboxUnavailable",
    "Settings",
    "SettingsChanges",
    "Tier",
    "Usage",
    "WeightsError",
    "__version__",
]

if TYPE_CHECKING:
    from outcore.engine.budget import Usage
    from outcore.engine.context.sources import Context
    from outcore.engine.result import Citation, Completion
    from outcore.engine.rlm import RLM
    from outcore.models.progress import Progress
else:
    # The engine imports jupyter_client and transformers; `outcore --help` should not. A type
    # checker that saw the function below would let any name pass.
    _LATE = {
        "RLM": "outcore.engine.rlm",
        "Citation": "outcore.engine.result",
        "Completion": "outcore.engine.result",
        "Context": "outcore.engine.context.sources",
        "Progress": "outcore.models.progress",
        "Usage": "outcore.engine.budget",
    }

    def __getattr__(name: str) -> object:
        if name in _LATE:
            return getattr(import_module(_LATE[name]), name)
        raise AttributeError(f"module 'outcore' has no attribute {name!r}")
