"""What the host knows and a kernel must not, and what a kernel may know."""

from __future__ import annotations

import gc
import os
import socket

from .attack import Aim, Stopped, all_pids, attack, is_it
from .line import Line, own_bridge
from .machine import in_child


@attack()
def environment(aim: Aim) -> str:
    """Variables of the host's environment, keys and passwords among them, are inherited."""
    if aim.variable not in os.environ:
        raise Stopped(f"{len(os.environ)} variables, none of the host's")
    return os.environ[aim.variable]


@attack()
def environment_of_processes(aim: Aim) -> str:
    """Variables of the host's processes can be read."""
    denied: OSError | None = None
    for pid in all_pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                for entry in file.read().split(b"\0"):
                    if entry.startswith(aim.variable.encode()):
                        return entry.decode()
        except OSError as error:
            denied = error
    raise denied or Stopped("no process has it")


@attack()
def command_lines(aim: Aim) -> str:
    """Command lines of the host's processes, passwords in them among the rest, can be read."""
    for pid in all_pids():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
        except OSError:
            continue
        if aim.victim_mark.encode() in words:
            return words.replace(b"\0", b" ").decode(errors="replace")
    raise Stopped("the host's processes do not show")


@attack()
def environment_of_the_victim(aim: Aim) -> str:
    """A process of the host shows its environment to whoever knows its pid."""
    is_it(aim.victim, aim.victim_mark)
    with open(f"/proc/{aim.victim}/environ") as file:
        return file.read()


@attack()
def open_files_of_the_victim(aim: Aim) -> str:
    """Files that a process of the host has open can be read, removed ones too."""
    is_it(aim.victim, aim.victim_mark)
    with open(f"/proc/{aim.victim}/fd/{aim.victim_fd}") as file:
        return file.read()


@attack()
def process_list(aim: Aim) -> str:
    """The processes of the host can be counted and named."""
    is_it(aim.host, "python")
    return "the host process is in the list"


@attack()
def session_folder(aim: Aim) -> str:
    """The folder of the kernel's own sockets on the host is open to it."""
    return f"{os.listdir(aim.session)}"


@attack("kernel", expected="allowed")
def bridge_token_used_by_a_child(aim: Aim) -> str:
    """A process the kernel started calls the host like the kernel does, within its budget.

    Both are the same user and the same code.
    """

    def ask() -> str:
        with Line(*own_bridge()) as line:
            return str(line.ask(f"child {aim.mark}"))

    return in_child(ask)


@attack("kernel", expected="allowed")
def own_message_key(aim: Aim) -> str:
    """The key that signs the kernel's messages can be read by the code that runs in it.

    So a signature proves nothing, and the host takes every message for what it may be.
    """
    del aim
    from ipykernel.kernelapp import IPKernelApp

    key = bytes(IPKernelApp.instance().session.key)
    return f"a key of {len(key)} bytes"


@attack("kernel")
def token_of_another_kernel(aim: Aim) -> str:
    """The secret by which another kernel calls the host lies in this one's memory."""
    del aim
    found = {own_bridge()[1]}
    found |= {
        str(one["token"])
        for one in gc.get_objects()
        if isinstance(one, dict) and isinstance(one.get("token"), str) and len(one["token"]) == 64
    }
    if len(found) > 1:
        return f"{len(found)} tokens"
    raise Stopped("there is one, its own")


@attack("kernel")
def credentials_forged(aim: Aim) -> str:
    """The kernel tells the host that it is another user's process."""
    path, token, _ = own_bridge()
    del token
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        forged = (1).to_bytes(4, "little") + bytes(8)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, forged)]
        line.sendmsg([b"\0\0\0\2{}"], ancillary)
        line.settimeout(7)
        if not line.recv(1):
            raise Stopped("the host closed the connection")
    return f"answered as root, {aim.mark}"
