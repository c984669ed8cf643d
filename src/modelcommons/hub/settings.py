"""settings: one table: name, default, one line of help; the environment is read here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import platformdirs

from modelcommons.errors import UsageError

PREFIX = "COMMONS_HUB_"
DAY_S = 86_400


def _setting(default: Any, help: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"help": help, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set about a hub; `COMMONS_HUB_<NAME>` in the environment sets one."""

    folder: Path = _setting(
        platformdirs.user_data_path("modelcommons", appauthor=False) / "hub", "Where database, bytes and secrets lie."
    )
    host: str = _setting("127.0.0.1", "Address to listen on; beyond loopback only once there is an administrator.")
    port: int = _setting(8931, "Port to listen on; 0 takes a free one.")
    url: str = _setting("", "How people reach the hub; empty: http://localhost:PORT.")
    workers: int = _setting(1, "Processes that answer; they share database and store.")
    database: str = _setting("", "postgresql://user@host/name; empty: SQLite in the folder.", secret=True)
    bucket: str = _setting("", "s3://bucket/prefix; empty: the folder `blobs` in the folder.")
    s3_endpoint: str = _setting("", "URL of an S3 server other than Amazon's.")
    s3_region: str = _setting("us-east-1", "Region of the bucket.")
    s3_key_id: str = _setting("", "Access key id of the bucket.", secret=True)
    s3_secret: str = _setting("", "Secret access key of the bucket.", secret=True)
    sign_up: bool = _setting(False, "Whether strangers may make themselves an account.")
    webhooks: bool = _setting(False, "Whether webhooks are delivered.")
    webhook_hosts: str = _setting("", "Hosts that webhooks may reach although they are private, with commas between.")
    regular_bytes: int = _setting(1 << 20, "Files up to this size are git blobs, unless .gitattributes says LFS.")
    body_bytes: int = _setting(256 << 20, "Largest body of a commit.")
    file_bytes: int = _setting(500 * 10**9, "Largest file.")
    header_s: float = _setting(5.0, "Seconds a client may take to send the head of a request.")
    idle_s: float = _setting(30.0, "Seconds a client may take between two pieces of a body.")
    grace_days: float = _setting(14.0, "Days that gc leaves an object nobody names; xorbs 21 days at least.")
    log_level: str = _setting("info", "debug, info, warning or error.")

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is set to, without a slash at the end."""
        return (self.url or f"http://localhost:{self.port}").rstrip("/")


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    variable: str
    default: Any
    help: str
    secret: bool


def table() -> list[Setting]:
    """Every setting, in order."""
    return [
        Setting(one.name, PREFIX + one.name.upper(), one.default, one.metadata["help"], one.metadata["secret"])
        for one in fields(Settings)
    ]


def load(environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """Defaults, then the environment, then what was given on the command line (None: not given).

    Raises:
        UsageError: an unknown name, or a value of the wrong type.
    """
    environment = os.environ if environment is None else environment
    kinds = get_type_hints(Settings)
    known = {one.variable: one.name for one in table()}
    values: dict[str, Any] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        if variable not in known:
            raise UsageError(f"{variable} is not a setting. `commons hub settings` lists them.")
        name = known[variable]
        values[name] = _read(variable, environment[variable], kinds[name])
    return Settings(**values | {name: value for name, value in given.items() if value is not None})


def _read(variable: str, text: str, kind: type) -> Any:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise UsageError(f"{variable}: expected {kind.__name__}, got {text[:80]!r}.") from None
