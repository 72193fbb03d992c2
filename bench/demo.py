"""`make demo`: a question over the source tree of the installed vLLM, answered here.

The corpus is one every machine has after set-up: vLLM's Python source, several million tokens.
The question's answer is worked out from the syntax tree of the file it stands in, so the demo
can tell whether the model found it.
"""

from __future__ import annotations

import ast
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from outcore import RLM
from outcore.ask import show
from outcore.errors import OutcoreError
from outcore.live import LiveLine
from outcore.models.progress import on_stderr

QUESTION = "What is the value of STARTUP_POLL_PERIOD_MS?"
WHERE, NAME = "v1/engine/utils.py", "STARTUP_POLL_PERIOD_MS"
WRONG = 4


def corpus() -> Path:
    """Folder of the installed vLLM's source, found without importing it."""
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def expected(folder: Path) -> str:
    """The value that the source assigns, by its syntax tree."""
    tree = ast.parse((folder / WHERE).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == NAME:
            return ast.unparse(node.value)
    raise LookupError(f"{NAME} is no longer assigned in {WHERE}")


def main() -> int:
    """Run the demo; 0 if the answer is right."""
    folder = corpus()
    truth = expected(folder)
    print(f"corpus:   {folder}\nquestion: {QUESTION}", file=sys.stderr)
    begun = time.monotonic()
    # Asked again, a question is answered from the memo; here the models are to be seen at work.
    rlm = RLM(progress=on_stderr(), memo=False)
    try:
        with LiveLine(lambda: rlm.status):
            completion = rlm.completion(folder, QUESTION)
    except OutcoreError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        rlm.close()
    show(completion)
    right = truth in completion.answer.replace(",", "")
    print(
        f"{'right' if right else 'WRONG'}: the source says {truth}; "
        f"{time.monotonic() - begun:.0f} s with starting the models",
        file=sys.stderr,
    )
    return 0 if right else WRONG


if __name__ == "__main__":
    sys.exit(main())
