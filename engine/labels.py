"""The choice of a label by the scores of its tokens, in one pass over the prompt where that does.

The labels' token ids make a tree. Where it forks, one pass scores the branches; a label's
probability is the product of its branches' shares along its path. Labels whose first tokens
all differ fork once, at the root.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from outcore.errors import ConfigError, ModelError
from outcore.models.engine import Asked, TokenPrompt, pack
from outcore.models.typed import Shape, as_said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.models.engine import Engine, Generation, Prompt, Request

Path = tuple[int, ...]

# vLLM scores no more ids than this in one pass.
_MOST_SCORED = 128
# One choice shouldn't fill an engine's queue.
_MOST_REQUESTS = 128


@dataclass(frozen=True, slots=True)
class Ballot:
    """A choice as the requests that decide it; none of them waits for another.

    Attributes:
        labels: what there is to choose from.
        tokens: each label's ids, as a model would say it; empty where a grammar decides.
        requests: the requests to make.
        paths: for each request, the ids before those it scores.
        scores: whether the labels' probabilities are wanted.
    """

    labels: tuple[str, ...]
    tokens: tuple[Path, ...]
    requests: tuple[Request, ...]
    paths: tuple[Path, ...] = ()
    scores: bool = False

    def decide(self, generations: Sequence[Generation]) -> tuple[str, dict[str, float] | None]:
        """The likeliest label, and the probability of each where that is wanted.

        Args:
            generations: what came of the requests, in their order.

        Raises:
            BadReply: the reply is none of the labels.
            ModelError: the engine gave no scores.
        """
        if not self.tokens:
            [reply] = generations
            shape = Shape(choices=self.labels)
            return str(shape.read(reply.text, cut=reply.finish == "length")), None
        shares = self._shares(generations)
        found = {
            label: math.prod(
                share[ids[len(path)]]
                for path, share in shares.items()
                if len(ids) > len(path) and ids[: len(path)] == path
            )
            for label, ids in zip(self.labels, self.tokens, strict=True)
        }
        return max(found, key=found.__getitem__), found if self.scores else None

    def _shares(self, generations: Sequence[Generation]) -> dict[Path, dict[int, float]]:
        """For each fork, the share of each of its branches."""
        scored: dict[Path, dict[int, float]] = {}
        for path, request, generation in zip(self.paths, self.requests, generations, strict=True):
            if len(generation.logprobs) != len(request.only):
                raise ModelError(
                    f"{len(request.only)} labels were to be scored, and "
                    f"{len(generation.logprobs)} scores came"
                )
            branches = zip(request.only, generation.logprobs, strict=True)
            scored.setdefault(path, {}).update(branches)
        return {path: _softmax(branches) for path, branches in scored.items()}


def ballot(engine: Engine, request: Request, labels: tuple[str, ...], *, scores: bool) -> Ballot:
    """How an engine chooses among labels.

    By scores where it gives any, but for labels that share a first token and whose scores
    nobody asks for: there a grammar does with one request. The grammar's making takes a while;
    call this in a thread.

    Args:
        engine: who is to answer.
        request: a request with the question; its shape and its limit don't matter.
        labels: the labels.
        scores: whether the labels' probabilities are wanted.

    Raises:
        ConfigError: scores are wanted of an engine that gives none, or take too many requests.
    """
    tokens = engine.label_tokens(as_said(labels))
    if tokens is None and scores:
        raise ConfigError(
            f"{engine.name} gives no scores of labels; ask without with_scores, or have outcore "
            "serve the model itself"
        )
    forks = _forks(tokens or ())
    asked = sum(-(-len(ids) // _MOST_SCORED) for ids in forks.values())
    if scores and asked > _MOST_REQUESTS:
        raise ConfigError(
            f"the scores of {len(labels):,} labels that begin alike take {asked:,} requests, and "
            f"{_MOST_REQUESTS} are allowed; put the labels in groups and ask twice, or ask "
            "without with_scores"
        )
    if not scores and list(forks) != [()]:
        # A label has at most as many tokens as bytes, and an end.
        longest = max(len(label.encode()) for label in labels) + 1
        shape = Shape(choices=labels)
        shape.constraint()
        written = replace(request, shape=shape, max_tokens=longest)
        return Ballot(labels, (), (written,))
    paths: list[Path] = []
    requests: list[Request] = []
    for path, ids in forks.items():
        prompt = _opened(request.prompt, path)
        for at in range(0, len(ids), _MOST_SCORED):
            only = ids[at : at + _MOST_SCORED]
            paths.append(path)
            requests.append(
                replace(
                    request, prompt=prompt, max_tokens=1, temperature=0.0, shape=None, only=only
                )
            )
    return Ballot(labels, tokens or (), tuple(requests), tuple(paths), scores)


def _forks(tokens: Sequence[Path]) -> dict[Path, tuple[int, ...]]:
    """Where the labels' tree forks: the ids that lead there, and those that go on."""
    below: dict[Path, dict[int, None]] = {}
    # Sorted, what forks at a place stands side by side.
    for ids, others in itertools.pairwise(sorted(set(tokens))):
        pairs = zip(ids, others, strict=False)
        at = next((at for at, (one, other) in enumerate(pairs) if one != other), len(ids))
        branches = below.setdefault(ids[:at], {})
        branches.update(dict.fromkeys((*ids[at : at + 1], others[at])))
    return {path: tuple(ids) for path, ids in below.items() if len(ids) > 1}


def _softmax(scores: dict[int, float]) -> dict[int, float]:
    top = max(scores.values())
    weights = {one: math.exp(score - top) for one, score in scores.items()}
    whole = sum(weights.values())
    return {one: weight / whole for one, weight in weights.items()}


def _opened(prompt: Prompt | Asked, path: Path) -> Prompt | Asked:
    if not path:
        return prompt
    if isinstance(prompt, Asked):
        return replace(prompt, opening=(*prompt.opening, *path))
    if isinstance(prompt, TokenPrompt):
        return replace(prompt, own=prompt.own + pack(path))
    raise ConfigError("labels are scored on prompts of token ids alone")
