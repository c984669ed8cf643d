"""the operator's commands, as they are typed: what each says and does, and what it refuses without doing anything."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from called import Commons, Told
from hubs import COMMONS, START_S, Template, copied, new_database
from sqlalchemy import select
from typer.main import get_command

from modelcommons.cli.commands import app
from modelcommons.hub import tables
from modelcommons.hub.actions import accounts, lifecycle
from modelcommons.hub.database import connect
from modelcommons.hub.names import repo_id
from modelcommons.hub.settings import Settings, table
from modelcommons.hub.stores import Stores, open_stores

HUB: Any = get_command(app)
COMMANDS = {
    f"{name} {below}" if below else name
    for name, command in HUB.commands["hub"].commands.items()
    for below in getattr(command, "commands", [""])
}


@dataclass
class Operated:
    """A hub of one's own in `hub`, which the environment names: ada, bob, eve, root, and the organisation lab."""

    commons: Commons
    settings: Settings

    def __call__(self, command: str, *arguments: str) -> Told:
        return self.commons("hub", *command.split(), *arguments)

    def good(self, command: str, *arguments: str) -> str:
        told = self(command, *arguments)
        assert (told.code, told.err) == (0, ""), told
        return told.out.rstrip("\n")

    def json(self, command: str, *arguments: str) -> Any:
        return json.loads(self.good(command, *arguments, "--json", "-q"))

    def refused(self, command: str, *arguments: str) -> str:
        """One sentence, exit code 2, and everything as it was; the same with --json."""
        before = self.all()
        sentence = self.sentence(command, *arguments)
        assert self.all() == before
        return sentence

    def sentence(self, command: str, *arguments: str) -> str:
        """For what is refused before a hub is looked for."""
        told = self(command, *arguments)
        assert (told.code, told.out) == (2, ""), told
        sentence = told.err.rstrip("\n")
        assert "\n" not in sentence and sentence[-1] in ".?" and "a mistake of ours" not in sentence, told
        again = self(command, *arguments, "--json")
        assert (again.code, again.err) == (2, "") and again.json["error"]["message"] == sentence
        return sentence

    def open(self) -> Stores:
        return open_stores(self.settings)

    def all(self) -> tuple[list[str], list[Any]]:
        """The paths here, and every row but the marks, which any transaction leaves, such as one for a lease."""
        database = connect(self.settings.database, self.settings.folder)
        kept = [one for one in tables.metadata.sorted_tables if one is not tables.marks]
        try:
            with database.reading() as connection:
                rows = [tuple(row) for one in kept for row in connection.execute(select(one))]
        finally:
            database.close()
        return sorted(str(path) for path in Path().rglob("*") if "sqlite3-" not in path.name), rows


@pytest.fixture
def hub(template: Template, commons: Commons, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operated]:
    with copied(template, Path("hub")) as settings:
        monkeypatch.setenv("COMMONS_HUB_FOLDER", "hub")
        if settings.database:
            monkeypatch.setenv("COMMONS_HUB_DATABASE", settings.database)
        yield Operated(commons, settings)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What comes through a pipe."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def with_files(hub: Operated) -> None:
    """A repository of ada's with a large file that its branch names, and one that nothing does."""
    stores = hub.open()
    try:
        who = accounts.of_token(stores, accounts.create_token(stores, "ada", "for files", "write"), "bearer")
        lifecycle.create(stores, who, repo_id("model", "ada", "news"), private=True)
    finally:
        stores.database.close()
    incoming = hub.settings.folder / "blobs" / "files" / "ab" / ("ab" * 32)
    incoming.parent.mkdir(parents=True)
    incoming.write_bytes(b"named by nothing")


# --- every command --------------------------------------------------------------------------------------------------


def test_every_command_has_a_test_of_its_own() -> None:
    tested = {name.removeprefix("test_").replace("_", " ") for name in globals() if name.startswith("test_")}
    assert {"serve", "settings", "user add", "token revoke", "fsck", "restore"} <= COMMANDS <= tested


@pytest.mark.parametrize("name", sorted(COMMANDS - {"serve", "settings", "user add", "restore"}))
def test_a_slip_in_the_name_of_the_folder_makes_no_hub(
    hub: Operated, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arguments = {
        "user suspend": ["ada"], "user password": ["ada"], "org add": ["new", "--admin", "ada"],
        "org member": ["lab", "ada", "read"], "token add": ["ada"], "token list": ["ada"],
        "token revoke": ["ada", "test"], "backup": ["kept"], "export": ["kept.tar"],
    }.get(name, [])  # fmt: skip
    monkeypatch.delenv("COMMONS_HUB_DATABASE", raising=False)
    Path("other").mkdir(mode=0o755)
    for folder in ("hubb", "other"):
        sentence = hub.refused(name, *arguments, "--folder", folder)
        assert sentence == f"There is no hub in {folder}. Name its folder: --folder hub."
    assert not Path("hubb").exists() and not list(Path("other").iterdir()) and Path("other").stat().st_mode & 0o055


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_what_cannot_be_typed_is_refused(hub: Operated, name: str) -> None:
    for wrong in (["--no-such-option"], ["a", "b", "c", "d", "e"]):
        assert f"See: commons hub {name} --help" in hub.sentence(name, *wrong)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_setting_that_is_none_is_refused(hub: Operated, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    arguments = {
        "user add": ["new"], "user suspend": ["ada"], "user password": ["ada"], "org add": ["new", "--admin", "ada"],
        "org member": ["lab", "ada", "read"], "token add": ["ada"], "token list": ["ada"],
        "token revoke": ["ada", "test"], "backup": ["kept"], "export": ["kept.tar"],
        "restore": ["hub", "--folder", "new"],
    }.get(name, [])  # fmt: skip
    monkeypatch.setenv("COMMONS_HUB_PROT", "80")
    assert "COMMONS_HUB_PROT is not a setting" in hub.sentence(name, *arguments)


# --- serve and settings ---------------------------------------------------------------------------------------------


def test_serve(hub: Operated) -> None:
    """Text with -q; the tests of the server start it with --json."""
    assert "COMMONS_HUB_PORT: expected a number from 0 to 65535" in hub.refused("serve", "--port", "70000")
    assert "COMMONS_HUB_WORKERS" in hub.refused("serve", "--workers", "0")
    assert "s3://name/prefix" in hub.refused("serve", "--bucket", "models")
    with subprocess.Popen(
        [COMMONS, "hub", "serve", "-q", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout and process.stderr
            line = process.stdout.readline()
            found = re.match(r"The hub answers at (http://localhost:\d+) \(HF_ENDPOINT\)\. New here: commons hub", line)
            assert found, line
            assert httpx2.get(found[1].replace("localhost", "127.0.0.1") + "/health", timeout=60).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(START_S) == 0
            assert (process.stdout.read(), process.stderr.read()) == ("", "")
        finally:
            if process.poll() is None:
                for each in psutil.Process(process.pid).children(recursive=True):
                    each.kill()
                process.kill()


def test_settings(hub: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMONS_HUB_S3_SECRET", "pass-word")
    monkeypatch.setenv("COMMONS_HUB_WORKERS", "4")
    told = {one["name"]: one for one in hub.json("settings")}
    assert list(told) == [one.name for one in table()]
    assert (told["workers"]["value"], told["workers"]["default"], told["s3_secret"]["value"]) == (4, 1, "set")
    words = hub.good("settings")
    assert re.search(r"^COMMONS_HUB_WORKERS +4 +Processes", words, re.MULTILINE) and "pass-word" not in words
    assert hub.json("settings", "--folder", "other")[0]["value"] == "other" and not Path("other").exists()


# --- people ---------------------------------------------------------------------------------------------------------


def test_user_add(hub: Operated, typed: Any) -> None:
    assert hub.good("user add", "dora") == "Made dora. Next: commons hub token add dora"
    made = hub.json("user add", "carl", "--admin", "--fullname", "Carl C", "--email", "carl@example.org")
    assert made == {
        "name": "carl", "kind": "user", "fullname": "Carl C", "email": "carl@example.org", "admin": True,
        "suspended": False,
    }  # fmt: skip
    typed("correct horse battery\n")
    assert hub.good("user add", "emma", "--password").startswith("Made emma.")
    stores = hub.open()
    try:
        assert accounts.sign_in(stores, "emma", "correct horse battery", "127.0.0.1")
    finally:
        stores.database.close()
    assert "taken" in hub.refused("user add", "Ada")
    assert "a/b" in hub.refused("user add", "a/b")
    typed("short\nshort\n")
    assert "password" in hub.refused("user add", "fay", "--password")
    with new_database() as database:
        where = ["--folder", "new/hub", *(["--database", database] if database else [])]
        assert hub.good("user add", "first", "--admin", *where).startswith("Made first.")
        assert hub.json("user list", *where) == [made | {"name": "first", "fullname": "", "email": None}]


def test_no_command_takes_a_password_from_the_command_line(hub: Operated) -> None:
    hub.refused("user add", "dora", "--password", "correct horse battery")
    hub.refused("user add", "dora", "--password=correct horse battery")


def test_user_list(hub: Operated) -> None:
    hub.good("user suspend", "bob")
    assert hub.good("user list").splitlines() == ["name", "ada", "bob          suspended", "eve", "root  admin"]
    told = hub.json("user list")
    assert [one["name"] for one in told] == ["ada", "bob", "eve", "root"]
    assert (told[1]["suspended"], told[3]["admin"]) == (True, True) and "password" not in told[0]


def test_user_suspend(hub: Operated) -> None:
    assert hub.good("user suspend", "bob") == "bob can do nothing any more."
    assert hub.json("user suspend", "bob")["suspended"] is True
    assert hub.good("user suspend", "bob", "--undo") == "bob is let in again."
    assert hub.json("user suspend", "bob", "--undo")["suspended"] is False
    assert "called zoe" in hub.refused("user suspend", "zoe")
    assert "lab is no user" in hub.refused("user suspend", "lab")


def test_user_password(hub: Operated, typed: Any) -> None:
    for words in (True, False):
        secret = f"correct horse battery {words}"
        typed(f"{secret}\n")
        if words:
            assert hub.good("user password", "ada") == "ada has a new password."
        else:
            assert secret not in str(hub.json("user password", "ada"))
        stores = hub.open()
        try:
            assert accounts.sign_in(stores, "ada", secret, "127.0.0.1")
        finally:
            stores.database.close()
    typed("short\nshort\n")
    assert "password of" in hub.refused("user password", "ada")
    assert "called zoe" in hub.refused("user password", "zoe"), "before a password is asked for"


# --- organisations --------------------------------------------------------------------------------------------------


def test_org_add(hub: Operated) -> None:
    assert hub.good("org add", "team", "--admin", "bob") == "Made team. Next: commons hub org member team NAME write"
    made = hub.json("org add", "club", "--admin", "eve", "--fullname", "The Club")
    assert (made["name"], made["kind"], made["fullname"]) == ("club", "org", "The Club")
    assert "taken" in hub.refused("org add", "ADA", "--admin", "bob")
    assert "called zoe" in hub.refused("org add", "new", "--admin", "zoe")
    assert "--admin" in hub.refused("org add", "new")


def test_org_list(hub: Operated) -> None:
    assert hub.good("org list").splitlines() == ["name  members", "lab   ada (admin), bob (read)"]
    [told] = hub.json("org list")
    assert told["name"] == "lab" and told["members"] == {"ada": "admin", "bob": "read"}


def test_org_member(hub: Operated) -> None:
    assert hub.good("org member", "lab", "bob", "write") == "bob in lab: write."
    assert hub.json("org member", "lab", "eve", "admin") == {"org": "lab", "user": "eve", "role": "admin"}
    assert hub.good("org member", "lab", "bob", "none") == "bob in lab: none."
    assert hub.json("org list")[0]["members"] == {"ada": "admin", "eve": "admin"}
    hub.good("org member", "lab", "eve", "none")
    for wrong, says in (
        (["lab", "bob", "owner"], "read, write or admin"), (["lab", "zoe", "read"], "called zoe"),
        (["club", "bob", "read"], "called club"), (["bob", "ada", "read"], "no organisation"),
        (["lab", "ada", "none"], "no admin left"), (["lab", "ada", "read"], "no admin left"),
    ):  # fmt: skip
        assert says in hub.refused("org member", *wrong)


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_token_add(hub: Operated) -> None:
    plain = hub.good("token add", "ada")
    limited = ["--name", "ci", "--role", "fine-grained", "--repo", "model/ada/news=write", "--days", "30"]
    told = hub.json("token add", "ada", *limited)
    assert {key: told[key] for key in ("user", "name", "role")} == {"user": "ada", "name": "ci", "role": "fine-grained"}
    stores = hub.open()
    try:
        assert accounts.of_token(stores, plain, "bearer").name == "ada"
        [scope] = accounts.of_token(stores, told["token"], "bearer").scopes or ()
        assert (scope.repo, scope.role) == ("model/ada/news", "write")
    finally:
        stores.database.close()
    for path in hub.settings.folder.rglob("*"):
        assert not path.is_file() or plain.encode() not in path.read_bytes(), "a hash is kept, nothing else"
    for wrong, says in (
        (["zoe"], "called zoe"), (["lab"], "no user"), (["ada", "--name", "ci"], "called ci already"),
        (["ada", "--name", "a", "--role", "all"], "read, write or fine-grained"),
        (["ada", "--name", "a", "--role", "fine-grained"], "at least one repository"),
        (["ada", "--name", "a", "--repo", "model/ada/news=write"], "no other token takes one"),
        (["ada", "--name", "a", "--role", "fine-grained", "--repo", "ada/news"], "such as model/ada/news"),
        (["ada", "--name", "a", "--days", "-1"], "in the future"), (["ada", "--name", "a", "--days", "x"], "--days"),
        (["ada", "--name", "a", "--days", "nan"], "in the future"), (["ada", "--name", "a", "--days", "inf"], "future"),
        (["ada", "--name", ""], "a name for the token"),
    ):  # fmt: skip
        assert says in hub.refused("token add", *wrong), wrong


def test_token_list(hub: Operated) -> None:
    secret = hub.good("token add", "ada", "--name", "laptop", "--days", "1")
    words = hub.good("token list", "ada")
    assert words.splitlines()[0].split() == ["name", "role", "made", "last", "used", "expires"]
    assert re.search(r"^laptop +write +\d{4}-\d\d-\d\d +never +\d{4}-\d\d-\d\d$", words, re.MULTILINE)
    told = hub.json("token list", "ada")
    assert {one["name"] for one in told} == {"test", "laptop"} and secret not in words + json.dumps(told)
    assert "called zoe" in hub.refused("token list", "zoe")


def test_token_revoke(hub: Operated) -> None:
    hub.good("token add", "ada", "--name", "laptop")
    assert hub.good("token revoke", "ada", "laptop") == "The token laptop of ada opens nothing any more."
    assert hub.json("token revoke", "ada", "test") == {"user": "ada", "name": "test"}
    assert hub.json("token list", "ada") == []
    assert "no token called laptop" in hub.refused("token revoke", "ada", "laptop")
    assert "called zoe" in hub.refused("token revoke", "zoe", "laptop")


# --- what is stored -------------------------------------------------------------------------------------------------


def test_fsck(hub: Operated) -> None:
    told = hub("fsck")
    assert (
        told.code == 0 and re.match(r"Sound: \d+ objects, 0\.0 MB read, \d+ MB/s\.$", told.out) and "fsck" in told.err
    )
    with_files(hub)
    value = hub.json("fsck")
    assert value["sound"] is True and {one["problem"] for one in value["findings"]} == {"unused"}
    assert hub.json("fsck", "--sizes")["sound"] is True
    assert "unused" in hub.good("fsck", "-q")
    stores = hub.open()
    try:
        with stores.database.writing() as connection:
            connection.execute(tables.git_objects.update().values(packed=b"rot"))
    finally:
        stores.database.close()
    for more in ([], ["--json"]):
        broken = hub("fsck", "-q", *more)
        assert broken.code == 1 and broken.err == ""
        assert broken.json["sound"] is False if more else "damaged or missing" in broken.out


def test_gc(hub: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    with_files(hub)
    [kept] = [path for path in (hub.settings.folder / "blobs" / "files").rglob("*") if path.is_file()]
    os.utime(kept, (0, 0))
    before = hub.all()
    asked = hub.json("gc", "--dry-run")
    assert asked == {"dry_run": True, "condemned": {}, "removed": {"blob": 1}, "num_bytes": 16, "spared": []}
    assert hub.good("gc", "--dry-run").splitlines() == [
        "kind  would be noted  would be removed", "blob  0               1", "0.0 MB would be freed.",
    ]  # fmt: skip
    assert hub.all() == before and kept.exists()
    monkeypatch.setenv("COMMONS_HUB_GRACE_DAYS", "0.01")
    assert "COMMONS_HUB_GRACE_DAYS" in hub.refused("gc") and kept.exists()
    monkeypatch.delenv("COMMONS_HUB_GRACE_DAYS")
    assert hub.good("gc").splitlines()[-1] == "0.0 MB freed." and not kept.exists()
    assert hub.json("gc")["removed"] == {}


def test_backup(hub: Operated) -> None:
    with_files(hub)
    told = hub("backup", "one")
    assert (
        told.code == 0 and told.err.startswith("backup ") and told.out.startswith("Wrote one: 1 blobs, 0.0 MB, linked")
    )
    assert hub.json("backup", "two")["num_blobs"] == 1
    assert {path.name for path in Path("two").iterdir()} >= {"manifest.json", "secret", "blobs"}
    assert "one is there already" in hub.refused("backup", "one")
    assert "Make it first" in hub.refused("backup", "no/where")


def test_export(hub: Operated) -> None:
    with_files(hub)
    assert hub.good("export", "one.tar", "-q").startswith("Wrote one.tar: 1 blobs, 0.0 MB. Try it: commons hub restore")
    assert hub.json("export", "two.tar")["linked"] is False
    with tarfile.open("two.tar") as archive:
        assert {"manifest.json", "secret"} < set(archive.getnames())
    assert Path("two.tar").stat().st_mode & 0o077 == 0
    assert "one.tar is there already" in hub.refused("export", "one.tar")


def test_restore(hub: Operated) -> None:
    hub.good("backup", "kept", "-q")
    hub.good("export", "kept.tar", "-q")
    for number, source in enumerate(("kept", "kept.tar")):
        with new_database() as database:
            where = ["--folder", f"new{number}", *(["--database", database] if database else [])]
            if number:
                told = hub.json("restore", source, *where)
                assert told["folder"] == "new1" and told["num_objects"] >= 0
            else:
                words = hub.good("restore", source, *where, "-q")
                assert words.endswith("all sound. Next: commons hub serve --folder new0")
            assert [one["name"] for one in hub.json("user list", *where)] == ["ada", "bob", "eve", "root"]
    Path("half.tar").write_bytes(Path("kept.tar").read_bytes()[:3000])
    Path("mine").mkdir()
    Path("mine", "thesis.txt").write_text("mine")
    for wrong, says in (
        (["nothing", "--folder", "new2"], "neither"), (["half.tar", "--folder", "new2"], "half.tar"),
        (["mine", "--folder", "new2"], "no manifest"), (["kept", "--folder", "mine"], "empty folder"),
        (["kept", "--folder", "hub"], "empty folder"), (["kept"], "--folder"),
    ):  # fmt: skip
        assert says in hub.refused("restore", *wrong), wrong
    assert Path("mine", "thesis.txt").read_text() == "mine" and not Path("new2").exists()
