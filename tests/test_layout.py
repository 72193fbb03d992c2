"""The shape of the source tree: who may import whom, and what must not be there."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("engine", "kernels", "kernel_sandbox", "models")
# Each room may import from those it names, and from the common ones.
COMMON = {"errors", "config", "reaper", "version"}
ALLOWED = {
    "engine": {"engine", "kernel_sandbox", "models"},
    "kernel_sandbox": {"kernel_sandbox"},
    "models": {"models"},
    "kernels": {"kernels"},
}


def imports(file: Path) -> set[str]:
    """Dotted names of what a module imports from elsewhere."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_run_one_way(room: str) -> None:
    for file in modules(room):
        for name in imports(file):
            parts = name.split(".")
            if parts[0] == "outcore" and len(parts) > 1:
                assert parts[1] in ALLOWED[room] | COMMON, f"{file} imports {name}"
            assert parts[0] not in LINKED, f"{file} imports {name} past the package"


def test_common_modules_import_no_room() -> None:
    for name in COMMON:
        for imported in imports(ROOT / "outcore" / f"{name}.py"):
            parts = imported.split(".")
            assert parts[0] != "outcore" or parts[1] in COMMON, f"{name}.py imports {imported}"


def test_what_runs_in_the_sandbox_imports_the_standard_library_alone() -> None:
    given = {"ipykernel", "IPython", "zmq", "traitlets"}
    for file in modules("kernel_sandbox/inside"):
        for name in imports(file):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | given, f"{file} imports {name}"


def test_package_links_to_the_rooms() -> None:
    for name in LINKED:
        link = ROOT / "outcore" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_kernels_is_never_taken_for_another_package() -> None:
    # A folder `kernels` with an __init__.py shadows the package of that name that transformers
    # looks for.
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_reaper_needs_the_standard_library_alone() -> None:
    for name in imports(ROOT / "outcore" / "reaper.py"):
        assert name.split(".")[0] in sys.stdlib_module_names


def test_an_image_takes_nothing_that_was_set_up_here() -> None:
    # A .venv carried in has the host's python, and `python3 -m venv` does not mend it.
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".venv", ".git"} <= set(ignored)
