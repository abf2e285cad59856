"""Where settings come from, which one wins, and what is said of a bad one."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from queuesvc.cli.app import make_cli
from queuesvc.domain.limits import Limits
from queuesvc.settings import BadSettings, LimitSettings, Settings, load_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and none of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOST", "PORT", "DATA", "LOG_LEVEL", "CONFIG"):
        monkeypatch.delenv(f"QUEUESVC_{name}", raising=False)


def write(path: str, text: str) -> Path:
    Path(path).write_text(text)
    return Path(path)


def test_defaults_are_the_contracts() -> None:
    settings = load_settings({})
    assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 8642, Path("queuesvc-data"))
    assert settings.limits.limits() == Limits()


def test_every_limit_can_be_set() -> None:
    assert set(LimitSettings.model_fields) >= {field.name for field in dataclasses.fields(Limits)}


def test_flag_beats_environment_beats_file_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write("queuesvc.toml", 'host = "0.0.0.0"\nport = 1\ndata = "in-file"')
    monkeypatch.setenv("QUEUESVC_PORT", "2")
    monkeypatch.setenv("QUEUESVC_DATA", "in-environment")
    settings = load_settings({"data": "in-flag", "host": None, "port": None})
    assert (settings.host, settings.port, settings.data) == ("0.0.0.0", 2, Path("in-flag"))
    assert settings.log_level == "info"


def test_limits_from_file_and_environment_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    write("queuesvc.toml", "[limits]\nbody_bytes = 10\nwait_seconds = 1.5")
    monkeypatch.setenv("QUEUESVC_LIMITS_BODY_BYTES", "20")
    limits = load_settings({}).limits.limits()
    assert limits == dataclasses.replace(Limits(), body_bytes=20, wait_seconds=1.5)


def test_file_is_the_flags_then_the_environments_then_the_directorys(monkeypatch: pytest.MonkeyPatch) -> None:
    write("queuesvc.toml", "port = 1")
    named, flagged = write("named.toml", "port = 2"), write("flagged.toml", "port = 3")
    assert load_settings({}).port == 1
    monkeypatch.setenv("QUEUESVC_CONFIG", str(named))
    assert load_settings({}).port == 2
    assert load_settings({}, flagged).port == 3


def test_names_may_be_a_list_or_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    write("queuesvc.toml", 'allowed_hosts = ["a.example", "*.b"]')
    assert load_settings({}).allowed_hosts == ("a.example", "*.b")
    monkeypatch.setenv("QUEUESVC_ALLOWED_HOSTS", "c.example, *")
    assert load_settings({}).allowed_hosts == ("c.example", "*")


def test_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUESVC_PORT", "")
    assert load_settings({}).port == 8642


def test_variables_that_others_set_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container platform sets such ones for a service of our name."""
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8642_TCP", "PORT_8642_TCP_ADDR"):
        monkeypatch.setenv(f"QUEUESVC_{name}", "10.0.0.1")
    assert load_settings({}).model_dump() == Settings().model_dump()


def test_every_flag_of_serve_reaches_its_setting() -> None:
    given = {"host": "::1", "port": "1", "data": "d", "durability": "relaxed", "tls_cert": "c", "tls_key": "k"}
    given |= {"log_level": "debug", "log_format": "text"}
    served: list[Settings] = []

    def serve(settings: Settings) -> int:
        served.append(settings)
        return 0

    def nothing(*_: Any) -> Any:
        raise AssertionError("not asked for")

    cli = make_cli(serve, nothing, nothing)
    flags = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", value)]
    assert CliRunner().invoke(cli, ["serve", "--insecure", *flags]).exit_code == 0
    [settings] = served
    assert {name: str(getattr(settings, name)) for name in given} == given
    assert settings.insecure


@pytest.mark.parametrize(
    ("file", "variables", "flags", "words"),
    [
        ("", {}, {"port": "http"}, ("port", "'http'", "--port", "integer")),
        ("", {}, {"log_level": "loud"}, ("log_level", "'loud'", "--log-level")),
        ("", {"QUEUESVC_PORT": "70000"}, {}, ("port", "'70000'", "QUEUESVC_PORT", "65535")),
        ("port = -1", {}, {}, ("port", "-1", "queuesvc.toml")),
        ("prot = 1", {}, {}, ("prot", "no such setting", "queuesvc.toml")),
        ('host = ""', {}, {}, ("host", "queuesvc.toml")),
        ('tls_cert = "a.pem"', {}, {}, ("tls_key", "not set", "tls_cert")),
        ("", {"QUEUESVC_TLS_KEY": "a.pem"}, {}, ("tls_cert", "not set", "tls_key")),
        ("", {"QUEUESVC_PORT": "tcp://10.0.0.1:8642"}, {}, ("port", "enableServiceLinks", "--port")),
        ('allowed_hosts = ["a:80"]', {}, {}, ("allowed_hosts", "'a:80'", "queuesvc.toml", "without port")),
        ("", {"QUEUESVC_ALLOWED_HOSTS": "a, b c"}, {}, ("allowed_hosts", "'b c'", "QUEUESVC_ALLOWED_HOSTS")),
        ("allowed_hosts = 1", {}, {}, ("allowed_hosts", "queuesvc.toml")),
        ("port = ", {}, {}, ("config", "queuesvc.toml", "not valid TOML")),
        ("[limits]\nbody_bytes = 0", {}, {}, ("limits.body_bytes", "0", "queuesvc.toml", "greater than 0")),
        ("[limits]\nbody = 1", {}, {}, ("limits.body", "no such setting", "queuesvc.toml")),
        ("limits = 1", {}, {}, ("limits", "queuesvc.toml")),
        ("", {"QUEUESVC_LIMITS_WAIT_SECONDS": "nan"}, {}, ("limits.wait_seconds", "QUEUESVC_LIMITS_WAIT_SECONDS")),
        ("", {"QUEUESVC_LIMITS_WIAT": "1"}, {}, ("limits.wiat", "no such setting", "QUEUESVC_LIMITS_WIAT")),
        ("", {"QUEUESVC_LIMITS": "{"}, {}, ("QUEUESVC_LIMITS",)),
        ("", {"QUEUESVC_PROT": "1"}, {"port": "1"}, ("prot", "no such setting", "QUEUESVC_PROT")),
        ("", {"QUEUESVC_PORT_": "1"}, {}, ("port_", "no such setting", "QUEUESVC_PORT_")),
        ("", {"queuesvc_log_levle": "info"}, {}, ("log_levle", "no such setting", "queuesvc_log_levle")),
        ("", {"QUEUESVC_CONFIG_FILE": "x"}, {}, ("config_file", "no such setting", "QUEUESVC_CONFIG_FILE")),
        ("", {"QUEUESVC_CONFIG": "gone.toml"}, {}, ("config", "gone.toml", "No such file")),
    ],
)
def test_bad_value_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    variables: dict[str, str],
    flags: dict[str, str],
    words: tuple[str, ...],
) -> None:
    if file:
        write("queuesvc.toml", file)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as caught:
        load_settings(flags)
    text = str(caught.value)
    assert "\n" not in text
    assert not [word for word in words if word not in text], text
