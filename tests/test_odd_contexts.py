"""Contexts as odd as file systems and texts have them: a rule for each, or an error that says so.

The rules stand in docs/contexts.md.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import math
import os
import socket
import subprocess
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from sandboxing import Host

from outcore.engine.context import sources
from outcore.engine.context.corpus import stage
from outcore.engine.context.folder import walk
from outcore.engine.context.textfile import read_parts
from outcore.errors import BadContext
from outcore.kernel_sandbox import Kernel, KernelSpec
from outcore.kernel_sandbox.inside.corpus import open_context

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = os.geteuid() == 0
MIB = 1 << 20
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
# Line ends of every kind, a form feed, separators of Unicode, marks that combine, right to left.
ODD = (
    "one\r\ntwo\rthree\nfour\x0bfive\x0csix\x1cseven\x85eight\u2028nine\u2029ten\n"
    "e\u0301\u0323 \u05e9\u05dc\u05d5\u05dd \u202eabc\u202c "
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\n"
    " \ufeff needle \ufffe \U0010ffff\n"
)


def made(corpus: Any) -> Any:
    value = open_context(corpus.folder, eager_bytes=0).value
    return dict(value.items()) if corpus.kind == "dict" else value


@pytest.mark.parametrize("name", MARKS)
def test_byte_order_marks(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(MARKS[name] + ODD.encode(name))
    if name == "utf-8":
        corpus = stage(path, tmp_path / "context")
        assert corpus.read("a.txt") == "\ufeff" + ODD
        assert corpus.find("needle") == ("a.txt", 1 + ODD.index("needle"), "needle")
        assert stage(path, tmp_path / "sig", "utf-8-sig").read("a.txt") == ODD
        return
    general = name[:6]
    with pytest.raises(BadContext, match=f"starts like {general}; say so: --encoding {general}"):
        stage(path, tmp_path / "context")
    corpus = stage(path, tmp_path / "context", general)
    assert corpus.read("a.txt") == ODD
    assert corpus.find("needle") == ("a.txt", ODD.index("needle"), "needle")
    assert stage(path, tmp_path / "exact", name).read("a.txt") == "\ufeff" + ODD
    # Without the mark, the general name can't be told from its reverse.
    path.write_bytes(ODD.encode(name))
    with pytest.raises(BadContext, match=f"no byte order mark.*{general}-le"):
        stage(path, tmp_path / "none", general)


async def test_an_odd_text_is_in_the_kernel_what_it_is_here(tmp_path: Path) -> None:
    text = ODD * 2_000
    corpus = stage({"odd": text, "cr": "a\rb\rneedle\rc", "empty": ""}, tmp_path / "context")
    spec = KernelSpec(context=corpus.folder)
    async with await Kernel.start(spec, Host()) as kernel:
        ran = await kernel.run(
            "import hashlib\n"
            "print(hashlib.sha256(context['odd'].encode()).hexdigest())\n"
            "hits = grep('needle', k=10_000)\n"
            "print(len(hits), all(context[h.document].startswith('needle', h.offset)"
            " for h in hits), hits[-1].document, hits[-1].offset, repr(hits[-1].text))\n"
            "print(''.join(s.text for s in slices() if s.document == 'odd') == context['odd'])",
            seconds=60,
        )
    assert ran.status == "ok", ran
    digest, hits, whole = ran.output.splitlines()
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert hits == "2001 True cr 4 'a\\rb\\rneedle\\rc'"
    assert whole == "True"


def test_a_nul_beyond_the_head_is_text(tmp_path: Path) -> None:
    text = "x" * 10_000 + "\x00" + "y" * 10 + "needle"
    (tmp_path / "a.txt").write_text(text)
    corpus = stage(tmp_path / "a.txt", tmp_path / "context")
    assert corpus.read("a.txt") == text
    assert corpus.find("needle") == ("a.txt", 10_011, "needle")


def test_what_stands_in_a_folder_besides_texts(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub/empty").mkdir(parents=True)
    (folder / "text.txt").write_text("a text")
    (folder / "empty.txt").touch()
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "there").symlink_to(folder / "back")
    (folder / "back").symlink_to(folder / "there")
    (folder / "sub/up").symlink_to("..")
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "null").symlink_to("/dev/null")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (folder / "to-pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    if ROOT:
        os.mknod(folder / "device", 0o20666, os.makedev(1, 5))  # /dev/zero, which has no end
    with gzip.open(folder / "log.gz", "wt") as packed:
        packed.write("a text")
    with zipfile.ZipFile(folder / "docs.zip", "w") as archive:
        archive.writestr("a.txt", "a text")
    with zipfile.ZipFile(folder / "nothing.zip", "w"):
        pass
    (folder / "program").write_bytes(b"\x7fELF\x02\x01\x01")
    (folder / "wide.txt").write_bytes("a text".encode("utf-16"))
    (folder / os.fsdecode(b"\xff\xfe")).write_text("unnamed")
    (folder / os.fsdecode(b"\xfe\xff")).write_text("unnamed")
    (folder / "??").write_text("named so")
    corpus = stage(folder, tmp_path / "context")
    assert made(corpus) == {"??": "named so", "empty.txt": "", "text.txt": "a text"}
    skipped = dict(corpus.skipped)
    assert skipped == {
        "??": "its name is not UTF-8",
        "back": "a broken link",
        "dangling": "a broken link",
        "docs.zip": "binary",
        "log.gz": "binary",
        "loop": "a broken link",
        "nothing.zip": "binary",
        "null": "a link out of the folder",
        "passwd": "a link out of the folder",
        "pipe": "not a regular file",
        "program": "binary",
        "socket": "not a regular file",
        "sub/up": "a link to a folder",
        "there": "a broken link",
        "to-pipe": "not a regular file",
        "wide.txt": "utf-16, not UTF-8",
        **({"device": "not a regular file"} if ROOT else {}),
    }
    assert [one.name for one in corpus.skipped].count("??") == 2


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    strange, plain = tmp_path / os.fsdecode(b"\xfe.txt"), tmp_path / "plain.txt"
    strange.write_text("strange")
    plain.write_text("plain")
    assert made(stage(strange, tmp_path / "one")) == "strange"
    with pytest.raises(BadContext, match=r"udcfe\.txt' can't be the name of a document.*rename"):
        stage([strange, plain], tmp_path / "two")
    assert not (tmp_path / "two").exists()
    for path in (Path("a\0b"), Path("x" * 5_000)):
        with pytest.raises(BadContext, match=r"no path|File name too long"):
            stage(path, tmp_path / "three")


def test_folders_deeper_than_any_recursion(tmp_path: Path) -> None:
    depth = 1_500
    top = tmp_path / "top"
    top.mkdir()
    here = Path.cwd()
    try:
        os.chdir(top)
        for _ in range(depth):
            os.mkdir("d")  # noqa: PTH102 - a path of this length can't be given whole everywhere
            os.chdir("d")
        Path("deep.txt").write_text("at the bottom")
    finally:
        os.chdir(here)
    try:
        corpus = stage(top, tmp_path / "context")
        assert made(corpus) == {"d/" * depth + "deep.txt": "at the bottom"}
    finally:
        # What removes old folders of tests is a recursion too.
        subprocess.run(["rm", "-rf", str(top)], check=True)


def test_many_tiny_files(tmp_path: Path) -> None:
    """All are there, and none takes more than about a kilobyte of memory."""
    count = 20_000
    top = tmp_path / "top"
    for number in range(count // 1_000):
        (top / f"{number:03}").mkdir(parents=True)
    # Links to one file make a file of each name without a file system full of them.
    first = top / "000/000.txt"
    first.write_text("tiny")
    for number in range(1, count):
        os.link(first, top / f"{number // 1_000:03}/{number % 1_000:03}.txt")
    before = psutil.Process().memory_info().rss
    corpus = stage(top, tmp_path / "context")
    grown = psutil.Process().memory_info().rss - before
    assert len(corpus.documents) == count
    assert corpus.chars == 4 * count
    assert corpus.documents[count - 1].name == "019/999.txt"
    assert grown < 40 * MIB


async def test_one_long_line(tmp_path: Path) -> None:
    """Read in windows on both sides: the kernel holds a fraction of it."""
    path = tmp_path / "line.txt"
    part = ("word \u00e9 " * 1_000).encode()
    times = 140 * MIB // len(part)
    with path.open("wb") as file:
        for _ in range(times):
            file.write(part)
        file.write("needle \U0001f642 end".encode())
    before = psutil.Process().memory_info().rss
    corpus = stage(path, tmp_path / "context")
    assert psutil.Process().memory_info().rss - before < 150 * MIB
    chars = times * 7_000
    assert corpus.chars == chars + 12
    assert corpus.find("needle") == ("line.txt", chars, "needle")
    async with await Kernel.start(KernelSpec(context=corpus.folder), Host()) as kernel:
        ran = await kernel.run(
            "hit = grep('needle')[0]\n"
            "print(hit.offset, repr(hit.match), repr(context[hit.offset:]), len(context))\n"
            "peak = [x for x in open('/proc/self/status') if x.startswith('VmHWM')][0].split()[1]\n"
            "print(int(peak) >> 10)",
            seconds=100,
        )
    assert ran.status == "ok", ran
    places, peak = ran.output.splitlines()
    assert places == f"{chars} 'needle' 'needle \U0001f642 end' {chars + 12}"
    assert int(peak) < 300


def test_a_sparse_file_is_no_text(tmp_path: Path) -> None:
    """Ten gigabytes of nothing are refused after a megabyte, and say from where they are."""
    path = tmp_path / "sparse.txt"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(BadContext, match="NUL at byte 0"):
        stage(path, tmp_path / "context")
    with path.open("r+b") as file:
        file.write(b"a text\n" * 300_000)
    with pytest.raises(BadContext, match=r"megabyte of NULs from byte 3145728 on.*sparse"):
        stage(path, tmp_path / "context")
    assert not (tmp_path / "context").exists()


def test_a_file_that_grows_as_fast_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"x" * MIB)
    with path.open("ab") as file:
        for parts, _ in enumerate(read_parts_of(path)):
            file.write(b"y" * 2 * MIB)
            file.flush()
            assert parts < 10


def read_parts_of(path: Path) -> Iterator[bytes]:
    with pytest.raises(BadContext, match="changed while it was read"):
        yield from read_parts(path)


def test_a_file_that_is_rewritten_while_others_read(tmp_path: Path) -> None:
    """Each time the text is what the file held at one moment, or it is an error."""
    path, stop = tmp_path / "a.txt", threading.Event()
    path.write_bytes(b"a" * 3 * MIB)

    def rewrite() -> None:
        number = 0
        # Some systems tell times in steps of ten milliseconds: two writings in one look like one.
        while not stop.wait(0.012):
            number += 1
            path.write_bytes(bytes([97 + number % 26]) * 3 * MIB)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for number in range(20):
            try:
                corpus = stage(path, tmp_path / f"context{number}")
            except BadContext as error:
                assert "changed while" in str(error) or "empty" in str(error)  # noqa: PT017
                continue
            text = corpus.read("a.txt")
            assert text == text[:1] * len(text)
    finally:
        stop.set()
        thread.join()


def test_a_file_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")

    def walked(top: Path) -> Any:
        found = list(walk(top))
        (folder / "a.txt").unlink()
        return found

    monkeypatch.setattr(sources, "walk", walked)
    corpus = stage(folder, tmp_path / "context")
    assert made(corpus) == {"b.txt": "b"}
    assert dict(corpus.skipped) == {"a.txt": "missing"}


@pytest.fixture
def without_rights() -> Iterator[Path]:
    """A folder, and no rights beyond its own: root, which may read everything, steps down."""
    with tempfile.TemporaryDirectory() as name:
        if ROOT:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if ROOT:
                os.seteuid(0)


def test_what_may_not_be_read(without_rights: Path) -> None:
    folder = without_rights / "folder"
    (folder / "closed").mkdir(parents=True)
    (folder / "closed/a.txt").write_text("a")
    (folder / "b.txt").write_text("b")
    (folder / "c.txt").write_text("c")
    (folder / "c.txt").chmod(0)
    (folder / "closed").chmod(0)
    try:
        corpus = stage(folder, without_rights / "context")
        assert made(corpus) == {"b.txt": "b"}
        denied = "can't be read: Permission denied"
        assert dict(corpus.skipped) == {"c.txt": denied, "closed/": denied}
        for path in (folder / "closed/a.txt", folder / "closed"):
            with pytest.raises(BadContext, match=r"Permission denied|no text in"):
                stage(path, without_rights / "none")
    finally:
        (folder / "closed").chmod(0o755)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ([10**5_000], r"context\[0\] can't be written as JSON"),
        ([{"a": ["ok", "\udc80"]}], r"context\[0\] has a lone surrogate"),
        ([{"\ud800": 1}], r"context\[0\] has a lone surrogate"),
        ({"a": 1 + 2j}, r"context\['a'\] is complex"),
    ],
)
def test_values_that_no_text_holds(tmp_path: Path, source: Any, told: str) -> None:
    with pytest.raises(BadContext, match=told):
        stage(source, tmp_path / "context")
    assert not (tmp_path / "context").exists()


def test_numbers_that_json_lacks_are_kept(tmp_path: Path) -> None:
    given = [1e308, -0.0, math.inf, {"a": math.nan}]
    value = made(stage(given, tmp_path / "context"))
    assert list(value)[:3] == given[:3]
    assert math.copysign(1, value[1]) == -1
    assert math.isnan(value[3]["a"])


@pytest.mark.parametrize(
    "data",
    ["1\n\ufeff", "1\n\ufeff\n", "\n\ufeff1\n", "\ufeff\n\ufeff1\r\n", "\ufeff1"],
)
def test_marks_between_lines_of_json_are_blank(tmp_path: Path, data: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(data, "utf-8", newline="")
    corpus = stage(path, tmp_path / "context")
    assert corpus.slice(0) == data
    assert list(open_context(corpus.folder).value) == [1]
