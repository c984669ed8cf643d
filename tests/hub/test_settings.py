"""settings: one table, read from the environment in one place; and what a first start leaves on the disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from modelcommons.errors import UsageError
from modelcommons.hub.settings import Settings, load, table
from modelcommons.hub.stores import open_stores


def test_the_command_line_wins_over_the_environment_and_that_over_the_default() -> None:
    assert load({}).port == 8931
    assert load({"COMMONS_HUB_PORT": "8000"}).port == 8000
    assert load({"COMMONS_HUB_PORT": "8000"}, port=9000, workers=None) == load({}, port=9000)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("COMMONS_HUB_PROT", "8000"),
        ("COMMONS_HUB_PORT", "many"),
        ("COMMONS_HUB_SIGN_UP", "maybe"),
        ("COMMONS_HUB_WORKERS", "0"),
        ("COMMONS_HUB_PORT", "70000"),
        ("COMMONS_HUB_HEADER_S", "0"),
        ("COMMONS_HUB_IDLE_S", "nan"),
        ("COMMONS_HUB_LOG_LEVEL", "loud"),
        ("COMMONS_HUB_URL", "hub.example.org"),
    ],
)
def test_what_is_no_setting_is_an_error_that_names_it(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=variable):
        load({variable: value, "OTHER": "x"})


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("no", False), ("", False)])
def test_yes_and_no_have_several_words(text: str, value: bool) -> None:
    assert load({"COMMONS_HUB_SIGN_UP": text}).sign_up is value


def test_every_setting_says_what_it_is_for() -> None:
    known = table()
    assert len(known) == len(Settings.__dataclass_fields__)
    assert all(one.help.endswith(".") and one.variable == f"COMMONS_HUB_{one.name.upper()}" for one in known)
    secret = {one.name for one in known if one.secret}
    assert secret == {"database", "s3_key_id", "s3_secret", "secret"}
    assert not load({}).sign_up and not load({}).webhooks and load({}).host == "127.0.0.1"


def test_the_url_is_what_clients_are_told() -> None:
    assert load({}, port=1234).endpoint == "http://localhost:1234"
    assert load({}, url="https://hub.example.org/").endpoint == "https://hub.example.org"


def test_the_first_start_makes_secrets_that_nobody_else_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "hub"
    first = open_stores(load({}, folder=folder))
    first.database.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    again = open_stores(load({}, folder=folder))
    again.database.close()
    assert len(first.secret) == 32 and again.secret == first.secret
    other = open_stores(load({}, folder=tmp_path / "b"))
    other.database.close()
    assert other.secret != first.secret


def test_a_secret_that_others_can_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    settings = load({}, folder=tmp_path / "hub")
    open_stores(settings).database.close()
    secret = settings.folder / "secret"
    secret.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        open_stores(settings)
    secret.chmod(0o600)
    secret.write_bytes(b"short")
    with pytest.raises(UsageError, match="32 bytes"):
        open_stores(settings)


def test_machines_can_share_a_secret(tmp_path: Path) -> None:
    stores = open_stores(load({}, folder=tmp_path / "hub", secret="ab" * 32))
    stores.database.close()
    assert stores.secret == b"\xab" * 32 and not (tmp_path / "hub" / "secret").exists()
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        open_stores(load({}, folder=tmp_path / "hub", secret="password"))


def test_the_list_of_settings_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelcommons.cli import main

    monkeypatch.setenv("COMMONS_HUB_DATABASE", "postgresql://hub:pass-word@host/hub")
    with pytest.raises(SystemExit) as ended:
        main(["hub", "settings", "--json"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and "pass-word" not in told
    assert {each["name"]: each["value"] for each in json.loads(told)}["database"] == "set"
