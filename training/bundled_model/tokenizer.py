"""The tokenizer: byte-level BPE that keeps a word the same token wherever it stands.

Spaces are split from words, digits stand alone, line ends stand alone, runs of punctuation and
spaces may merge; frequent function words merge with the spaces around them. The mark of a text such
as [2] is one token, together with a space before it, so that it directly follows the quoted text:
that makes citing far easier to learn. A placeholder such as <EMAIL_1> is never cut by what stands
around it. Any UTF-8 text comes back unchanged.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .rendering import render
from .tasks.mixture import Shares, training_dialog

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
FUNCTION_WORDS = "the|of|is|in|a|to|and|for|at|on|from|my|me|with|what|you|it|do|does"
MARK = r" ?\[\p{N}{1,2}\]"
PLACEHOLDER = r"<[A-Z]+(?:_[A-Z]+)?_\p{N}{1,2}>"
PATTERN = (
    rf" (?:{FUNCTION_WORDS}) (?=[\p{{L}}\p{{N}}])|\n|\p{{L}}+|{MARK}|{PLACEHOLDER}|\p{{N}}"
    rf"|(?:(?!{MARK}|{PLACEHOLDER})[^\p{{L}}\p{{N}}\n])+"
)


def _corpus(seed: int, dialogs: int) -> Iterator[str]:
    """Generated dialogs, and so many marks that every mark up to [12] becomes one token."""
    rng = random.Random(seed)
    yield "\n".join(f"[{number}] [{number}]" for number in range(1, 13)) * 5_000
    for _ in range(dialogs):
        dialog = training_dialog(rng, Shares(warmup=0.03, marks=0.05))
        yield render(dialog.messages, dialog.tools)


def train_tokenizer(seed: int, vocabulary: int, dialogs: int = 20_000) -> Tokenizer:
    """Learn the vocabulary from generated dialogs; markers keep ids of their own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(MARKERS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed, dialogs), trainer)
    tokenizer.add_tokens(list(MARKERS))
    return tokenizer


def check_lossless(tokenizer: Tokenizer) -> None:
    """Fail if any of some awkward texts does not survive encoding."""
    texts = (
        "héllo  wörld\t\r\n 漢字 😀 \u200d",
        "a the  the of of",
        " lead",
        "x\u0000y",
        "1,234.5e-6",
        "".join(chr(code) for code in range(1, 0x250)),
    )
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if tokenizer.decode(ids, skip_special_tokens=False) != text:
            raise ValueError(f"the tokenizer loses {text!r}")


def load_or_train(path: Path, seed: int, vocabulary: int) -> Tokenizer:
    """The tokenizer of a work folder, made on first use."""
    if not path.exists():
        tokenizer = train_tokenizer(seed, vocabulary)
        check_lossless(tokenizer)
        tokenizer.save(str(path))
    return Tokenizer.from_file(str(path))
