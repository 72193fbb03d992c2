"""Which tier is chosen, what it says of itself, and what helps where one can't be had."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opened import AGAIN, ROOT, command, run_again
from sandboxing import Host, stage

from outcore import doctor
from outcore.config import Settings, Tier
from outcore.errors import ConfigError, SandboxUnavailable
from outcore.kernel_sandbox import Kernel, KernelSpec, choose, tiers
from outcore.kernel_sandbox.fixes import FIXES, LAST_RESORT, explain
from outcore.kernel_sandbox.inside import landlock
from outcore.kernel_sandbox.inside.bpf import ALLOW, AND_K, ARGS, ERRNO, JEQ_K, LD_W_ABS, NR, RET_K
from outcore.kernel_sandbox.inside.bpf import op as instruction
from outcore.kernel_sandbox.tiers import Confinement

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__)
FOUND = Confinement("landlock")


@pytest.fixture(autouse=True)
def forget_probes() -> Iterator[None]:
    probes = (tiers._bwrap, tiers._landlock, tiers._strongest)
    for one in probes:
        one.cache_clear()
    yield
    for one in probes:
        one.cache_clear()


def unavailable(said: str) -> Any:
    def refuse(path: str) -> Confinement:
        raise SandboxUnavailable(said)

    refuse.cache_clear = lambda: None  # type: ignore[attr-defined]
    return refuse


def available(found: Confinement) -> Any:
    def give(path: str) -> Confinement:
        return found

    give.cache_clear = lambda: None  # type: ignore[attr-defined]
    return give


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What asyncio says of tasks that another test has left comes at any time."""
    return [one for one in caplog.records if one.name.startswith("outcore")]


def test_bubblewrap_comes_first_and_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    found = choose("auto")
    assert found.tier == "bwrap"
    assert found.warning is None
    assert not ours(caplog)


def test_landlock_stands_in_loudly_and_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tiers, "_bwrap", unavailable("no bubblewrap: install it"))
    monkeypatch.setattr(tiers, "_landlock", available(FOUND))
    found = choose("auto")
    assert choose("auto") is found
    assert found.tier == "landlock"
    assert found.warning is not None
    assert "no bubblewrap: install it" in found.warning
    for lack in found.lacks:
        assert (lack.text in found.warning) == lack.open
    (record,) = ours(caplog)
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"outcore: WARNING: {found.warning}"


def test_the_warning_goes_to_stderr_of_a_program_that_configures_nothing() -> None:
    code = (
        "from outcore.kernel_sandbox import tiers\n"
        "from outcore.errors import SandboxUnavailable\n"
        "def refuse(path): raise SandboxUnavailable('no bubblewrap')\n"
        "tiers._bwrap = refuse\n"
        "tiers._landlock = lambda path: tiers.Confinement('landlock')\n"
        "print(tiers.choose('auto').tier)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
    )
    assert done.stdout == "landlock\n"
    assert done.stderr.startswith("outcore: WARNING: the sandbox is weaker than it should be")


def test_nothing_at_all_is_refused_with_both_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_bwrap", unavailable("no bubblewrap: install it"))
    monkeypatch.setattr(tiers, "_landlock", unavailable("this Linux has no Landlock"))
    with pytest.raises(SandboxUnavailable, match=r"install it.*this Linux has no Landlock"):
        choose("auto")


def test_what_is_asked_for_is_what_is_had_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_bwrap", unavailable("no bubblewrap"))
    monkeypatch.setattr(tiers, "_landlock", available(FOUND))
    with pytest.raises(SandboxUnavailable, match="no bubblewrap"):
        choose("bwrap")
    assert choose("landlock").warning is None
    monkeypatch.setattr(tiers, "_landlock", unavailable("no Landlock"))
    with pytest.raises(SandboxUnavailable, match="no Landlock"):
        choose("landlock")
    assert choose("none").tier == "none"


def test_a_linux_without_landlock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(SandboxUnavailable, match=r"no Landlock: it came with 5\.13.*lsm="):
        choose("landlock")
    found = choose("bwrap")
    assert [one.name for one in found.lacks] == ["second-wall"]


async def test_the_tier_and_the_warning_are_the_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = choose("bwrap")
    weak = Confinement(found.tier, found.program, found.setpriv, "weaker than it should be")
    monkeypatch.setattr(tiers, "_strongest", available(weak))
    spec = KernelSpec(context=stage(tmp_path / "context"))
    async with await Kernel.start(spec, Host()) as kernel:
        assert kernel.tier == "bwrap"
        assert kernel.warning == "weaker than it should be"


def test_the_tiers_are_those_of_the_settings() -> None:
    tiers_there_are: tuple[Tier, ...] = ("auto", "bwrap", "landlock", "none")
    for tier in tiers_there_are:
        assert Settings(sandbox=tier).sandbox == tier
    with pytest.raises(ConfigError, match="auto, bwrap, landlock, none"):
        Settings(sandbox="docker")  # type: ignore[arg-type]


def test_the_doctor_tells_of_both_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_landlock", available(FOUND))
    findings = list(doctor._sandbox())
    assert all(one.good for one in findings)
    texts = [one.text for one in findings]
    assert texts[0].startswith("bwrap, by ")
    assert "memory is capped by " in texts[0]
    assert any(text.startswith("landlock, by Linux") for text in texts)
    for lack in FOUND.lacks:
        assert any(text.endswith(lack.text) for text in texts)
    monkeypatch.setattr(tiers, "_bwrap", unavailable("no bubblewrap: install it"))
    first = next(iter(doctor._sandbox()))
    assert first.fix == "no bubblewrap: install it"
    monkeypatch.setattr(tiers, "_landlock", unavailable("no Landlock"))
    assert [one.good for one in doctor._sandbox()].count(False) == 1


# What bubblewrap 0.8 to 0.11 says on machines that refuse it, and a word of what helps.
SAID = {
    # Ubuntu 23.10 and later, an ordinary user
    "bwrap: setting up uid map: Permission denied": "apparmor_restrict_unprivileged_userns=0",
    "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted": "apparmor_restrict",
    "bwrap: loopback: Failed RTM_NEWLINK: Operation not permitted": "apparmor_restrict",
    # Docker's default profile, an ordinary user; the wording of 0.8, 0.9 and of Debian
    "bwrap: No permissions to creating new namespace, likely because the kernel does not allow "
    "non-privileged user namespaces. On e.g. debian this can be enabled with 'sysctl "
    "kernel.unprivileged_userns_clone=1'.": "--cap-add SYS_ADMIN",
    "bwrap: No permissions to create a new namespace, likely because the kernel does not allow "
    "non-privileged user namespaces. See <https://deb.li/bubblewrap> or "
    "<file:///usr/share/doc/bubblewrap/README.Debian.gz>.": "unprivileged_userns_clone=1",
    # Docker's default profile, root
    "bwrap: Creating new namespace failed: Operation not permitted": "seccomp=unconfined",
    # Docker with --cap-add SYS_ADMIN alone
    "bwrap: Failed to make / slave: Permission denied": "apparmor=unconfined",
    "bwrap: Failed to make / slave: Operation not permitted": "seccomp=unconfined",
    "bwrap: Failed to mount tmpfs: Permission denied": "apparmor=unconfined",
    "bwrap: Failed to mount tmpfs: Operation not permitted": "seccomp=unconfined",
    "bwrap: setting up uid map: Operation not permitted": "--cap-add SYS_ADMIN",
    "bwrap: Can't mount proc on /newroot/proc: Operation not permitted": "systempaths=unconfined",
    "bwrap: cannot open /proc/sys/user/max_user_namespaces: Read-only file system": "systempaths",
    # no namespaces left
    "bwrap: Creating new namespace failed: No space left on device": "max_user_namespaces=10000",
    "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces "
    "exceeded (ENOSPC)": "max_user_namespaces=10000",
    # old kernels, and those built without
    "bwrap: Creating new namespace failed, likely because the kernel does not support user "
    "namespaces.  bwrap must be installed setuid on such systems.": "CONFIG_USER_NS",
    "bwrap: Creating new namespace failed: Invalid argument": "CONFIG_USER_NS",
    "bwrap: prctl(PR_SET_SECCOMP): Invalid argument": "CONFIG_SECCOMP_FILTER",
    # others
    "bwrap: pivot_root: Invalid argument": "initramfs",
    "bwrap: Unexpected capabilities but not setuid, old file caps config?": "ambient-caps",
    "bwrap: Unknown option --disable-userns": "older than 0.8",
    "setpriv: setresuid failed: Operation not permitted": "--cap-add SETUID",
    "bwrap: capset failed: Operation not permitted": "SETPCAP",
}


@pytest.mark.parametrize("said", SAID)
def test_what_bubblewrap_says_is_understood(said: str) -> None:
    told = explain(f"something before\n{said}\n")
    assert told.startswith(f"{said} - ")
    assert SAID[said] in told


def test_every_fix_is_reached_and_what_is_new_is_passed_on() -> None:
    reached = {explain(said).partition(" - ")[2] for said in SAID}
    assert {fix for _, fix in FIXES} == reached
    assert explain("bwrap: something new\n") == "bwrap: something new"
    assert explain("") == "it said nothing"


def test_bubblewraps_words_are_in_its_program() -> None:
    """What stands in lower case is bubblewrap's own; the rest is the system's."""
    program = choose("bwrap").program
    assert program is not None
    text = program.read_bytes()
    own = ("setting up uid map", "Failed to make / slave", "Unexpected capabilities", "mount proc")
    for words in own:
        assert any(words in sign for sign, _ in FIXES), words
    for said in (*own[:2], "RTM_NEWADDR", "pivot_root", "Failed to mount tmpfs"):
        assert said.encode() in text, said


def refusing(number: int, mask: int, failure: int) -> bytes:
    """A filter that fails a call with `failure`, where the first argument has a bit of `mask`.

    With a mask of 0 it does so always.
    """
    if not mask:
        always = (instruction(JEQ_K, number, 0, 1), instruction(RET_K, ERRNO | failure))
        return b"".join((instruction(LD_W_ABS, NR), *always, instruction(RET_K, ALLOW)))
    return b"".join(
        (
            instruction(LD_W_ABS, NR),
            instruction(JEQ_K, number, 0, 4),
            instruction(LD_W_ABS, ARGS),
            instruction(AND_K, mask),
            instruction(JEQ_K, 0, 1, 0),
            instruction(RET_K, ERRNO | failure),
            instruction(RET_K, ALLOW),
        )
    )


NUMBERS = {"x86_64": {"clone": 56, "mount": 165}, "aarch64": {"clone": 220, "mount": 40}}
SPACES = 0x7E02_0000
CHOOSE = """
import json, sys
from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import choose
from outcore.kernel_sandbox.inside import confine, landlock
told = json.loads(sys.argv[1])
if told["filter"]:
    confine.put_on(bytes.fromhex(told["filter"]))
if told["rules"]:
    landlock.restrict([tuple(one) for one in told["rules"]])
for tier in told["tiers"]:
    try:
        print(choose(tier).tier)
    except SandboxUnavailable as error:
        print(error)
"""


def chosen(*tried: str, filtered: bytes = b"", rules: Any = (), ordinary: bool = False) -> str:
    """What a fresh process with less rights gets for the tiers it tries."""
    told = json.dumps({"filter": filtered.hex(), "rules": list(rules), "tiers": tried})
    argv = [sys.executable, "-P", "-c", CHOOSE, told]
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="o") as made:
        folder = Path(made)
        folder.chmod(0o777)
        environment: dict[str, str] | None = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
        if ordinary and ROOT:
            argv, environment = command(folder, argv, ordinary=True), None
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=100, check=False, env=environment, cwd="/"
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("call", "mask", "failure", "help_"),
    [
        ("clone", SPACES, errno.EPERM, "--security-opt seccomp=unconfined"),
        ("clone", SPACES, errno.ENOSPC, "max_user_namespaces=10000"),
        ("clone", SPACES, errno.EINVAL, "CONFIG_USER_NS"),
        ("mount", 0, errno.EACCES, "apparmor=unconfined"),
        ("mount", 0, errno.EPERM, "seccomp=unconfined"),
    ],
)
@pytest.mark.parametrize("ordinary", [False, True], ids=["as root", "as an ordinary user"])
def test_a_machine_that_refuses_is_answered_with_what_helps(
    call: str, mask: int, failure: int, help_: str, ordinary: bool
) -> None:
    """Bubblewrap itself, run where the system refuses what Docker and old kernels refuse."""
    if not ordinary and not ROOT:
        pytest.skip("the other half runs as an ordinary user")
    filtered = refusing(NUMBERS[platform.machine()][call], mask, failure)
    told = chosen("bwrap", filtered=filtered, ordinary=ordinary)
    assert "can't isolate a kernel: " in told
    assert " - " in told, told
    assert help_ in told
    assert LAST_RESORT in told


@pytest.mark.skipif(not landlock.abi(), reason="this Linux has no Landlock to refuse with")
def test_a_map_of_users_that_may_not_be_written_is_apparmors() -> None:
    """The same failure as Ubuntu's: the file /proc/self/uid_map can't be opened for writing."""
    rules = [
        ("/", landlock.READ),
        ("/dev", landlock.DEVICE),
        ("/tmp", landlock.writing(landlock.abi())),
        ("/run", landlock.writing(landlock.abi())),
    ]
    told = chosen("bwrap", rules=rules, ordinary=True)
    assert "setting up uid map: Permission denied" in told
    assert "apparmor_restrict_unprivileged_userns=0" in told


@pytest.mark.skipif(not landlock.abi(), reason="this Linux has no Landlock")
@pytest.mark.skipif(not ROOT and AGAIN not in os.environ, reason="needs the interpreter open")
def test_where_docker_refuses_namespaces_landlock_is_had() -> None:
    filtered = refusing(NUMBERS[platform.machine()]["clone"], SPACES, errno.EPERM)
    told = chosen("auto", "landlock", "none", filtered=filtered, ordinary=True)
    assert told == "landlock\nlandlock\nnone\n"


@pytest.mark.skipif(not ROOT or AGAIN in os.environ, reason="only root can become someone else")
@pytest.mark.timeout(600)
def test_all_of_it_again_as_an_ordinary_user() -> None:
    run_again(str(HERE), ordinary=True)


def test_setpriv_is_there_where_the_tests_need_it() -> None:
    assert not ROOT or shutil.which("setpriv")
