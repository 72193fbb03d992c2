"""How a context is laid out, found by looking at samples of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from outcore.engine.context.fields import fields_of, shown, type_of
from outcore.engine.context.genre import genre_of_lines, genre_of_names
from outcore.engine.context.sampling import Sample, Spot, sampled
from outcore.engine.context.shapes import LOGS, names_of, shape_of
from outcore.kernel_sandbox.inside.columns import is_header
from outcore.kernel_sandbox.inside.layout import Kind, Layout, Shape
from outcore.kernel_sandbox.inside.lines import lines
from outcore.kernel_sandbox.inside.quotes import joined
from outcore.kernel_sandbox.inside.shapes import object_of, parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from outcore.engine.context.corpus import Corpus
    from outcore.kernel_sandbox.inside.shapes import Parse

_NAMES = 2_000
_TABLE_NAMES = frozenset((".csv", ".tsv", ".tab", ".psv"))
_PREAMBLE = 2_000
_SAMPLE_CHARS = 120
_TYPED = 2_000
_HEAD_LINES = 200
_ODD = 0.02
_QUOTED_LINES = 50
# The first record of a shape that a line of prose may have is one that records follow.
_FOLLOWING = 3
_CHANCY = ("columns", "csv", "pattern")
_MIXED = 0.8
_FIGURES = 2

Parsed = tuple[Spot, "dict[str, Any] | None"]


def layout_of(corpus: Corpus) -> Layout:
    """Find the layout of a context. Reads about a megabyte at most, spread over all of it."""
    sample = sampled(corpus)
    if sample.objects and (found := _of_objects(corpus, sample)) is not None:
        return found
    names = _names(corpus)
    genre = genre_of_names(names)
    if genre is None:
        texts = [spot.text for spot in sample.lines]
        tables = bool(names) and all(PurePath(one).suffix.lower() in _TABLE_NAMES for one in names)
        fits = [shape_of(texts, texts[:_HEAD_LINES], named=tables)]
        if sum(line.count('"') % 2 for line in texts) > _ODD * len(texts):
            # Values in quotes may hold line ends.
            logical = _logical(sample)
            whole = shape_of(logical, logical[:_HEAD_LINES], named=tables)
            least = fits[0].share if fits[0] else 0.0
            if whole and whole.shape.form == "csv" and least < whole.share:
                fits.insert(0, whole)
        for fit in fits:
            if fit and (made := _of_lines(sample, fit.shape, corpus.chars, named=tables)):
                return made
        genre = genre_of_lines(texts, sample.head)
    return Layout(genre, exact=sample.whole)


def _of_objects(corpus: Corpus, sample: Sample) -> Layout | None:
    """Layout of a list or dict of JSON objects, each a record."""
    values = [value for text in sample.objects if (value := object_of(text)) is not None]
    if 2 * len(values) < len(sample.objects) or not values:
        return None
    shape = Shape("documents", names_of(values))
    count = len(corpus.documents)
    share = len(values) / len(sample.objects)
    return Layout(
        "jsonl",
        shape,
        fields_of(shape.names, values),
        sample=_record(values[0]),
        records=round(count * share),
        unfit=1 - share,
        exact=len(sample.objects) == count,
    )


def _of_lines(sample: Sample, shape: Shape, chars: int, *, named: bool) -> Layout | None:
    """Layout of lines of a shape; None where lines with open quotes only looked like it."""
    parsed = _parsed(sample, shape)
    if not named:
        # In a file that is called a table, a row without figures is one of which none are known.
        shape = _with_digits(shape, [values for _, values in parsed if values is not None])
    if shape.digits:
        parsed = _parsed(sample, shape)
    header = next(
        (at for at, (spot, _) in enumerate(parsed[:_HEAD_LINES]) if is_header(shape, spot.text)), -1
    )
    below = parsed[header + 1 :] or parsed
    if all(values is None for _, values in below):
        return None
    first = _first(below, chancy=shape.form in _CHANCY and shape.pattern not in LOGS)
    start = first.document, first.offset
    preamble = _preamble(sample, first)
    body = [values for spot, values in parsed if (spot.document, spot.offset) >= start]
    found = [values for values in body if values is not None]
    share = len(found) / len(body)
    return Layout(
        _kind(shape, share),
        shape,
        fields_of(shape.names, found[:: max(1, len(found) // _TYPED)]),
        preamble,
        _record(found[0]),
        round(len(found) * chars / max(1, sample.chars)),
        1 - share,
        sample.whole,
        start,
    )


def _first(parsed: Sequence[Parsed], *, chancy: bool) -> Spot:
    """The first record. Where chance makes such lines, it is one that others follow."""
    hits = [values is not None for _, values in parsed]
    for at, hit in enumerate(hits):
        following = hits[at + 1 : at + 1 + _FOLLOWING]
        if hit and (not chancy or 2 * sum(following) >= len(following)):
            return parsed[at][0]
    return next(spot for spot, values in parsed if values is not None)


def _preamble(sample: Sample, first: Spot) -> str:
    """What stands before the first record, its middle cut."""
    text = "".join(
        piece.text if piece.document < first.document else piece.text[: first.offset - piece.start]
        for piece in sample.pieces
        if (piece.document, piece.start) < (first.document, first.offset)
    ).strip("\ufeff \t\r\n")
    if len(text) <= _PREAMBLE:
        return text
    half = _PREAMBLE // 2
    return f"{text[:half]}\n...\n{text[-half:]}"


def _logical(sample: Sample) -> list[str]:
    """The lines, joined where a quote is open."""
    made: list[str] = []
    for piece in sample.pieces:
        open_at = -1
        for line in lines(piece.text):
            if open_at >= 0:
                made[-1] += f"\n{line.text}"
            else:
                made.append(line.text)
                open_at = line.offset
            if made[-1].count('"') % 2 == 0 or made[-1].count("\n") > _QUOTED_LINES:
                open_at = -1
    return made


def _parsed(sample: Sample, shape: Shape) -> list[Parsed]:
    parse = parser(shape)
    return [(spot, parse(spot.text)) for spot in _spots(sample, shape, parse)]


def _with_digits(shape: Shape, found: Sequence[dict[str, Any]]) -> Shape:
    """The shape, with the columns of figures where it has some."""
    if shape.form not in ("columns", "csv"):
        return shape
    some = found[:: max(1, len(found) // _TYPED)]
    typed = [
        at
        for at, name in enumerate(shape.names)
        if type_of([one[name] for one in some]) in ("number", "date")
    ]
    return replace(shape, digits=tuple(typed)) if len(typed) >= _FIGURES else shape


def _spots(sample: Sample, shape: Shape, parse: Parse) -> Iterator[Spot]:
    if shape.form != "csv":
        yield from sample.lines
        return
    for piece in sample.pieces:
        for line in joined(lines(piece.text), piece.text, parse, 0):
            yield Spot(piece.document, piece.start + line.offset, line.text)


def _names(corpus: Corpus) -> list[str]:
    """Names of files among the documents' names, some of them where there are many."""
    if corpus.kind == "list":
        return []
    count = len(corpus.documents)
    spread = range(0, count, max(1, count // _NAMES))
    return [str(corpus.name(number)) for number in spread]


def _kind(shape: Shape, share: float) -> Kind:
    if share < _MIXED and shape.pattern not in ("turn", "chat"):
        return "mixed"
    if shape.form == "json":
        return "jsonl"
    if shape.form == "csv" or (shape.form == "columns" and shape.separator in "\t;"):
        return "csv"
    return "dialogue" if shape.pattern in ("turn", "chat") else "lines"


def _record(values: dict[str, Any]) -> str:
    return repr({name: _short(value) for name, value in values.items()})


def _short(value: Any) -> Any:
    text = shown(value, _SAMPLE_CHARS)
    return text if isinstance(value, str) or len(text) > _SAMPLE_CHARS else value
