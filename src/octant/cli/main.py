"""`octant`: the command line put together, and the one place where a command's failure ends.

Law: a `Failed` that reaches `main` is printed once and becomes an exit code; any other exception is
a defect of ours and keeps its traceback. Ctrl-C and readers that left end inside `app()`, in Typer.
"""

import sys

import typer

from octant import __version__
from octant.cli.audit import audit
from octant.cli.bench import bench
from octant.cli.chat import chat
from octant.cli.config import config
from octant.cli.deployments import deployments
from octant.cli.doctor import doctor
from octant.cli.evaluate import evaluate
from octant.cli.keys import keys
from octant.cli.models import models
from octant.cli.output import JSON_FLAG, exit_code, print_failure
from octant.cli.policy import policy
from octant.cli.recipes import recipes
from octant.cli.replay import replay
from octant.cli.route import route
from octant.cli.serve import serve
from octant.cli.sessions import sessions
from octant.cli.tenants import tenants
from octant.cli.trace import trace
from octant.cli.traffic import traffic
from octant.cli.usage import usage
from octant.core.failure import Failed

app = typer.Typer(
    name="octant",
    help="Octant: a production AI runtime. `octant serve` starts it.",
    epilog="Exit codes: 0 ok, 1 failed check, 2 usage, 3 unavailable, 130 ended by Ctrl-C. "
    "Every command takes --json.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(serve)
app.command()(chat)
app.add_typer(models, name="models")
app.add_typer(recipes, name="recipes")
app.add_typer(deployments, name="deployments")
app.add_typer(traffic, name="traffic")
app.add_typer(keys, name="keys")
app.add_typer(tenants, name="tenants")
app.add_typer(trace, name="trace")
app.add_typer(route, name="route")
app.add_typer(sessions, name="sessions")
app.add_typer(audit, name="audit")
app.command()(usage)
app.command()(replay)
app.add_typer(policy, name="policy")
app.add_typer(config, name="config")
app.command()(doctor)
app.command("eval")(evaluate)
app.add_typer(bench, name="bench")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"octant {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False,
        "--version",
        metavar="",
        callback=_show_version,
        is_eager=True,
        help="Print the version.",
    ),
) -> None:
    """Octant: a production AI runtime. `octant serve` starts it."""


def main() -> None:
    """Runs the command on the process's arguments and leaves with its exit code."""
    try:
        app()
    except Failed as error:
        print_failure(error.failure, as_json=JSON_FLAG in sys.argv)
        sys.exit(exit_code(error.failure))


if __name__ == "__main__":
    main()
