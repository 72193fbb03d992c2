"""A whole vLLM engine that attends by groups, on a processor, against one that does not.

`test_kernels_engine.py` runs this in a process of its own, since Triton must interpret. The
scheduler, cache, runner, backend and kernels are the real ones, on a model of random weights in
float32; FlashAttention, which needs a GPU, is played by torch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {
    "TRITON_INTERPRET": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_PLUGINS": "",
}

import random

import torch
from record_block_tables import CONFIG
from torch.nn.functional import scaled_dot_product_attention
from vllm import LLM, SamplingParams
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.attention import selector
from vllm.v1.attention.backends import fa_utils, flash_attn

BLOCK, SLICE = 128, 700
# Heads of 32 are the smallest that attention on processors takes.
MODEL = {"num_hidden_layers": 2, "hidden_size": 256}
PATH = "outcore.kernels.backend.SharedPrefixBackend"


def flash(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    seqused_k: torch.Tensor,
    softmax_scale: float,
    block_table: torch.Tensor,
    **_: Any,
) -> None:
    """Causal attention over a paged cache, request by request."""
    starts = cu_seqlens_q.tolist()
    for row, length in enumerate(seqused_k.tolist()):
        begin, end = starts[row], starts[row + 1]
        if begin == end:
            continue
        blocks = block_table[row, : -(-length // k.shape[1])].long()
        keys, values = (each[blocks].flatten(0, 1)[:length].transpose(0, 1) for each in (k, v))
        at = torch.arange(length - (end - begin), length)
        mask = at[:, None] >= torch.arange(length)[None]
        found = scaled_dot_product_attention(
            q[begin:end].transpose(0, 1)[None], keys[None], values[None],
            attn_mask=mask, scale=softmax_scale, enable_gqa=True,
        )  # fmt: skip
        out[begin:end] = found[0].transpose(0, 1)


def store(
    key: torch.Tensor,
    value: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    slots: torch.Tensor,
    *_: Any,
) -> None:
    """Write keys and values where the slots say; padding has none."""
    there = slots >= 0
    at, within = slots[there] // keys.shape[1], slots[there] % keys.shape[1]
    keys[at, within] = key[: len(slots)][there]
    values[at, within] = value[: len(slots)][there]


def weights(model: torch.nn.Module) -> None:
    """Random ones; those that vLLM makes up are so small that it is all one what is attended to."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 2 / parameter.shape[-1] ** 0.5, generator=generator)
        else:
            parameter.data.fill_(1)


def by_groups() -> list[Any]:
    """Let engines made from now on attend by groups; what their steps were is noted."""
    flash_attn.flash_attn_varlen_func = flash
    flash_attn.reshape_and_cache_flash = store
    for module in (flash_attn, fa_utils):
        module.get_flash_attn_version = lambda *_, **__: 2
    selector._cached_get_attn_backend.cache_clear()
    CpuPlatform.get_attn_backend_cls = classmethod(lambda *_, **__: PATH)
    from outcore.kernels.builder import SharedPrefixBuilder

    steps: list[Any] = []
    build = SharedPrefixBuilder.build

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.append(build(self, *args, **kwargs))
        return steps[-1]

    SharedPrefixBuilder.build = noted  # type: ignore[method-assign]
    return steps


def prompts() -> list[dict[str, list[int]]]:
    """Questions on slices, in turn; some slices have one question alone."""
    chance = random.Random(3)

    def words(count: int) -> list[int]:
        return [chance.randrange(1_000) for _ in range(count)]

    slices = [(words(SLICE), 7), (words(SLICE + 90), 5), (words(300), 1), (words(800), 1)]
    asked = [text + words(chance.randint(3, 40)) for text, questions in slices
             for _ in range(questions)]  # fmt: skip
    chance.shuffle(asked)
    return [{"prompt_token_ids": ids} for ids in asked]


def answers(folder: Path) -> list[tuple[list[int], list[float]]]:
    """Tokens and their log-probabilities, by an engine made now."""
    llm = LLM(
        model=str(folder),
        skip_tokenizer_init=True,
        load_format="dummy",
        dtype="float32",
        enforce_eager=True,
        max_model_len=2_048,
        max_num_seqs=16,
        max_num_batched_tokens=256,
        block_size=BLOCK,
        kv_cache_memory_bytes=1 << 27,
        enable_prefix_caching=True,
        seed=0,
    )
    chance = random.Random(4)
    asked = prompts()
    sampling = [
        SamplingParams(temperature=0, max_tokens=chance.randint(6, 24), ignore_eos=True, logprobs=0,
                       detokenize=False)
        for _ in asked
    ]  # fmt: skip
    found = []
    for output in llm.generate(asked, sampling, use_tqdm=False):
        [reply] = output.outputs
        chosen = zip(reply.token_ids, reply.logprobs, strict=True)
        found.append((list(reply.token_ids), [float(by[token].logprob) for token, by in chosen]))
    llm.llm_engine.engine_core.shutdown()
    return found


def wrong(folder: Path) -> str:
    """What an engine says whose kernels are a little off."""
    from outcore.kernels.decode import Decoder

    right = Decoder.__call__

    def off(*args: Any) -> torch.Tensor:
        return right(*args).mul_(1.2)

    Decoder.__call__ = off  # type: ignore[assignment, method-assign]
    try:
        answers(folder)
    except Exception as error:
        return str(error)
    return ""


def main() -> None:
    """Print what the engines answered and how the steps by groups went."""
    torch.set_num_threads(1)
    DummyModelLoader.load_weights = lambda _, model, __: weights(model)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "config.json").write_text(json.dumps(CONFIG | MODEL))
        plain = answers(folder)
        steps = by_groups()
        grouped = answers(folder)
        made_of = list(steps)
        refused = wrong(folder)
    from outcore.kernels.builder import Grouped

    groups = [step for step in made_of if isinstance(step, Grouped)]
    kinds = {
        "steps": len(made_of),
        "grouped": len(groups),
        "mixed": sum(step.rest is not None for step in groups),
        "audited": sum(step.whole is not None for step in groups),
        "saved": max((float(step.plan.tokens[1] / step.plan.tokens[0]) for step in groups),
                     default=0.0),
    }  # fmt: skip
    found = {"plain": plain, "by_groups": grouped, "wrong": refused, **kinds}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
