"""Runs a script of cells in rlms; started by loops.py in an environment that has it.

python -P bench/rlms_side.py ADDRESS     the server has been given the cells
"""

import sys

from rlm import RLM

address = sys.argv[1] + "/v1"
models = [{"model_name": name, "base_url": address, "api_key": "none"} for name in ("root", "sub")]
rlm = RLM(
    backend="openai",
    backend_kwargs=models[0],
    other_backends=["openai"],
    other_backend_kwargs=models[1:],
    environment="local",
)
print(rlm.completion("A note.", "How long does it take?").response)
