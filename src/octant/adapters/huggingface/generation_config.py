"""Finds how a model's publisher recommends to sample from it, in generation_config.json.

Law: only what the file says is taken; everything else stays at OpenAI's defaults. `do_sample` false
is greedy, whatever temperature stands beside it.
"""

from pathlib import Path
from typing import Any

import msgspec

from octant.adapters.huggingface.model_files import GENERATION_CONFIG, corrupt, read_object
from octant.core.sampling import Sampling

_RECOMMENDED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def load_sampling(directory: Path) -> Sampling:
    """Raises Failed(CORRUPT_ARTIFACT) when the file or one of its values makes no sense."""
    path = directory / GENERATION_CONFIG
    said = read_object(path)
    given: dict[str, Any] = {
        name: said[name] for name in _RECOMMENDED if said.get(name) is not None
    }
    if said.get("do_sample") is False:
        given["temperature"] = 0.0
    try:
        return msgspec.convert(given, Sampling)
    except msgspec.ValidationError as error:
        raise corrupt(f"{path}: {error}") from error
