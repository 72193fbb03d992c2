"""Records block tables as vLLM's scheduler hands them out, for the tests of the kernels.

    python -P tests/record_block_tables.py

Writes tests/block_tables.json. vLLM's own scheduler and KV cache manager run here, with prefix
caching and chunked prefill, and a stand-in for the model that answers with the same token.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("block_tables.json")
BLOCK, BLOCKS, SLOTS, CHUNK, LONGEST = 16, 2_000, 32, 512, 2_048
SYSTEM, SLICES, QUESTIONS = 40, 3, 8
KEPT = (2, 6, 9, 14, 20, 26, 34)
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 1_000,
    "max_position_embeddings": LONGEST,
    "torch_dtype": "bfloat16",
}


def config(folder: Path) -> Any:
    """vLLM's configuration for a model that has no weights."""
    from vllm.engine.arg_utils import EngineArgs

    (folder / "config.json").write_text(json.dumps(CONFIG))
    made = EngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        load_format="dummy",
        max_model_len=LONGEST,
        max_num_seqs=SLOTS,
        max_num_batched_tokens=CHUNK,
        block_size=128,
        kv_cache_memory_bytes=1 << 24,
        enable_prefix_caching=True,
        enable_chunked_prefill=True,
        async_scheduling=False,
    ).create_engine_config()
    # The build for processors takes no blocks of the size that GPUs have.
    made.cache_config.block_size = BLOCK
    made.cache_config.num_gpu_blocks = BLOCKS
    return made


def spec() -> Any:
    """Keys and values of the model's one layer."""
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec

    return FullAttentionSpec(block_size=BLOCK, num_kv_heads=2, head_size=16, dtype=torch.bfloat16)


def scheduler(made: Any) -> Any:
    """vLLM's scheduler over a cache of `BLOCKS` blocks."""
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    cache = KVCacheConfig(
        num_blocks=BLOCKS,
        kv_cache_tensors=[],
        kv_cache_groups=[KVCacheGroupSpec(["layer"], spec())],
    )
    return Scheduler(made, cache, StructuredOutputManager(made), block_size=BLOCK)


def requests() -> list[Any]:
    """Questions on slices, all with one system prompt; some slices with one question alone."""
    from vllm.sampling_params import SamplingParams
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.request import Request

    init_none_hash(sha256)
    hasher = get_request_block_hasher(BLOCK, sha256)
    chance = random.Random(6)

    def words(count: int) -> list[int]:
        return [chance.randrange(1_000) for _ in range(count)]

    system = words(SYSTEM)
    slices = [(words(chance.randint(500, 900)), QUESTIONS) for _ in range(SLICES)]
    slices += [(words(300), 1), (words(700), 1)]
    made = []
    for number, (text, questions) in enumerate(slices):
        for question in range(questions):
            sampling = SamplingParams(max_tokens=chance.randint(6, 40), ignore_eos=True)
            sampling.update_from_generation_config({}, None)
            made.append(
                Request(
                    f"{number}-{question}",
                    system + text + words(chance.randint(5, 60)),
                    sampling,
                    None,
                    block_hasher=hasher,
                )
            )
    return made


def steps(run: Any) -> list[dict[str, Any]]:
    """One batch after another until all requests are done, decodes before prefills."""
    from vllm.v1.outputs import ModelRunnerOutput

    rows: dict[str, list[int]] = {}
    lengths: dict[str, int] = {}
    prompts: dict[str, int] = {}
    found = []
    while run.has_requests():
        out = run.schedule()
        for new in out.scheduled_new_reqs:
            rows[new.req_id] = list(new.block_ids[0])
            lengths[new.req_id] = new.num_computed_tokens
            prompts[new.req_id] = len(new.prompt_token_ids)
        old = out.scheduled_cached_reqs
        for name, blocks, done in zip(
            old.req_ids, old.new_block_ids, old.num_computed_tokens, strict=True
        ):
            lengths[name] = done
            rows[name] += blocks[0] if blocks else []
        scheduled = out.num_scheduled_tokens
        order = sorted(scheduled, key=lambda name: scheduled[name] > 1)
        found.append(
            {
                "queries": [scheduled[name] for name in order],
                "lengths": [lengths[name] + scheduled[name] for name in order],
                "tables": [list(rows[name]) for name in order],
                "names": order,
            }
        )
        sampled = [
            [1] if lengths[name] + scheduled[name] >= prompts[name] else [] for name in order
        ]
        at = {name: place for place, name in enumerate(order)}
        run.update_from_output(out, ModelRunnerOutput(order, at, sampled))
    return found


def main() -> None:
    """Record, and write the file."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    import vllm

    with tempfile.TemporaryDirectory() as folder:
        run = scheduler(config(Path(folder)))
        for request in requests():
            run.add_request(request)
        found = steps(run)
    kept = [found[at] for at in KEPT if at < len(found)]
    text = json.dumps({"vllm": vllm.__version__, "block": BLOCK, "steps": kept})
    FILE.write_text(text.replace('{"queries"', '\n{"queries"') + "\n", encoding="utf-8")
    for step in found:
        decodes = sum(query == 1 for query in step["queries"])
        print(f"{len(step['queries'])} requests, {decodes} of them decodes")


if __name__ == "__main__":
    main()
