"""Architectures: which decoders are served, and what about a checkpoint rules it out.

Law: a family stands here only when its logits are compared with the reference implementation's in
`tests/conformance/test_logit_parity.py`; a property stands here when it was seen to break that.
"""

from typing import Any, cast

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

SUPPORTED = (
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "GemmaForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Phi3ForCausalLM",
    "PhiForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
SUPPORTED_ROPE = ("default", "linear", "llama3", "yarn", "dynamic", "longrope")


def architecture(config: dict[str, Any]) -> str:
    """The first of `architectures` in a checkpoint's config.json; empty when there is none."""
    names = config.get("architectures")
    return str(cast("list[Any]", names)[0]) if isinstance(names, list) and names else ""


def context_limit(config: dict[str, Any]) -> int:
    """Positions that can be served exactly. Raises Failed(UNSUPPORTED_MODEL) when none is stated.

    Beyond its original context LongRoPE changes the frequencies of all positions with the length
    of the input. A graph has one set of them, so the original context is the limit.
    """
    limits = [config.get("max_position_embeddings")]
    if rope_kind(config) == "longrope":
        scaling = cast("dict[str, Any]", config["rope_scaling"])
        original = scaling.get("original_max_position_embeddings")
        limits.append(original or config.get("original_max_position_embeddings"))
    stated = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if len(stated) < len(limits):
        raise Failed(_unsupported("config.json does not say how many positions it was made for"))
    return min(stated)


def rope_kind(config: dict[str, Any]) -> str:
    """The kind of rotary position scaling, `default` where there is none."""
    scaling = config.get("rope_scaling")
    if not isinstance(scaling, dict):
        return "default"
    fields = cast("dict[str, Any]", scaling)
    return str(fields.get("rope_type") or fields.get("type") or "default")


def require_supported(config: dict[str, Any]) -> None:
    """Raises Failed(UNSUPPORTED_MODEL) that names what cannot be served."""
    name = architecture(config)
    if name not in SUPPORTED:
        known = ", ".join(kind.removesuffix("ForCausalLM") for kind in SUPPORTED)
        raise Failed(_unsupported(f"its architecture {name or '(none)'} is not one of {known}"))
    quantised = config.get("quantization_config")
    if isinstance(quantised, dict):
        method = cast("dict[str, Any]", quantised).get("quant_method", "unnamed")
        raise Failed(
            _unsupported(f"its weights are quantised already ({method}); give the original ones")
        )
    if config.get("attn_logit_softcapping") is not None:
        # The exporter drops it without a word: logits then differ by the size of the cap.
        raise Failed(_unsupported("attn_logit_softcapping is lost when attention is paged"))
    if rope_kind(config) not in SUPPORTED_ROPE:
        raise Failed(_unsupported(f"its rope scaling `{rope_kind(config)}` is not known"))
    context_limit(config)


def _unsupported(reason: str) -> Failure:
    return Failure(
        kind=FailureKind.UNSUPPORTED_MODEL,
        stage=Stage.CAPTURE,
        message=f"this checkpoint cannot be served: {reason}",
    )
