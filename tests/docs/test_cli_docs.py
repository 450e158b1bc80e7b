"""docs/cli.md says what the commands do, all of it and nothing else."""

from pathlib import Path

from typer.main import get_command

from octant.cli.main import app
from octant.cli.reference import commands, reference, spelling

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "docs/cli.md is out of date: python -m octant.cli.reference > docs/cli.md"
    )


def test_every_command_and_option_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8").replace("\\|", "|")

    for path, command in commands(get_command(app), "octant"):
        section = page.partition(f"## `{path}`\n")[2].partition("\n## ")[0]
        assert section, path
        for parameter in command.params:
            assert f"| `{spelling(parameter)}` |" in section, (path, parameter.name)
