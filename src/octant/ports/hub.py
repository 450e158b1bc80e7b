"""Hub: where checkpoints are published under names. Adapter: `adapters/huggingface/hub.py`."""

from pathlib import Path
from typing import Protocol

from octant.ports.exporter import OnProgress


class Hub(Protocol):
    """A public or private registry of checkpoints."""

    def download(self, name: str, target: Path, progress: OnProgress) -> None:
        """Writes the checkpoint's configuration, tokenizer and safetensors into `target`.

        What arrives is compared with the digests that the hub states. Raises Failed at stage
        CAPTURE: MODEL_NOT_FOUND when the hub has no such name, UPSTREAM_FAILURE when it cannot be
        reached, CORRUPT_ARTIFACT when a file is not what the hub stated.
        """
        ...
