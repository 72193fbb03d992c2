"""Limits on a sandbox as a whole: measured, watched, and where Linux lets us, capped by it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from opened import AGAIN, ROOT, run_again
from sandboxing import Host, running

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import Limits, choose, scope
from outcore.kernel_sandbox.cgroup import Cgroup, delegated
from outcore.kernel_sandbox.watchdog.link import Watchdog
from outcore.kernel_sandbox.watchdog.looks import Bounds, Looks
from outcore.kernel_sandbox.watchdog.main import Orders
from outcore.kernel_sandbox.watchdog.meter import Meter, Process, used_below
from outcore.reaper import remove

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__)
MIB = 1 << 20


@contextlib.contextmanager
def program(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python that runs `code`, once it has printed a line."""
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
    finally:
        for one in reversed(Meter(started.pid).processes()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        started.wait()
        started.stdout.close()  # type: ignore[union-attr]


FAMILY = """
import os, threading, time
held = bytearray(os.urandom(1 << 20) * 64)
for _ in range(3):
    if os.fork() == 0:
        time.sleep(600)
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
print(flush=True)
time.sleep(600)
"""


def test_a_family_of_processes_is_added_up() -> None:
    with program(FAMILY) as started:
        meter = Meter(started.pid)
        processes = meter.processes()
        assert processes[0] == Process(started.pid, 2)
        assert [one.threads for one in processes[1:]] == [1, 1, 1]
        # What they share counts four times at first sight, and once at the second.
        assert meter.held(processes) > 4 * 64 * MIB
        assert 64 * MIB < meter.shared_out(processes, 1 << 40) < 2 * 64 * MIB
        # No more is looked at than decides.
        assert MIB < meter.shared_out(processes, MIB) < 64 * MIB


def test_memory_that_is_shared_on_purpose_counts_once() -> None:
    code = (
        "import mmap, os, time\nm = mmap.mmap(-1, 64 << 20)\nm.write(bytes(64 << 20))\n"
        "if os.fork() == 0:\n    m.seek(0)\n    m.write(bytes(64 << 20))\n"
        "    print(flush=True)\n    time.sleep(600)\ntime.sleep(600)"
    )
    with program(code) as started:
        meter = Meter(started.pid)
        assert 64 * MIB < meter.shared_out(meter.processes(), 1 << 40) < 100 * MIB


def test_a_process_that_is_gone_has_nothing() -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    meter = Meter(done.pid)
    assert meter.processes() == []
    gone = [Process(done.pid, 1)]
    assert meter.held(gone) == meter.shared_out(gone, 0) == meter.in_sockets(gone) == 0
    assert meter.unlinked(gone, 0) == 0


def test_sockets_count_where_there_are_many() -> None:
    meter = Meter(os.getpid())
    own = [Process(os.getpid(), 1)]
    assert meter.in_sockets(own) == 0
    with contextlib.ExitStack() as held:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 4096:
            pytest.skip("no more than 4,096 files may be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1050):
            for end in socket.socketpair():
                held.enter_context(end)
        assert meter.in_sockets(own) >= 2100 * 208 * 1024


def test_files_are_counted_and_so_are_those_without_a_name(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}" / "f").write_bytes(bytes(MIB))
    (tmp_path / "link").symlink_to("/usr")
    used, files = used_below(str(tmp_path), 100)
    assert files == 11
    assert 5 * MIB <= used < 6 * MIB
    assert used_below(str(tmp_path), 3)[1] <= 6
    (tmp_path / "d1").chmod(0o300)
    # Closed to all but root.
    assert used_below(str(tmp_path), 100)[1] == (files if ROOT else 101)
    (tmp_path / "d1").chmod(0o700)
    assert used_below(str(tmp_path / "absent"), 3) == (0, 0)
    meter = Meter(os.getpid())
    own = [Process(os.getpid(), 1)]
    device = tmp_path.stat().st_dev
    before = meter.unlinked(own, device)
    with (tmp_path / "gone").open("wb") as file:
        file.write(bytes(4 * MIB))
        file.flush()
        (tmp_path / "gone").unlink()
        assert meter.unlinked(own, device) - before >= 4 * MIB


def test_what_lies_too_deep_to_be_seen_is_too_much(tmp_path: Path) -> None:
    within = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(30):
            os.mkdir("d" * 200, dir_fd=within)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=within)
            os.close(within)
            within = below
        assert used_below(str(tmp_path), 1000)[1] == 1001
    finally:
        os.close(within)
        remove(tmp_path)
    assert not tmp_path.exists()


def test_disks_in_memory_count_with_their_empty_files() -> None:
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm to write to")
    meter = Meter(os.getpid(), ("/dev/shm",))
    before = meter.held([])
    folder = Path(f"/dev/shm/outcore-{os.getpid()}")
    folder.mkdir()
    try:
        (folder / "large").write_bytes(bytes(8 * MIB))
        for number in range(1000):
            (folder / str(number)).touch()
        # Others write there too.
        assert meter.held([]) - before > 9 * MIB - MIB
    finally:
        for one in folder.iterdir():
            one.unlink()
        folder.rmdir()


class Told:
    """A meter that says what it is told to."""

    def __init__(self, **said: int) -> None:
        self.said = {"tasks": 3, "held": 0, "shared": 0, "sockets": 0} | said
        self.closer = 0

    def processes(self) -> list[Process]:
        return [Process(1, self.said["tasks"])]

    def held(self, processes: list[Process]) -> int:
        return self.said["held"]

    def shared_out(self, processes: list[Process], most: int) -> int:
        self.closer += 1
        return self.said["shared"]

    def in_sockets(self, processes: list[Process]) -> int:
        return self.said["sockets"]

    def unlinked(self, processes: list[Process], device: int) -> int:
        return self.said.get("unlinked", 0)


BOUNDS = Bounds(total=100 * MIB, processes=64, tmp=8 * MIB, files=10)


def look(folder: Path | None = None, **said: int) -> str | None:
    meter: Any = Told(**said)
    where = None if folder is None else str(folder)
    return Looks(meter, BOUNDS, folder=where).look()


def test_each_limit_has_its_words(tmp_path: Path) -> None:
    assert look() is None
    assert look(tasks=64 + 8) is None
    assert "73 with their threads, the limit is 64" in (look(tasks=73) or "")
    # What is shared may make the first sum too large; the second one decides.
    assert look(held=200 * MIB, shared=99 * MIB) is None
    told = look(held=200 * MIB, shared=128 * MIB) or ""
    assert told.startswith("killed for the memory it used: ")
    assert told.endswith("took 0.12 GiB or more, the limit is 0.10 GiB")
    assert look(held=60 * MIB, shared=60 * MIB, sockets=50 * MIB) is not None
    assert look(tmp_path, unlinked=7 * MIB) is None
    assert "the limit is 8,388,608" in (look(tmp_path, unlinked=9 * MIB) or "")
    for number in range(11):
        (tmp_path / str(number)).touch()
    assert "more than 10 of them" in (look(tmp_path) or "")


@pytest.mark.parametrize(("total", "most"), [(100 * MIB, 6), (150 << 30, 3)])
def test_looking_closely_is_bounded_in_time(total: int, most: int) -> None:
    """Half the time near the limit, a fifth of it far from it."""
    meter: Any = Told(held=200 << 30, shared=50 * MIB)
    plain = meter.shared_out

    def slow(processes: list[Process], most: int) -> int:
        time.sleep(0.1)
        return int(plain(processes, most))

    meter.shared_out = slow
    looks = Looks(meter, BOUNDS._replace(total=total))
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert looks.look() is None
        time.sleep(0.01)
    assert 1 <= meter.closer <= most


def test_it_looks_again_at_once_where_memory_grew_meanwhile() -> None:
    meter: Any = Told(held=110 * MIB, shared=50 * MIB)
    plain = meter.shared_out

    def growing(processes: list[Process], most: int) -> int:
        meter.said["held"] += 51 * MIB
        time.sleep(0.05)
        return int(plain(processes, most))

    meter.shared_out = growing
    looks = Looks(meter, BOUNDS)
    for number in range(5):
        assert looks.look() is None
        assert meter.closer == number + 1


SMALL, LARGE = BOUNDS._replace(total=16 * MIB), BOUNDS._replace(total=1 << 40)


@contextlib.contextmanager
def watched(
    started: subprocess.Popen[str], bounds: Bounds, group: int = 0
) -> Iterator[tuple[Watchdog, threading.Event]]:
    """A watchdog on a program, and whether the host was told."""
    pidfd, told = os.pidfd_open(started.pid), threading.Event()
    dog = Watchdog(Orders(started.pid, (), None, False, bounds, pidfd, group), told.set)
    dog.start()
    try:
        yield dog, told
    finally:
        dog.stop()
        os.close(pidfd)


def test_it_kills_by_itself_and_says_why() -> None:
    code = f"import os\nos.setsid()\n{FAMILY}"
    with program(code) as started, watched(started, SMALL, started.pid) as (dog, told):
        gone = (ctypes.c_int * 2)(os.pidfd_open(started.pid), select.POLLIN)
        # While this waits no other thread of the host can run: PyDLL keeps the interpreter.
        assert ctypes.PyDLL(None).poll(gone, 1, 60_000) == 1
        os.close(gone[0])
        assert started.wait() == -signal.SIGKILL
        assert told.wait(60)
        said = dog.stop() or ""
        assert said.startswith("killed for the memory it used: "), said
        assert dog.stop() == said


def test_a_group_is_ended_with_its_leader() -> None:
    code = f"import os\nos.setsid()\n{FAMILY}"
    with program(code) as started, watched(started, SMALL, group=started.pid):
        assert started.stdout is not None
        # All of them hold it open.
        assert started.stdout.read() == ""


def test_what_stays_within_its_limits_goes_on() -> None:
    with program(FAMILY) as started, watched(started, LARGE) as (dog, told):
        assert not told.wait(1)
        assert started.poll() is None
        assert dog.stop() is None
        assert not told.is_set()
        with pytest.raises(ProcessLookupError):
            os.kill(dog.pid, 0)


def test_one_that_was_never_started_can_be_stopped() -> None:
    assert Watchdog(Orders(1, (), None, False, BOUNDS, 0, 0), lambda: None).stop() is None


def test_a_sandbox_does_not_outlive_its_watchdog() -> None:
    with program(FAMILY) as started, watched(started, LARGE) as (dog, told):
        os.kill(dog.pid, signal.SIGKILL)
        assert told.wait(30)
        assert "its watchdog had ended" in (dog.stop() or "")


def test_a_process_forked_meanwhile_does_not_keep_it() -> None:
    """vLLM forks its engine, with all the host has open."""
    with program(FAMILY) as started, watched(started, LARGE) as (dog, told):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        try:
            assert dog.stop() is None
            assert not told.is_set()
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


CHILDREN = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20) * 100)
        time.sleep(60)
time.sleep(60)
"""
SHARED = """
import os, time
held = bytearray(os.urandom(1 << 20) * 100)
children = []
for _ in range(6):
    children.append(os.fork())
    if children[-1] == 0:
        time.sleep(3)
        os._exit(0)
for one in children:
    os.waitpid(one, 0)
print('lives')
"""


@pytest.mark.parametrize("tier", ["bwrap", "landlock"])
async def test_many_processes_together_are_held_to_the_limit(tmp_path: Path, tier: Any) -> None:
    can_be_had(tier)
    async with running(tmp_path, Host(), tier=tier, limits=Limits(total=300 * MIB)) as kernel:
        result = await kernel.run(SHARED, seconds=60)
        assert result.output == "lives\n", result
        result = await kernel.run("kept = 1\n" + CHILDREN, seconds=60)
        assert result.status == "killed", result
        assert result.error is not None
        assert "killed for the memory it used: " in result.error
        found = re.search(r"took ([\d.]+) GiB or more, the limit is 0.29 GiB", result.error)
        assert found is not None
        # Six times two copies of 100 MiB is all they could come to, were they let.
        assert float(found[1]) < 1.5
        assert (await kernel.run("llm_query('x')", seconds=20)).output == "'re: x'\n"


async def test_a_kernel_whose_watchdog_dies_is_replaced(tmp_path: Path) -> None:
    async with running(tmp_path, Host()) as kernel:
        dogs = [
            one
            for one in psutil.Process().children()
            if "from watchdog import" in " ".join(one.cmdline())
        ]
        assert len(dogs) == 1
        dogs[0].kill()
        result = await kernel.run("import time; time.sleep(60)", seconds=60)
        assert "its watchdog had ended" in (result.error or ""), result
        assert (await kernel.run("1 + 1", seconds=20)).output == "2\n"


async def test_files_in_memory_count_too(tmp_path: Path) -> None:
    limits = Limits(total=300 * MIB, tmp=200 * MIB, shm=200 * MIB)
    async with running(tmp_path, Host(), tier="bwrap", limits=limits) as kernel:
        code = (
            "import time\n"
            "for f in ('/tmp/a', '/dev/shm/a'):\n    open(f, 'wb').write(bytes(180 << 20))\n"
            "time.sleep(30)"
        )
        result = await kernel.run(code, seconds=60)
        assert "killed for the memory it used: " in (result.error or ""), result


async def test_files_without_anything_in_them_count(tmp_path: Path) -> None:
    async with running(tmp_path, Host(), tier="bwrap", limits=Limits(total=100 * MIB)) as kernel:
        code = (
            "import os, time\nfor i in range(200_000):\n"
            "    os.close(os.open(f'/tmp/{i}', os.O_CREAT | os.O_WRONLY))\ntime.sleep(60)"
        )
        result = await kernel.run(code, seconds=90)
        assert "killed for the memory it used: " in (result.error or ""), result


async def test_what_was_left_running_is_noticed_between_cells(tmp_path: Path) -> None:
    async with running(tmp_path, Host(), tier="bwrap", limits=Limits(total=200 * MIB)) as kernel:
        # It waits for a sign, so that the cell is over before the memory is taken.
        code = "import os\nif os.fork() == 0:\n    import time\n"
        code += "    while not os.path.exists('/context/go'):\n        time.sleep(0.05)\n"
        code += "    held = bytearray(os.urandom(1 << 20) * 300)\n    time.sleep(60)\n"
        assert (await kernel.run(code, seconds=20)).status == "ok"
        (tmp_path / "context" / "go").touch()
        async with asyncio.timeout(30):
            while kernel.alive:
                await asyncio.sleep(0.1)
        result = await kernel.run("1", seconds=20)
        assert result.status == "killed"
        assert "killed for the memory it used: " in (result.error or "")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("open('a', 'wb').write(bytes(12 << 20))", "bytes on the disk, the limit is 16,777,216"),
        (
            "f = open('a', 'wb')\nimport os\nos.unlink('a')\nf.write(bytes(12 << 20))\nf.flush()",
            "bytes on the disk, the limit is 16,777,216",
        ),
        ("for i in range(200):\n    open(f'f{i}', 'w').close()", "more than 100 of them"),
    ],
)
async def test_the_private_folder_is_held_to_its_size(tmp_path: Path, code: str, said: str) -> None:
    can_be_had("landlock")
    limits = Limits(tmp=16 * MIB, files=100)
    async with running(tmp_path, Host(), tier="landlock", limits=limits) as kernel:
        again = code.replace("'a'", "'b'").replace("f =", "g =").replace("f.", "g.")
        result = await kernel.run(f"{code}\n{again}\nimport time; time.sleep(30)", seconds=60)
        assert result.status == "killed", result
        assert said in (result.error or "")
        left = "import os; [one for one in os.listdir() if one[0] != '.']"
        assert (await kernel.run(left, seconds=20)).output == "[]\n"


async def test_processes_are_held_to_their_number(tmp_path: Path) -> None:
    can_be_had("landlock")
    limits = Limits(processes=48)
    async with running(tmp_path, Host(), tier="landlock", limits=limits) as kernel:
        code = (
            "import os, time\nmade = 0\ntry:\n    for _ in range(150):\n"
            "        if os.fork() == 0:\n            time.sleep(60)\n        made += 1\n"
            "except BlockingIOError:\n    print('no more', made < 48)\ntime.sleep(20)"
        )
        result = await kernel.run(code, seconds=60)
        if ROOT:
            # A user of its own, whose processes Linux counts.
            assert result.output == "no more True\n", result
        else:
            assert "killed for its processes: " in (result.error or ""), result
        assert (await kernel.run("1 + 1", seconds=20)).output == "2\n"


def can_be_had(tier: Any) -> None:
    if tier != "landlock":
        return
    try:
        choose(tier)
    except SandboxUnavailable as error:
        if AGAIN in os.environ:
            raise
        pytest.skip(f"run again below, where it can be had: {error}")


def hierarchy(folder: Path, *, controllers: str = "cpu memory pids", own: str = "/a/b") -> Path:
    """A folder like a control group file system; returns the file that says where we are."""
    group = folder
    for name in ("", *own.strip("/").split("/")):
        group = group / name
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").touch()
        (group / "cgroup.subtree_control").write_text("")
    (folder / "a" / "cgroup.subtree_control").write_text(controllers + "\n")
    told = folder.parent / "own"
    told.write_text(f"1:name=systemd:/x\n0::{own}\n")
    return told


def test_the_nearest_group_that_is_ours_is_found(tmp_path: Path) -> None:
    mount, absent = tmp_path / "m", tmp_path / "absent"
    own = hierarchy(mount)
    assert delegated(mount, own, absent) == mount / "a"
    (mount / "a" / "cgroup.subtree_control").write_text("cpu pids\n")
    assert delegated(mount, own, absent) is None
    assert delegated(mount, absent, absent) is None
    own.write_text("4:memory:/x\n")
    assert delegated(mount, own, absent) is None


def test_systemds_groups_are_left_alone_unless_it_gave_them_up(tmp_path: Path) -> None:
    mount = tmp_path / "m"
    own = hierarchy(mount)
    assert delegated(mount, own, tmp_path) is None
    try:
        os.setxattr(mount / "a", "user.delegate", b"1")
    except OSError:
        pytest.skip("this file system has no attributes of users")
    assert delegated(mount, own, tmp_path) == mount / "a"


def test_a_group_that_is_closed_is_no_ones(tmp_path: Path) -> None:
    if ROOT:
        pytest.skip("nothing is closed to root; an ordinary user runs this below")
    mount = tmp_path / "m"
    own = hierarchy(mount)
    (mount / "a" / "cgroup.procs").chmod(0o444)
    assert delegated(mount, own, tmp_path / "absent") is None


def files_of(group: Path) -> None:
    """What Linux would put into a new group."""
    for name in ("memory.max", "memory.swap.max", "pids.max", "memory.oom.group", "cgroup.procs"):
        (group / name).write_text("")


def test_a_group_is_made_capped_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.mkdir

    def mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        files_of(self)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    group = Cgroup.create(tmp_path, "one", Limits(total=7 * MIB, processes=5))
    folder = tmp_path / "one"
    found = {one.name: one.read_text() for one in folder.iterdir()}
    assert found["memory.max"] == str(7 * MIB)
    assert found["memory.swap.max"] == "0"
    assert found["memory.oom.group"] == "1"
    assert found["pids.max"] == "10"
    group.take([4711])
    assert (folder / "cgroup.procs").read_text() == "4711"
    assert not group.ran_out
    (folder / "memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n")
    assert not group.ran_out
    (folder / "memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 1\n")
    assert group.ran_out
    for one in folder.iterdir():
        one.unlink()
    group.remove()
    group.remove()
    assert not folder.exists()


def test_a_group_that_can_not_be_capped_is_not_left(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"memory\.max"):
        Cgroup.create(tmp_path, "one", Limits())
    assert list(tmp_path.iterdir()) == []


def test_a_scope_is_asked_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busctl = tmp_path / "busctl"
    busctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ ! -e {tmp_path}/broken ]\n')
    busctl.chmod(0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    scope.running.cache_clear()
    found = scope.running(str(tmp_path), tmp_path)
    assert found is not None
    assert found.scope("outcore-1-2", [11, 12], Limits(total=MIB, processes=3)) is None
    asked = (tmp_path / "asked").read_text().splitlines()
    where = "--system" if ROOT else "--user"
    manager = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
    assert asked[0] == f"{where} get-property {manager} Version"
    assert asked[1] == (
        f"{where} call {manager} StartTransientUnit ssa(sv)a(sa(sv)) outcore-1-2.scope fail 5 "
        "PIDs au 2 11 12 MemoryMax t 1048576 MemorySwapMax t 0 TasksMax t 6 "
        "CollectMode s inactive-or-failed 0"
    )
    (tmp_path / "broken").touch()
    assert found.scope("n", [1], Limits()) is not None
    scope.running.cache_clear()
    assert scope.running(str(tmp_path), tmp_path) is None
    scope.running.cache_clear()
    assert scope.running("/nowhere", tmp_path) is None
    assert scope.running(str(tmp_path), tmp_path / "absent") is None
    scope.running.cache_clear()


@pytest.mark.skipif(not ROOT or AGAIN in os.environ, reason="only root can become someone else")
@pytest.mark.parametrize("ordinary", [True, False], ids=["ordinary user", "root"])
@pytest.mark.timeout(600)
def test_all_of_it_again(ordinary: bool) -> None:
    # As root, what could be had above has been.
    only = "" if ordinary else "landlock or private_folder or processes_are_held"
    run_again(str(HERE), ordinary=ordinary, only=only)
