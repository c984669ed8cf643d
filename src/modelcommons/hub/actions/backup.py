"""backup: a copy of the whole hub, made while it serves, and the way back.

A backup is a folder, or the same as one .tar: manifest.json, the database, the secret, and blobs/ as in the hub. The
database is copied first and at one moment; every byte that it names was durable before its row was, and gc does not run
while a backup is made. So everything that was acknowledged before it began is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from sqlalchemy import inspect, make_url

from modelcommons.errors import Conflict, DoesNotHold, FormatError, MissingPackage, StoreFailed, UsageError
from modelcommons.hub.actions import fsck, leases
from modelcommons.hub.blobs import PIECE, Extent
from modelcommons.hub.database import connect, sqlite_library
from modelcommons.hub.settings import Settings
from modelcommons.hub.stores import Stores, open_stores

FORMAT = 1
MANIFEST, SECRET = "manifest.json", "secret"
DATABASES = {"sqlite": "hub.sqlite3", "postgresql": "hub.pgdump"}
BLOB = re.compile(r"blobs/(?:files|xorbs)/[0-9a-f]{2}/[0-9a-f]{64}")
LEASE_S = 300
RENEW = 200  # blobs between two renewals of the lease
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup has."""

    path: Path
    database: str  # sqlite | postgresql
    made: float
    num_blobs: int
    num_bytes: int  # of blobs
    linked: bool  # blobs are hard links to those of the hub, and not yet a copy on another disk


# --- out ------------------------------------------------------------------------------------------------------------


def backup(stores: Stores, path: Path, *, tell: Tell = lambda line: None) -> Backup:
    """Makes a backup in a new folder; blobs are hard-linked where the file system can, else copied.

    Raises:
        UsageError: there is something at `path`.
        Conflict: gc, or another backup, is running.
        MissingPackage: PostgreSQL's pg_dump is not installed.
    """
    _must_be_new(path)
    with _alone(stores) as go_on, _appearing(path) as folder:
        about = _fill(stores, folder, go_on, tell)
    return Backup(path=path, **about)


def export(stores: Stores, path: Path, *, tell: Tell = lambda line: None) -> Backup:
    """The same as one .tar, for carrying a hub elsewhere; its blobs are copied.

    Raises: as `backup`.
    """
    _must_be_new(path)
    beside = tempfile.TemporaryDirectory(prefix=".export-", dir=path.absolute().parent)
    with beside as name, _alone(stores) as go_on, _appearing(path, folder=False) as made:
        folder = Path(name)
        about = _fill(stores, folder, go_on, tell)
        tell("the archive")
        with tarfile.open(made, "w", format=tarfile.PAX_FORMAT) as archive:
            for each in (MANIFEST, DATABASES[about["database"]], SECRET):
                archive.add(folder / each, each)
            for number, one in enumerate(sorted((folder / "blobs").rglob("*"))):
                if number % RENEW == 0:
                    go_on()
                if one.is_file():
                    archive.add(one, one.relative_to(folder).as_posix())
    return Backup(path=path, **about | {"linked": False})


def _must_be_new(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} is there already, and nothing is overwritten. Name another path.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"Expected that the folder {path.absolute().parent} is there. Make it first.")


@contextmanager
def _alone(stores: Stores) -> Iterator[Callable[[], None]]:
    """Keeps gc away, which takes the same lease."""
    holder = secrets.token_hex(16)

    def go_on() -> None:
        if not leases.take(stores, "gc", holder, LEASE_S):
            raise Conflict("A gc or another backup is running. Run the backup again later.")

    go_on()
    try:
        yield go_on
    finally:
        leases.give_back(stores, "gc", holder)


@contextmanager
def _appearing(path: Path, *, folder: bool = True) -> Iterator[Path]:
    """A new path beside the one that is wanted, and private; durable, and in its place, when the block ends well."""
    beside = path.absolute().with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        if folder:
            beside.mkdir(mode=0o700)
        else:
            os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield beside
        for one in (*beside.rglob("*"), beside) if folder else (beside,):
            _sync(one)
        os.rename(beside, path)
        _sync(path.absolute().parent)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fill(stores: Stores, folder: Path, go_on: Callable[[], None], tell: Tell) -> dict[str, Any]:
    kind = stores.database.engine.dialect.name
    made = stores.now()
    tell("the database")
    if stores.database.is_sqlite:
        _copy_sqlite(stores.settings.folder / "hub.sqlite3", folder / DATABASES[kind])
    else:
        _dump(stores, folder / DATABASES[kind])
    _write_private(folder / SECRET, stores.secret)
    (folder / "blobs").mkdir()
    num_blobs = num_bytes = 0
    linked = True
    for key, size, _ in stores.blobs.keys():  # noqa: SIM118 - it is no dict
        name = f"blobs/{key}"
        if not BLOB.fullmatch(name):
            continue  # parts of an upload that is not complete
        if num_blobs % RENEW == 0:
            go_on()
            tell(f"{num_blobs:,} blobs")
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        linked = _keep(stores, key, size, to, linked)
        num_blobs, num_bytes = num_blobs + 1, num_bytes + size
    about = {"database": kind, "made": made, "num_blobs": num_blobs, "num_bytes": num_bytes}
    digests = {name: _sha256(folder / name) for name in (DATABASES[kind], SECRET)}
    # a blob's name is the digest of its content, which restore derives again
    manifest = {"format": FORMAT, **about, "sha256": digests}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return about | {"linked": linked}


def _keep(stores: Stores, key: str, size: int, to: Path, link: bool) -> bool:
    """Links or copies a blob, which never changes; whether it was linked."""
    path = stores.blobs.local(key)
    if link and path is not None:
        try:
            os.link(path, to)
            return True
        except OSError:  # another file system, or one without links: from here on they are copied
            pass
    with open(to, "xb") as file:
        for piece in stores.blobs.read(Extent(key, 0, size)):
            file.write(piece)
    return False


def _copy_sqlite(path: Path, to: Path) -> None:
    """SQLite's own online copy, of one moment; writers go on."""
    library: Any = sqlite_library()
    source, target = library.connect(path), library.connect(to)
    try:
        source.backup(target)
        [(verdict,)] = target.execute("PRAGMA integrity_check(1)").fetchall()
        # one file, without a log beside it
        target.execute("PRAGMA journal_mode=DELETE")
    finally:
        source.close()
        target.close()
    to.chmod(0o600)
    if verdict != "ok":
        raise StoreFailed(f"The database is damaged: {verdict}. Run commons hub fsck.")


def _dump(stores: Stores, to: Path) -> None:
    _write_private(to, b"")
    _postgres(stores.settings.database, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={to}")


def _postgres(database: str, program: str, *arguments: str) -> None:
    """Calls one of PostgreSQL's programs; the password goes by the environment, where no other user sees it."""
    if shutil.which(program) is None:
        raise MissingPackage(
            f"This needs PostgreSQL's {program}, in the server's version or a newer one: apt install postgresql-client."
        )
    url = make_url(database).set(drivername="postgresql")
    environment = {**os.environ, "PGPASSWORD": url.password or os.environ.get("PGPASSWORD", "")}
    url = url.set(password=None)
    done = subprocess.run(
        [program, f"--dbname={url.render_as_string(hide_password=False)}", "--no-password", *arguments],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise StoreFailed(f"{program} failed: {done.stderr.strip()[-500:]}")


def _write_private(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- back -----------------------------------------------------------------------------------------------------------


def restore(path: Path, settings: Settings, *, tell: Tell = lambda line: None) -> fsck.Report:
    """Makes a hub of a backup, and reads all of it once more.

    Args:
        path: the folder of a backup, or the .tar of an export.
        settings: of the new hub: an empty folder, and an empty database or bucket where it has one.

    Raises:
        UsageError: the folder, the database or the bucket is not empty, or of another kind than the backup's.
        FormatError: it is no backup, or was damaged.
        DoesNotHold: something in the backup is damaged or missing; no hub was made.
    """
    place = settings.folder.absolute()
    if place.exists() and any(place.iterdir()):
        raise UsageError(f"Expected an empty folder for the hub, and {place} is not. Name another.")
    place.parent.mkdir(parents=True, exist_ok=True)
    with _unpacked(path, place) as folder:
        _check_manifest(folder, settings)
        # it gets its name when it is whole: a hub that was half restored would be served as if it were one
        with _appearing(place) as beside:
            report = _fill_hub(folder, replace(settings, folder=beside), tell)
            if place.exists():
                place.rmdir()
    return report


def _fill_hub(folder: Path, settings: Settings, tell: Tell) -> fsck.Report:
    tell("the database")
    _fill_database(folder / DATABASES[_kind(settings)], settings)
    _write_private(settings.folder / SECRET, (folder / SECRET).read_bytes())
    stores = open_stores(settings)
    try:
        _fill_blobs(stores, folder / "blobs", tell)
        report = fsck.check(stores, tell=tell)
    finally:
        stores.database.close()
    if report.lost:
        first = "; ".join(f"{one.problem}: {one.thing}" for one in report.lost[:3])
        raise DoesNotHold(f"{len(report.lost)} things of the backup are damaged or missing: {first}. Use another one.")
    return report


def _kind(settings: Settings) -> str:
    return "postgresql" if settings.database else "sqlite"


@contextmanager
def _unpacked(path: Path, near: Path) -> Iterator[Path]:
    """The backup as a folder; a .tar is unpacked beside the hub, so that its blobs only move into place."""
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise UsageError(f"Expected the folder of a backup, or the .tar of an export; {path} is neither.")
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=near.absolute().parent) as made:
        folder = Path(made)
        try:
            with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    _unpack(archive, member, folder)
        except tarfile.TarError as error:
            raise FormatError(f"{path} is no export of a hub, or was cut: {error}.") from None
        yield folder


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Only names that we write ourselves, and only plain files."""
    known = member.name in (MANIFEST, SECRET, *DATABASES.values()) or BLOB.fullmatch(member.name)
    data = archive.extractfile(member) if known and member.isreg() else None
    if data is None:
        raise FormatError(f"An export of a hub has no member {member.name[:200]!r}.")
    to = folder / member.name
    to.parent.mkdir(parents=True, exist_ok=True)
    with open(to, "xb") as file:
        _copy(data, file)


def _copy(data: IO[bytes], file: IO[bytes]) -> None:
    while piece := data.read(PIECE):
        file.write(piece)


def _check_manifest(folder: Path, settings: Settings) -> None:
    """What can be seen of a backup before anything is made of it.

    Raises:
        FormatError: there is no manifest, or a file beside it is not the one that it names.
        UsageError: the backup is of another kind of database, or of a hub with another secret.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version, kind, digests = manifest["format"], manifest["database"], manifest["sha256"]
        name = DATABASES[kind]
    except (OSError, ValueError, KeyError, TypeError):
        raise FormatError(f"{folder} has no manifest of a hub's backup.") from None
    if version != FORMAT:
        raise FormatError(f"Expected a backup of the format {FORMAT}, got {version!r}. Use a newer version of commons.")
    for each in (name, SECRET):
        if not (folder / each).is_file() or _sha256(folder / each) != digests.get(each):
            raise FormatError(f"{each} of the backup is missing or was changed. Use another backup.")
    if settings.secret not in ("", (folder / SECRET).read_bytes().hex()):
        raise UsageError(
            "COMMONS_HUB_SECRET is another than the backup's, which sealed the secrets of webhooks. Unset it, or set "
            "it to that one, in hexadecimal digits."
        )
    found = [one for one in (folder / "blobs").rglob("*") if one.is_file()]
    if len(found) != manifest["num_blobs"] or sum(one.stat().st_size for one in found) != manifest["num_bytes"]:
        raise FormatError(f"The backup should have {manifest['num_blobs']} blobs, and some are missing or cut.")
    if kind != _kind(settings):
        raise UsageError(
            f"The backup is of a hub on {kind}, and this one would be on {_kind(settings)}. Set `database` accordingly."
        )


def _fill_database(source: Path, settings: Settings) -> None:
    if not settings.database:
        to = settings.folder / DATABASES["sqlite"]
        with open(source, "rb") as data, open(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            _copy(data, file)
            file.flush()
            os.fsync(file.fileno())
        _sync(settings.folder)
        return
    database = connect(settings.database, settings.folder)
    try:
        if inspect(database.engine).get_table_names():
            raise UsageError("Expected an empty database for the hub. Name another: createdb hub2.")
    finally:
        database.close()
    _postgres(
        settings.database, "pg_restore", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges",
        str(source),
    )  # fmt: skip


def _fill_blobs(stores: Stores, folder: Path, tell: Tell) -> None:
    """Through the store's own way in, so that each is durable, on disk or in a bucket."""
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if not path.is_file():
            continue
        key = path.relative_to(folder).as_posix()
        if not BLOB.fullmatch(f"blobs/{key}"):
            raise FormatError(f"A backup of a hub has no blob {key[:200]!r}.")
        if number % RENEW == 0:
            tell(f"{number:,} blobs")
        with stores.blobs.incoming(key, size=path.stat().st_size, hashed=False) as incoming, open(path, "rb") as file:
            while piece := file.read(PIECE):
                incoming.write(piece)
            incoming.keep()
