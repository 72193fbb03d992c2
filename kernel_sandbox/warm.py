"""A kernel that is up before its context is known.

Its context folder is an empty one, mounted like any other. What is put into it on the host
appears in the sandbox; the kernel opens it when its first cell comes.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from outcore.errors import SandboxError
from outcore.kernel_sandbox.inside.staged import HINTS
from outcore.kernel_sandbox.kernel import Kernel
from outcore.kernel_sandbox.reach import check_readable

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.kernel_sandbox.connection import Handler
    from outcore.kernel_sandbox.kernel import KernelSpec

# The kernel's memory limit was set without the context, and has room for this much.
LARGEST = 64 << 20


class WarmKernel:
    """A started kernel that nothing has run in.

    Args:
        kernel: the kernel.
        spec: what it was started with.
        handler: answers its calls, once it is known who shall.
    """

    def __init__(self, kernel: Kernel, spec: KernelSpec, handler: _Later) -> None:
        self._kernel = kernel
        self._spec = spec
        self._handler = handler

    @classmethod
    async def start(cls, spec: KernelSpec, folder: Path) -> WarmKernel:
        """Start one like `spec` asks for, its context apart.

        Args:
            spec: tier, limits and hints; later hints are added to these.
            folder: an empty one; receives the context, and goes with `close`.

        Raises:
            SandboxUnavailable, SandboxError: as `Kernel.start`.
        """
        handler = _Later()
        spec = replace(spec, context=folder, late=True)
        try:
            return cls(await Kernel.start(spec, handler), spec, handler)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def suits(self, spec: KernelSpec) -> bool:
        """Whether it still lives and is what `spec` asks for."""
        same = (spec.tier, spec.limits) == (self._spec.tier, self._spec.limits)
        return same and self._kernel.alive and _size(spec.context) <= LARGEST

    def hand_over(self, spec: KernelSpec, handler: Handler) -> Kernel:
        """Make it the kernel of `spec`. The files of the context are linked, not copied.

        Raises:
            SandboxUnavailable: a file is closed to the sandbox's user.
            SandboxError: the context can't be linked or copied.
        """
        folder = self._spec.context
        try:
            for file in spec.context.iterdir():
                _link(file, folder / file.name)
            (folder / HINTS).write_text(json.dumps(dict(spec.hints)), "utf-8")
        except OSError as error:
            raise SandboxError(f"can't hand a context over to a kernel: {error}") from error
        check_readable(tuple(folder.iterdir()))
        self._handler.handler = handler
        self._kernel.settle(spec, handler)
        return self._kernel

    async def close(self) -> None:
        """End the kernel and remove its folder, handed over or not."""
        try:
            await self._kernel.close()
        finally:
            shutil.rmtree(self._spec.context, ignore_errors=True)


class _Later:
    """Passes calls on to a handler that is set later."""

    def __init__(self) -> None:
        self.handler: Handler | None = None

    async def __call__(self, op: str, params: dict[str, Any]) -> Any:
        if self.handler is None:
            raise SandboxError("this kernel has not been given anything to do")
        return await self.handler(op, params)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
