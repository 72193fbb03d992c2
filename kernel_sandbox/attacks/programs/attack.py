"""What an attack is, what it is told, and how it says what came of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Expected = Literal["stopped", "contained", "allowed"]
Need = Literal["root", "x86_64", "kernel", "checkout"]
REACHED, STOPPED, BROKE = "reached", "stopped", "broke"


class Stopped(Exception):
    """The attack came to nothing, for a reason that is no OSError."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What an attack is told of the host.

    Attributes:
        mark: unique to one run of one attack; names all that it leaves anywhere.
        mates: mark of the second kernel, in the arguments of a process it runs.
        secret: file anyone on the host may read.
        scratch: file anyone on the host may write.
        folder: the folder both lie in, open to all.
        run: record of another run.
        home: the user's home folder.
        hidden: names in it that a kernel has no business to see.
        code: a module of outcore that is not needed inside.
        context: file of the staged context.
        library: folder of the code that runs inside.
        mounts: folders a kernel sees that are the host's.
        left: folders in which something that is left would be found.
        cron: folder whose files the host runs.
        site: folder whose .pth files the host's Python runs.
        profile: file that a login shell reads.
        variable: name of a variable of the host's environment that holds a secret.
        tcp: port of a listener on 127.0.0.1.
        tcp6: the same on ::1; 0 where the host has no IPv6.
        udp: port of a name server on 127.0.0.1.
        abstract: name of an abstract unix socket the host listens on.
        listener: path of a unix socket the host listens on.
        host: pid of the host process.
        victim: pid of a process of the host that any process of its user may trace.
        victim_mark: in the victim's arguments.
        victim_secret: address of a secret in its memory.
        victim_size: length of that secret.
        victim_scratch: address of its memory that may be written.
        victim_fd: its descriptor of a file that is removed already.
        other: session folder of a second kernel.
        session: session folder of the kernel the attack runs in.
        goal: bytes that an exhaustion tries to use.
    """

    mark: str
    mates: str = ""
    secret: str = ""
    scratch: str = ""
    folder: str = ""
    run: str = ""
    home: str = ""
    hidden: tuple[str, ...] = ()
    code: str = ""
    context: str = ""
    library: str = ""
    mounts: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    cron: str = ""
    site: str = ""
    profile: str = ""
    variable: str = ""
    tcp: int = 0
    tcp6: int = 0
    udp: int = 0
    abstract: str = ""
    listener: str = ""
    host: int = 0
    victim: int = 0
    victim_mark: str = ""
    victim_secret: int = 0
    victim_size: int = 0
    victim_scratch: int = 0
    victim_fd: int = 0
    other: str = ""
    session: str = ""
    goal: int = 0


Program = Callable[[Aim], str]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt from inside.

    Attributes:
        name: unique.
        family: what it is aimed at.
        program: what it does.
        meaning: what it would mean if it were not stopped.
        expected: `stopped`: it gets nowhere. `contained`: it may do to its own kernel what it
            likes, and the host, the other kernels and the next cell are none the worse.
            `allowed`: it works, by design, and the meaning says why.
        needs: what the host must have for it to work anywhere.
        control: why it isn't run outside the sandbox; empty where it is.
        doubt: why it may fail even outside of any sandbox; empty where it must work there.
        fresh: whether it gets a kernel of its own, which ends before the host looks.
        seconds: the cell's limit.
    """

    name: str
    family: str
    program: Program
    meaning: str
    expected: Expected = "stopped"
    needs: frozenset[Need] = frozenset()
    control: str = ""
    doubt: str = ""
    fresh: bool = False
    seconds: float = 10.0


@dataclass
class _Register:
    attacks: list[Attack] = field(default_factory=list)


_register = _Register()


def registered() -> tuple[Attack, ...]:
    """All attacks of the modules that are imported, in their order."""
    return tuple(_register.attacks)


def attack(*needs: Need, **more: Any) -> Callable[[Program], Program]:
    """Make a function an attack: its name, its module and its docstring are the attack's."""

    def enlist(program: Program) -> Program:
        family = program.__module__.rpartition(".")[2]
        _register.attacks.append(
            Attack(
                name=program.__name__,
                family=family,
                program=program,
                meaning=" ".join((program.__doc__ or "").split()),
                needs=frozenset(needs),
                **more,
            )
        )
        return program

    return enlist


def perform(program: Program, aim: Aim) -> None:
    """Run an attack and print one line: the mark, what came of it, and how."""
    try:
        said = f"{REACHED} {program(aim)}"
    except Stopped as reason:
        said = f"{STOPPED} {reason}"
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        said = f"{STOPPED} {name}"
    except MemoryError:
        said = f"{STOPPED} MemoryError"
    except Exception as error:
        said = f"{BROKE} {type(error).__name__}: {error}"
    print(f"{aim.mark} {said[:2000]}", flush=True)


def is_it(pid: int, mark: str) -> None:
    """See that a pid is, in this pid namespace too, the process the host means.

    Raises:
        Stopped: it is not, or can't be told.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            found = mark.encode() in file.read()
    except OSError as error:
        raise Stopped(f"no such process here: {errno.errorcode[error.errno or 0]}") from None
    if not found:
        raise Stopped("that pid is another process here")


def own_folder() -> str:
    """The folder a kernel may write to; in the control, that of temporary files."""
    return os.environ.get("TMPDIR", "/tmp")


def all_pids() -> list[int]:
    """Processes that can be seen, the caller left out."""
    return [int(one) for one in os.listdir("/proc") if one.isdigit() and int(one) != os.getpid()]
