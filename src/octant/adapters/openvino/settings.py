"""OpenVinoSettings: every choice an operator has about the embedded executor, with its reason.

Law: these are requests; what was granted (precision, bytes, context) stands in `ExecutorFacts`.
"""

from typing import Literal

from octant.core.record import Record

KvPrecision = Literal["auto", "u8", "f16", "bf16", "f32"]
InferencePrecision = Literal["auto", "bf16", "f32"]

GIB = 1 << 30


class OpenVinoSettings(Record, frozen=True, kw_only=True):
    """How to load a model.

    `kv_precision` u8 holds 1.7 times the tokens of bf16 per byte and is faster from batch 8 up
    (Qwen3-0.6B, int8 weights: 244 against 201 tokens/s at batch 32); u8 costs up to 0.17 in a logit
    where bf16 costs 0.11. `inference_precision` auto takes bf16 where the processor has it.
    `kv_bytes` bounds the KV cache; less is taken when less memory is free. `threads` 0 takes all
    cores. `dynamic_quantization_group_size` None keeps OpenVINO's 32; 128 raised prefill by a
    quarter, but its quality on real weights is unmeasured. `max_context` can only lower the
    model's own limit. `min_context` is the smallest context worth serving: loading is refused
    when the memory that is free cannot hold it.
    """

    kv_precision: KvPrecision = "u8"
    inference_precision: InferencePrecision = "auto"
    kv_bytes: int = GIB
    threads: int = 0
    dynamic_quantization_group_size: int | None = None
    max_context: int | None = None
    min_context: int = 512
