"""The context card: what the root is told of a context before it has looked at it."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from itertools import islice
from typing import TYPE_CHECKING

from outcore.engine.context.outline import files, headings
from outcore.kernel_sandbox.inside.columns import is_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from outcore.engine.context.corpus import Corpus
    from outcore.kernel_sandbox.inside.layout import Field, Layout

_NAMES = 5
_LARGEST = 3
# Beyond this many the largest are not looked for: that would take longer than it tells.
_COMPARED = 100_000
_SAMPLE_LINES = 3
_LINE_CHARS = 160
_NAME_CHARS = 80
_HEADINGS = 6
_HEADING_CHARS = 60
_FIELDS = 16
_LABELS = 8
_LABELS_CHARS = 120
_RECORD_CHARS = 360
_PREAMBLE_CHARS = 600
_KINDS = {"prose": "Prose", "dialogue": "Dialogue", "mixed": "Mixed text"}


def card(corpus: Corpus, layout: Layout, tokens: int | None = None) -> str:
    """Describe a corpus in a few lines: type, size, layout, what was left out, a sample.

    Args:
        corpus: the staged context.
        layout: how it is laid out.
        tokens: its length in tokens, where that is known; it is told as an estimate.
    """
    parts = [*_size(corpus, tokens)]
    if layout.shape is not None:
        names = _documents(corpus) if corpus.kind == "dict" else ()
        parts += [*names, *_records(layout)]
    else:
        kind = layout.kind
        told = {"code": _files, "markdown": _headings}.get(kind, _lines)
        parts += [*told(corpus, layout), *_documents(corpus)]
    parts += _left_out(corpus)
    if layout.shape is None:
        parts.append(_sample(corpus))
    # Names and values of JSON may have half of a surrogate pair, which no model can be given.
    return "\n".join(parts).encode("utf-8", "backslashreplace").decode()


def _records(layout: Layout) -> Iterator[str]:
    about = "" if layout.exact else "about "
    shape = "a JSON object" if layout.kind == "jsonl" else "a dict"
    yield (
        f"`records` has its {about}{layout.records:,} records, each {shape} with "
        f"{_listed(layout.fields)}."
    )
    yield f"A record: {_cut(layout.sample, _RECORD_CHARS)}"
    # The preamble's lines are not among these.
    others = round(layout.records * layout.unfit / (1 - layout.unfit)) if layout.unfit < 1 else 0
    if others:
        what = "other line is no record" if others == 1 else "other lines are no records"
        yield f"{about.capitalize()}{others:,} {what}: see records.rest."
    if layout.preamble and not _is_header(layout):
        quoted = _middle_cut(layout.preamble)
        yield f'Before the first record stands:\n"""\n{quoted}\n"""'


def _listed(fields: Sequence[Field]) -> str:
    told = [_told(field) for field in fields[:_FIELDS]]
    if len(fields) > _FIELDS:
        told.append(f"{len(fields) - _FIELDS:,} more")
    return ", ".join(told)


def _told(field: Field) -> str:
    kind: str = field.type
    values = " / ".join(field.values)
    if field.values and len(field.values) <= _LABELS and len(values) <= _LABELS_CHARS:
        kind = f"label: {values}"
    if field.day_first is not None:
        kind += f": as_date(value, day_first={field.day_first})"
    return f"{_name(field.name)} ({kind})"


def _is_header(layout: Layout) -> bool:
    """Whether the preamble is the line of the fields' names, which are told already."""
    assert layout.shape is not None
    return is_header(layout.shape, layout.preamble)


def _middle_cut(text: str) -> str:
    if len(text) <= _PREAMBLE_CHARS:
        return text
    tail = _PREAMBLE_CHARS // 3
    return f"{text[: _PREAMBLE_CHARS - tail]} ... {text[-tail:]}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def _lines(corpus: Corpus, layout: Layout) -> Iterator[str]:
    lines = max(len(corpus.documents), corpus.lines)
    kind = _KINDS.get(layout.kind, "Text")
    yield f"{kind}: {lines:,} lines of {corpus.chars // lines:,} characters on average."


def _files(corpus: Corpus, layout: Layout) -> Iterator[str]:
    if corpus.kind != "dict":
        yield f"Source code: {max(1, corpus.lines):,} lines."
        return
    found = files(corpus, _NAMES)
    endings = ", ".join(f"{count:,} {ending}" for ending, count in found.endings)
    yield f"Source code: {endings} files."
    if found.folders:
        folders = ", ".join(f"{_name(name)} ({chars:,})" for name, chars in found.folders)
        yield f"Largest folders, in characters: {folders}."


def _headings(corpus: Corpus, layout: Layout) -> Iterator[str]:
    found = headings(corpus, _HEADINGS)
    about = "" if found.exact else "about "
    first = ", ".join(_cut(one, _HEADING_CHARS) for one in found.first)
    yield f"Markdown with {about}{found.many:,} headings, the first: {first}"


def _size(corpus: Corpus, tokens: int | None) -> Iterator[str]:
    estimate = f" (about {tokens:,} tokens)" if tokens is not None else ""
    count = len(corpus.documents)
    first = corpus.documents[0]
    match corpus.kind:
        case "str":
            named = "" if first.name == "context" else f", from {_name(first.name)}"
            yield f"context is a str{named}: {corpus.chars:,} characters{estimate}."
        case "list":
            what = "values" if first.is_json else "texts"
            yield f"context is a list of {count:,} {what}: {corpus.chars:,} characters{estimate}."
        case "dict":
            what = "value" if first.is_json else "text"
            yield (
                f"context is a dict of {count:,} documents, name -> {what}: "
                f"{corpus.chars:,} characters{estimate}."
            )


def _documents(corpus: Corpus) -> Iterator[str]:
    documents = corpus.documents
    if corpus.kind == "str" or len(documents) == 1:
        return
    if corpus.kind == "dict":
        names = ", ".join(_name(one.name) for one in islice(documents, _NAMES))
        more = ", ..." if len(documents) > _NAMES else ""
        yield f"Names: {names}{more}"
    average = f"A document has {corpus.chars // len(documents):,} characters on average"
    if len(documents) > _COMPARED:
        yield f"{average}."
        return
    largest = ", ".join(
        f"{_name(one.name)} ({one.chars:,})"
        for one in nlargest(_LARGEST, documents, key=lambda one: one.chars)
    )
    yield f"{average}; the largest: {largest}."


def _left_out(corpus: Corpus) -> Iterator[str]:
    if corpus.skipped:
        # "not UTF-8 at byte 12" and "at byte 99" are one reason here.
        reasons = Counter(one.reason.partition(" at byte ")[0] for one in corpus.skipped)
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        yield f"Left out: {len(corpus.skipped):,} files or folders ({told})."


def _sample(corpus: Corpus) -> str:
    number, first = next(one for one in enumerate(corpus.documents) if one[1].chars)
    head = corpus.slice(number, 0, _SAMPLE_LINES * _LINE_CHARS * 4)
    lines = [line for line in head.splitlines() if line.strip()][:_SAMPLE_LINES]
    shown = "\n".join(
        f"  {line[:_LINE_CHARS]}{'...' if len(line) > _LINE_CHARS else ''}" for line in lines
    )
    where = "It begins" if corpus.kind == "str" else f"context[{first.name!r}] begins"
    if first.is_json:
        where += ", as JSON"
    return f"{where}:\n{shown}"


def _name(name: str | int) -> str:
    shown = repr(name)
    return shown if len(shown) <= _NAME_CHARS else f"{shown[:_NAME_CHARS]}..."
