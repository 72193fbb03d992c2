"""What outlives the kernel: processes and files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from .attack import Aim, Stopped, attack, own_folder
from .line import keep
from .machine import prctl

_SLEEP = "import sys, time; time.sleep(600)"
_PR_SET_PDEATHSIG = 1
_IN_THE_NEXT = "the next kernel of the same session is looked at instead"
_REFUSAL = """
import os
for fd in range(2, 64):
    try:
        os.write(fd, b"bwrap: setting up uid map: Permission denied\\n")
    except OSError:
        pass
os._exit(1)
"""


def _started(aim: Aim, **how: bool) -> None:
    null = subprocess.DEVNULL
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SLEEP, aim.mark],
        stdin=null,
        stdout=null,
        stderr=null,
        **how,  # type: ignore[call-overload]
    )


@attack(fresh=True)
def child_left(aim: Aim) -> str:
    """A process that the kernel started outlives it."""
    _started(aim)
    raise Stopped("the host looks what is left")


@attack(fresh=True)
def daemon_left(aim: Aim) -> str:
    """A daemon outlives the kernel: a session of its own, deaf to signals, disowned."""
    # The attack ends once the daemon is there, or those that were to start it have gone.
    told, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        prctl(_PR_SET_PDEATHSIG, 0)
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setpgid(0, 0)
            _started(aim, start_new_session=True)
            os.write(tell, b"1")
            time.sleep(1)
        os._exit(0)
    os.close(tell)
    os.read(told, 1)
    os.close(told)
    raise Stopped("the host looks what is left")


@attack(fresh=True, control="what cannot be got rid of is not let loose on the machine")
def daemons_that_raise_each_other(aim: Aim) -> str:
    """Processes that start each other anew cannot be got rid of."""
    for _ in range(4):
        if os.fork() == 0:
            os.setsid()
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", _PHOENIX, aim.mark])
    time.sleep(0.3)
    raise Stopped("the host looks what is left")


# Of each there is one at a time, under ever new pids. Should it really escape, it ends by itself.
_PHOENIX = """
import os, time
until = time.monotonic() + 20
while time.monotonic() < until:
    if os.fork():
        os._exit(0)
    time.sleep(0.05)
"""


def _left(folder: str, name: str, text: str) -> str:
    path = f"{folder}/{name}"
    with open(path, "x") as file:
        file.write(text)
    return f"left {path}"


@attack(fresh=True)
def files_left(aim: Aim) -> str:
    """Files outlive the kernel, where others find them."""
    left = []
    for folder in aim.left:
        try:
            left.append(_left(folder, aim.mark, aim.mark))
        except OSError:
            continue
    if not left:
        raise PermissionError(13, "none")
    raise Stopped(f"{left} are for the host to look for")


@attack(fresh=True)
def program_with_rights_left(aim: Aim) -> str:
    """A setuid program is left for others to start."""
    path = f"{own_folder()}/{aim.mark}"
    with open(path, "x") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, 0o6755)
    raise Stopped("the host looks what is left")


@attack()
def job_left(aim: Aim) -> str:
    """The host's cron runs what the kernel has left."""
    return _left(aim.cron, aim.mark, "# nothing\n")


@attack()
def python_start_left(aim: Aim) -> str:
    """Every Python of the host runs what the kernel has left."""
    return _left(aim.site, f"{aim.mark}.pth", "# nothing\n")


@attack()
def shell_start_changed(aim: Aim) -> str:
    """Every shell of the user runs what the kernel has left."""
    with open(aim.profile, "a") as file:
        file.write(f"# {aim.mark}\n")
    return "changed the start of the user's shells"


@attack()
def service_manager_asked(aim: Aim) -> str:
    """The host's service manager starts what the kernel asks for."""
    import socket

    denied: OSError | None = None
    buses = (f"/run/user/{os.getuid()}/bus", "/run/dbus/system_bus_socket", "/run/systemd/private")
    for path in (*buses, aim.listener):
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(path)
            except OSError as error:
                denied = error
            else:
                return f"connected to {path}"
    raise denied or Stopped("none")


@attack("kernel", fresh=True, control=_IN_THE_NEXT)
def next_kernel_poisoned(aim: Aim) -> str:
    """The kernel that is started after this one has died runs what this one has left."""
    startup = os.path.join(os.environ["IPYTHONDIR"], "profile_default", "startup")
    os.makedirs(startup, exist_ok=True)
    text = f"print('{aim.mark} reached the next kernel')\n"
    for path in (
        f"{startup}/00.py",
        f"{os.environ['HOME']}/sitecustomize.py",
        f"{own_folder()}/inside.py",
    ):
        with open(path, "w") as file:
            file.write(text)
    os._exit(1)


@attack("kernel", fresh=True, control=_IN_THE_NEXT)
def next_kernel_kept_from_starting(aim: Aim) -> str:
    """What was kept for the next kernel passes for bubblewrap's refusal, and none starts again."""
    keep(_REFUSAL)
    os._exit(1)
