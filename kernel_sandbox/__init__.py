"""The Jupyter kernel in its sandbox, and the bridge out of it.

Knows nothing of models: what the code in a kernel asks for goes to a handler it is given.
"""

from outcore.kernel_sandbox.connection import Handler
from outcore.kernel_sandbox.kernel import CellResult, Kernel, KernelSpec
from outcore.kernel_sandbox.limits import Limits
from outcore.kernel_sandbox.pool import Pool
from outcore.kernel_sandbox.tiers import Confinement, choose

__all__ = [
    "CellResult",
    "Confinement",
    "Handler",
    "Kernel",
    "KernelSpec",
    "Limits",
    "Pool",
    "choose",
]
