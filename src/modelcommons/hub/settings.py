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
LEVELS = ("debug", "info", "warning", "error")
RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65_535), "workers": (1, 64), "header_s": (0.1, 3600), "idle_s": (0.1, 3600), "stop_s": (1, 3600),
    "regular_bytes": (0, 64 << 20), "body_bytes": (1 << 10, 1 << 40), "file_bytes": (1, 1 << 50),
    "part_bytes": (0, 4 << 30),
    "grace_days": (1 / 24, 3650),  # what was uploaded a moment ago may be about to be named
}  # fmt: skip


def _folder() -> Path:
    return platformdirs.user_data_path("modelcommons", appauthor=False) / "hub"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set about a hub; `COMMONS_HUB_<NAME>` in the environment sets one."""

    folder: Path = field(default_factory=_folder, metadata={"help": "Where database, bytes and secrets lie."})
    host: str = field(
        default="127.0.0.1",
        metadata={"help": "Address to listen on; beyond loopback only once there is an administrator."},
    )
    port: int = field(default=8931, metadata={"help": "Port to listen on; 0 takes a free one."})
    url: str = field(default="", metadata={"help": "How people reach the hub; empty: http://localhost:PORT."})
    workers: int = field(default=1, metadata={"help": "Processes that answer; they share database and store."})
    database: str = field(
        default="",
        metadata={"help": "postgresql://user@host/name; empty: SQLite in the folder.", "secret": True},
    )
    bucket: str = field(default="", metadata={"help": "s3://bucket/prefix; empty: the folder `blobs` in the folder."})
    s3_endpoint: str = field(default="", metadata={"help": "URL of an S3 server other than Amazon's."})
    s3_region: str = field(default="us-east-1", metadata={"help": "Region of the bucket."})
    s3_key_id: str = field(default="", metadata={"help": "Access key id of the bucket.", "secret": True})
    s3_secret: str = field(default="", metadata={"help": "Secret access key of the bucket.", "secret": True})
    secret: str = field(
        default="",
        metadata={
            "help": "64 hexadecimal digits that sign and seal, the same on all machines; empty: made, in the folder.",
            "secret": True,
        },
    )
    proxies: str = field(
        default="",
        metadata={"help": "Addresses of proxies whose X-Forwarded-For is believed, with commas between."},
    )
    sign_up: bool = field(default=False, metadata={"help": "Whether strangers may make themselves an account."})
    webhooks: bool = field(default=False, metadata={"help": "Whether webhooks are delivered."})
    webhook_hosts: str = field(
        default="",
        metadata={"help": "Hosts that webhooks may reach although they are private, with commas between."},
    )
    regular_bytes: int = field(
        default=1 << 20,
        metadata={"help": "Files up to this size are git blobs, unless .gitattributes says LFS."},
    )
    body_bytes: int = field(default=256 << 20, metadata={"help": "Largest body of a commit."})
    file_bytes: int = field(default=500 * 10**9, metadata={"help": "Largest file."})
    part_bytes: int = field(
        default=0,
        metadata={"help": "Largest request of an LFS upload, as a proxy allows it, from clients that can; 0: 4 GiB."},
    )
    header_s: float = field(default=5.0, metadata={"help": "Seconds a client may take to send the head of a request."})
    idle_s: float = field(default=30.0, metadata={"help": "Seconds a client may take between two pieces of a body."})
    stop_s: float = field(
        default=30.0,
        metadata={"help": "Seconds that requests have to finish when the hub is stopped."},
    )
    grace_days: float = field(
        default=14.0,
        metadata={"help": "Days that gc leaves an object nobody names; xorbs 21 days at least."},
    )
    log_level: str = field(default="info", metadata={"help": "debug, info, warning or error."})

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
    defaults = Settings()
    return [
        Setting(
            one.name, PREFIX + one.name.upper(), getattr(defaults, one.name), one.metadata["help"],
            one.metadata.get("secret", False),
        )
        for one in fields(Settings)
    ]  # fmt: skip


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
    return _checked(Settings(**values | {name: value for name, value in given.items() if value is not None}))


def _checked(settings: Settings) -> Settings:
    for name, (low, high) in RANGES.items():
        if not low <= getattr(settings, name) <= high:  # nor is nan
            _refuse(name, f"a number from {low:g} to {high:g}", getattr(settings, name))
    if settings.log_level not in LEVELS:
        _refuse("log_level", "debug, info, warning or error", settings.log_level)
    if settings.url and not settings.url.startswith(("http://", "https://")):
        _refuse("url", "an address that begins with https:// or http://", settings.url)
    return settings


def _refuse(name: str, expected: str, value: object) -> None:
    raise UsageError(f"{PREFIX}{name.upper()}: expected {expected}, got {str(value)[:80]!r}.")


def _read(variable: str, text: str, kind: type) -> Any:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
    try:
        return words[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise UsageError(f"{variable}: expected {kind.__name__}, got {text[:80]!r}.") from None
