"""Tiny random-weight checkpoints of every supported family, as a user would have them on disk.

Each is a directory with `config.json`, `model.safetensors` and a byte-level tokenizer, together a
few hundred kilobytes. Weights are drawn wide, so that wrong logits are far from right ones. Needs
the `prepare` extra; torch is imported on first use.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

VOCAB_SIZE = 512
EOS_TOKEN = 256
WEIGHT_DEVIATION = 0.12
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIALS = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
_ORIGINAL_CONTEXT = 128


class Family(NamedTuple):
    """One architecture: transformers' class names and what its configuration adds."""

    config_class: str
    model_class: str
    extra: dict[str, Any]


_SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": EOS_TOKEN,
    "eos_token_id": EOS_TOKEN,
    "pad_token_id": EOS_TOKEN,
    "initializer_range": WEIGHT_DEVIATION,
}
# Shorter than the sequences of the tests, so that a window that is not applied shows.
_WINDOW = {"sliding_window": 24}
_LLAMA = Family("LlamaConfig", "LlamaForCausalLM", {"head_dim": 16})
_PHI3 = Family("Phi3Config", "Phi3ForCausalLM", {"sliding_window": None})
_GEMMA2 = {"head_dim": 32, "query_pre_attn_scalar": 32, **_WINDOW}


def _rope(family: Family, **scaling: Any) -> Family:
    return family._replace(extra=family.extra | {"rope_scaling": scaling})


FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "llama-linear": _rope(_LLAMA, rope_type="linear", factor=4.0),
    "llama-dynamic": _rope(_LLAMA, rope_type="dynamic", factor=4.0),
    "llama-3": _rope(
        _LLAMA,
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=_ORIGINAL_CONTEXT,
    ),
    "llama-yarn": _rope(
        _LLAMA,
        rope_type="yarn",
        factor=4.0,
        original_max_position_embeddings=_ORIGINAL_CONTEXT,
    ),
    "qwen2": Family("Qwen2Config", "Qwen2ForCausalLM", {}),
    "qwen3": Family(
        "Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 32, "tie_word_embeddings": True}
    ),
    "mistral": Family("MistralConfig", "MistralForCausalLM", {"sliding_window": None}),
    "mistral-windowed": Family("MistralConfig", "MistralForCausalLM", _WINDOW),
    "gemma": Family("GemmaConfig", "GemmaForCausalLM", {"head_dim": 32}),
    "gemma2-uncapped": Family(
        "Gemma2Config", "Gemma2ForCausalLM", _GEMMA2 | {"attn_logit_softcapping": None}
    ),
    "gemma2": Family("Gemma2Config", "Gemma2ForCausalLM", _GEMMA2),
    "gemma3": Family(
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window_pattern": 2, **_WINDOW},
    ),
    "phi": Family("PhiConfig", "PhiForCausalLM", {"num_key_value_heads": 4}),
    "phi3": _PHI3,
    "phi3-longrope": _rope(
        _PHI3._replace(extra=_PHI3.extra | {"original_max_position_embeddings": _ORIGINAL_CONTEXT}),
        type="longrope",
        short_factor=[1.0 + 0.1 * index for index in range(8)],
        long_factor=[2.0 + 0.3 * index for index in range(8)],
    ),
}


@contextmanager
def quiet_tools() -> Iterator[None]:
    """Lets the tools of preparation warn; their warnings are not this project's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def write_checkpoint(family: str, directory: Path, *, dtype: str = "float32") -> Path:
    """Writes the checkpoint of `family` into `directory`; the same bytes at every call."""
    with quiet_tools():
        import torch
        import transformers

        chosen = FAMILIES[family]
        torch.manual_seed(0)
        config = getattr(transformers, chosen.config_class)(**_SHAPE | chosen.extra)
        model = getattr(transformers, chosen.model_class)(config).to(getattr(torch, dtype))
        directory.mkdir(parents=True)
        model.save_pretrained(directory, safe_serialization=True)
    write_tokenizer(directory)
    return directory


def write_tokenizer(directory: Path) -> None:
    """A byte-level tokenizer of `VOCAB_SIZE` ids: 256 bytes, special tokens, then byte pairs."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*alphabet, *_SPECIALS])}
    merges = [(alphabet[0], last) for last in alphabet][: VOCAB_SIZE - len(vocabulary)]
    for pair in merges:
        vocabulary["".join(pair)] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in _SPECIALS])
    tokenizer.save(str(directory / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _SPECIALS[0],
        "chat_template": CHAT_TEMPLATE,
        "model_max_length": _SHAPE["max_position_embeddings"],
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(configuration))


def export_checkpoint(checkpoint: Path, directory: Path) -> Path:
    """The decoder as preparation's worker exports it, but in this process: it is faster."""
    from octant.adapters.openvino.conversion import export_decoder

    directory.mkdir(parents=True)
    export_decoder(checkpoint, directory, "f32", progress=lambda _: None)
    return directory


class Reference:
    """Transformers' own logits of a checkpoint, in f32, attention written out."""

    def __init__(self, checkpoint: Path) -> None:
        with quiet_tools():
            import transformers

            self._model = transformers.AutoModelForCausalLM.from_pretrained(
                checkpoint, attn_implementation="eager", local_files_only=True
            ).eval()
        self.logits = cache(self._logits)

    def _logits(self, tokens: tuple[int, ...]) -> NDArray[np.float32]:
        """`[len(tokens), vocab]`."""
        import torch

        with torch.no_grad():
            return self._model(torch.tensor([tokens])).logits[0].numpy()
