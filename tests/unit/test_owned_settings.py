"""Plugins, brokers and stores bring settings of their own, as good as core's."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from programs import environment, output_of
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from jtask.errors import ConfigurationError, SoftTimeout
from jtask.hooks import hookimpl
from jtask.plugins import Plugins
from jtask.settings import SettingsModel, get_settings, put_settings, settings_of
from jtask.settings.model import owner_of
from jtask_timeouts.interrupts import SoftInterrupt

pytestmark = pytest.mark.usefixtures("own_folder")

Install = Callable[..., Any]
BELL = """
from jtask.settings import SettingsModel

class BellSettings(SettingsModel):
    bell_volume: int = 5

def jtask_settings():
    return BellSettings
"""


def set_env(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"JTASK_{name.upper()}", value)
    get_settings.cache_clear()


def model_in(module: str, name: str = "BellSettings") -> type[Any]:
    model: type[Any] = getattr(import_module(module), name)
    return model


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING, "jtask"):
        get_settings()
    return sorted(record.getMessage() for record in caplog.records)


# --- reading -------------------------------------------------------------------------------------


def test_each_source_yields_to_the_one_before_it(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = model_in(install("bell", BELL))
    assert settings_of(bell).bell_volume == 5
    for write in (
        lambda: Path("pyproject.toml").write_text("[tool.jtask]\nbell_volume = 6"),
        lambda: Path("jtask.toml").write_text("bell_volume = 7"),
        lambda: monkeypatch.setenv("JTASK_BELL_VOLUME", "8"),
    ):
        before = settings_of(bell).bell_volume
        write()
        assert settings_of(bell).bell_volume == before
        get_settings.cache_clear()
        assert settings_of(bell).bell_volume == before + 1


def test_settings_are_read_once_and_cannot_be_changed(install: Install) -> None:
    bell = model_in(install("bell", BELL))
    assert settings_of(bell) is settings_of(bell)
    with pytest.raises(ValueError, match="frozen"):
        settings_of(bell).bell_volume = 6


def test_what_is_put_is_read_and_inherited(install: Install) -> None:
    bell = model_in(install("bell", BELL))
    before = dict(os.environ)
    try:
        put_settings(bell_volume=9)
        assert settings_of(bell).bell_volume == 9
        assert os.environ["JTASK_BELL_VOLUME"] == "9"
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_values_with_a_structure_are_json_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Chimes(SettingsModel):
        chimes: list[int] = Field(default=[])

    set_env(monkeypatch, chimes="[1, 2]")
    assert settings_of(Chimes).chimes == [1, 2]
    set_env(monkeypatch, chimes="1, 2")
    expected = r"^setting 'chimes' \(JTASK_CHIMES\) of .* list, written as JSON, got '1, 2'$"
    with pytest.raises(ConfigurationError, match=expected):
        settings_of(Chimes)


def test_a_process_imports_no_plugin_and_no_broker_for_the_settings_of_core() -> None:
    code = (
        "import sys; from jtask.settings import get_settings; get_settings(); print(*sys.modules)"
    )
    for env, is_imported in (
        ({}, False),
        ({"JTASK_LEASE": "5"}, False),
        ({"JTASK_REPLICAS": "1"}, True),
    ):
        loaded = output_of(sys.executable, "-c", code, env=environment(**env)).split()
        assert ("jtask_nats" in loaded) is is_imported


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("jtask.plugins", ""),
        ("jtask.brokers", ":open_broker"),
        ("jtask.results", ":open_results"),
        ("jtask.dead_letters", ":open_dead_letters"),
    ],
)
def test_a_setting_of_whatever_is_installed_is_known(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    group: str,
    target: str,
) -> None:
    bell = model_in(install("bell", BELL, group, target))
    Path("jtask.toml").write_text("bell_volume = 7")
    set_env(monkeypatch, bell_volume="8")
    assert warnings_of(caplog) == []
    assert settings_of(bell).bell_volume == 8


def test_a_setting_of_a_plugin_that_is_not_loaded_is_known(
    install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install("bell", BELL)
    Path("jtask.toml").write_text("bell_volume = 7")
    set_env(monkeypatch, plugins="runlog", bell_volume="8")
    assert warnings_of(caplog) == []


def test_a_setting_of_a_plugin_that_is_added_by_hand_is_known(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class WhistleSettings(SettingsModel):
        whistle_pitch: int = 1

    class Whistle:
        @hookimpl
        def jtask_settings(self) -> type[SettingsModel]:
            return WhistleSettings

    plugins, plugin = Plugins([]), Whistle()
    Path("jtask.toml").write_text("whistle_pitch = 2")
    set_env(monkeypatch, whistle_pitch="3")
    plugins.add(plugin)
    assert warnings_of(caplog) == []
    assert settings_of(WhistleSettings).whistle_pitch == 3
    plugins.remove(plugin)
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=r"'whistle_pitch' .* is unknown"):
        get_settings()


def test_the_plugins_can_be_loaded_before_those_that_are_added_by_hand(tmp_path: Path) -> None:
    code = """
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins
from jtask.settings import SettingsModel, settings_of

class WhistleSettings(SettingsModel):
    whistle_pitch: int = 1

class Whistle:
    @hookimpl
    def jtask_settings(self):
        return WhistleSettings

get_plugins().add(Whistle())
print(settings_of(WhistleSettings).whistle_pitch)
"""
    (tmp_path / "jtask.toml").write_text("whistle_pitch = 2")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(JTASK_WHISTLE_PITCH="3"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_misspelt_name_is_refused_at_the_first_use_of_a_task(tmp_path: Path) -> None:
    (tmp_path / "jtask.toml").write_text("namespce = 'x'")
    done = subprocess.run(
        [sys.executable, "-c", "from jtask import task\n@task\ndef f(): print('ran')\nf()"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout == ""
    assert "did you mean 'namespace'?" in done.stderr.splitlines()[-1]


def test_a_misspelt_name_of_an_owner_gets_a_suggestion(
    install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install("bell", BELL)
    set_env(monkeypatch, bel_volume="1")
    assert warnings_of(caplog) == [
        "unknown setting JTASK_BEL_VOLUME in the environment: did you mean JTASK_BELL_VOLUME?"
    ]
    Path("jtask.toml").write_text("bel_volume = 1")
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError, match=r"'bel_volume' .* did you mean 'bell_volume'\?$"):
        get_settings()


def test_two_owners_of_one_name_are_both_named(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = install("one", BELL), install("two", BELL)
    get_settings()
    set_env(monkeypatch, bell_volume="1")
    expected = f"'bell_volume' is declared by {one}.BellSettings and {two}.BellSettings: "
    with pytest.raises(ConfigurationError, match=expected):
        get_settings()
    set_env(monkeypatch, plugins="two")
    get_settings()


def test_a_model_that_is_declared_twice_is_no_clash(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = install("one", BELL, "jtask.brokers", ":open_broker")
    install("two", f"from {module} import jtask_settings")
    set_env(monkeypatch, bell_volume="1")
    assert settings_of(model_in(module)).bell_volume == 1


def test_core_owns_its_names(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    module = install("bell", BELL.replace("bell_volume", "lease"))
    set_env(monkeypatch, lease="20")
    assert get_settings().lease == 20
    expected = f"'lease' is declared by jtask.settings.core.Settings and {module}.BellSettings: "
    with pytest.raises(ConfigurationError, match=expected):
        settings_of(model_in(module))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        (BELL.replace("return BellSettings", "raise RuntimeError('rusty')"), "rusty"),
        (BELL.replace("return BellSettings", "return 5"), "not iterable"),
        (BELL.replace("return BellSettings", "return [int]"), "<class 'int'> is not derived from"),
        (BELL.replace("bell_volume", "Bell"), "'Bell' of BellSettings must be in lower case"),
    ],
)
def test_who_cannot_be_asked_spares_the_others_and_is_named_where_a_name_is_unknown(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    source: str,
    reason: str,
) -> None:
    broken, bell = install("broken", source), model_in(install("bell", BELL))
    set_env(monkeypatch, bell_volume="8", bel_volume="8", zzzzz="1")
    misspelt, unknown = warnings_of(caplog)
    assert misspelt.endswith("did you mean JTASK_BELL_VOLUME?")
    assert unknown.startswith("unknown setting JTASK_ZZZZZ in the environment: jtask reads no such")
    assert f"plugin 'broken' ({broken}) cannot be asked for its settings: " in unknown
    assert reason in unknown
    assert settings_of(bell).bell_volume == 8


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            {"bell": Field(default=1, alias="chime")},
            "'bell' of Bell must be in lower case and have",
        ),
        ({"bell": Field(default=1, validation_alias="chime")}, "no alias"),
        ({"Bell": 1}, "'Bell' of Bell must be in lower case"),
        ({"model_config": {"env_prefix": "BELL_"}}, "Bell must not change 'env_prefix'"),
        (
            {"model_config": {"env_nested_delimiter": "__"}},
            "must not change 'env_nested_delimiter'",
        ),
    ],
)
def test_a_setting_has_the_name_of_its_field(body: dict[str, Any], reason: str) -> None:
    annotations = {"__annotations__": {name: int for name in body if name != "model_config"}}
    with pytest.raises(TypeError, match=reason):
        type("Bell", (SettingsModel,), {"__module__": __name__, **annotations, **body})


# --- wrong values --------------------------------------------------------------------------------


class Mailbox(BaseModel):
    user: str = ""
    password: str = Field(default="", max_length=3)


class MailSettings(SettingsModel):
    mail_port: int = Field(default=25, ge=1, le=65535)
    mail_code: str = Field(default="", pattern="^[a-z]*$", max_length=3)
    mail_even: int = 0
    mail_token: SecretStr | None = Field(default=None, min_length=10)
    mail_password: str = Field(default="", max_length=3)
    mail_url: str = Field(default="", max_length=3)
    mail_box: Mailbox = Mailbox()

    @field_validator("mail_even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("odd numbers bring bad luck")
        return value


@pytest.fixture
def mail() -> Iterator[None]:
    class Mail:
        @hookimpl
        def jtask_settings(self) -> list[type[SettingsModel]]:
            return [MailSettings]

    plugins, plugin = Plugins([]), Mail()
    plugins.add(plugin)
    yield
    plugins.remove(plugin)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mail_port", "x", "must be a valid integer, unable to parse .*, got 'x'"),
        ("mail_port", "0", "must be greater than or equal to 1, got '0'"),
        ("mail_code", "A", r"must match pattern '\^\[a-z\]\*\$', got 'A'"),
        ("mail_code", "abcd", "must have at most 3 characters, got 'abcd'"),
        ("mail_even", "3", "is wrong: odd numbers bring bad luck, got '3'"),
        ("mail_token", "hush", "must have at least 10 (characters|items).*"),
        ("mail_password", "hush", r"must have at most 3 characters, got '\*{3}'"),
        ("mail_url", "smtp://me:hush@host", r"must .*, got 'smtp://me:\*{3}@host'"),
        ("mail_box", "hush", "must .*, written as JSON"),
        ("mail_box", '{"password": "hush"}', ", part 'password', must have at most 3 characters"),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence_that_names_the_owner_and_no_secret(
    mail: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    set_env(monkeypatch, **{name: value})
    owner = owner_of(MailSettings)
    sentence = rf"^setting '{name}' \(JTASK_{name.upper()}\) of {owner} ?{said}$"
    for read in (get_settings, lambda: settings_of(MailSettings)):
        with pytest.raises(ConfigurationError, match=sentence) as caught:
            read()
        assert "hush" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_of_several_types_none_is_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    set_env(monkeypatch, default_retry_delay_seconds="soon")
    sentence = (
        r"^setting 'default_retry_delay_seconds' \(JTASK_DEFAULT_RETRY_DELAY_SECONDS\) .*number"
    )
    with pytest.raises(ConfigurationError, match=sentence):
        get_settings()


class Needy(SettingsModel):
    needy_host: str
    needy_port: int = 1

    @model_validator(mode="after")
    def _agree(self) -> "Needy":
        if self.needy_host == "here" and self.needy_port != 1:
            raise ValueError("here there is port 1 only")
        return self


def test_what_an_owner_needs_is_asked_for_when_it_reads_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Plugin:
        @hookimpl
        def jtask_settings(self) -> type[SettingsModel]:
            return Needy

    plugins, plugin = Plugins([]), Plugin()
    plugins.add(plugin)
    try:
        set_env(monkeypatch, needy_port="2")
        get_settings()
        expected = r"^setting 'needy_host' \(JTASK_NEEDY_HOST\) of \S+ must be set$"
        with pytest.raises(ConfigurationError, match=expected):
            settings_of(Needy)
        set_env(monkeypatch, needy_host="here")
        get_settings()
        expected = r"^the settings of \S+ do not agree: here there is port 1 only$"
        with pytest.raises(ConfigurationError, match=expected):
            settings_of(Needy)
        set_env(monkeypatch, needy_host="there")
        assert settings_of(Needy).needy_host == "there"
    finally:
        plugins.remove(plugin)


def test_a_task_that_reads_them_first_hears_of_its_soft_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: int) -> int:
        raise SoftInterrupt("still executing after 0.3 seconds")

    class Slow(SettingsModel):
        slow_start: int = 0
        _check = field_validator("slow_start", mode="after")(interrupted)

    monkeypatch.setenv("JTASK_SLOW_START", "1")
    with pytest.raises(SoftTimeout, match="still executing"):
        settings_of(Slow)
