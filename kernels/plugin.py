"""Makes the backend known to vLLM, which calls this in every process that it starts."""

from __future__ import annotations

# vLLM keeps one name for backends that are not its own; newer ones can add names, 0.26 can't.
NAME = "CUSTOM"
_BACKEND = "outcore.kernels.backend.SharedPrefixBackend"


def register() -> None:
    """Register the backend; `attention_backend="CUSTOM"` chooses it.

    It is imported when it is chosen, not before. Where another package has registered one under
    the same name, that one stays.
    """
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend

    custom = AttentionBackendEnum[NAME]
    if not custom.is_overridden():
        register_backend(custom, _BACKEND)
