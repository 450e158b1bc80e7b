"""What can be wrong with a configuration: each problem says what, where and how to mend it."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from octant.core.failure import Failed, Failure, FailureKind
from octant.core.stage import Stage

_MAX_SHOWN = 80


class Problem(NamedTuple):
    """One mistake; `name` is the dotted setting it is about."""

    kind: FailureKind
    name: str
    message: str


def failed(problems: Sequence[Problem]) -> Failed:
    """All problems in one failure, a line each; its kind is that of the first."""
    return Failed(
        Failure(
            kind=problems[0].kind,
            stage=Stage.BOUNDARY,
            message="\n".join(problem.message for problem in problems),
            param=problems[0].name,
        )
    )


def unknown_key(name: str, known: Sequence[str], where: str) -> Problem:
    """A key of no setting, with the nearest ones."""
    near = get_close_matches(name, known, n=1, cutoff=0.75) or _same_key(name, known)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return Problem(
        FailureKind.UNKNOWN_PARAMETER, name, f"{where}: there is no setting {name!r}.{hint}"
    )


def not_a_table(name: str, value: Any, where: str) -> Problem:
    """A value where a table with settings belongs."""
    message = f"{where}: {name} = {_shown(value)}: expected a table of settings, [{name}]."
    return Problem(FailureKind.INVALID_VALUE, name, message)


def misfit(name: str, value: Any, expected: str, where: str) -> Problem:
    """A value of the wrong type or out of its bounds; `expected` is pydantic's sentence."""
    wanted = expected.removeprefix("Input should be ").removeprefix("Value error, ")
    wanted = wanted.partition(", unable to")[0]
    subject = f"{name} = {_shown(value)}" if value is not None else name
    place = f"{where}: " if where else ""
    return Problem(FailureKind.INVALID_VALUE, name, f"{place}{subject}: expected {wanted}.")


def in_a_list(detail: ErrorDetails, where: str) -> Problem:
    """A mistake in one table of a list, such as `upstreams[0].base_url`."""
    name = _indexed(detail["loc"])
    place = f"{where}: " if where else ""
    if detail["type"] == "missing":
        return Problem(FailureKind.MISSING_PARAMETER, name, f"{place}{name} is missing.")
    if detail["type"] == "extra_forbidden":
        message = f"{place}there is no setting {name!r}."
        return Problem(FailureKind.UNKNOWN_PARAMETER, name, message)
    plain = not isinstance(detail["input"], dict | list | tuple)
    return misfit(name, detail["input"] if plain else None, detail["msg"], where)


def _indexed(path: Sequence[int | str]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).lstrip(".")


def undecodable(error: SettingsError) -> Problem:
    """A variable that should hold JSON and does not; pydantic names only its table."""
    table = str(error).partition('"')[2].partition('"')[0]
    message = f"environment: a variable of [{table}] that should hold JSON does not."
    return Problem(FailureKind.INVALID_VALUE, table, message)


def missing_file(path: Path) -> Failed:
    """A file that was named on the command line or by OCTANT_CONFIG."""
    message = f"{path}: there is no such file; check --config and OCTANT_CONFIG."
    return failed([Problem(FailureKind.NOT_FOUND, "config", message)])


def unreadable_file(path: Path, error: OSError) -> Failed:
    """A file that is there but cannot be read."""
    message = f"{path}: cannot be read: {error.strerror}."
    return failed([Problem(FailureKind.INVALID_VALUE, "config", message)])


def not_toml(path: Path, error: ValueError) -> Failed:
    """The parser's words hold line and column."""
    message = f"{path}: is not valid TOML: {error}."
    return failed([Problem(FailureKind.INVALID_VALUE, "config", message)])


def _same_key(name: str, known: Sequence[str]) -> list[str]:
    """The setting of the same key in another section, if there is just one."""
    last = name.rpartition(".")[2]
    same = [other for other in known if other.rpartition(".")[2] == last]
    return same if len(same) == 1 else []


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
