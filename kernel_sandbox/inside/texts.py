"""Text on its way out of the sandbox: sound Unicode, and not too much of it."""


def clean(text: str) -> str:
    """`text` with `?` for what UTF-8 can't hold, the halves of surrogate pairs."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def cut(text: str, longest: int) -> str:
    """The two ends of `text` where it has more than `longest` characters, with a note between."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters cut ...\n{text[-half:]}"
