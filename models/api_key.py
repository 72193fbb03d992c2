"""Which server is sent which API key: never one server another's."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from outcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARED = "OUTCORE_API_KEY"
_OWN = {"root": "OUTCORE_ROOT_API_KEY", "sub": "OUTCORE_SUB_API_KEY"}
_PORTS = {"http": 80, "https": 443}


def api_keys(addresses: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The key of each address that has one.

    A role's own variable comes first. `OUTCORE_API_KEY` is for the others, as long as one server
    is behind all of them: nothing says which of two it belongs to.

    Args:
        addresses: by role, `root` and `sub`, those that have one.
        environment: holds the keys.

    Raises:
        ConfigError: the shared key would go to two servers.
    """
    found: dict[str, str] = {}
    for role, address in addresses.items():
        if key := environment.get(_OWN[role]):
            found.setdefault(address, key)
    rest = {address for address in addresses.values() if address not in found}
    shared = environment.get(SHARED)
    if not shared or not rest:
        return found
    if len({_origin(address) for address in rest}) > 1:
        raise ConfigError(
            f"{SHARED} would be sent to two servers, {' and '.join(sorted(rest))}: give each its "
            f"own key by {' and '.join(_OWN.values())}"
        )
    return found | dict.fromkeys(rest, shared)


def _origin(address: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(address)
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError as error:
        raise ConfigError(f"{address} is no address: {error}") from error
