"""Tiny random-weight checkpoints of every supported family, as a user would have them on disk.

Each is a directory with `config.json`, `model.safetensors` and a byte-level tokenizer, a few hundred
kilobytes in size. Weights are drawn wide, so that logits differ enough to tell right from wrong.
Needs the `prepare` extra.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

VOCAB_SIZE = 512
EOS_TOKEN = 256
WEIGHT_DEVIATION = 0.12
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


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

FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaConfig", "LlamaForCausalLM", {"head_dim": 16}),
    "qwen2": Family("Qwen2Config", "Qwen2ForCausalLM", {}),
    "qwen3": Family(
        "Qwen3Config", "Qwen3ForCausalLM", {"head_dim": 32, "tie_word_embeddings": True}
    ),
    "mistral": Family(
        "MistralConfig", "MistralForCausalLM", {"head_dim": 16, "sliding_window": None}
    ),
    "mistral-windowed": Family(
        "MistralConfig", "MistralForCausalLM", {"head_dim": 16, "sliding_window": 24}
    ),
    "gemma": Family("GemmaConfig", "GemmaForCausalLM", {"head_dim": 32}),
    "gemma2": Family(
        "Gemma2Config",
        "Gemma2ForCausalLM",
        {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 24},
    ),
    "gemma3": Family(
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 24,
            "sliding_window_pattern": 2,
        },
    ),
    "phi": Family("PhiConfig", "PhiForCausalLM", {"num_key_value_heads": 4}),
    "phi3": Family("Phi3Config", "Phi3ForCausalLM", {"sliding_window": None}),
}


def write_checkpoint(
    family: str,
    directory: Path,
    *,
    seed: int = 0,
    edit: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Writes the checkpoint of `family` into `directory`; `edit` may change its configuration."""
    import torch
    import transformers

    chosen = FAMILIES[family]
    fields = _SHAPE | chosen.extra
    if edit is not None:
        edit(fields)
    torch.manual_seed(seed)
    config = getattr(transformers, chosen.config_class)(**fields)
    model = getattr(transformers, chosen.model_class)(config)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory, safe_serialization=True)
    write_tokenizer(directory, VOCAB_SIZE)
    return directory


def write_tokenizer(directory: Path, vocab_size: int) -> None:
    """A byte-level tokenizer of `vocab_size` ids: 256 bytes, special tokens, then byte pairs."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    specials = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
    merges: list[tuple[str, str]] = []
    first_pair = len(alphabet) + len(specials)
    for index in range(vocab_size - first_pair):
        pair = (alphabet[index // 256], alphabet[index % 256])
        merges.append(pair)
        vocabulary["".join(pair)] = first_pair + index
    tokenizer = Tokenizer(
        models.BPE(vocabulary | {s: 256 + i for i, s in enumerate(specials)}, merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(special, special=True) for special in specials])
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<|end|>",
                "chat_template": CHAT_TEMPLATE,
                "model_max_length": 512,
            }
        )
    )
