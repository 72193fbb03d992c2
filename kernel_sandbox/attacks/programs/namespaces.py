"""Namespaces and mounts: the walls of the sandbox, and new rooms with fewer of them."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from errno import EBADF, EINVAL, ENODEV, ENOENT
from typing import Any

from .attack import Aim, Stopped, all_pids, attack
from .machine import call, in_child, probe

_NEW_MOUNTS, _NEW_USER, _NEW_PIDS, _NEW_NET, _NEW_TIME = (
    *(0x20000, 0x10000000, 0x20000000),
    *(0x40000000, 0x80),
)
_PRIVATE, _REMOUNT, _BIND, _NOEXEC = 1 << 18 | 1 << 14, 1 << 5, 1 << 12, 1 << 3
_SIGCHLD = 17


def _unshared(flags: int) -> str:
    return in_child(lambda: probe("unshare", flags))


def _among_own_mounts(work: Any) -> str:
    """Run `work` in a child; with mounts of its own where that can be had."""

    def run() -> str:
        try:
            call("unshare", _NEW_MOUNTS)
            call("mount", b"none", b"/", 0, _PRIVATE, 0)
        except OSError:
            pass  # in the sandbox: go on without
        return str(work())

    return in_child(run)


@attack(doubt="ordinary users may make no user namespaces here")
def user_namespace(aim: Aim) -> str:
    """The kernel becomes root of a new user namespace, from where most holes of Linux open."""
    del aim
    return _unshared(_NEW_USER)


@attack("root")
def mount_namespace(aim: Aim) -> str:
    """The kernel gets mounts of its own."""
    del aim
    return _unshared(_NEW_MOUNTS)


@attack("root")
def network_namespace(aim: Aim) -> str:
    """The kernel gets a network of its own, with root's rights in it."""
    del aim
    return _unshared(_NEW_NET)


@attack("root", doubt="this Linux has no time namespaces")
def time_namespace(aim: Aim) -> str:
    """The kernel gets clocks of its own."""
    del aim
    return _unshared(_NEW_TIME)


@attack(doubt="ordinary users may make no user namespaces here")
def clone_with_namespaces(aim: Aim) -> str:
    """A child is made in new namespaces."""
    del aim
    pid = call("clone", _NEW_USER | _SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made a child in a new user namespace"


@attack(doubt="ordinary users may make no user namespaces here")
def clone3_with_namespaces(aim: Aim) -> str:
    """The same by clone3, whose flags no filter can see."""
    del aim
    arguments = ctypes.create_string_buffer(struct.pack("QQQQQ", _NEW_USER, 0, 0, 0, _SIGCHLD), 88)
    pid = call("clone3", arguments, 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made a child in a new user namespace"


@attack()
def program_that_unshares(aim: Aim) -> str:
    """A program of the system makes namespaces for the kernel."""
    del aim
    for tool in (["unshare", "-r", "true"], ["unshare", "-m", "true"]):
        if subprocess.run(tool, capture_output=True, check=False).returncode == 0:
            return " ".join(tool)
    raise Stopped("unshare failed")


@attack("root")
def entering_the_hosts_namespaces(aim: Aim) -> str:
    """The kernel joins the namespaces of a process outside."""
    del aim
    denied: OSError | None = None
    for pid in all_pids():
        for name in ("net", "mnt", "pid", "ipc", "uts", "user"):
            try:
                fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
            except OSError as error:
                denied = error
                continue
            try:
                return in_child(lambda fd=fd: probe("setns", fd, 0))
            except OSError as error:
                denied = error
            finally:
                os.close(fd)
    raise denied or Stopped("there are no other processes")


@attack("root")
def entering_by_pidfd(aim: Aim) -> str:
    """The same with the pidfd of a process."""
    del aim
    fd = os.pidfd_open(os.getppid())
    try:
        return in_child(lambda: probe("setns", fd, _NEW_NET))
    finally:
        os.close(fd)


@attack("root")
def file_system_mounted(aim: Aim) -> str:
    """File systems are mounted."""
    del aim
    return _among_own_mounts(lambda: probe("mount", b"none", b"/tmp", b"tmpfs", 0, 0))


@attack("root")
def folder_bound(aim: Aim) -> str:
    """Folders are mounted where they can be written to."""
    del aim
    return _among_own_mounts(lambda: probe("mount", b"/usr", b"/tmp", 0, _BIND, 0))


@attack("root")
def remounted_for_writing(aim: Aim) -> str:
    """What is mounted read-only is made writable."""
    del aim

    def work() -> str:
        flags = _REMOUNT | _BIND
        return probe("mount", b"none", b"/usr", 0, flags, 0, let_in=(EINVAL,))

    return _among_own_mounts(work)


@attack("root")
def unmounted(aim: Aim) -> str:
    """What hides the host's files is taken away."""
    del aim
    # Not mounted, so that those who may get as far as that.
    return _among_own_mounts(lambda: probe("umount2", b"/usr/bin", 0, let_in=(EINVAL,)))


@attack("root")
def file_system_opened(aim: Aim) -> str:
    """File systems are mounted by the newer system calls."""
    del aim
    return _among_own_mounts(lambda: probe("fsopen", b"tmpfs", 0, let_in=(ENODEV,)))


@attack("root")
def tree_opened(aim: Aim) -> str:
    """Mounts are copied by the newer system calls."""
    del aim
    return _among_own_mounts(lambda: probe("open_tree", -100, b"/usr", 1))


@attack("root")
def mount_moved(aim: Aim) -> str:
    """Mounts are moved."""
    del aim

    def work() -> str:
        return probe("move_mount", -1, b"", -100, b"/tmp", 4, let_in=(EBADF, EINVAL))

    return _among_own_mounts(work)


@attack("root")
def mount_attributes_set(aim: Aim) -> str:
    """Read-only mounts lose their attribute."""
    del aim
    empty = ctypes.create_string_buffer(struct.pack("QQQQ", 0, 1, 0, 0), 32)

    def work() -> str:
        return probe("mount_setattr", -100, b"/proc", 0, empty, 32, let_in=(EINVAL,))

    return _among_own_mounts(work)


@attack("root")
def root_changed(aim: Aim) -> str:
    """A new root folder, from which root can climb out."""
    del aim
    return in_child(lambda: probe("chroot", b"/tmp"))


@attack("root")
def root_swapped(aim: Aim) -> str:
    """The root of all mounts is swapped."""
    del aim

    def work() -> str:
        return probe("pivot_root", b"/tmp", b"/tmp", let_in=(EINVAL, 16))

    return _among_own_mounts(work)


@attack("root")
def identity_map_written(aim: Aim) -> str:
    """The map of users is changed, so that the kernel is root outside too."""
    del aim
    fd = os.open("/proc/self/uid_map", os.O_RDWR)
    try:
        os.write(fd, b"0 0 1\n")
    except OSError as error:
        if os.geteuid() != 0:
            raise
        return f"opened the map for writing: {error.strerror}"
    finally:
        os.close(fd)
    return "wrote the map of users"


@attack("root", doubt="no program of this host gives its user root's rights")
def programs_with_the_rights_of_root(aim: Aim) -> str:
    """A setuid program gives the kernel root's rights."""
    del aim
    for program in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/newgrp", "/usr/bin/passwd"):
        try:
            if not os.stat(program).st_mode & 0o4000:
                continue
        except OSError:
            continue
        with open("/proc/self/status") as file:
            if "NoNewPrivs:\t1" in file.read():
                continue
        return f"{program} runs as root"
    raise Stopped("none, or none that would be obeyed")


@attack("root")
def limits_of_the_group_changed(aim: Aim) -> str:
    """The kernel writes to its cgroup: it lifts its limits, or runs a program of the host."""
    del aim
    found = []
    for folder, _, names in os.walk("/sys/fs/cgroup"):
        for name in names:
            if name in ("cgroup.procs", "release_agent", "notify_on_release"):
                try:
                    os.close(os.open(f"{folder}/{name}", os.O_WRONLY))
                    found.append(f"{folder}/{name}")
                except OSError:
                    continue
        if found:
            return f"opened {found[0]} for writing"
    raise OSError(ENOENT, "none")
