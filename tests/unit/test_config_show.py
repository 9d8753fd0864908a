"""`jtask config show` tells every setting, its value and where that comes from, and no secret."""

import json
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel, PostgresDsn, SecretBytes, SecretStr

from jtask.cli.program import main
from jtask.settings import Settings, SettingsModel
from jtask.settings.masking import MASK, masked, may_hold_secret
from jtask.worker.exit_codes import ExitCode

pytestmark = pytest.mark.usefixtures("own_folder")

Install = Callable[..., str]
BELL = """
from pydantic import SecretStr
from jtask.settings import SettingsModel

class BellSettings(SettingsModel):
    bell_volume: int = 5
    bell_code: SecretStr | None = None
    bell_times: list[str] = []

def jtask_settings():
    return BellSettings
"""


def show(*arguments: str, **env: str) -> Result:
    variables = {f"JTASK_{name.upper()}": value for name, value in env.items()}
    return CliRunner().invoke(main, ["config", "show", *arguments], env=variables)


def shown(**env: str) -> dict[str, dict[str, Any]]:
    """Return what is shown as JSON, where all is well, by the names."""
    done = show("--json", **env)
    assert (done.exit_code, done.stderr) == (0, "")
    return {setting["name"]: setting for setting in json.loads(done.stdout)}


def row(done: Result, name: str) -> list[str]:
    [found] = [line.split() for line in done.stdout.splitlines() if line.split()[0] == name]
    return found


# --- what is shown -------------------------------------------------------------------------------


def test_all_settings_of_core_and_of_all_owners_are_shown_with_their_values() -> None:
    done = show(lease="20", replicas="3")
    assert (done.exit_code, done.stderr) == (0, "")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names[: len(Settings.model_fields) + 1] == ["SETTING", *Settings.model_fields]
    assert {"health_port", "default_retries", "schedule_ttl", "server_sync"} < set(names)
    assert row(done, "lease") == ["lease", "20.0"]
    assert row(done, "replicas") == ["replicas", "3"]
    assert row(done, "queue") == ["queue", "not", "set"]


@pytest.mark.parametrize("name", ["namespace", "server_store_limit"])
def test_the_origin_is_the_source_that_counts(name: str) -> None:
    def origin(**env: str) -> tuple[str, str]:
        found = shown(**env)[name]
        return found["value"], found["origin"]

    default = {"namespace": "default", "server_store_limit": "10GB"}[name]
    assert origin() == (default, "default")
    project = Path("../pyproject.toml").absolute().resolve()
    project.write_text(f'[tool.jtask]\n{name} = "1GB"')
    assert origin() == ("1GB", str(project))
    toml = Path("jtask.toml").absolute()
    toml.write_text(f'{name} = "2GB"')
    assert origin() == ("2GB", str(toml))
    assert origin(**{name: "3GB"}) == ("3GB", "environment")


def test_the_table_has_owner_and_origin_only_if_asked_and_paths_the_short_way() -> None:
    Path("../jtask.toml").write_text("replicas = 3")
    Path("pyproject.toml").write_text("[tool.jtask]\nlease = 3")
    done = show("--origin", namespace="shop")
    assert done.stdout.splitlines()[0].split() == ["SETTING", "VALUE", "OWNER", "ORIGIN"]
    assert row(done, "namespace") == ["namespace", "shop", "jtask", "environment"]
    assert row(done, "replicas") == ["replicas", "3", "jtask_nats", "../jtask.toml"]
    assert row(done, "lease") == ["lease", "3.0", "jtask", "pyproject.toml"]
    assert row(done, "max_crashes") == ["max_crashes", "3", "jtask", "default"]
    assert show().stdout.splitlines()[0].split() == ["SETTING", "VALUE"]


def test_what_can_fit_80_columns_does() -> None:
    long = "nats://" + ",".join(f"server-{number}.example.com:4222" for number in range(5))
    lines = show("--origin", url=long, namespace="n" * 18).stdout.splitlines()
    assert [line.split()[0] for line in lines if len(line) > 80] == ["url"]
    assert [line.index("OWNER") for line in lines[:1]] == [lines[3].index("jtask ")]


def test_json_says_everything() -> None:
    assert shown(health_port="0")["health_port"] == {
        "name": "health_port",
        "variable": "JTASK_HEALTH_PORT",
        "value": 0,
        "origin": "environment",
        "owner": "jtask_health",
        "loaded": True,
    }


def test_settings_of_a_third_party_are_shown_and_of_plugins_that_are_not_loaded(
    install: Install,
) -> None:
    bell = install("bell", BELL)
    found = shown(bell_volume="7")["bell_volume"]
    assert (found["value"], found["owner"], found["loaded"]) == (7, bell, True)
    done = show("--origin", plugins="runlog", bell_volume="7")
    assert row(done, "bell_volume") == ["bell_volume", "7", bell, "environment"]
    assert done.exit_code == 0
    assert done.stderr.startswith("not loaded, so not used here: jtask_caching, jtask_console, ")
    assert bell in done.stderr


def test_no_broker_is_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    assert row(show(url="nats://127.0.0.1:9"), "url") == ["url", "nats://127.0.0.1:9"]


# --- what is wrong -------------------------------------------------------------------------------


def test_a_broken_plugin_is_named_and_the_rest_is_shown(install: Install) -> None:
    broken, bell = install("broken", "import no_such_module_at_all"), install("bell", BELL)
    done = show("--origin", bell_volume="7")
    assert done.exit_code == 0
    assert done.stderr == (
        f"Warning: plugin 'broken' ({broken}) cannot be asked for its settings: "
        f"No module named 'no_such_module_at_all'\n"
    )
    assert row(done, "bell_volume") == ["bell_volume", "7", bell, "environment"]
    assert row(done, "lease")[1] == "15.0"


def test_settings_that_cannot_be_made_are_named_and_the_rest_is_shown(install: Install) -> None:
    factory = "5\n    bell_pitch: int = Field(default_factory=lambda: 1 // 0)"
    source = BELL.replace("import SecretStr", "import SecretStr, Field").replace(
        "= 5", f"= {factory}"
    )
    bell = install("bell", source)
    done = show(bell_volume="7")
    assert done.exit_code == 0
    assert f"Warning: the settings of {bell} cannot be read: " in done.stderr
    assert row(done, "bell_volume") == ["bell_volume", "7"]
    assert row(done, "bell_pitch") == ["bell_pitch", "not", "set"]


def test_every_wrong_value_is_named_and_shown_and_the_program_ends_with_2(
    install: Install,
) -> None:
    bell = install("bell", BELL)
    file = Path("jtask.toml").resolve()
    file.write_text("bell_times = 5\nlaese = 3")
    done = show(lease="soon", bell_volume="loud", bell_code="hush", bel_volume="1")
    assert done.exit_code == ExitCode.USAGE
    assert done.stderr.splitlines() == [
        "Warning: unknown setting JTASK_BEL_VOLUME in the environment: did you mean "
        "JTASK_BELL_VOLUME?",
        f"Error: setting 'laese' in {file} is unknown: did you mean 'lease'?",
        "Error: setting 'lease' (JTASK_LEASE) must be a number of seconds, or one with a unit: "
        "1.5s, 10m, 1h, 7d, got 'soon'",
        f"Error: setting 'bell_volume' (JTASK_BELL_VOLUME) of {bell} must be a valid integer, "
        "unable to parse string as an integer, got 'loud'",
        f"Error: setting 'bell_times' of {bell} in {file} must be a valid list, got 5",
    ]
    assert row(done, "lease") == ["lease", "soon"]
    assert row(done, "bell_volume") == ["bell_volume", "loud"]
    assert row(done, "bell_code") == ["bell_code", MASK]
    assert row(done, "max_crashes") == ["max_crashes", "3"]


def test_what_an_owner_lacks_is_a_warning(install: Install) -> None:
    bell = install("bell", BELL.replace("bell_volume: int = 5", "bell_volume: int"))
    done = show()
    assert (done.exit_code, row(done, "bell_volume")) == (0, ["bell_volume", "not", "set"])
    assert done.stderr == (
        f"Warning: setting 'bell_volume' (JTASK_BELL_VOLUME) of {bell} must be set\n"
    )
    assert "must be set" not in show(plugins="runlog").stderr


def test_a_clash_is_an_error_once_the_name_is_set(install: Install) -> None:
    one, two = install("one", BELL), install("two", BELL)
    sentence = f"the setting 'bell_volume' is declared by {one}.BellSettings and {two}."
    done = show()
    assert (done.exit_code, f"Warning: {sentence}" in done.stderr) == (0, True)
    done = show(bell_volume="1")
    assert (done.exit_code, f"Error: {sentence}" in done.stderr) == (ExitCode.USAGE, True)
    done = show("--origin", plugins="two", bell_volume="1")
    assert row(done, "bell_volume") == ["bell_volume", "1", two, "environment"]
    assert "declared by" not in done.stderr


def test_a_file_that_cannot_be_read_is_named() -> None:
    Path("jtask.toml").write_text("this is = not [toml")
    done = show()
    assert (done.exit_code, done.stdout) == (ExitCode.USAGE, "")
    assert f"Error: {Path('jtask.toml').absolute()} cannot be read: " in done.stderr


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--origin",), ("--json",)])
@pytest.mark.parametrize("is_wrong", [False, True])
def test_no_secret_is_shown(
    install: Install, arguments: tuple[str, ...], *, is_wrong: bool
) -> None:
    install("bell", BELL)
    Path("jtask.toml").write_text('results_url = "tls://me:hush@host:4222"')
    env = {"url": "nats://hush@host", "nats_credentials": "hush.creds", "bell_code": "hush"}
    if is_wrong:
        env |= {"lease": "soon", "bell_volume": "loud"}
    done = show(*arguments, **env)
    assert "hush" not in done.output
    assert f"tls://me:{MASK}@host:4222" in done.stdout
    assert f"nats://{MASK}@host" in done.stdout


def test_no_credential_of_nats_is_shown_not_even_a_wrong_one() -> None:
    seed = "SU" + "A" * 56
    done = show("--json", nats_token="hush", nats_nkey_seed=seed)
    assert done.exit_code == ExitCode.USAGE
    assert "hush" not in done.output
    assert seed not in done.output
    assert "the path of a file with the seed" in done.stderr
    done = show("--json", nats_token="hush", nats_credentials="x.creds")
    assert "set only one of JTASK_NATS_TOKEN and JTASK_NATS_CREDENTIALS" in done.output
    assert "hush" not in done.output


class Colour(Enum):
    RED = "red"


class Account(BaseModel):
    user: str = "me"
    password: str = "hush"
    code: SecretStr = SecretStr("hush")
    site: str = "https://me:hush@site"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("x", None, None),
        ("password", None, None),
        ("x", 5, 5),
        ("x", True, True),
        ("x", "plain: text @ home", "plain: text @ home"),
        ("x", Path("/a/b"), "/a/b"),
        ("x", Colour.RED, "red"),
        ("x", SecretStr("hush"), MASK),
        ("x", SecretBytes(b"hush"), MASK),
        ("x", [SecretStr("hush"), 1], [MASK, 1]),
        ("password", "hush", MASK),
        ("db_password", "hush", MASK),
        ("PGPASSWORD", "hush", MASK),
        ("api_token", "hush", MASK),
        ("nats_nkey_seed", "hush", MASK),
        ("tokens", ["hush"], MASK),
        ("nats_credentials", Path("/etc/hush.creds"), MASK),
        ("aws_secret_key", "hush", MASK),
        ("api_key", "hush", MASK),
        ("routing_key", "orders", "orders"),
        ("url", "nats://host:4222", "nats://host:4222"),
        ("url", "nats://me:hush@host:4222", f"nats://me:{MASK}@host:4222"),
        ("url", "nats://hush@host", f"nats://{MASK}@host"),
        ("url", "nats://me:hu/s,h@hush@a:1,b:2", f"nats://me:{MASK}@a:1,b:2"),
        ("url", "nats://me:hush@a,nats://you:hush@b", f"nats://me:{MASK}@b"),
        ("url", "redis://:hush@host/0", f"redis://:{MASK}@host/0"),
        (
            "url",
            "https://host/?user=me&password=hush#x",
            f"https://host/?user=me&password={MASK}#x",
        ),
        ("any", "two: a://b:hush@c and d://e:hush@f", f"two: a://b:{MASK}@c and d://e:{MASK}@f"),
        ("dsn", PostgresDsn("postgres://me:hush@host/db"), f"postgres://me:{MASK}@host/db"),
        (
            "x",
            Account(),
            {"user": "me", "password": MASK, "code": MASK, "site": f"https://me:{MASK}@site"},
        ),
        (
            "x",
            {"token": "hush", "n": [{"secret": "hush"}]},
            {"token": MASK, "n": [{"secret": MASK}]},
        ),
    ],
)
def test_a_secret_is_masked_wherever_it_is_in_a_value(
    name: str, value: object, expected: object
) -> None:
    assert masked(name, value) == expected
    assert "hush" not in json.dumps(masked(name, value))


class Holders(SettingsModel):
    plain: str = ""
    numbers: list[int] | None = None
    secret_one: SecretStr | None = None
    many: dict[str, list[SecretStr]] | None = None
    account: Account | None = None


def test_a_field_that_may_hold_a_secret_is_known_by_its_type() -> None:
    fields: Mapping[str, Any] = Holders.model_fields
    found = {name for name, field in fields.items() if may_hold_secret(field.annotation)}
    assert found == {"secret_one", "many", "account"}
