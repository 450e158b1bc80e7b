"""Make both variants servable: each folder gets its tokenizer and texts, and a manifest by digest.

    python -m bundled_model.package --out ../src/octant/bundled/octant-mini

To be run after every export: a server refuses files that are not those of their manifest.
"""

import argparse
import shutil
from pathlib import Path

from octant.adapters.openvino.exporter import SubprocessExporter
from octant.adapters.system.clock import SystemClock
from octant.preparation.existing import package_existing
from octant.preparation.job import Tools

NAME = "octant-mini"
PRECISE = "precise"
# What the 16-bit graph shares with the 8-bit one.
SHARED = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def package(folder: Path) -> None:
    """Write `octant-model.json` into `folder` and into its 16-bit variant, where there is one."""
    tools = Tools(SubprocessExporter(), SystemClock())
    print(package_existing(folder, NAME, tools).digest)
    precise = folder / PRECISE
    if precise.is_dir():
        for name in SHARED:
            shutil.copyfile(folder / name, precise / name)
        print(package_existing(precise, f"{NAME}-{PRECISE}", tools).digest)


def main() -> None:
    """Read the command line and package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that ships")
    package(parser.parse_args().out)


if __name__ == "__main__":
    main()
