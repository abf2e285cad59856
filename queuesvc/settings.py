"""What an operator may set, and where from: flags, then environment, then file, then the default."""

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from queuesvc.domain.limits import Limits
from queuesvc.store.interface import Durability

PREFIX = "QUEUESVC_"
CONFIG_VARIABLE = "QUEUESVC_CONFIG"
OF_CLIENTS = ("QUEUESVC_URL", "QUEUESVC_TOKEN")
"""Where a broker is and who asks it: for the verbs that ask one that runs."""
CONFIG_FILE = Path("queuesvc.toml")
PORT_VARIABLE = "QUEUESVC_PORT"
_ADDRESS = re.compile("(tcp|udp|sctp)://")
# What container platforms set for a service of our name: where it is, not what we are to do.
_SET_BY_OTHERS = re.compile(PREFIX + r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_HOST_NAME = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]

_LIMITS = Limits()


class BadSettings(Exception):
    """A setting that cannot be: the text is one line that names it and says where it came from."""


def _host_names(value: Any) -> Any:
    """A list as it is, a text parted at its commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if _HOST_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name; give names without port, as example.org, *.example.org or *")
    return names


HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_host_names), AfterValidator(_check_host_names)]


class LimitSettings(BaseModel):
    """The limits of the contract's §11: `[limits]` in the file, `QUEUESVC_LIMITS_...` in the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: int = Field(default=_LIMITS.body_bytes, gt=0)
    request_bytes: int = Field(default=_LIMITS.request_bytes, gt=0)
    batch_messages: int = Field(default=_LIMITS.batch_messages, gt=0)
    receive_messages: int = Field(default=_LIMITS.receive_messages, gt=0)
    receive_bytes: int = Field(default=_LIMITS.receive_bytes, gt=0)
    header_count: int = Field(default=_LIMITS.header_count, ge=0)
    header_bytes: int = Field(default=_LIMITS.header_bytes, ge=0)
    wait_seconds: float = Field(default=_LIMITS.wait_seconds, ge=0, allow_inf_nan=False)
    delay_seconds: float = Field(default=_LIMITS.delay_seconds, ge=0, allow_inf_nan=False)
    document_bytes: int = Field(default=_LIMITS.document_bytes, gt=0)

    connections: int = Field(default=20_000, gt=0)
    connections_per_token: int | None = Field(default=None, gt=0)
    waits_per_token: int | None = Field(default=None, gt=0)
    requests_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    publishes_per_second: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def limits(self) -> Limits:
        """Those that the broker takes."""
        return Limits(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Limits)})


class Settings(BaseSettings):
    """All settings of `queuesvc serve`, checked."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    insecure: bool = Field(
        default=False, description="Listen elsewhere than on loopback without tokens, open to whoever gets there."
    )
    tls_cert: Path | None = Field(default=None, description="Certificate (and its chain) in PEM form: speak HTTPS.")
    tls_key: Path | None = Field(default=None, description="The certificate's private key in PEM form.")
    allowed_hosts: HostNames = Field(
        default=(), description="Names under which clients call this broker, beside localhost, addresses and host."
    )
    port: int = Field(default=8642, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data: Path = Field(default=Path("queuesvc-data"), description="Directory to store in; made where it is missing.")
    reserve_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Publishes are refused while less is free on the disk; else 64 MiB, or a quarter of a small disk.",
    )
    durability: Durability = Field(
        default="full",
        description="full: answers wait for the disk; relaxed: a power loss or a crash of the system takes the newest.",
    )
    wal_bytes: int = Field(
        default=1024**3,
        gt=0,
        description="Publishes are refused while SQLite's log is larger, kept so by a program that reads the file.",
    )
    log_level: LogLevel = Field(default="info", description="debug, info, warning or error.")
    log_format: LogFormat = Field(
        default="auto", description="json, one object a line; text, for a person; auto: text where that is a terminal."
    )
    shutdown_seconds: float = Field(
        default=10, ge=0, allow_inf_nan=False, description="How long a shutdown waits for requests under way."
    )
    slow_client_seconds: float = Field(
        default=30, gt=0, allow_inf_nan=False, description="How long a request may come in at less than 1 KiB a second."
    )
    slow_client_bytes: int = Field(
        default=256 * 1024 * 1024, gt=0, description="How much is held for clients that send or read slowly, in all."
    )
    short_way: bool = Field(
        default=True, description="Answer plain publishes, receives and settles without ASGI; false is for comparison."
    )
    limits: LimitSettings = LimitSettings()


def load_settings(flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """The settings from flags (None means: not given), environment, file and defaults, in this order.

    The file is `config`, else the one that QUEUESVC_CONFIG names, else
    `queuesvc.toml` in the working directory if there is one. Raises `BadSettings`.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    path = _config_file(config)
    _refuse_unknown_variables()
    values = _read(path) if path is not None else {}

    class Sources(Settings):
        """The settings, from these sources in this order."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """Flags, environment, file."""
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        settings = Sources(**given)
    except ValidationError as error:
        raise BadSettings(_explain(error, given, path)) from None
    except SettingsError as error:
        raise BadSettings(f"{PREFIX}LIMITS: {error}") from None
    if (settings.tls_cert is None) != (settings.tls_key is None):
        missing, other = ("tls_key", "tls_cert") if settings.tls_key is None else ("tls_cert", "tls_key")
        raise BadSettings(f"{missing}: is not set, but {other} is: TLS needs both")
    return settings


def _refuse_unknown_variables() -> None:
    """A variable of ours that is none is a slip, as in the file. (Those of a limit are looked at with the limits.)"""
    for variable, value in os.environ.items():
        name = variable.upper()
        if (
            not value
            or not name.startswith(PREFIX)
            or name in (CONFIG_VARIABLE, *OF_CLIENTS)
            or _SET_BY_OTHERS.fullmatch(name)
        ):
            continue
        setting = name.removeprefix(PREFIX).lower()
        if setting not in Settings.model_fields and not setting.startswith("limits_"):
            raise BadSettings(f"{setting}: there is no such setting (in {variable})")


def _config_file(config: Path | None) -> Path | None:
    if config is not None:
        return config
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return CONFIG_FILE if CONFIG_FILE.exists() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSettings(f"config: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"config: {path} is not valid TOML: {error}") from None


def _explain(error: ValidationError, flags: Mapping[str, Any], path: Path | None) -> str:
    """One line for the first thing wrong."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    name, variable = ".".join(place), PREFIX + "_".join(place).upper()
    if place[0] in flags:
        source = "--" + place[0].replace("_", "-")
    elif variable in os.environ:
        source = variable
    else:
        source = str(path or "the environment")
    if first["type"] == "extra_forbidden":
        return f"{name}: there is no such setting (in {source})"
    text = f"{name}: {first['input']!r} from {source} will not do: {first['msg'][:1].lower()}{first['msg'][1:]}"
    if source == PORT_VARIABLE and _ADDRESS.match(str(first["input"])):
        # Kubernetes (and Docker's links) tell every container so where a service called `queuesvc` is.
        text += (
            f" (a container platform sets {PORT_VARIABLE} for a service of this name: "
            "give --port, which goes before it, or set enableServiceLinks to false)"
        )
    return text
