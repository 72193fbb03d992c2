"""What is laid out on the host for attacks to find: files, sockets, variables, a process.

What happens to it is looked at from here, after each attack.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from outcore.config import home
from outcore.kernel_sandbox.inside.staged import FORMAT, TABLE_TYPE, Meta
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "OUTCORE_ATTACK_CANARY"
_TEXT = "The captain is Ahab.\nThe whale is white.\n"
_UNTOUCHED = "untouched\n"
_VICTIM = Path(__file__).parent / "victim.py"
_ANSWER_SECONDS = 10.0


@dataclass
class Canaries:
    """Everything planted, and what has come of it.

    Attributes:
        folder: open to all on the host.
        secrets: what must not be seen inside, by what it is.
        visits: what has reached one of the host's sockets, since it was last looked.
        where: what the victim told of itself.
    """

    folder: Path
    run: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(6))
    secrets: dict[str, str] = field(default_factory=dict)
    visits: list[str] = field(default_factory=list)
    where: dict[str, int] = field(default_factory=dict)
    tcp: int = 0
    tcp6: int = 0
    udp: int = 0
    victim: asyncio.subprocess.Process | None = None
    _listening: list[asyncio.Server | asyncio.DatagramTransport] = field(default_factory=list)
    _signals: int = 0

    @classmethod
    async def plant(cls) -> Canaries:
        """Lay everything out. Raises OSError where there is no room for it."""
        folder = Path(tempfile.mkdtemp(prefix="outcore-attack-"))
        reaper().adopt_path(folder)
        run = home() / "runs" / folder.name
        reaper().adopt_path(run)
        canaries = cls(folder=folder, run=run)
        try:
            await canaries._plant()
        except BaseException:
            await canaries.remove()
            raise
        return canaries

    async def _plant(self) -> None:
        for what in ("file", "run", "variable", "arguments", "memory", "removed file", "mate"):
            self.secrets[what] = secrets.token_hex(16)
        self.folder.chmod(0o777)
        self.run.mkdir(parents=True)
        self.write()
        os.environ[VARIABLE] = self.secrets["variable"]
        await self._listen()
        await self.renew_victim()

    def write(self) -> None:
        """Lay the files out, again where they are not as they were."""
        files = {
            self.secret: self.secrets["file"],
            self.run / "trajectory.jsonl": self.secrets["run"],
            self.scratch: _UNTOUCHED,
            self.profile: _UNTOUCHED,
            self.library / "bootstrap.py": _UNTOUCHED,
            **_context(self.context),
        }
        for path, text in files.items():
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o644)
        self.scratch.chmod(0o666)
        for folder in (self.context, self.library, self.cron, self.site):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)

    @property
    def secret(self) -> Path:
        """A file all may read."""
        return self.folder / "secret"

    @property
    def scratch(self) -> Path:
        """A file all may write."""
        return self.folder / "scratch"

    @property
    def profile(self) -> Path:
        """Stands for what the user's shells read at their start."""
        return self.folder / ".profile"

    @property
    def context(self) -> Path:
        """A staged context."""
        return self.folder / "context"

    @property
    def library(self) -> Path:
        """Stands for the code that runs inside, in the control."""
        return self.folder / "library"

    @property
    def cron(self) -> Path:
        """Stands for the folder of the host's jobs, in the control."""
        return self.folder / "cron.d"

    @property
    def site(self) -> Path:
        """Stands for the folder of the host's packages, in the control."""
        return self.folder / "site"

    @property
    def listener(self) -> Path:
        """A unix socket."""
        return self.folder / "socket"

    @property
    def abstract(self) -> str:
        """Name of an abstract unix socket."""
        return f"outcore-attack-{self.mark}"

    async def _listen(self) -> None:
        def visited(name: str) -> object:
            async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self.visits.append(name)
                writer.transport.abort()

            return accept

        def bound(family: int, address: object) -> socket.socket:
            one = socket.socket(family)
            one.bind(address)  # type: ignore[arg-type]
            return one

        one = bound(socket.AF_INET, ("127.0.0.1", 0))
        self.tcp = one.getsockname()[1]
        sockets = {"IPv4": one, "abstract": bound(socket.AF_UNIX, f"\0{self.abstract}")}
        with contextlib.suppress(OSError):
            sockets["IPv6"] = bound(socket.AF_INET6, ("::1", 0))
            self.tcp6 = sockets["IPv6"].getsockname()[1]
        sockets["path"] = bound(socket.AF_UNIX, str(self.listener))
        self.listener.chmod(0o777)
        for name, each in sockets.items():
            starts = (
                asyncio.start_unix_server
                if each.family == socket.AF_UNIX
                else (asyncio.start_server)
            )
            self._listening.append(await starts(visited(name), sock=each))  # type: ignore[arg-type]
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _NameServer(self.visits), ("127.0.0.1", 0)
        )
        self.udp = transport.get_extra_info("sockname")[1]
        self._listening.append(transport)

    async def renew_victim(self) -> None:
        """Start a victim, in the place of one that was hurt."""
        await self._end_victim()
        self.victim = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_VICTIM), self.mark, self.secrets["arguments"]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env={VARIABLE: self.secrets["variable"]},
        )
        told = {
            "memory": self.secrets["memory"],
            "file": self.secrets["removed file"],
            "folder": str(self.run),
        }
        self.where = await self._asked(json.dumps(told))
        self._signals = 0

    async def _asked(self, line: str) -> dict[str, int]:
        assert self.victim is not None
        assert self.victim.stdin is not None
        assert self.victim.stdout is not None
        self.victim.stdin.write(f"{line}\n".encode())
        said = await asyncio.wait_for(self.victim.stdout.readline(), _ANSWER_SECONDS)
        state: dict[str, int] = json.loads(said)
        return state

    async def harm(self) -> list[str]:
        """What has been done since it was last looked, in words; all is put right again."""
        # What has reached a socket is told by the next turn of the loop.
        await asyncio.sleep(0)
        found = [f"the host's {name} socket was reached" for name in self.visits]
        self.visits.clear()
        changed = [*self._changed()]
        if changed:
            found += [f"{path} was changed" for path in changed]
            self.write()
        try:
            state = await self._asked("")
        except (OSError, ValueError, TimeoutError):
            found.append("a process of the host was ended or stopped")
            await self.renew_victim()
        else:
            if state["signals"] > self._signals:
                found.append("a process of the host was signalled")
            self._signals = state["signals"]
            if state["changed"]:
                found.append("memory of a process of the host was changed")
                await self.renew_victim()
        return found

    def _changed(self) -> Iterator[Path]:
        wanted = {
            self.secret: self.secrets["file"],
            self.run / "trajectory.jsonl": self.secrets["run"],
            self.scratch: _UNTOUCHED,
            self.profile: _UNTOUCHED,
            self.library / "bootstrap.py": _UNTOUCHED,
            **_context(self.context),
        }
        for path, text in wanted.items():
            try:
                same = path.read_text() == text
                mode = path.stat().st_mode & 0o777
            except (OSError, ValueError):
                yield path
            else:
                if not same or mode != (0o666 if path == self.scratch else 0o644):
                    yield path

    async def remove(self) -> None:
        """Take everything away."""
        os.environ.pop(VARIABLE, None)
        for one in self._listening:
            one.close()
        await self._end_victim()
        for path in (self.folder, self.run):
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            reaper().release_path(path)

    async def _end_victim(self) -> None:
        if self.victim is not None:
            with contextlib.suppress(ProcessLookupError):
                self.victim.kill()
            await self.victim.wait()
            self.victim = None


class _NameServer(asyncio.DatagramProtocol):
    """Remembers that something came."""

    def __init__(self, visits: list[str]) -> None:
        self._visits = visits

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Something came."""
        del data, addr
        self._visits.append("UDP")


def _context(folder: Path) -> dict[Path, str]:
    """The files of a staged context that holds one ASCII text."""
    meta = Meta(
        format=FORMAT,
        kind="str",
        chars=len(_TEXT),
        bytes=len(_TEXT),
        lines=_TEXT.count("\n"),
        documents=1,
        memory=len(_TEXT) + 50,
        names=False,
        json=False,
        title="text",
        digest="",
    )
    bounds = b"".join(number.to_bytes(8, sys.byteorder) for number in (0, len(_TEXT)))
    assert TABLE_TYPE == "Q"
    return {
        folder / "blob": _TEXT,
        folder / "meta.json": json.dumps(meta._asdict()),
        folder / "byte_bounds": bounds.decode("latin-1"),
    }
