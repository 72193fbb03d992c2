"""The host as attacks find it: what they are told of it, and what they leave on it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from outcore.errors import SandboxError
from outcore.kernel_sandbox.attacks.canaries import VARIABLE, Canaries
from outcore.kernel_sandbox.attacks.programs.attack import Aim
from outcore.kernel_sandbox.interpreter import Interpreter
from outcore.kernel_sandbox.session import sessions_folder
from outcore.kernel_sandbox.walls import LIBRARY
from outcore.reaper import remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.kernel_sandbox import Kernel

_HOST = Path(__file__).resolve().parents[1] / "broker.py"
_TRIES = 3
_CRON = Path("/etc/cron.d")
_SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 - looked through, not used


@dataclass(frozen=True, slots=True)
class Inside:
    """Where a kernel has what it was given.

    Attributes:
        context: folder of the staged context.
        library: folder of the code it started with.
    """

    context: str
    library: str

    @classmethod
    async def of(cls, kernel: Kernel) -> Inside:
        """Ask a kernel.

        Raises:
            SandboxError: it does not say.
        """
        code = (
            "import gc, inside, json, os\n"
            "print(json.dumps([os.path.dirname(inside.__file__), *(str(one._folder) for one in "
            "gc.get_objects() if type(one).__name__ == 'Repl' and hasattr(one, '_folder'))]))"
        )
        code = f"exec({code!r}, {{}})"
        said = None
        # One that was past its limits is killed now, and a fresh one can be asked.
        for _ in range(_TRIES):
            said = await kernel.run(code, seconds=20)
            if said.status == "ok":
                library, context = json.loads(said.output)
                return cls(context, library)
        raise SandboxError(f"a kernel does not say where it has its context: {said}")


@dataclass
class Scene:
    """One host, its canaries, and a second kernel.

    Attributes:
        mates: mark of a process of the second kernel.
        second: that kernel, once it runs.
    """

    canaries: Canaries
    mates: str = field(default_factory=lambda: secrets.token_hex(6))
    second: Kernel | None = None

    @property
    def other(self) -> str:
        """Session folder of the second kernel."""
        return "" if self.second is None else str(self.second.folder)

    def aim(self, kernel: Kernel | None = None, inside: Inside | None = None, goal: int = 0) -> Aim:
        """What one attack is told; without a kernel, that of a control."""
        planted, where = self.canaries, self.canaries.where
        hidden = _hidden(Path.home())
        folders = (str(planted.context), str(planted.library))
        if inside is not None:
            folders = (inside.context, inside.library)
        cron, site = (str(planted.cron), str(planted.site))
        if kernel is not None:
            cron, site = str(_CRON), str(Interpreter.current().packages[0])
        return Aim(
            mark=secrets.token_hex(6),
            mates=self.mates,
            secret=str(planted.secret),
            scratch=str(planted.scratch),
            folder=str(planted.folder),
            run=str(planted.run / "trajectory.jsonl"),
            home=str(Path.home()),
            hidden=hidden,
            code=str(_HOST),
            context=f"{folders[0]}/blob",
            library=folders[1],
            mounts=() if kernel is None else (*folders, *map(str, self._needed())),
            left=tuple(map(str, self._watched())),
            cron=cron,
            site=site,
            profile=str(planted.profile),
            variable=VARIABLE,
            tcp=planted.tcp,
            tcp6=planted.tcp6,
            udp=planted.udp,
            abstract=planted.abstract,
            listener=str(planted.listener),
            host=os.getpid(),
            victim=0 if planted.victim is None else planted.victim.pid,
            victim_mark=planted.mark,
            victim_secret=where["secret"],
            victim_size=where["size"],
            victim_scratch=where["scratch"],
            victim_fd=where["fd"],
            other=self.other,
            session=self.other if kernel is None else str(kernel.folder),
            goal=goal,
        )

    def neighbour(self, kernel: Kernel) -> None:
        """Take `kernel` for the second kernel; its keys are secrets from here on."""
        self.second = kernel
        for path in kernel.folder.rglob("*.json"):
            told = json.loads(path.read_text())
            for name in ("key", "token"):
                if told.get(name):
                    self.canaries.secrets[f"second kernel's {name}"] = told[name]

    async def neighbours_harm(self) -> list[str]:
        """What has been done to the second kernel, in words."""
        assert self.second is not None
        secret = self.canaries.secrets["mate"]
        code = f"print(secret == {secret!r}, mate.poll() is None, not signals); signals.clear()"
        told = (await self.second.run(code, seconds=20)).output.split()
        return [] if told == ["True"] * 3 else [f"the second kernel was reached: {told}"]

    def seen(self, said: str) -> list[str]:
        """Secrets in what an attack printed, in words."""
        return [
            f"the secret of the {name} was seen"
            for name, secret in self.canaries.secrets.items()
            if secret in said
        ]

    def left(self, mark: str) -> list[str]:
        """Files that bear a mark, where one would leave them, in words; they are removed."""
        found = self._marked_files(mark)
        for path in found:
            remove(path)
        return [f"{path} is left" for path in found]

    def _marked_files(self, mark: str) -> list[Path]:
        found = []
        for folder in dict.fromkeys((*self._watched(), *self._needed(), _CRON, LIBRARY)):
            for place in (folder, *_folders(folder)):
                found += [place / one for one in _names(place) if mark in one]
        return found

    def _watched(self) -> Iterator[Path]:
        planted = self.canaries
        yield from map(Path, _SHARED)
        yield from (Path(tempfile.gettempdir()), Path.home(), Path.cwd(), sessions_folder())
        yield from (planted.folder, planted.run, planted.cron, planted.site)

    def _needed(self) -> Iterator[Path]:
        yield from Interpreter.current().folders
        yield Interpreter.current().packages[0]


def _hidden(folder: Path) -> tuple[str, ...]:
    """Names in a folder that lead to nothing a kernel needs."""
    needed = [*Interpreter.current().folders, LIBRARY]
    return tuple(
        name
        for name in _names(folder)
        if not any(one.is_relative_to(folder / name) for one in needed)
    )


def still_running(mark: str) -> list[psutil.Process]:
    """Processes that bear a mark."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            alive = one.status() != psutil.STATUS_ZOMBIE and one.pid != os.getpid()
            if alive and any(mark in word for word in one.cmdline()):
                found.append(one)
    return found


def end(processes: list[psutil.Process]) -> list[str]:
    """Kill processes; returns who they were, in words."""
    for one in processes:
        with contextlib.suppress(psutil.Error):
            one.kill()
            one.wait(5)
    return [f"process {one.pid} is left" for one in processes]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    if str(folder) in _SHARED:
        return []
    try:
        with os.scandir(folder) as entries:
            return [Path(one.path) for one in entries if one.is_dir(follow_symlinks=False)][:200]
    except OSError:
        return []
