"""The signature: what a compiled paged decoder takes and gives, checked before anything is fed.

Law: a difference between OpenVINO's graph and the executor is found here, at load, and named; never
in a step, where it would be a wrong answer.
"""

from typing import Any, NamedTuple

import openvino as ov

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

SAMPLED_ROWS = "sampled_tokens_indices"
KEY_CACHE = "key_cache."
VALUE_CACHE = "value_cache."
STEP_INPUTS = {
    "input_ids": (ov.Type.i64, 1),
    "position_ids": (ov.Type.i64, 1),
    "past_lens": (ov.Type.i32, 1),
    "subsequence_begins": (ov.Type.i32, 1),
    "block_indices": (ov.Type.i32, 1),
    "block_indices_begins": (ov.Type.i32, 1),
    "max_context_len": (ov.Type.i32, 0),
    SAMPLED_ROWS: (ov.Type.i64, 1),
}

# Caches are `[blocks, kv_heads, tokens, head]`.
_CACHE_RANK = 4
_BLOCK_TOKENS_AXIS = 2


class CacheInput(NamedTuple):
    """One cache of one layer. `block_shape` is `(kv_heads, rows, columns)` of one block.

    Rows of a value cache are tokens. Quantised caches carry their scales in additional rows (keys)
    or columns (values).
    """

    name: str
    block_shape: tuple[int, ...]
    kind: Any


class Signature(NamedTuple):
    """The caches in layer order, tokens per block, and the width of a row of logits."""

    caches: tuple[CacheInput, ...]
    block_size: int
    vocab_size: int

    @property
    def kv_precision(self) -> str:
        """The element type of the caches, both where keys and values differ (`u8+f16`)."""
        return "+".join(dict.fromkeys(cache.kind.to_string() for cache in self.caches))


class _Port(NamedTuple):
    """A named input or output; an unknown dimension is -1, so is an unknown rank."""

    name: str
    rank: int
    dimensions: tuple[int, ...]
    kind: Any


def read_signature(compiled: ov.CompiledModel) -> Signature:
    """Raises Failed(UNSUPPORTED_MODEL) that names every difference from what the executor feeds."""
    inputs = [_port(port) for port in compiled.inputs]
    outputs = [_port(port) for port in compiled.outputs]
    caches = sorted(filter(_is_cache, inputs), key=_layer_order)
    problems = _step_problems(inputs) + _cache_problems(caches) + _output_problems(outputs)
    if problems:
        message = (
            f"OpenVINO {ov.get_version()} gives a paged graph that this executor cannot feed: "
            + "; ".join(problems)
        )
        raise Failed(
            Failure(
                kind=FailureKind.UNSUPPORTED_MODEL,
                stage=Stage.LOAD,
                message=message,
                detail={"problems": problems},
            )
        )
    return Signature(
        caches=tuple(CacheInput(port.name, port.dimensions[1:], port.kind) for port in caches),
        block_size=_block_sizes(caches).pop(),
        vocab_size=outputs[0].dimensions[-1],
    )


def _step_problems(inputs: list[_Port]) -> list[str]:
    found = {port.name: port for port in inputs if not _is_cache(port)}
    problems = [f"input {name} is missing" for name in STEP_INPUTS if name not in found]
    problems += [f"input {name} is unknown" for name in found if name not in STEP_INPUTS]
    for name, (kind, rank) in STEP_INPUTS.items():
        port = found.get(name)
        if port and (port.kind, port.rank) != (kind, rank):
            problems.append(
                f"input {name} is {port.kind} of rank {port.rank}, not {kind} of {rank}"
            )
    return problems


def _cache_problems(caches: list[_Port]) -> list[str]:
    problems = [
        f"cache {port.name} has dimensions {port.dimensions}"
        for port in caches
        if port.rank != _CACHE_RANK or min(port.dimensions[1:]) < 1
    ]
    keys = [port for port in caches if port.name.startswith(KEY_CACHE)]
    if not keys or 2 * len(keys) != len(caches):
        problems.append(f"{len(keys)} key caches among {len(caches)} caches")
    if not problems and len(_block_sizes(caches)) != 1:
        problems.append(f"layers differ in tokens per block: {sorted(_block_sizes(caches))}")
    return problems


def _output_problems(outputs: list[_Port]) -> list[str]:
    only = outputs[0]
    if len(outputs) == 1 and only.kind == ov.Type.f32 and only.rank > 0 and only.dimensions[-1] > 0:
        return []
    return [f"outputs are {outputs}, not one of f32 with rows of known width"]


def _block_sizes(caches: list[_Port]) -> set[int]:
    values = [port for port in caches if port.name.startswith(VALUE_CACHE)]
    return {port.dimensions[_BLOCK_TOKENS_AXIS] for port in values}


def _is_cache(port: _Port) -> bool:
    return port.name.startswith((KEY_CACHE, VALUE_CACHE))


def _layer_order(port: _Port) -> tuple[int, str]:
    prefix, _, layer = port.name.rpartition(".")
    return int(layer), prefix


def _port(port: Any) -> _Port:
    shape = port.get_partial_shape()
    rank = -1 if shape.rank.is_dynamic else len(shape)
    dimensions = (
        tuple(-1 if axis.is_dynamic else axis.get_length() for axis in shape) if rank > 0 else ()
    )
    return _Port(port.get_any_name(), rank, dimensions, port.get_element_type())
