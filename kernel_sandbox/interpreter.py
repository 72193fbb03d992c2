"""The Python the kernel runs on, and the folders of the host it needs for that."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from outcore.errors import SandboxUnavailable

_SYSTEM = Path("/usr")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The interpreter of the running process, without its virtual environment.

    Attributes:
        executable: the real file, no link.
        prefix: the installation it belongs to.
        packages: folders of installed packages, for `sys.path`.
    """

    executable: Path
    prefix: Path
    packages: tuple[Path, ...]

    @classmethod
    def current(cls) -> Interpreter:
        """What this process runs on.

        Raises:
            SandboxUnavailable: ipykernel is not installed.
        """
        found = importlib.util.find_spec("ipykernel")
        if found is None or found.origin is None:
            raise SandboxUnavailable(
                f"ipykernel is not installed for {sys.executable}; run: pip install ipykernel"
            )
        names = ("site-packages", "dist-packages")
        packages = [Path(one) for one in sys.path if one.endswith(names)]
        packages.append(Path(found.origin).parent.parent)
        existing = dict.fromkeys(one.resolve() for one in packages if one.is_dir())
        return cls(
            executable=Path(sys.executable).resolve(),
            prefix=Path(sys.base_prefix).resolve(),
            packages=tuple(existing),
        )

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders outside `/usr` to be seen in the sandbox, none inside another."""
        needed = [self.prefix, self.executable.parent, *self.packages]
        library = sysconfig.get_config_var("LIBDIR")
        if library and os.path.isdir(library):  # noqa: PTH112 - it may be empty or no path
            needed.append(Path(library).resolve())
        outside = [one for one in dict.fromkeys(needed) if not one.is_relative_to(_SYSTEM)]
        return tuple(
            one
            for one in outside
            if not any(one != other and one.is_relative_to(other) for other in outside)
        )
