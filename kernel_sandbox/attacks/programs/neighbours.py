"""Other kernels of the same host process."""

from __future__ import annotations

import json
import os
import signal
import socket

from .attack import Aim, Stopped, all_pids, attack, is_it


@attack()
def folder_of_another_kernel(aim: Aim) -> str:
    """The folder of another kernel's sockets can be listed."""
    return f"{os.listdir(aim.other)}"


@attack()
def key_of_another_kernel(aim: Aim) -> str:
    """The key of another kernel's messages can be read: it can be told to run code."""
    for folder, _, names in os.walk(aim.other):
        for name in names:
            if name in ("kernel.json", "start.json"):
                with open(f"{folder}/{name}") as file:
                    found = json.load(file)
                return str(found.get("key") or found.get("token"))
    raise Stopped("there is no such file")


@attack()
def channel_of_another_kernel(aim: Aim) -> str:
    """The sockets of another kernel can be connected to."""
    denied: OSError | None = None
    for number in range(1, 9):
        for port in range(1, 6):
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(3)
                try:
                    one.connect(f"{aim.other}/{number}/kernel-{port}")
                except OSError as error:
                    denied = error
                else:
                    return f"connected to channel {port}"
    raise denied or Stopped("none")


@attack()
def bridge_of_another_kernel(aim: Aim) -> str:
    """Another kernel's way to the host can be connected to, and its budget spent."""
    denied: OSError | None = None
    for number in range(1, 9):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(3)
            try:
                one.connect(f"{aim.other}/{number}/bridge.sock")
            except OSError as error:
                denied = error
            else:
                return "connected to the bridge"
    raise denied or Stopped("none")


@attack()
def processes_of_another_kernel(aim: Aim) -> str:
    """Processes of another kernel can be seen."""
    return f"its process is {_mate(aim)} here"


@attack()
def process_of_another_kernel_signalled(aim: Aim) -> str:
    """Processes of another kernel can be stopped or ended."""
    pid = _mate(aim)
    os.kill(pid, signal.SIGURG)
    return f"signalled process {pid}"


@attack("root")
def files_of_another_kernel(aim: Aim) -> str:
    """What another kernel keeps in its /tmp can be read."""
    denied: OSError | None = None
    for folder in ("/tmp", "/dev/shm", *(f"/proc/{pid}/root/tmp" for pid in all_pids())):
        try:
            with open(f"{folder}/{aim.mates}") as file:
                return file.read()
        except OSError as error:
            denied = error
    raise denied or Stopped("none")


@attack(control="in the control all processes of the user would be signalled")
def everyone_signalled(aim: Aim) -> str:
    """One call signals all processes the kernel may signal, those of the host among them."""
    del aim
    # Ignored by whoever has not asked for it, unlike what an attacker would send.
    os.kill(-1, signal.SIGURG)
    raise Stopped("the host looks who it reached")


def _mate(aim: Aim) -> int:
    for pid in all_pids():
        try:
            is_it(pid, aim.mates)
        except Stopped:
            continue
        return pid
    raise Stopped("its processes do not show")
