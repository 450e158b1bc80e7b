"""`octant doctor`: is everything there that Octant needs, and what to do where it is not."""

import asyncio
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from octant.cli.options import ConfigOption, DataDirOption
from octant.cli.output import ExitCode, JsonOption, console, print_json, print_rows

if TYPE_CHECKING:
    from octant.cli.checkups import Finding

_MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("fail", "bold red")}


def doctor(
    data_dir: DataDirOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Check this machine, the data directory, the store, the model and the server.

    Exit code 1 when a check fails; warnings do not fail.

    Examples:

      octant doctor

      octant doctor --data-dir /srv/octant --json
    """
    from octant.cli.checkups import of_machine

    findings = of_machine()
    if not _any_failed(findings):
        from octant.cli.installation_checkups import of_installation
        from octant.cli.loading import load

        findings += asyncio.run(of_installation(load(config, data_dir)))
    failed = _any_failed(findings)
    if as_json:
        told: list[dict[str, Any]] = [finding._asdict() for finding in findings]
        print_json({"ok": not failed, "findings": told})
    else:
        rows = [
            [
                Text(*_MARKS[finding.state]),
                finding.subject,
                finding.found if not finding.remedy else f"{finding.found}\n→ {finding.remedy}",
            ]
            for finding in findings
        ]
        print_rows(["", "check", "found"], rows, empty="")
        console().print("Something needs your attention." if failed else "All well.", style="bold")
    raise typer.Exit(ExitCode.FAILED_CHECK if failed else ExitCode.OK)


def _any_failed(findings: "list[Finding]") -> bool:
    return any(finding.state == "fail" for finding in findings)
