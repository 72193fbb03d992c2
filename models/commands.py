"""`outcore models list | pull | verify | path`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from outcore.errors import WeightsError
from outcore.models import machine, weights
from outcore.models.catalog import catalog, defaults
from outcore.models.progress import on_stderr
from outcore.models.resolve import resolve
from outcore.models.units import human

if TYPE_CHECKING:
    import argparse

    from outcore.models.model import Model


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `models` to the command line; `args.run(args)` gives the exit code."""
    parser = commands.add_parser("models", help="list, fetch and check model weights")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("list", help="models known by name, and their state here")
    verb.set_defaults(run=list_models)
    verb = verbs.add_parser("pull", help="fetch, check and convert weights")
    verb.add_argument(
        "names", nargs="*", metavar="MODEL", help="by default, the two this machine would use"
    )
    verb.add_argument("--keep", action="store_true", help="keep the GGUF file after conversion")
    verb.set_defaults(run=pull)
    verb = verbs.add_parser("verify", help="hash weights again and compare")
    verb.add_argument(
        "names", nargs="*", metavar="MODEL", help="by default, all catalog models that are here"
    )
    verb.set_defaults(run=verify)
    verb = verbs.add_parser("path", help="print the folder of a model's weights")
    verb.add_argument("name", metavar="MODEL")
    verb.set_defaults(run=path)


def list_models(args: argparse.Namespace) -> int:
    """Print a table of the catalog: name, role, size at the source, licence, state here."""
    _ = args
    rows = [("NAME", "ROLE", "SIZE", "LICENCE", "STATE")]
    rows += [
        (model.name, model.role, human(model.bytes), model.licence, weights.state(model))
        for model in catalog().values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def pull(args: argparse.Namespace) -> int:
    """Fetch models and print their folders; 1 if any can't be had.

    Raises:
        ConfigError: a name is unknown; nothing was fetched.
    """
    models = [resolve(name) for name in args.names] or list(defaults(machine.usable()))
    progress = on_stderr()
    failed = False
    for model in models:
        try:
            print(weights.ensure(model, progress=progress, keep=args.keep), flush=True)
        except WeightsError as error:
            print(f"outcore: {error}", file=sys.stderr)
            failed = True
    return int(failed)


def verify(args: argparse.Namespace) -> int:
    """Hash models again; 1 if any differs from what was fetched.

    Raises:
        ConfigError: a name is unknown; nothing was read.
    """
    models = [resolve(name) for name in args.names] or _present()
    progress = on_stderr()
    failed = False
    for model in models:
        try:
            differences = weights.verify(model, progress=progress)
        except WeightsError as error:
            differences = [str(error)]
        for line in differences:
            print(f"outcore: {line}", file=sys.stderr)
        if not differences:
            print(f"{model.name}: as it was fetched")
        failed = failed or bool(differences)
    return int(failed)


def path(args: argparse.Namespace) -> int:
    """Print the folder of a model that is ready; 1 if it isn't.

    Raises:
        ConfigError: the name is unknown.
    """
    model = resolve(args.name)
    folder = weights.find(model)
    if folder is None:
        print(
            f"outcore: {model.name} is {weights.state(model)} here; "
            f"run 'outcore models pull {args.name}'",
            file=sys.stderr,
        )
        return 1
    print(folder)
    return 0


def _present() -> list[Model]:
    return [model for model in catalog().values() if weights.state(model) in ("ready", "damaged")]
