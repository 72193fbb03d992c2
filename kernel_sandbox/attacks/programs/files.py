"""Files of the host, read and written by every road."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from .attack import Aim, Stopped, all_pids, attack, own_folder
from .machine import call

_OWN = ("/tmp", "/dev/shm")


def _read(path: str) -> str:
    with open(path) as file:
        return file.read(4096)


def _folders(place: str) -> list[str]:
    if place.startswith("/proc"):
        return []
    try:
        with os.scandir(place) as entries:
            return [one.path for one in entries if one.is_dir(follow_symlinks=False)][:200]
    except OSError:
        return []


@attack()
def secret_by_path(aim: Aim) -> str:
    """Files of the host can be read by their paths."""
    return _read(aim.secret)


@attack()
def secret_through_symlink(aim: Aim) -> str:
    """A symbolic link made inside leads to files of the host."""
    link = f"{own_folder()}/{aim.mark}"
    os.symlink(aim.secret, link)
    try:
        return _read(link)
    finally:
        os.unlink(link)


@attack()
def secret_past_the_root(aim: Aim) -> str:
    """Going up from a folder of the host that is seen inside leaves the sandbox."""
    up = "/".join([".."] * 40)
    start = os.open(os.path.dirname(aim.context), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = os.open(f"{up}{aim.secret}", os.O_RDONLY, dir_fd=start)
        with os.fdopen(fd) as file:
            return file.read(4096)
    finally:
        os.close(start)


@attack()
def secret_through_root_links(aim: Aim) -> str:
    """The root or working folder of some process is one of the host's."""
    denied: OSError | None = None
    for pid in [os.getpid(), *all_pids()]:
        for name in ("root", "cwd"):
            try:
                return _read(f"/proc/{pid}/{name}{aim.secret}")
            except OSError as error:
                denied = error
    raise denied or Stopped("there are no processes")


@attack()
def secret_through_open_descriptors(aim: Aim) -> str:
    """A folder of the host was left open to the kernel."""
    own = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir("/proc/self/fd"):
            try:
                fd = os.open(aim.secret.lstrip("/"), os.O_RDONLY, dir_fd=int(name))
            except OSError:
                continue
            with os.fdopen(fd) as file:
                return file.read(4096)
    finally:
        os.close(own)
    raise Stopped("no descriptor leads there")


@attack("root")
def secret_by_handle(aim: Aim) -> str:
    """Files are opened by handle, past every mount."""
    handle = ctypes.create_string_buffer(struct.pack("iI", 0, 128) + bytes(120) + bytes(128), 256)
    ctypes.memmove(handle, struct.pack("Ii", 128, 0), 8)
    mount_id = ctypes.c_int()
    call("name_to_handle_at", -100, aim.context.encode(), handle, ctypes.byref(mount_id), 0)
    start = os.open(aim.context, os.O_RDONLY)
    fd = call("open_by_handle_at", start, handle, os.O_RDONLY)
    os.close(start)
    os.close(fd)
    return "opened a file by its handle"


@attack()
def hard_link_to_secret(aim: Aim) -> str:
    """A file of the host can be linked to where the kernel may read."""
    link = f"{aim.folder}/{aim.mark}"
    os.link(aim.secret, link)
    return _read(link)


@attack()
def home_listed(aim: Aim) -> str:
    """The user's home folder is open to the kernel."""
    found = sorted(set(os.listdir(aim.home)) & set(aim.hidden))
    if not found:
        raise Stopped("nothing of it is there")
    return f"{len(found)} names of the home folder"


@attack("root")
def password_hashes(aim: Aim) -> str:
    """/etc/shadow can be read."""
    del aim
    return f"{len(_read('/etc/shadow'))} characters of /etc/shadow"


@attack()
def users_of_the_host(aim: Aim) -> str:
    """/etc/passwd tells who uses this machine."""
    del aim
    return f"{len(_read('/etc/passwd'))} characters of /etc/passwd"


@attack("checkout")
def code_of_the_host(aim: Aim) -> str:
    """The project's folder is open to the kernel."""
    return f"{len(_read(aim.code))} characters of {aim.code}"


@attack()
def another_run(aim: Aim) -> str:
    """Records of other runs can be read: questions, answers and contexts of others."""
    return _read(aim.run)


@attack()
def folders_of_the_host_listed(aim: Aim) -> str:
    """Names of the host's files show in the folders both have."""
    parent, name = os.path.split(aim.folder)
    if name not in os.listdir(parent):
        raise Stopped("the folder inside is another")
    return f"{name} shows in {parent}"


@attack()
def scratch_overwritten(aim: Aim) -> str:
    """Files of the host can be overwritten."""
    with open(aim.scratch, "w") as file:
        file.write(aim.mark)
    return "wrote a file of the host"


@attack()
def file_made_beside_it(aim: Aim) -> str:
    """New files can be laid on the host."""
    with open(f"{aim.folder}/{aim.mark}", "x") as file:
        file.write(aim.mark)
    return "made a file on the host"


@attack()
def secret_renamed_and_removed(aim: Aim) -> str:
    """Files of the host can be renamed or removed."""
    os.rename(aim.secret, f"{aim.secret}-{aim.mark}")
    return "renamed a file of the host"


@attack()
def every_mount_written(aim: Aim) -> str:
    """Something that is mounted in the sandbox can be written to, and outlives the kernel."""
    with open("/proc/self/mounts") as file:
        mounted = [line.split()[1] for line in file]
    wrote = []
    tried = dict.fromkeys([*aim.mounts, *mounted]) if aim.mounts else {aim.folder: None}
    for place in tried:
        for folder in [place, *_folders(place)]:
            if folder.startswith(_OWN) and not folder.startswith(aim.folder):
                continue
            try:
                with open(f"{folder}/{aim.mark}", "x"):
                    wrote.append(folder)
            except OSError:
                continue
    if not wrote:
        raise Stopped(f"none of {len(tried)} mounts")
    return f"wrote to {wrote[:5]}"


@attack()
def context_changed(aim: Aim) -> str:
    """The staged context can be changed, for this question and for others."""
    with open(aim.context, "r+b") as file:
        file.write(aim.mark.encode())
    return "changed the context"


@attack()
def context_reopened_for_writing(aim: Aim) -> str:
    """A file that was opened for reading is opened again for writing, through /proc."""
    with open(aim.context, "rb") as file:
        fd = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR)
    os.write(fd, aim.mark.encode())
    os.close(fd)
    return "changed the context"


@attack()
def context_mode_changed(aim: Aim) -> str:
    """Modes, owners and times of the context can be changed."""
    os.chmod(aim.context, 0o666)
    os.utime(aim.context)
    return "changed the mode of the context"


@attack()
def library_poisoned(aim: Aim) -> str:
    """The code that the next kernel starts with can be changed."""
    with open(f"{aim.library}/bootstrap.py", "r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    return "changed the library"


@attack("root")
def core_pattern_opened(aim: Aim) -> str:
    """The host runs a program of the kernel's choice at the next crash: a takeover."""
    del aim
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))
    return "opened core_pattern for writing"


@attack("root")
def sysctls_opened(aim: Aim) -> str:
    """Settings of the machine can be changed."""
    del aim
    opened, denied = [], 0
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            try:
                os.close(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_NONBLOCK))
                opened.append(name)
            except OSError:
                denied += 1
        if len(opened) > 3:
            break
    if not opened:
        raise Stopped(f"{denied} refused")
    return f"opened {opened[:4]} for writing"


@attack("root", doubt="this Linux was built without magic keys")
def magic_sysrq_opened(aim: Aim) -> str:
    """The machine can be restarted or crashed."""
    del aim
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "opened sysrq-trigger for writing"


@attack("root", doubt="this Linux was built without /proc/kcore")
def memory_of_the_machine(aim: Aim) -> str:
    """All memory of the machine can be read."""
    del aim
    with open("/proc/kcore", "rb") as file:
        return f"{len(file.read(64))} bytes of /proc/kcore"


@attack("root", doubt="kernel.kptr_restrict hides the addresses from all")
def addresses_of_the_kernel(aim: Aim) -> str:
    """Addresses of the machine's kernel can be read, the first step of most exploits."""
    del aim
    with open("/proc/kallsyms") as file:
        shown = [
            line for line, _ in zip(file, range(100), strict=False) if line.split()[0].strip("0")
        ]
    if not shown:
        raise Stopped("all addresses are zero")
    return "addresses of the kernel"


@attack()
def hosts_sys(aim: Aim) -> str:
    """/sys describes the machine, and configures it."""
    del aim
    found = os.listdir("/sys/kernel")
    if not found:
        raise OSError(errno.ENOENT, "empty")
    return f"{len(found)} entries of /sys/kernel"
