"""Layouts found lately: questions that share a staged context look at it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING

from outcore.engine.context.layout import layout_of

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.engine.context.corpus import Corpus
    from outcore.kernel_sandbox.inside.layout import Layout

_MOST = 16
_LOCK = threading.Lock()
# Not by the digest alone: titles are no part of it, and tell tables from prose.
_found: OrderedDict[tuple[Path, str], Future[Layout]] = OrderedDict()


def known_layout(corpus: Corpus) -> Layout:
    """`layout_of`, found once for each staged folder, however many ask at once."""
    key = corpus.folder, corpus.digest
    with _LOCK:
        known = _found.get(key)
        if known is None:
            mine = _found[key] = Future()
        _found.move_to_end(key)
        while len(_found) > _MOST:
            _found.popitem(last=False)
    if known is not None:
        return known.result()
    try:
        mine.set_result(layout_of(corpus))
    except BaseException as error:
        mine.set_exception(error)
        with _LOCK:
            _found.pop(key, None)
        raise
    return mine.result()
