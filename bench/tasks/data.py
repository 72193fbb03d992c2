"""The files that the tasks read: where each comes from, and whether a folder holds them.

bench/DATA.md says the same for people; a test keeps the two in step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BOOKS = "gutenberg"
_GUTENBERG = "Project Gutenberg, plain text UTF-8, https://www.gutenberg.org/ebooks/"
_TREC = "https://cogcomp.seas.upenn.edu/Data/QA/QC/"


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the data folder.

    Attributes:
        path: in the folder.
        sha256: of the file that the recorded rows were asked on.
        origin: where to get it.
        tasks: which read it.
    """

    path: str
    sha256: str
    origin: str
    tasks: tuple[str, ...]


SOURCES = (
    Source(
        "gutenberg/moby_dick_pg2701.txt",
        "f17ab08e0ad8c6e43d1e85e3cdae4e1b617ae35069cee7db8dcd457c87b1ec76",
        f"{_GUTENBERG}2701",
        ("needle",),
    ),
    Source(
        "gutenberg/sherlock_holmes_pg1661.txt",
        "87a68129bb1dd7c2eecca7a98f97c27bd507d9901a5e1115de765745a127a82e",
        f"{_GUTENBERG}1661",
        ("needle",),
    ),
    Source(
        "gutenberg/war_and_peace_pg2600.txt",
        "31b5d23be25fe9ad27eca1e78f9f449ae2e17adf07ce62238a79425c53a96646",
        f"{_GUTENBERG}2600",
        ("needle",),
    ),
    Source(
        "trec/train.txt",
        "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
        f"{_TREC}train_5500.label",
        ("oolong", "pairs"),
    ),
    Source(
        "trec/test.txt",
        "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e",
        f"{_TREC}TREC_10.label",
        ("oolong", "pairs"),
    ),
    Source(
        "oolong/oolong_pairs_tasks.json",
        "d8ba9a223b187985ecf6e82d2bc64c9a764c2cd80a892f3e10ecc9f03ce562f3",
        "written from Appendix D.1 of arXiv 2512.24601, in the form that bench/DATA.md shows",
        ("pairs",),
    ),
)


def check(task: str, data: Path) -> list[str]:
    """See that a folder holds what a task reads.

    Returns:
        What differs from the files of the recorded rows, a line each: other files give other
        questions under the same seed.

    Raises:
        SystemExit: a file is missing; it says where to get each that is.
    """
    wanted = [source for source in SOURCES if task in source.tasks]
    if missing := [source for source in wanted if not (data / source.path).is_file()]:
        lines = "\n".join(f"  {source.path}: {source.origin}" for source in missing)
        raise SystemExit(
            f"{data} lacks what the task {task} reads:\n{lines}\n"
            "put it there, or name the folder that has it with --data; bench/DATA.md says more"
        )
    said = [
        f"{data / source.path} is another file than the recorded rows were asked on"
        for source in wanted
        if _sha256(data / source.path) != source.sha256
    ]
    known = {data / source.path for source in SOURCES}
    if any(source.path.startswith(_BOOKS) for source in wanted):
        said += [
            f"{book} is a book more than the recorded rows were asked on"
            for book in sorted((data / _BOOKS).glob("*.txt"))
            if book not in known
        ]
    return said


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
