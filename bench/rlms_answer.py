"""Answers one question with rlms; started by rlms_system.py in an environment that has it.

python -P bench/rlms_answer.py FOLDER     FOLDER holds context.txt and task.json

Its last line of output is JSON with `answer` and, where it failed, `error`.
"""

import json
import sys
from pathlib import Path

from rlm import RLM

folder = Path(sys.argv[1])
task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
with (folder / "context.txt").open(encoding="utf-8", newline="") as file:
    context = file.read()
models = [
    {
        "model_name": name,
        "base_url": task["address"],
        "api_key": "none",
        "timeout": task["seconds"],
        "max_retries": 0,
    }
    for name in ("root", "sub")
]
told = {}
try:
    rlm = RLM(
        backend="openai",
        backend_kwargs=models[0],
        other_backends=["openai"],
        other_backend_kwargs=models[1:],
        environment="local",
        max_timeout=task["seconds"],
    )
    told["answer"] = str(rlm.completion(context, task["question"]).response)
except Exception as error:
    told["error"] = f"{type(error).__name__}: {error}"[:300]
    told["answer"] = str(getattr(error, "partial_answer", None) or "")
print("\n" + json.dumps(told))
