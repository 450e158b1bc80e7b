"""Bare worker: the executor's own speed, from a process of its own.

argv:     MODEL_DIR SETTINGS_JSON
line in:  {"sequences", "prompt_tokens", "new_tokens"}
line out: {"decode_tokens_per_s"}
"""

import json
import sys
from pathlib import Path

from octant.app import wiring
from octant.app.bench import bare_executor
from octant.app.settings import Settings
from octant.serving.bare_loop import time_decode


def main(directory: str, settings: str) -> None:
    """Answers questions on standard input until it ends."""
    executor = bare_executor(Path(directory), Settings.model_validate_json(settings))
    try:
        for line in sys.stdin:
            question = json.loads(line)
            rate = time_decode(
                executor,
                wiring.clock(),
                batch=question["sequences"],
                context=question["prompt_tokens"],
                steps=question["new_tokens"],
            )
            sys.stdout.write(json.dumps({"decode_tokens_per_s": rate.tokens_per_s}) + "\n")
            sys.stdout.flush()
    finally:
        executor.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
