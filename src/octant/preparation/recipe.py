"""The recipe key: what a preparation is a function of."""

import hashlib

from octant.preparation.job import PrepareOptions

# Raised when the same checkpoint and options would give another artifact than before.
PIPELINE_VERSION = 1


def recipe_key(source_digest: str, options: PrepareOptions) -> str:
    """64 hex digits over the source's digest, the options that matter, and this pipeline."""
    text = f"octant preparation {PIPELINE_VERSION}\n{source_digest}\n{options.weights}\n"
    return hashlib.sha256(text.encode()).hexdigest()
