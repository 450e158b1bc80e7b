"""Analyse (stage 3): shapes, bounds and the vocabulary, before work is spent on the weights.

    Represented -> Analysed

Bounds are checked against the checkpoint, its tokenizer and what the executor can address.
"""

from typing import Any, NamedTuple, cast

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage
from octant.ports.exporter import GraphFacts, PortShape
from octant.preparation.architectures import context_limit, rope_kind
from octant.preparation.capture import Captured
from octant.preparation.checkpoint import TOKENIZER_FILE, read_json
from octant.preparation.job import Done, Job
from octant.preparation.represent import Represented

_DYNAMIC = -1


class Analysed(NamedTuple):
    """A graph whose bounds are known: positions it may be given, width of its logits."""

    captured: Captured
    graph_facts: GraphFacts
    max_context: int
    vocab_size: int


def analyse(job: Job, represented: Represented) -> Done[Analysed]:
    """Raises Failed(UNSUPPORTED_MODEL) when a bound is open or the tokenizer does not fit."""
    del job
    captured, facts = represented
    config = captured.checkpoint.config
    logits = facts.outputs[0]
    vocab_size = logits.dimensions[-1] if logits.dimensions else _DYNAMIC
    if vocab_size == _DYNAMIC:
        raise Failed(_unsupported(f"the width of its logits is open: {logits.dimensions}"))
    if not captured.file(TOKENIZER_FILE).is_file():
        raise Failed(_unsupported(f"it has no {TOKENIZER_FILE} and none could be made for it"))
    largest = largest_token(read_json(captured.file(TOKENIZER_FILE)))
    if largest >= vocab_size:
        message = f"its tokenizer gives id {largest}, its logits have {vocab_size} columns"
        raise Failed(_unsupported(message))
    max_context = context_limit(config)
    return Done(
        Analysed(captured, facts, max_context, vocab_size),
        {
            "shape_profile": {"tokens_per_step": [1, max_context], "vocabulary": vocab_size},
            "dynamic_dimensions": _dynamic(facts.inputs),
            "guards": 0,
            "specialisations": "one graph serves every batch and length",
            "layout": "tokens of all sequences packed without padding, KV in blocks",
            "max_context": max_context,
            "rope": rope_kind(config),
            "largest_token_id": largest,
        },
    )


def largest_token(tokenizer: dict[str, Any]) -> int:
    """The largest id in a tokenizer.json, added tokens included; -1 when it has none."""
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, dict):
        ids = list(cast("dict[str, int]", vocabulary).values())
    else:
        # A unigram vocabulary is a list of pieces, an id is a place in it.
        ids = [len(vocabulary) - 1]
    return max(ids + [token["id"] for token in tokenizer.get("added_tokens", ())], default=-1)


def _dynamic(ports: tuple[PortShape, ...]) -> dict[str, int]:
    return {port.name: port.dimensions.count(_DYNAMIC) for port in ports}


def _unsupported(reason: str) -> Failure:
    return Failure(
        kind=FailureKind.UNSUPPORTED_MODEL,
        stage=Stage.ANALYSE,
        message=f"this model cannot be served: {reason}",
    )
