"""A way to new connections for a kernel that may not make any: the host hands them in.

It is opened while sockets may still be connected. Forked children share it; whichever asks
gets one, and all are alike.
"""

from __future__ import annotations

import socket

from .errors import SubcallError
from .frames import encode

_SECONDS = 10.0
_TRIES = 8


class Door:
    """The connection over which others come.

    Args:
        path: of the host's socket.
        token: secret of this kernel.
        cap: most bytes of one call.
    """

    def __init__(self, path: str, token: str, cap: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.settimeout(_SECONDS)
        self._socket.sendall(encode({"token": token, "door": True}, cap))

    def connection(self) -> socket.socket:
        """A connection to the host that nothing has been sent over.

        Raises:
            SubcallError: the host hands in no more.
        """
        try:
            for _ in range(_TRIES):
                self._socket.send(b"\0")
                flags = socket.MSG_CMSG_CLOEXEC
                _, fds, _, _ = socket.recv_fds(self._socket, 1, 1, flags)
                if not fds:
                    break
                made = socket.socket(fileno=fds[0])
                if not _is_stale(made):
                    return made
                # One that another child had asked for and not lived to take.
                made.close()
        except OSError as error:
            raise SubcallError(f"the host hands in no further connection: {error}") from None
        raise SubcallError("the host hands in no further connection")


def _is_stale(made: socket.socket) -> bool:
    try:
        return not made.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
