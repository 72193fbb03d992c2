"""Sizes as people read them."""

from __future__ import annotations


def human(size: int) -> str:
    """A number of bytes in decimal units, as disks are sold: `1.12 GB`."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def gib(size: float) -> str:
    """A number of bytes in binary units, as memory is sold: `23.5 GiB`."""
    return f"{size / 2**30:.1f} GiB"
