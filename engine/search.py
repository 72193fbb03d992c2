"""BM25 over a corpus, by tantivy: an index built once per corpus, on the host.

Indexes are kept under `$OUTCORE_HOME/index/`, by the corpus's digest. One is built in a
folder of its own and renamed when it is whole, so a killed build leaves nothing that looks
like one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tantivy

from outcore.config import home
from outcore.engine.passages import passages
from outcore.errors import ConfigError, OutcoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.engine.corpus import Corpus

_FORMAT = 1
_CACHE_BYTES = 2 << 30
_HEAP_BYTES = 64 << 20
_WHOLE_NAME_BOOST = 2.0
_PHRASE_BOOST = 3.0
_MOST_WORDS = 64
_CAMEL = re.compile(r"\b\w*[a-z0-9][A-Z]\w*")
_CAMEL_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PHRASE = re.compile(r"[\"“]([^\"”]{2,200})[\"”]")


@dataclass(frozen=True, slots=True)
class Passage:
    """One hit.

    Attributes:
        document: name of the document.
        offset: its first character there.
        score: BM25, higher is better; comparable within one query.
        text: the passage, exactly as it stands.
    """

    document: str
    offset: int
    score: float
    text: str


class SearchIndex:
    """The index of one corpus. Queries may come from several threads."""

    def __init__(self, corpus: Corpus, index: Any) -> None:
        self._corpus = corpus
        self._index = index
        self._searcher = index.searcher()

    @classmethod
    def open_or_build(cls, corpus: Corpus) -> SearchIndex:
        """The index of a corpus, from the cache where it is there and sound.

        Raises:
            OutcoreError: it can't be written.
        """
        base = home() / "index"
        folder = base / f"{corpus.digest[:32]}-{_FORMAT}"
        try:
            base.mkdir(parents=True, exist_ok=True)
            with _lock(base / f"{folder.name}.lock"):
                index = _open(folder)
                if index is None:
                    _build(corpus, folder)
                    index = _open(folder)
                os.utime(folder)
            _trim(base, keep=folder)
        except (OSError, ValueError) as error:
            raise OutcoreError(
                f"the search index can't be written to {base}: {error}; free space there or set "
                "OUTCORE_HOME"
            ) from error
        if index is None:
            raise OutcoreError(
                f"the search index in {folder} can't be read back; is the disk full?"
            )
        return cls(corpus, index)

    def query(self, text: str, k: int) -> list[Passage]:
        """The `k` passages that fit the words of `text` best, best first; fewer if fewer fit.

        Words count whole and by their parts (`snake_case`, `CamelCase`); what stands in double
        quotes counts more where it stands together.

        Raises:
            ConfigError: there is no word in it.
        """
        clauses = list(_clauses(text))
        if not clauses:
            raise ConfigError(f"search: there is no word in {text!r:.80}; give some words")
        query = tantivy.Query.boolean_query(
            [(tantivy.Occur.Should, clause) for clause in clauses[: 2 * _MOST_WORDS]]
        )
        found = []
        for score, address in self._searcher.search(query, limit=k, count=False).hits:
            stored = self._searcher.doc(address)
            number, offset, length = (
                stored.get_first(name) for name in ("number", "offset", "length")
            )
            passage = self._corpus.slice(number, offset, offset + length)
            name = str(self._corpus.name(number))
            found.append(Passage(name, offset, round(float(score), 3), passage))
        return found


def _analyzers() -> dict[str, Any]:
    lower, fold = tantivy.Filter.lowercase(), tantivy.Filter.ascii_fold()
    stem = tantivy.Filter.stemmer("english")
    words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    names = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(r"\w+"))
    return {
        "words": words.filter(lower).filter(fold).filter(stem).build(),
        "names": names.filter(lower).filter(fold).build(),
    }


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("words", tokenizer_name="words", index_option="position")
    builder.add_text_field("names", tokenizer_name="names", index_option="basic")
    for name in ("number", "offset", "length"):
        builder.add_unsigned_field(name, stored=True)
    return builder.build()


_ANALYZERS = _analyzers()
_SCHEMA = _schema()


def _clauses(text: str) -> Iterator[Any]:
    term, boost = tantivy.Query.term_query, tantivy.Query.boost_query
    for word in dict.fromkeys(_ANALYZERS["words"].analyze(_with_parts(text))[:_MOST_WORDS]):
        yield term(_SCHEMA, "words", word)
    for name in dict.fromkeys(_ANALYZERS["names"].analyze(text)[:_MOST_WORDS]):
        yield boost(term(_SCHEMA, "names", name), _WHOLE_NAME_BOOST if "_" in name else 1.0)
    for phrase in _PHRASE.findall(text):
        words = _ANALYZERS["words"].analyze(phrase)
        if len(words) > 1:
            yield boost(tantivy.Query.phrase_query(_SCHEMA, "words", words), _PHRASE_BOOST)


def _with_parts(text: str) -> str:
    """The text, and after it the parts of the CamelCase names in it."""
    parts = [part for name in _CAMEL.findall(text) for part in _CAMEL_PART.findall(name)]
    return f"{text}\n{' '.join(parts)}" if parts else text


def _open(folder: Path) -> Any | None:
    if not folder.is_dir():
        return None
    try:
        index = tantivy.Index.open(str(folder))
        for name, analyzer in _ANALYZERS.items():
            index.register_tokenizer(name, analyzer)
        index.searcher()
    except (ValueError, OSError):
        shutil.rmtree(folder)
        return None
    return index


def _build(corpus: Corpus, folder: Path) -> None:
    partial = tempfile.mkdtemp(prefix=f".{os.getpid()}-", dir=folder.parent)
    try:
        index = tantivy.Index(_SCHEMA, path=partial)
        for name, analyzer in _ANALYZERS.items():
            index.register_tokenizer(name, analyzer)
        writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
        for span in passages(corpus):
            document = tantivy.Document()
            document.add_text("words", _with_parts(span.text))
            document.add_text("names", span.text)
            document.add_unsigned("number", span.number)
            document.add_unsigned("offset", span.offset)
            document.add_unsigned("length", len(span.text))
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        Path(partial).rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _trim(base: Path, keep: Path) -> None:
    """Remove what killed builds left, and the oldest indexes beyond 2 GB."""
    for partial in base.glob(".*-*"):
        pid = partial.name[1:].partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(partial, ignore_errors=True)
    folders = [one for one in base.iterdir() if one.is_dir() and not one.name.startswith(".")]
    folders.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    total = 0
    for folder in folders:
        total += sum(file.stat().st_size for file in folder.iterdir())
        if total > _CACHE_BYTES and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
