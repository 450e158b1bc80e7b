"""The wheel carries everything that `octant serve` needs, and nothing that it does not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = "octant/bundled/octant-mini"
MAX_MODEL_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=110,
    )
    (built,) = target.glob("octant-*.whl")
    return zipfile.ZipFile(built)


def test_the_bundled_model_is_in_the_wheel_and_within_its_size(wheel: zipfile.ZipFile) -> None:
    sizes = {info.filename: info.file_size for info in wheel.infolist()}
    for name in ("openvino_model.xml", "openvino_model.bin", "tokenizer.json", "octant-model.json"):
        assert f"{MODEL}/{name}" in sizes
    model = sum(size for name, size in sizes.items() if name.startswith(f"{MODEL}/"))
    assert model <= MAX_MODEL_BYTES


def test_the_migrations_and_the_command_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert any("adapters/sqlite/migrations" in name for name in names)
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    assert b"octant = octant.cli.main:main" in wheel.read(entry_points)


def test_nothing_but_the_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    roots = {name.partition("/")[0] for name in wheel.namelist()}
    assert {root.partition("-")[0] for root in roots} == {"octant"}
