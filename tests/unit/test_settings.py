"""Settings: layers, origins, and mistakes that say what, where and how to mend it."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from octant.app import layers
from octant.app.settings import (
    ClientEnvironment,
    LoadedSettings,
    Settings,
    client_environment,
    leaves,
    load_settings,
)
from octant.app.settings_text import default_config_text
from octant.core.failure import Failed, Failure, FailureKind


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty home and working directory, whatever the machine has."""
    for name in list(os.environ):
        if name.startswith(("OCTANT_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(config: Path | None = None, **flags: Any) -> Failure:
    with pytest.raises(Failed) as caught:
        load_settings(config, {name.replace("__", "."): value for name, value in flags.items()})
    return caught.value.failure


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load_settings()
    assert loaded.file is None
    assert loaded.settings.server.port == 8000
    assert loaded.settings.data_dir == tmp_path / "home/.local/share/octant"
    assert loaded.settings.store_path == loaded.settings.data_dir / "octant.db"
    assert {origin.kind for origin in loaded.origins.values()} == {"default"}


def test_later_layers_win_and_every_leaf_knows_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        tmp_path / "octant.toml", '[server]\nhost = "file"\nport = 1\n\n[engine]\nthreads = 3\n'
    )
    monkeypatch.setenv("OCTANT_SERVER__HOST", "env")
    monkeypatch.setenv("OCTANT_SERVER__PORT", "2")
    loaded = load_settings(file, {"server.port": 3, "engine.kv_bytes": None})
    assert (loaded.settings.server.host, loaded.settings.server.port) == ("env", 3)
    assert loaded.settings.engine.threads == 3
    assert loaded.origins["server.port"] == ("flag", "--port")
    assert loaded.origins["server.host"] == ("env", "OCTANT_SERVER__HOST")
    assert loaded.origins["engine.threads"] == ("file", f"{file}:6")
    assert loaded.origins["engine.kv_bytes"] == ("default", "")
    assert set(loaded.origins) == {leaf.name for leaf in leaves()}


def test_one_changed_objective_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    file = write(tmp_path / "o.toml", "[objectives.long_context]\nttft_ms = 5\n")
    changed = load_settings(file).settings.objectives.long_context
    assert changed.ttft_ms == 5
    assert changed.deadline_ms == Settings().objectives.long_context.deadline_ms


def find(loaded: LoadedSettings) -> str:
    assert loaded.file is not None
    return loaded.file.read_text().strip("# \n")


def test_the_nearest_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "home/.local/share/octant/octant.toml", "# data")
    assert find(load_settings()) == "data"
    write(tmp_path / "work/octant.toml", "# here")
    assert find(load_settings()) == "here"
    monkeypatch.setenv("OCTANT_CONFIG", str(write(tmp_path / "v.toml", "# variable")))
    assert find(load_settings()) == "variable"
    assert find(load_settings(write(tmp_path / "f.toml", "# flag"))) == "flag"


@pytest.mark.parametrize("how", ["flag", "variable", "xdg"])
def test_the_data_directory_is_searched_wherever_it_is(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data/octant/octant.toml", "# found")
    data_dir = str(tmp_path / "data/octant")
    flags = {"server.data_dir": data_dir} if how == "flag" else {}
    if how == "variable":
        monkeypatch.setenv("OCTANT_SERVER__DATA_DIR", data_dir)
    if how == "xdg":
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    loaded = load_settings(None, flags)
    assert find(loaded) == "found"
    assert loaded.settings.data_dir == tmp_path / "data/octant"


def test_relative_and_home_paths_become_absolute(tmp_path: Path) -> None:
    flags = {"server.data_dir": ".octant", "store.path": "~/o.db"}
    settings = load_settings(None, flags).settings
    assert settings.data_dir == tmp_path / "work/.octant"
    assert settings.store_path == tmp_path / "home/o.db"


def test_a_named_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path / "none.toml").kind is FailureKind.NOT_FOUND
    monkeypatch.setenv("OCTANT_CONFIG", str(tmp_path / "none.toml"))
    assert str(tmp_path / "none.toml") in refused().message


def test_every_mistake_is_reported_at_once_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        tmp_path / "octant.toml",
        """\
[server]
prot = 8
port = 70000
[engine]
kv_precision = "u9"
[stor]
path = "x"
[admission]
queues = 3
""",
    )
    monkeypatch.setenv("OCTANT_ENGINE__THREADS", "many")
    failure = refused(file)
    assert failure.message.splitlines() == [
        f"{file}:2: there is no setting 'server.prot'. Did you mean 'server.port'?",
        f"{file}:6: there is no setting 'stor'. Did you mean 'store'?",
        f"{file}:9: admission.queues = 3: expected a table of settings, [admission.queues].",
        f"{file}:3: server.port = 70000: expected less than or equal to 65535.",
        f"{file}:5: engine.kv_precision = 'u9': expected 'auto', 'u8', 'f16', 'bf16' or 'f32'.",
        "OCTANT_ENGINE__THREADS: engine.threads = 'many': expected a valid integer.",
    ]
    assert failure.kind is FailureKind.UNKNOWN_PARAMETER
    assert failure.param == "server.prot"


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("OCTANT_SERVER__PROT", "Did you mean 'server.port'?"),
        ("OCTANT_PORT", "Did you mean 'server.port'?"),
        ("OCTANT_SERVR__PORT", "Did you mean 'server.port'?"),
        ("OCTANT_WHATEVER", "there is no setting 'whatever'."),
    ],
)
def test_unknown_variables_are_mistakes(
    variable: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    message = refused().message
    assert message.startswith(f"{variable}: ")
    assert message.endswith(hint)


def test_an_unknown_flag_is_a_mistake() -> None:
    assert "'server.prot'" in refused(server__prot=1).message


def test_tables_and_lists_come_as_json_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OCTANT_TOOLS__LOOKUP_TABLES", '{"acme": ["big"]}')
    monkeypatch.setenv("OCTANT_SERVER", '{"port": 9}')
    loaded = load_settings()
    assert loaded.settings.tools.lookup_tables == {"acme": ("big",)}
    assert loaded.settings.server.port == 9
    assert loaded.origins["server.port"] == ("env", "OCTANT_SERVER")


def test_a_variable_that_is_not_json_names_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTANT_TOOLS__LOOKUP_TABLES", '{"acme":')
    assert "[tools]" in refused().message


def test_a_value_inside_a_table_is_blamed_on_the_table(tmp_path: Path) -> None:
    file = write(tmp_path / "o.toml", "[tools]\nlookup_tables = {acme = [1]}\n")
    failure = refused(file)
    assert failure.message.startswith(f"{file}:2: tools.lookup_tables = ")


def test_the_engine_has_room_for_all_that_admission_lets_in() -> None:
    settings = Settings.model_validate(
        {
            "limits": {"max_choices": 3},
            "admission": {"queues": {"long_context": {"max_inside": 2_000}}},
        }
    )
    queues = layers.admission(settings).queues
    assert layers.client(settings).max_outstanding == sum(q.max_inside for q in queues.values())
    assert layers.scheduler(settings).max_waiting == 2_000 * 3


def test_settings_that_contradict_each_other_name_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "o.toml", "[scheduler]\nmax_sequences = 32\n")
    # The scheduler refuses equal ones too: prompts need a token beside those who decode.
    monkeypatch.setenv("OCTANT_SCHEDULER__MAX_BATCH_TOKENS", "32")
    message = refused(file).message
    assert f"{file}:2" in message
    assert "OCTANT_SCHEDULER__MAX_BATCH_TOKENS" in message
    assert "scheduler.max_batch_tokens to exceed scheduler.max_sequences" in message


@pytest.mark.parametrize("text", ["[server", "port = = 3", "a = 1\na = 2"])
def test_a_file_that_is_not_toml_names_the_line(text: str, tmp_path: Path) -> None:
    failure = refused(write(tmp_path / "o.toml", text))
    assert failure.kind is FailureKind.INVALID_VALUE
    assert "not valid TOML" in failure.message
    assert re.search(r"line \d+|at end of document", failure.message)


def test_a_file_that_is_not_text_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "o.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not valid TOML" in refused(path).message


def test_variables_of_clients_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTANT_API_KEY", "oct_x")
    monkeypatch.setenv("OCTANT_BASE_URL", "http://there")
    load_settings()
    assert client_environment() == ClientEnvironment("oct_x", "http://there")


def test_the_first_file_is_valid_changes_nothing_and_starts_with_the_objectives(
    tmp_path: Path,
) -> None:
    text = default_config_text()
    tables = [line for line in text.splitlines() if line.startswith("[")]
    assert tables[0] == "[objectives.interactive]"
    loaded = load_settings(write(tmp_path / "o.toml", text))
    assert loaded.settings == load_settings().settings
    assert {origin.kind for origin in loaded.origins.values()} == {"default"}


def test_every_line_of_the_first_file_can_be_switched_on(tmp_path: Path) -> None:
    entries = [
        line.removeprefix("#") if line.startswith("#") and not line.startswith("# ") else line
        for line in default_config_text().splitlines()
    ]
    text = "\n".join(line for line in entries if not line.endswith(" ="))
    loaded = load_settings(write(tmp_path / "o.toml", text))
    assert loaded.settings == load_settings().settings
    assert sum(origin.kind == "file" for origin in loaded.origins.values()) == len(
        [leaf for leaf in leaves() if leaf.default is not None and leaf.name != "upstreams"]
    )


@pytest.mark.parametrize(
    "layer",
    [
        layers.gateway,
        layers.admission,
        layers.executor,
        layers.scheduler,
        layers.client,
        layers.supervisor,
        layers.metrics,
        layers.breakers,
    ],
    ids=lambda layer: layer.__name__,
)
def test_defaults_are_those_of_the_layers(layer: Any) -> None:
    made = layer(Settings())
    assert made == type(made)()


UPSTREAM = """\
[[upstreams]]
name = "spare"
base_url = "https://host/v1"
serves = "m"
"""


def test_upstreams_are_tables_that_come_one_after_the_other(tmp_path: Path) -> None:
    other = UPSTREAM.replace("spare", "other") + 'capabilities = ["vision"]\nquality = 0.9\n'
    loaded = load_settings(write(tmp_path / "o.toml", UPSTREAM + "\n" + other))
    first, second = loaded.settings.upstreams
    assert (first.name, second.name) == ("spare", "other")
    assert (first.max_context, first.residency, first.quality) == (8_192, "remote", 0.5)
    assert (second.capabilities, second.quality) == (("vision",), 0.9)
    assert loaded.origins["upstreams"] == ("file", f"{tmp_path}/o.toml:1")


def test_upstreams_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    table = '[{"name": "a", "base_url": "http://x", "serves": "m"}]'
    monkeypatch.setenv("OCTANT_UPSTREAMS", table)
    (entry,) = load_settings().settings.upstreams
    assert entry.name == "a"
    monkeypatch.setenv("OCTANT_UPSTREAMS", '[{"name": "a"}]')
    assert "OCTANT_UPSTREAMS: upstreams[0].base_url is missing." in refused().message


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("qualty = 1", "there is no setting 'upstreams[0].qualty'"),
        ("quality = 2", "upstreams[0].quality = 2: expected less than or equal to 1"),
        ('capabilities = "vision"', "upstreams[0].capabilities = 'vision': expected a valid tuple"),
        ('api_key_env = "sk-123"', "api_key_env to name a variable, not to be the key"),
        ('api_key_env = "OCTANT_X"', "api_key_env not to begin with OCTANT_"),
        ('api_key_env = "A"\napi_key_file = "b"', "one of api_key_env and api_key_file, not both"),
    ],
)
def test_a_mistake_in_an_upstream_is_told_with_its_place(
    tmp_path: Path, line: str, told: str
) -> None:
    failure = refused(write(tmp_path / "o.toml", f"{UPSTREAM}{line}\n"))
    assert told in failure.message
    assert f"{tmp_path}/o.toml:" in failure.message


@pytest.mark.parametrize(
    "url", ["host/v1", "ftp://host", "http://", "http://u:p@host", "http://host?key=1"]
)
def test_an_address_has_to_be_plain(tmp_path: Path, url: str) -> None:
    text = UPSTREAM.replace("https://host/v1", url)
    failure = refused(write(tmp_path / "o.toml", text))
    assert "base_url" in failure.message
    assert "u:p" not in failure.message


def test_names_of_upstreams_are_their_own(tmp_path: Path) -> None:
    failure = refused(write(tmp_path / "o.toml", UPSTREAM + "\n" + UPSTREAM))
    assert "spare is twice" in failure.message


def test_pauses_of_a_breaker_grow(tmp_path: Path) -> None:
    text = "[routing]\nbreaker_first_pause_ms = 9\nbreaker_longest_pause_ms = 8\n"
    assert "routing.breaker_longest_pause_ms" in refused(write(tmp_path / "o.toml", text)).message
