"""Settings: which source wins, and what is said about a wrong one."""

import logging
import os
from pathlib import Path

import pytest

from jtask.errors import ConfigurationError
from jtask.settings import Settings, get_settings, sources

pytestmark = pytest.mark.usefixtures("own_folder")


def write(name: str, text: str) -> None:
    Path("..", name).write_text(text)


def test_nothing_said_gives_the_defaults() -> None:
    settings = get_settings()
    assert settings.url == "embedded://"
    assert settings.namespace == "default"
    assert settings.plugins is None
    assert settings.serializer == "json"
    assert (settings.lease, settings.max_crashes) == (15.0, 3)


def test_each_source_yields_to_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_settings().namespace == "default"
    write("pyproject.toml", '[tool.jtask]\nnamespace = "pyproject"')
    get_settings.cache_clear()
    assert get_settings().namespace == "pyproject"
    write("jtask.toml", 'namespace = "toml"')
    get_settings.cache_clear()
    assert get_settings().namespace == "toml"
    monkeypatch.setenv("JTASK_NAMESPACE", "env")
    get_settings.cache_clear()
    assert get_settings().namespace == "env"


def test_the_sources_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    write("pyproject.toml", '[tool.jtask]\nqueue = "a"\nlease = 20\nnamespace = "low"')
    write("jtask.toml", 'lease = 30\nnamespace = "mid"')
    monkeypatch.setenv("JTASK_NAMESPACE", "high")
    settings = get_settings()
    assert (settings.queue, settings.lease, settings.namespace) == ("a", 30.0, "high")


def test_a_pyproject_without_a_table_of_ours_is_fine() -> None:
    write("pyproject.toml", '[project]\nname = "x"\n[tool.other]\nnamespace = "no"')
    assert get_settings().namespace == "default"


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    write("jtask.toml", 'namespace = "far"')
    Path("jtask.toml").write_text('namespace = "near"')
    assert get_settings().namespace == "near"


@pytest.fixture
def below(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, one below that of the files."""
    folder = Path("below").absolute()
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("file", "text"),
    [("jtask.toml", "namespace = 'x'"), ("pyproject.toml", "[tool.jtask]\nnamespace = 'x'")],
)
def test_a_file_of_another_users_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, below: Path, file: str, text: str
) -> None:
    path = below.parent / file
    path.write_text(text)
    stranger = os.geteuid() + 1
    monkeypatch.setattr(sources, "owners_of", lambda path: {os.geteuid(), stranger})
    with pytest.raises(ConfigurationError, match=f"^{path} belongs to .* make it your own"):
        get_settings()
    path.write_text("[tool.another]\nnamespace = 'x'" if file == "pyproject.toml" else "")
    assert get_settings().namespace == "default"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_counts_that_is_ours_or_roots_or_that_of_the_folders_owner(below: Path) -> None:
    path = below.parent / "jtask.toml"
    path.write_text("namespace = 'x'")
    assert get_settings().namespace == "x"
    for file in (path, below):
        os.chown(file, 65_534, 65_534)
        get_settings.cache_clear()
        if file == path:
            with pytest.raises(ConfigurationError, match="belongs to"):
                get_settings()
        else:
            assert get_settings().namespace == "x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_link_to_a_file_of_ours_is_refused(below: Path) -> None:
    (below / "other.toml").write_text("namespace = 'x'")
    link = below.parent / "jtask.toml"
    link.symlink_to(below / "other.toml")
    assert get_settings().namespace == "x"
    os.chown(link, 65_534, 65_534, follow_symlinks=False)
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=f"^{link} belongs to"):
        get_settings()


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("JTASK_NAMESPACE", "later")
    assert get_settings() is first


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("LEASE", "soon", r"^setting 'lease' \(JTASK_LEASE\) .*number.*, got 'soon'$"),
        ("LEASE", "1e400", r"^setting 'lease' \(JTASK_LEASE\) must be at most 100 years"),
        ("RESULT_TTL", "1e12", r"^setting 'result_ttl' .*at most 100 years, .*got '1e12'$"),
        ("LEASE", "0.5", r"^setting 'lease' \(JTASK_LEASE\) .*greater than or equal to 1"),
        ("REPLICAS", "9", r"^setting 'replicas' \(JTASK_REPLICAS\) .*less than or equal to 5"),
        ("NAMESPACE", "a.b", r"^setting 'namespace' \(JTASK_NAMESPACE\) .*, got 'a.b'$"),
        ("SERIALIZER", "pickle", r"^setting 'serializer' .*'json' or 'cloudpickle', got 'pickle'$"),
        ("CONNECT_TIMEOUT", "0", r"^setting 'connect_timeout' .*greater than 0"),
        ("MAX_CRASHES", "1.5", r"^setting 'max_crashes' .*integer"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv("JTASK_" + name, value)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        get_settings()
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("name", "most"), [("JTASK_QUEUE", 128), ("JTASK_NAMESPACE", 32)])
def test_a_name_that_the_broker_cannot_use_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setenv(name, "a b")
    with pytest.raises(ConfigurationError, match=f"letters, digits, .* up to {most} of them, got"):
        get_settings()


@pytest.mark.parametrize(
    ("file", "text"),
    [("jtask.toml", "namespce = 'x'"), ("pyproject.toml", "[tool.jtask]\nnamespce = 'x'")],
)
def test_a_name_in_a_file_that_does_not_exist_is_refused(file: str, text: str) -> None:
    write(file, text)
    said = rf"^setting 'namespce' in \S+/{file} is unknown: did you mean 'namespace'\?$"
    with pytest.raises(ConfigurationError, match=said):
        get_settings()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lease = 'soon'", r"'lease' in \S+/jtask\.toml must be a number .*, got 'soon'$"),
        ("default_retries = -1", r"'default_retries' of jtask_retries in \S+/jtask\.toml must be"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused_with_the_file(line: str, said: str) -> None:
    write("jtask.toml", line)
    with pytest.raises(ConfigurationError, match=f"^setting {said}"):
        get_settings()


def test_a_file_that_is_no_toml_is_refused_naming_it() -> None:
    write("jtask.toml", "this is = not [toml")
    with pytest.raises(ConfigurationError, match=r"jtask\.toml"):
        get_settings()


def test_a_misspelt_variable_is_warned_of_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JTASK_NAMESPCE", "x")
    monkeypatch.setenv("JTASK_ZZZ", "x")
    with caplog.at_level(logging.WARNING, "jtask"):
        get_settings()
    assert sorted(record.getMessage() for record in caplog.records) == [
        "unknown setting JTASK_NAMESPCE in the environment: did you mean JTASK_NAMESPACE?",
        "unknown setting JTASK_ZZZ in the environment: jtask reads no such setting",
    ]


def test_the_broker_by_another_name_is_the_setting_of_the_broker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JTASK_BROKER_URL", "nats://x")
    with caplog.at_level(logging.WARNING, "jtask"):
        get_settings()
    assert "did you mean JTASK_URL?" in caplog.text
    write("jtask.toml", "nats_url = 'nats://x'")
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=r"did you mean 'url'\?$"):
        get_settings()


def test_a_known_variable_is_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in Settings.model_fields:
        if name not in {"home", "nats_credentials"}:
            default = Settings.model_fields[name].default
            monkeypatch.setenv("JTASK_" + name.upper(), "1" if default is None else str(default))
    with caplog.at_level(logging.WARNING, "jtask"):
        get_settings()
    assert caplog.records == []


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        get_settings().url = "nats://x"  # type: ignore[misc]


def test_every_setting_says_what_it_is_for() -> None:
    import ast
    import inspect

    body = ast.parse(inspect.getsource(Settings)).body[0]
    assert isinstance(body, ast.ClassDef)
    documented = {
        before.target.id
        for before, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    assert documented == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1d", 86_400.0), ("90", 90.0), ("1.5h", 5400.0), ("2e3", 2000.0)],
)
def test_a_time_is_written_as_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, written: str, seconds: float
) -> None:
    monkeypatch.setenv("JTASK_RESULT_TTL", written)
    get_settings.cache_clear()
    assert get_settings().result_ttl == seconds


def test_a_time_in_a_file_may_have_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jtask.toml").write_text('event_ttl = "7d"\nlease = 5\n')
    get_settings.cache_clear()
    assert (get_settings().event_ttl, get_settings().lease) == (604_800.0, 5.0)


def test_what_is_no_time_is_refused_with_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_LEASE", "soon")
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match="one with a unit: "):
        get_settings()


@pytest.mark.parametrize("name", ["lease", "max_crashes", "event_ttl"])
def test_true_is_no_number(name: str) -> None:
    Path("jtask.toml").write_text(f"{name} = true")
    with pytest.raises(
        ConfigurationError, match=rf"^setting '{name}' .* must be a number, got True"
    ):
        get_settings()
