"""Makes modules of the texts of attacks, inside, where there are no files of them."""

from __future__ import annotations

import sys
import types
from typing import Any


def load(texts: dict[str, str]) -> dict[str, Any]:
    """Modules of a package of their own, by name, made in the order given."""
    package = types.ModuleType("programs")
    package.__path__ = []
    sys.modules["programs"] = package
    for name, text in texts.items():
        module = types.ModuleType(f"programs.{name}")
        module.__package__ = "programs"
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    return vars(package)
