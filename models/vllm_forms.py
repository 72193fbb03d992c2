"""The forms in which vLLM takes a request, and a score as a generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outcore.errors import ConfigError
from outcore.models.engine import Generation, TokenPrompt

if TYPE_CHECKING:
    from outcore.models.engine import Asked, Prompt, Request


def packed(prompt: Prompt | Asked) -> TokenPrompt:
    """The prompt, if it is one of token ids.

    Raises:
        ConfigError: it is not; the engine's own methods make such prompts.
    """
    if not isinstance(prompt, TokenPrompt):
        raise ConfigError("a vLLM engine takes token prompts; make them with its own methods")
    return prompt


def tokens_input_of(ids: list[int]) -> Any:
    """A prompt of these ids."""
    try:
        from vllm.inputs.engine import tokens_input
    except ImportError:  # before vLLM 0.30
        from vllm.inputs import TokensPrompt

        return TokensPrompt(prompt_token_ids=ids)
    return tokens_input(ids)


def sampling_of(request: Request) -> Any:
    """How the reply to a request is to be made."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    shape = request.shape
    if request.only:
        # The likeliest of these ids is found by their scores. Having vLLM allow no others would
        # make it copy a mask of the whole vocabulary for every request at every step.
        return SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=list(request.only),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    return SamplingParams(
        temperature=request.temperature,
        seed=request.seed,
        max_tokens=request.max_tokens,
        stop=list(request.stop) or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=StructuredOutputsParams(**shape.constraint()) if shape else None,
    )


def scored_of(out: Any, only: tuple[int, ...], tokens_in: int, cached: int) -> Generation:
    """What came of a request that scores the ids it names in `only`."""
    scored = out.logprobs[0]
    best = max(only, key=lambda one: scored[one].logprob)
    return Generation(
        text=scored[best].decoded_token or "",
        ids=(best,),
        finish="stop",
        tokens_in=tokens_in,
        tokens_cached=cached,
        tokens_out=1,
        logprobs=tuple(float(scored[one].logprob) for one in only),
    )
