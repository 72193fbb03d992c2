"""What one kernel may use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from outcore.errors import ConfigError

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one kernel; sizes in bytes unless said otherwise.

    Attributes:
        memory: address space of each process, the context's own size not counted.
        total: memory of all processes together, with files that live in memory; what they share,
            and the context, counts once and not at all. Past it the kernel is killed.
        processes: processes and threads together.
        open_files: file descriptors of each process.
        tmp: size of `/tmp`, which lives in memory; in the tier `landlock` of the kernel's folder,
            which is on the disk, and past which it is killed.
        shm: size of `/dev/shm`, which lives in memory.
        files: files and folders in the kernel's folder in the tier `landlock`; past it the kernel
            is killed.
        output: characters kept of a cell's output, half from its start, half from its end.
        flood: output at which a cell is interrupted.
        message: largest message taken from the kernel on Jupyter's channels.
        frame: largest call over the bridge.
        calls: calls over the bridge that may be outstanding; more wait in the kernel.
        calls_bytes: the same, as the sum of their frames.
        calls_rate: calls over the bridge per second.
        connections: connections over the bridge; each process of the kernel has one.
        start_seconds: time for a kernel to start.
        grace_seconds: time for a cell to end after it was interrupted.
    """

    memory: int = 4096 * MIB
    total: int = 4096 * MIB
    processes: int = 512
    open_files: int = 1024
    tmp: int = 256 * MIB
    shm: int = 64 * MIB
    files: int = 20_000
    output: int = 1 << 18
    flood: int = 16 * MIB
    message: int = 1 * MIB
    frame: int = 16 * MIB
    calls: int = 10_000
    calls_bytes: int = 256 * MIB
    calls_rate: int = 50_000
    connections: int = 64
    start_seconds: float = 30.0
    grace_seconds: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigError(f"sandbox limits: {field.name} must be above zero, not {value}")

    def rlimits(self, *, context: int, shared_uid: bool) -> dict[str, int]:
        """Resource limits by name, for a context of `context` bytes.

        With `shared_uid` the kernel runs as a user who has other processes, which a limit on
        their number would count too.
        """
        limits = {
            "AS": self.memory + context,
            "NOFILE": self.open_files,
            "FSIZE": max(self.tmp, self.shm),
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }
        if not shared_uid:
            limits["NPROC"] = self.processes
        return limits
