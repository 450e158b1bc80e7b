"""Small tokenizers of the two families, trained on the spot, as `tokenizer.json` definitions."""

import json
from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from octant.adapters.huggingface.tokenizer import HuggingFaceTokenizer

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA2 = ("<unk>", "<s>", "</s>")
CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog said: hello world!\n\n",
    "def greet(name):\n    return f'hello {name}'\n",
    '{"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}\n',
    "Größe, naïve café; привет мир; 你好世界 😀 im_start im_end user assistant system\n",
]


@cache
def byte_level(
    specials: tuple[str, ...] = CHATML, added: tuple[str, ...] = ("<tool_call>", "</tool_call>")
) -> bytes:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 20, trainer)
    tokenizer.add_tokens(list(added))
    return tokenizer.to_str().encode()


@cache
def sentencepiece(specials: tuple[str, ...] = LLAMA2) -> bytes:
    """BPE over marked spaces with bytes as a last resort, as Llama 2, Mistral and Phi-3 have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(specials), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS[:2] * 20, trainer)
    definition = json.loads(tokenizer.to_str())
    vocabulary = definition["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    definition["model"]["byte_fallback"] = True
    return json.dumps(definition).encode()


@cache
def metaspace() -> bytes:
    """As `sentencepiece`, marked by a pre-tokenizer: a space before a text is lost."""
    definition = json.loads(sentencepiece())
    step = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    definition["normalizer"] = None
    definition["pre_tokenizer"] = step
    return json.dumps(definition).encode()


@cache
def tokenizer_of(kind: str) -> HuggingFaceTokenizer:
    """`byte_level` or `sentencepiece` or `metaspace`."""
    definitions = {
        "byte_level": byte_level,
        "sentencepiece": sentencepiece,
        "metaspace": metaspace,
    }
    return HuggingFaceTokenizer(definitions[kind]())
