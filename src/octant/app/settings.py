"""Settings: one file, the environment and flags become one frozen value; each leaf has an origin.

    default < octant.toml < OCTANT_SECTION__KEY < flag

Law: this is the only module that reads the environment. A key that nobody knows is an error with
the nearest known one and its place; a value that does not fit names key, place and expectation.
All problems are reported at once.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from octant.app import settings_file, settings_problems
from octant.app.settings_edge import (
    AdmissionSection,
    LimitsSection,
    ObjectivesSection,
    PolicySection,
    ServerSection,
)
from octant.app.settings_fields import setting
from octant.app.settings_lifecycle import DeploymentsSection
from octant.app.settings_problems import Problem
from octant.app.settings_routing import RoutingSection, Upstreams
from octant.app.settings_runtime import (
    EngineSection,
    ModelSection,
    ObservabilitySection,
    SchedulerSection,
    StoreSection,
)
from octant.app.settings_tools import ToolsSection

PREFIX = "OCTANT_"
CONFIG_VARIABLE = "OCTANT_CONFIG"
FILE_NAME = "octant.toml"
# Read by commands that talk to a server; no settings of one.
_CLIENT_VARIABLES = frozenset({"OCTANT_API_KEY", "OCTANT_BASE_URL"})


class Settings(BaseSettings):
    """Every bound and choice of the product, in the order of the file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    objectives: ObjectivesSection = ObjectivesSection()
    server: ServerSection = ServerSection()
    model: ModelSection = ModelSection()
    deployments: DeploymentsSection = DeploymentsSection()
    engine: EngineSection = EngineSection()
    scheduler: SchedulerSection = SchedulerSection()
    limits: LimitsSection = LimitsSection()
    admission: AdmissionSection = AdmissionSection()
    policy: PolicySection = PolicySection()
    routing: RoutingSection = RoutingSection()
    upstreams: Upstreams = setting(
        (), "OpenAI-compatible servers that answer as routes; a table for each, [[upstreams]]."
    )
    tools: ToolsSection = ToolsSection()
    store: StoreSection = StoreSection()
    observability: ObservabilitySection = ObservabilitySection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load_settings` hands in: it layers the sources, to know every origin."""
        return (init_settings,)

    @property
    def data_dir(self) -> Path:
        """The directory of everything that Octant keeps."""
        return Path(self.server.data_dir).expanduser().absolute()

    @property
    def store_path(self) -> Path:
        """The file of the embedded store."""
        if not self.store.path:
            return self.data_dir / "octant.db"
        return Path(self.store.path).expanduser().absolute()


class Origin(NamedTuple):
    """Where a value came from; `where` is a file with its line, a variable or a flag."""

    kind: Literal["default", "file", "env", "flag"]
    where: str


class LoadedSettings(NamedTuple):
    """The settings, the origin of each leaf by its dotted name, and the file that was read."""

    settings: Settings
    origins: dict[str, Origin]
    file: Path | None


class Leaf(NamedTuple):
    """One setting: its dotted name, its declaration and its default."""

    name: str
    field: FieldInfo
    default: Any


class _Given(NamedTuple):
    """A value; `places` tells where in a file the parts of a list of tables stand."""

    value: Any
    origin: Origin
    places: settings_file.FileTable | None = None


_Source = dict[str, _Given]


def environment_value(variable: str) -> str | None:
    """What a variable holds that a setting names, such as a key."""
    return os.environ.get(variable)


def environment_with(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child process that is to have these variables, too."""
    return {**os.environ, **variables}


class ClientEnvironment(NamedTuple):
    """What commands that talk to a server take from the environment."""

    api_key: str | None
    base_url: str | None


def client_environment() -> ClientEnvironment:
    """`OCTANT_API_KEY` and `OCTANT_BASE_URL`."""
    return ClientEnvironment(os.environ.get("OCTANT_API_KEY"), os.environ.get("OCTANT_BASE_URL"))


def load_settings(
    config: Path | None = None, flags: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """The settings in force.

    `config` is the file given on the command line; without it $OCTANT_CONFIG, ./octant.toml and
    octant.toml in the data directory are tried. `flags` are values by dotted name; None is unset.
    Raises Failed with NOT_FOUND (a named file is missing), UNKNOWN_PARAMETER or INVALID_VALUE.
    """
    problems: list[Problem] = []
    from_flags = _of_flags(flags or {}, problems)
    from_environment = _of_environment(problems)
    file = _find_file(config, from_environment | from_flags)
    from_file = _of_file(settings_file.read(file), problems) if file else {}
    given = from_file | from_environment | from_flags
    settings = _validated(given, problems)
    origins = {leaf.name: Origin("default", "") for leaf in leaves()}
    return LoadedSettings(settings, origins | {name: g.origin for name, g in given.items()}, file)


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/octant`, or `~/.local/share/octant`."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "octant"


def leaves() -> Iterator[Leaf]:
    """Every setting, in the order of the file."""
    return _leaves(Settings.model_construct(), "")


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Every table of the file by its dotted name, in the order of the file."""
    return _sections(Settings, "")


def _leaves(section: BaseModel, prefix: str) -> Iterator[Leaf]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield Leaf(prefix + name, field, value)


def _sections(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield prefix + name, kind
            yield from _sections(kind, f"{prefix}{name}.")


def _find_file(config: Path | None, given: _Source) -> Path | None:
    """The first file there is; one that was named must be there."""
    named = config or (Path(variable) if (variable := os.environ.get(CONFIG_VARIABLE)) else None)
    if named is not None:
        return named
    data_dir = given.get("server.data_dir")
    directory = Path(str(data_dir.value)).expanduser() if data_dir else default_data_dir()
    candidates = (Path(FILE_NAME), directory / FILE_NAME)
    return next((path for path in candidates if path.is_file()), None)


def _of_file(table: settings_file.FileTable, problems: list[Problem]) -> _Source:
    source: _Source = {}
    for name, value in _flat(table.values):
        origin = Origin("file", table.place(name))
        _take(name, value, origin, source, problems)
    return {name: given._replace(places=table) for name, given in source.items()}


def _of_environment(problems: list[Problem]) -> _Source:
    names = [name for name in os.environ if _is_setting(name)]
    source: _Source = {}
    try:
        values = EnvSettingsSource(Settings)()
    except SettingsError as error:
        problems.append(settings_problems.undecodable(error))
        return source
    for name, value in _flat(values):
        _take(name, value, Origin("env", _variable(name, names)), source, problems)
    for name in names:
        first = name.removeprefix(PREFIX).split("__")[0].lower()
        if first not in Settings.model_fields:
            dotted = name.removeprefix(PREFIX).lower().replace("__", ".")
            _take(dotted, "", Origin("env", name), source, problems)
    return source


def _of_flags(flags: Mapping[str, Any], problems: list[Problem]) -> _Source:
    source: _Source = {}
    for name, value in flags.items():
        if value is not None:
            flag = "--" + name.rpartition(".")[2].replace("_", "-")
            _take(name, value, Origin("flag", flag), source, problems)
    return source


def _take(name: str, value: Any, origin: Origin, source: _Source, problems: list[Problem]) -> None:
    known = [leaf.name for leaf in leaves()]
    if name in known:
        source[name] = _Given(value, origin)
    elif any(other.startswith(f"{name}.") for other in known):
        problems.append(settings_problems.not_a_table(name, value, origin.where))
    else:
        tables = [table for table, _ in sections()]
        problems.append(settings_problems.unknown_key(name, [*known, *tables], origin.where))


def _validated(given: _Source, problems: list[Problem]) -> Settings:
    nested: dict[str, Any] = {}
    for leaf in leaves():
        _put(nested, leaf.name, leaf.default)
    for name, known in given.items():
        _put(nested, name, known.value)
    if nested["server"]["data_dir"] == "":
        _put(nested, "server.data_dir", str(default_data_dir()))
    try:
        settings = Settings(**nested)
    except ValidationError as error:
        problems.extend(_problem(detail, given) for detail in error.errors())
        raise settings_problems.failed(problems) from error
    if problems:
        raise settings_problems.failed(problems)
    return settings


def _problem(detail: ErrorDetails, given: _Source) -> Problem:
    name = ".".join(str(part) for part in detail["loc"])
    at = next((known for known in given if f"{name}.".startswith(f"{known}.")), None)
    if at is None:
        return settings_problems.misfit(name, None, detail["msg"], _section_places(name, given))
    known = given[at]
    if isinstance(known.value, list | tuple):
        table = known.places
        place = table.place(name) if table is not None else known.origin.where
        return settings_problems.in_a_list(detail, place)
    return settings_problems.misfit(at, known.value, detail["msg"], known.origin.where)


def _section_places(section: str, given: _Source) -> str:
    """Where the values of a section stand that contradict each other."""
    places = [g.origin.where for name, g in given.items() if name.startswith(f"{section}.")]
    return ", ".join(places)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted name; what is below a setting belongs to its value."""
    tables = {name for name, _ in sections()}
    for key, value in values.items():
        name = prefix + key
        if isinstance(value, dict) and name in tables:
            yield from _flat(cast("dict[str, Any]", value), f"{name}.")
        else:
            yield name, value


def _put(nested: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        nested = nested.setdefault(part, {})
    nested[last] = value


def _is_setting(variable: str) -> bool:
    own = variable.startswith(PREFIX) and variable != CONFIG_VARIABLE
    return own and variable not in _CLIENT_VARIABLES


def _variable(name: str, present: list[str]) -> str:
    """The variable that set a name: its own, or one that holds its whole table as JSON."""
    parts = name.split(".")
    spellings = ("__".join(parts[:count]) for count in range(len(parts), 0, -1))
    wanted = [PREFIX + spelling.upper() for spelling in spellings]
    by_upper = {variable.upper(): variable for variable in present}
    return next((by_upper[spelling] for spelling in wanted if spelling in by_upper), wanted[0])
