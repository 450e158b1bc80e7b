"""Makes the model that speed is measured on: Qwen3-0.6B's shape with random weights, prepared.

    python benchmarks/make_checkpoint.py bench-models/qwen3-0.6b [--weights int8]

Random weights say nothing about quality; every operator, shape and byte is the real model's. The
tokenizer is byte-level with 151,936 ids that all stand for printable text. Needs the `prepare`
extra, 6 GB of memory, and about five minutes on two cores.
"""

import argparse
import json
import sys
from itertools import islice, product
from pathlib import Path

from octant.adapters.openvino.exporter import SubprocessExporter
from octant.adapters.system.clock import SystemClock
from octant.core.failure import Failed
from octant.preparation.job import PrepareOptions, StageReport, Tools
from octant.preparation.pipeline import prepare

VOCAB_SIZE = 151_936
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PRINTABLE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True,
}


def main() -> int:
    """Writes `<directory>/checkpoint`, then the artifact beside it, and prints its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--weights", choices=("int8", "int4", "bf16"), default="int8")
    arguments = parser.parse_args()
    checkpoint = arguments.directory / "checkpoint"
    if not (checkpoint / "model.safetensors").is_file():
        write_checkpoint(checkpoint)
    options = PrepareOptions(weights=arguments.weights, name=f"qwen3-0.6b-{arguments.weights}")
    tools = Tools(SubprocessExporter(), SystemClock())
    try:
        artifact = prepare(checkpoint, arguments.directory, options, tools, show)
    except Failed as failed:
        print(failed, failed.failure.detail, file=sys.stderr)
        return 1
    print(artifact.directory)
    return 0


def write_checkpoint(directory: Path) -> None:
    """Random bf16 weights with seed 0, as transformers would save them."""
    import torch
    import transformers

    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    eos = VOCAB_SIZE - 1
    config = transformers.Qwen3Config(**SHAPE, eos_token_id=eos, bos_token_id=VOCAB_SIZE - 3)
    model = transformers.Qwen3ForCausalLM(config).to(torch.bfloat16)
    write_tokenizer(directory)
    model.save_pretrained(directory, safe_serialization=True, max_shard_size="4GB")


def write_tokenizer(directory: Path) -> None:
    """256 bytes, then pairs and triples of printable characters, then the special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {s: i for i, s in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    pairs = list(product(PRINTABLE, repeat=2))
    room = VOCAB_SIZE - len(SPECIALS) - len(vocabulary) - len(pairs)
    triples = [("".join(pair), last) for pair, last in islice(product(pairs, PRINTABLE), room)]
    merges = pairs + triples
    for pair in merges:
        vocabulary["".join(pair)] = len(vocabulary)
    specials = {text: len(vocabulary) + index for index, text in enumerate(SPECIALS)}
    tokenizer = Tokenizer(models.BPE(vocabulary | specials, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIALS])
    tokenizer.save(str(directory / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIALS[-1],
        "chat_template": CHAT_TEMPLATE,
        "model_max_length": SHAPE["max_position_embeddings"],
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(configuration, indent=1))


def show(report: StageReport) -> None:
    """One line for each thing that happens."""
    place = f"[{report.number}/{report.total}] {report.stage.value}"
    print(f"{place}: {report.state} {report.message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
