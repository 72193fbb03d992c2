"""Landlock: what it is told, and a kernel that has nothing else around it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from opened import AGAIN, ROOT, run_again
from sandboxing import TEXT, Host, descendants, running

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import Kernel, choose
from outcore.kernel_sandbox.inside import landlock
from outcore.kernel_sandbox.lacks import lacks

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="this Linux has no Landlock")
HERE = Path(__file__)


@pytest.mark.parametrize(("version", "size", "last"), [(1, 8, 12), (2, 8, 13), (3, 8, 14)])
def test_old_versions_are_asked_for_what_they_know(version: int, size: int, last: int) -> None:
    attributes = landlock.attributes(version)
    assert len(attributes) == size
    assert struct.unpack("=Q", attributes) == ((1 << (last + 1)) - 1,)


def test_newer_versions_deny_ports_and_scopes() -> None:
    assert struct.unpack("=2Q", landlock.attributes(4)) == ((1 << 15) - 1, 0b11)
    assert struct.unpack("=2Q", landlock.attributes(5)) == ((1 << 16) - 1, 0b11)
    for version in (6, 7, 99):
        assert struct.unpack("=3Q", landlock.attributes(version)) == ((1 << 16) - 1, 0b11, 0b11)


def test_what_is_written_is_not_run_and_no_device_is_made() -> None:
    own = landlock.writing(5)
    assert not own & (landlock.EXECUTE | 1 << 6 | 1 << 11 | landlock.IOCTL_DEV)
    assert own & landlock.TRUNCATE
    assert not landlock.writing(2) & landlock.TRUNCATE


def walled(code: str, rules: list[tuple[str, int]]) -> str:
    """Output of a fresh interpreter that runs `code` behind the rules."""
    start = (
        "import errno, json, os, socket, sys; sys.path.insert(0, sys.argv[1])\n"
        "from inside import landlock\n"
        "landlock.restrict([tuple(one) for one in json.loads(sys.argv[2])])\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c", start + code),
            *(str(Path(landlock.__file__).parents[1]), json.dumps(rules)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


TRY = """
def tried(what, *args):
    try:
        what(*args)
        return 'done'
    except OSError as e:
        import errno
        return errno.errorcode[e.errno]
"""


def test_rules_allow_what_they_say_and_nothing_else(tmp_path: Path) -> None:
    for name in ("read", "own", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text("x")
    code = f"""{TRY}
import os
d = {str(tmp_path)!r}
print(
    [tried(open, f'{{d}}/{{n}}/f') for n in ('read', 'own', 'closed')],
    [tried(open, f'{{d}}/{{n}}/f', 'w') for n in ('read', 'own', 'closed')],
    [tried(open, f'{{d}}/{{n}}/g', 'x') for n in ('read', 'own', 'closed')],
    [tried(os.unlink, f'{{d}}/{{n}}/f') for n in ('read', 'own', 'closed')],
    [tried(os.listdir, f'{{d}}/{{n}}') for n in ('read', 'own', 'closed')],
    tried(os.rename, f'{{d}}/own/g', f'{{d}}/read/g'),
    tried(os.mknod, f'{{d}}/own/null', 0o20666, os.makedev(1, 3)) != 'done',
)
"""
    version = landlock.abi()
    rules = [
        ("/usr", landlock.READ),
        (str(tmp_path / "read"), landlock.READ),
        (str(tmp_path / "own"), landlock.writing(version)),
        (str(tmp_path / "absent"), landlock.READ),
    ]
    told = walled(code, rules)
    assert told == (
        "['done', 'done', 'EACCES'] ['EACCES', 'done', 'EACCES'] ['EACCES', 'done', 'EACCES'] "
        "['EACCES', 'done', 'EACCES'] ['done', 'done', 'EACCES'] EACCES True"
    ).replace("] EACCES", "] EXDEV" if "EXDEV" in told else "] EACCES")


def test_ports_sockets_and_signals_are_kept_in_from_their_versions_on() -> None:
    name = f"\0outcore-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(name)
        unix.listen()
        code = f"""{TRY}
import os, socket
print(
    tried(socket.socket().connect, ('127.0.0.1', {tcp.getsockname()[1]})),
    tried(socket.socket().bind, ('127.0.0.1', 0)),
    tried(socket.socket(socket.AF_UNIX).connect, {name!r}),
    tried(os.kill, os.getppid(), 0),
    tried(os.kill, os.getpid(), 0),
)
"""
        told = walled(code, [("/usr", landlock.READ)]).split()
    version = landlock.abi()
    assert told[:2] == ["EACCES" if version >= 4 else "done"] * 2
    assert told[2:4] == ["EPERM" if version >= 6 else "done"] * 2
    assert told[4] == "done"


def test_a_kernel_without_landlock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(OSError, match="has no Landlock"):
        landlock.restrict([])


class Inside:
    """Runs cells that have to work in a kernel that has Landlock alone."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    async def __call__(self, code: str) -> str:
        result = await self.kernel.run(TRY + code, seconds=30)
        assert result.status == "ok", result
        return result.output.strip()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def inside(tmp_path_factory: pytest.TempPathFactory) -> Any:
    try:
        choose("landlock")
    except SandboxUnavailable as error:
        if ROOT and "can be entered by its owner alone" in str(error) and AGAIN not in os.environ:
            pytest.skip("the interpreter is closed to others; the tests are run again below")
        raise
    async with running(tmp_path_factory.mktemp("landlock"), Host(), tier="landlock") as kernel:
        assert kernel.tier == "landlock"
        assert kernel.warning is None
        yield Inside(kernel)


async def test_the_context_and_the_models_are_there(inside: Inside) -> None:
    assert await inside("context[:3], llm_query('x'), len(context)") == (
        f"('The', 're: x', {len(TEXT)})"
    )


async def test_files_of_the_host_are_closed(inside: Inside, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o666)
    code = f"""
import os, pathlib
paths = ['/etc/passwd', {str(secret)!r}, {str(HERE)!r}, '/proc/1/status',
         '/proc/{os.getpid()}/status', '/proc/{os.getpid()}/cmdline', '/proc/meminfo',
         '/sys/kernel/uevent_seqnum', '/dev/tty', '/dev/ptmx', '/proc/net/unix', '/proc/net/tcp',
         '/proc/self/net/tcp', '/proc/thread-self/net/unix', '/proc/self/mountinfo',
         '/proc/self/environ']
print({{tried(open, p) for p in paths}} - {{'ENXIO', 'ENOENT'}})
folders = ['/', '/home', '/tmp', '/dev/shm', '/proc', '/proc/{os.getpid()}/fd', '/run']
print({{tried(os.listdir, p) for p in folders}} - {{'ENOENT'}})
outside = [{str(secret)!r}, '/tmp/x', '/dev/shm/x', '/var/tmp/x', '/run/x', '/usr/x', os.__file__]
print({{tried(open, p, 'w') for p in outside}}, tried(os.truncate, {str(secret)!r}, 0))
print({{tried(os.open, p, os.O_RDONLY | os.O_TRUNC) for p in outside[5:]}})
print(tried(os.unlink, {str(secret)!r}), tried(os.rename, {str(secret)!r}, 'x'),
      tried(os.link, {str(secret)!r}, 'x'), tried(os.mkdir, {str(secret)!r} + 'd'))
"""
    lines = (await inside(code)).splitlines()
    assert lines[0] == "{'EACCES'}"
    assert lines[1] == "{'EACCES'}"
    assert set(lines[2].replace("{", "").replace("}", "").replace("'", "").split()) <= {
        *("EACCES", "EACCES,", "EPERM", "EPERM,", "EROFS")
    }
    assert "done" not in lines[3]
    assert "done" not in lines[4]
    assert secret.read_text() == "s"


async def test_of_proc_it_has_its_own_files(inside: Inside) -> None:
    code = """
import gc, os
print({tried(open, f'/proc/self/{n}') for n in ('maps', 'status', 'statm', 'cmdline')},
      len(os.listdir('/proc/self/fd')) > 10, tried(os.listdir, '/proc/self/task'))
"""
    assert await inside(code) == "{'done'} True EACCES"


async def test_modes_owners_and_times_stay(inside: Inside, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    before = file.stat()
    code = f"""
import os
p = {str(file)!r}
fd = os.open(os.__file__, os.O_RDONLY)
print({{
    tried(os.chmod, p, 0o777), tried(os.utime, p), tried(os.chown, p, -1, -1),
    tried(os.setxattr, p, 'user.a', b'1'), tried(os.fchmod, fd, 0o777), tried(os.utime, fd),
    tried(os.chmod, '.', 0o777),
}})
os.close(fd)
"""
    assert await inside(code) == "{'EPERM'}"
    after = file.stat()
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)


async def test_no_socket_reaches_the_host(inside: Inside, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host:
        path = f"/tmp/outcore-{os.getpid()}.sock"
        host.bind(path)
        try:
            Path(path).chmod(0o777)
            host.setblocking(False)
            code = f"""
import socket
path = {path!r}
print({{tried(socket.socket, f, k) for f in (1, 2, 10, 16, 17, 40) for k in (1, 2, 3)}})
print(tried(socket.socketpair, 1, socket.SOCK_DGRAM),
      tried(socket.socketpair, 1, socket.SOCK_SEQPACKET))
a, b = socket.socketpair()
print(tried(a.sendto, b'x', path), tried(a.connect, path), tried(a.bind, 'x'), tried(a.listen))
a.send(b'still'); print(b.recv(9)); a.close(); b.close()
"""
            lines = (await inside(code)).splitlines()
            with pytest.raises(BlockingIOError):
                host.recv(10)
        finally:
            Path(path).unlink()
    assert lines[0] == "{'EPERM'}"
    assert lines[1] == "EPERM EPERM"
    assert lines[2] == "EISCONN EPERM EPERM EPERM"
    assert lines[3] == "b'still'"


async def test_processes_of_the_host_are_out_of_reach(inside: Inside) -> None:
    victim = subprocess.Popen(["sleep", "60"])
    try:
        code = f"""
import os, resource, signal
pid = {victim.pid}
print(tried(os.kill, pid, 9), tried(signal.pidfd_send_signal, os.pidfd_open(pid), 9),
      tried(resource.prlimit, pid, resource.RLIMIT_CPU, (1, 1)),
      tried(os.setpriority, os.PRIO_PROCESS, pid, 19), tried(os.setpriority, os.PRIO_USER, 0, 19),
      tried(os.sched_setaffinity, pid, {{0}}), tried(os.setsid), tried(os.setpgid, 0, 0))
print(resource.getrlimit(resource.RLIMIT_CORE))
"""
        lines = (await inside(code)).splitlines()
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
    assert set(lines[0].split()) == {"EPERM"}
    assert lines[1] == "(0, 0)"


async def test_its_own_folder_is_private_and_the_only_one(inside: Inside) -> None:
    code = """
import os, tempfile
open('a', 'w').write('mine')
os.rename('a', 'b')
print(open('b').read(), oct(os.stat('.').st_mode), os.getcwd() == os.environ['HOME'])
with tempfile.NamedTemporaryFile() as f:
    f.write(b'x')
import subprocess
print(subprocess.run(['sh', '-c', 'cat b'], capture_output=True, text=True).stdout)
"""
    assert await inside(code) == "mine 0o40700 True\nmine"
    if ROOT:
        uid = int(await inside("import os; os.getuid()"))
        assert uid not in (0, os.getuid())
        assert await inside("os.getgroups(), open('/proc/self/status').read().count('CapEff')")


async def test_a_child_calls_over_a_connection_handed_in(inside: Inside) -> None:
    code = """
import os
pipes = []
for i in range(4):
    r, w = os.pipe()
    if os.fork() == 0:
        os.write(w, llm_query(f'child {i}').encode())
        os._exit(0)
    os.close(w)
    pipes.append(r)
print([os.read(r, 99).decode() for r in pipes])
[os.close(r) for r in pipes]
[os.wait() for _ in pipes]
print(llm_query('parent'))
"""
    told = (await inside(code)).splitlines()
    assert told[0] == f"{[f're: child {i}' for i in range(4)]}"
    assert told[1] == "re: parent"


async def test_a_broken_connection_is_replaced_though_none_can_be_made(inside: Inside) -> None:
    code = """
import gc, time
from inside.bridge import Bridge
bridge = next(one for one in gc.get_objects() if isinstance(one, Bridge))
bridge._link._socket.shutdown(2)
until = time.monotonic() + 5
while not bridge._link.broken and time.monotonic() < until:
    time.sleep(0.01)
print(llm_query('again'))
"""
    assert await inside(code) == "re: again"


async def test_what_it_leaves_running_ends_with_it(inside: Inside, tmp_path: Path) -> None:
    before = descendants()
    async with running(tmp_path, Host(), tier="landlock") as kernel:
        code = (
            "import os, subprocess\n"
            "if os.fork() == 0:\n    if os.fork() == 0:\n"
            "        os.execvp('sleep', ['sleep', '600'])\n"
            "    os._exit(0)\n_ = os.wait()\n"
            "subprocess.Popen(['sh', '-c', 'sleep 600 & sleep 600']).pid"
        )
        assert (await kernel.run(code, seconds=10)).status == "ok"
        async with asyncio.timeout(10):
            while sum("sleep" in one.name() for one in descendants() - before) < 3:
                await asyncio.sleep(0.05)
    # `running` has seen that none is left.


async def test_kernels_do_not_see_each_other(tmp_path: Path, inside: Inside) -> None:
    async with running(tmp_path, Host(), tier="landlock") as other:
        assert (await other.run("open('mine', 'w').write('x')", seconds=10)).status == "ok"
        home = (await other.run("import os\nprint(os.getcwd())", seconds=10)).output.strip()
        pid = (await other.run("print(os.getpid())", seconds=10)).output.strip()
        code = f"""
import os, signal
print(tried(open, {home!r} + '/mine'), tried(os.listdir, {home!r}), tried(os.kill, {pid}, 9),
      tried(open, '/proc/{pid}/mem'))
"""
        told = (await inside(code)).split()
        assert "done" not in (told[0], told[1], told[3])
        if ROOT or landlock.abi() >= landlock.SCOPE_ABI:
            assert told[2] == "EPERM"
        assert other.alive


async def test_the_second_wall_stands_behind_bubblewraps(tmp_path: Path) -> None:
    async with running(tmp_path, Host(), tier="bwrap") as kernel:
        code = f"""{TRY}
import os, socket
os.symlink('/usr/bin/true', '/tmp/link')
open('/tmp/script', 'w').write('#!/bin/sh\\n')
os.chmod('/tmp/script', 0o755)
print(tried(os.mkdir, '/run/outcore/new'), tried(open, '/proc/self/oom_score_adj', 'w'),
      tried(os.execv, '/tmp/script', ['x']), tried(open, '/tmp/new', 'w'),
      tried(open, '/dev/shm/n', 'w'),
      tried(os.listdir, '/'), tried(open, '/etc/ld.so.cache'))
"""
        result = await kernel.run(code, seconds=20)
        assert result.status == "ok", result
        told = result.output.split()
        # Only Landlock keeps a process from what its own user may write to and run.
        assert told[1:3] == ["EACCES", "EACCES"]
        assert told[3:6] == ["done"] * 3
        assert told[6] in ("done", "ENOENT")


def test_what_is_lacking_depends_on_the_machine() -> None:
    names = {one.name for one in lacks("landlock", abi=7, drops=True)}
    assert {"names", "late-disk", "sockets"} <= names
    assert {one.name for one in lacks("landlock", abi=7, drops=False)} - names == {"same-user"}
    old = {one.name for one in lacks("landlock", abi=3, drops=False)}
    assert old - names == {"same-user", "signals"}
    assert lacks("bwrap", abi=1, drops=True) == ()
    assert [one.name for one in lacks("bwrap", abi=0, drops=True)] == ["second-wall"]
    assert lacks("none", abi=7, drops=False)


@pytest.mark.skipif(not ROOT or AGAIN in os.environ, reason="only root can become someone else")
@pytest.mark.parametrize("ordinary", [True, False], ids=["ordinary user", "root"])
@pytest.mark.timeout(600)
def test_all_of_it_again(ordinary: bool) -> None:
    run_again(str(HERE), ordinary=ordinary)


@pytest.mark.skipif(not ROOT or AGAIN in os.environ, reason="only root can become someone else")
@pytest.mark.parametrize(
    ("file", "only"),
    [
        # Pools of processes need locks in /dev/shm, which is the host's.
        ("test_kernel.py", "not forked_children_call"),
        ("test_speculation.py", "foreseen"),
    ],
)
@pytest.mark.timeout(600)
def test_a_kernel_works_there_as_it_does_elsewhere(file: str, only: str) -> None:
    run_again(str(HERE.with_name(file)), ordinary=True, tier="landlock", only=only)


def test_the_numbers_are_those_of_the_kernels_headers() -> None:
    header = Path("/usr/include/linux/landlock.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    text = header.read_text()
    for name, bit in (("EXECUTE", 0), ("READ_DIR", 3), ("REFER", 13), ("TRUNCATE", 14)):
        line = next((one for one in text.splitlines() if f"ACCESS_FS_{name}\t" in one), None)
        if line is not None:
            assert f"1ULL << {bit})" in line
    assert ctypes.sizeof(ctypes.c_uint64) * 3 == len(landlock.attributes(6))
