"""From a checkpoint to what ships: OpenVINO IR (int8, and 16 bit as `precise`), tokenizer, texts.

    python -m bundled_model.export --work build --out ../src/octant/bundled/octant-mini

Files are made in a temporary folder beside the destination and renamed into place.
"""

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nncf
import openvino as ov
import torch
from optimum.exporters.openvino import main_export
from transformers import Qwen3Config, Qwen3ForCausalLM

from .model import ModelShape
from .rendering import TEMPLATE_FILE
from .tokenizer import MARKERS, SPECIAL

END_OF_TURN, PADDING = "<|im_end|>", "<|endoftext|>"
EOS_IDS = [SPECIAL.index(END_OF_TURN), SPECIAL.index(PADDING)]
GENERATION = {
    "do_sample": False,
    "temperature": 0.0,
    "top_p": 1.0,
    "max_new_tokens": 192,
    "eos_token_id": EOS_IDS,
    "pad_token_id": SPECIAL.index(PADDING),
}


def tokenizer_config(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The settings with which transformers loads tokenizer.json."""
    kept = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    added = {
        str(token["id"]): {key: token[key] for key in kept} for token in tokenizer["added_tokens"]
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TURN,
        "pad_token": PADDING,
        "model_max_length": ModelShape.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": added,
        "chat_template": TEMPLATE_FILE.read_text(encoding="utf-8"),
    }


def write_json(path: Path, content: object) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_source(work: Path, checkpoint: Path, folder: Path) -> None:
    """The model as a transformers folder, from which OpenVINO exports."""
    config = Qwen3Config(
        **ModelShape().as_dict(),
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS_IDS[0],
        pad_token_id=EOS_IDS[1],
    )
    model = Qwen3ForCausalLM(config)
    weights = torch.load(checkpoint, weights_only=True)["model"]
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"the checkpoint does not fit: {missing} {unexpected}")
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer = json.loads((work / "tokenizer.json").read_text(encoding="utf-8"))
    if [token["content"] for token in tokenizer["added_tokens"]] != [*SPECIAL, *MARKERS]:
        raise ValueError("the tokenizer has other markers than the template")
    compact = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(compact, encoding="utf-8")
    shutil.copy(TEMPLATE_FILE, folder / "chat_template.jinja")
    write_json(folder / "tokenizer_config.json", tokenizer_config(tokenizer))


def save_ir(model: ov.Model, folder: Path) -> None:
    """Write an IR, floats in 16 bit, its XML without indentation (a fifth smaller)."""
    folder.mkdir(exist_ok=True)
    xml = folder / "openvino_model.xml"
    ov.save_model(model, xml, compress_to_fp16=True)
    xml.write_text(re.sub(r">\s+<", "><", xml.read_text(encoding="utf-8")), encoding="utf-8")


def export_ir(source: Path, folder: Path, *, precise: bool) -> None:
    """The stateful IR: weights in 8 bit (per channel, asymmetric), and `precise` in 16 bit."""
    with tempfile.TemporaryDirectory() as scratch:
        main_export(
            str(source),
            scratch,
            task="text-generation-with-past",
            convert_tokenizer=False,
            local_files_only=True,
        )
        model = ov.Core().read_model(Path(scratch) / "openvino_model.xml")
        if precise:
            save_ir(model, folder / "precise")
        save_ir(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM), folder)


def assemble(work: Path, checkpoint: Path, folder: Path, *, precise: bool) -> None:
    """Everything that this program makes, in one folder."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        write_source(work, checkpoint, source)
        export_ir(source, folder, precise=precise)
        for name in (
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            "config.json",
        ):
            shutil.copy(source / name, folder / name)
        write_json(folder / "generation_config.json", GENERATION)


def install(made: Path, out: Path) -> None:
    """Move every file into place by renaming; files that export does not make stay."""
    for path in sorted(p for p in made.rglob("*") if p.is_file()):
        target = out / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.chmod(0o644)
        path.rename(target)


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--out", type=Path, required=True, help="folder that ships")
    parser.add_argument("--checkpoint", default="final.pt", help="file name in the work folder")
    parser.add_argument("--no-precise", action="store_true", help="leave the 16-bit variant out")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent) as scratch:
        assemble(
            options.work,
            options.work / options.checkpoint,
            Path(scratch),
            precise=not options.no_precise,
        )
        install(Path(scratch), options.out)


if __name__ == "__main__":
    main()
