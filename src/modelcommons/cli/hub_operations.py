"""hub operations: the operator's commands that look after what is stored: fsck, gc, backup, export, restore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from modelcommons.cli.options import Database, Debug, Folder, Json, Quiet, opened_hub
from modelcommons.cli.output import progress, show, table

operations = typer.Typer(rich_markup_mode=None)

New = Annotated[Path, typer.Argument(metavar="PATH", help="A path where nothing is yet.", show_default=False)]


@operations.command()
def fsck(
    sizes: Annotated[bool, typer.Option("--sizes", help="Compare the sizes of large files only; quick.")] = False,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Read everything again, and say what is damaged or missing.

    Every byte is hashed, every reference followed. May run beside a hub that serves. Exit code 1: something is
    damaged or missing. What nobody names is said too; it is no loss, and gc takes it after its grace.

    \b
    commons hub fsck --folder hub
    """
    from modelcommons.hub.actions.fsck import check

    with opened_hub(folder, database) as stores, progress(quiet) as told:
        report = check(stores, content=not sizes, tell=_teller(told, "fsck"))
    rate = report.num_bytes / max(report.seconds, 1e-9) / 1e6
    value = {
        "sound": not report.lost,
        "findings": report.findings,
        "num_objects": report.num_objects,
        "num_bytes": report.num_bytes,
        "seconds": round(report.seconds, 3),
        "mb_per_s": round(rate, 1),
    }
    lines = [f"{one.problem:<8}  {one.thing}: {one.detail}" for one in report.findings]
    verdict = f"{len(report.lost)} damaged or missing" if report.lost else "Sound"
    unused = f", {len(report.unused)} unused" if report.unused else ""
    lines.append(
        f"{verdict}{unused}: {report.num_objects:,} objects, {report.num_bytes / 1e6:,.1f} MB read, {rate:,.0f} MB/s."
    )
    show(value, "\n".join(lines), json)
    if report.lost:
        raise typer.Exit(1)


@operations.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done first.")] = False,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Take away what nobody has named for the grace.

    Safe beside uploads and commits. A run notes what nobody names; a later run, at least the grace after (14 days;
    21 for xorbs), takes what is still named by nobody. Run it once a day.

    \b
    commons hub gc --dry-run
    """
    from modelcommons.hub.actions.gc import collect

    with opened_hub(folder, database) as stores:
        done = collect(stores, dry_run=dry_run)
    kinds = sorted(+done.condemned | +done.removed)
    rows = [(kind, str(done.condemned[kind]), str(done.removed[kind])) for kind in kinds]
    would = "would be " if dry_run else ""
    words = [table(rows, ("kind", f"{would}noted", f"{would}removed"))] if rows else []
    words += [f"left alone: {one}" for one in done.spared]
    words.append(f"{done.num_bytes / 1e6:,.1f} MB {would}freed.")
    value = {
        "dry_run": dry_run,
        "condemned": dict(+done.condemned),
        "removed": dict(+done.removed),
        "num_bytes": done.num_bytes,
        "spared": done.spared,
    }
    show(value, "\n".join(words), json)


@operations.command()
def backup(
    path: New,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Copy the whole hub into a new folder, while it serves.

    Everything that was acknowledged before it began is in it. On the hub's own file system large files are hard
    links: quick, and safe from deletion, but on the same disk; copy the folder elsewhere.

    \b
    commons hub backup backup-monday
    """
    from modelcommons.hub.actions.backup import backup

    _out(backup, path, folder, database, json, quiet)


@operations.command()
def export(
    path: New,
    folder: Folder = None,
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the whole hub into one .tar, while it serves.

    The same as backup, as one file to carry elsewhere. It holds private files and secrets.

    \b
    commons hub export hub.tar
    """
    from modelcommons.hub.actions.backup import export

    _out(export, path, folder, database, json, quiet)


def _out(make: Any, path: Path, folder: Path | None, database: str | None, json: bool, quiet: bool) -> None:
    with opened_hub(folder, database) as stores, progress(quiet) as told:
        made = make(stores, path, tell=_teller(told, "backup"))
    how = ", linked to the hub's own: copy the folder to another disk" if made.linked and made.num_blobs else ""
    words = f"Wrote {made.path}: {made.num_blobs:,} blobs, {made.num_bytes / 1e6:,.1f} MB{how}."
    show(made, f"{words} Try it: commons hub restore {made.path} --folder NEW", json)


@operations.command()
def restore(
    path: Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder or .tar.", show_default=False)],
    folder: Annotated[Path, typer.Option(help="An empty folder for the hub.", show_default=False)],
    database: Database = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a hub of a backup, and check all of it.

    Nothing is overwritten: the folder, and the database where there is one, must be empty.

    \b
    commons hub restore hub.tar --folder hub2
    """
    from modelcommons.hub.actions.backup import restore
    from modelcommons.hub.settings import load

    with progress(quiet) as told:
        report = restore(path, load(folder=folder, database=database), tell=_teller(told, "restore"))
    value = {"folder": folder, "num_objects": report.num_objects, "num_bytes": report.num_bytes}
    words = f"{report.num_objects:,} objects, {report.num_bytes / 1e6:,.1f} MB read, all sound."
    show(value, f"{words} Next: commons hub serve --folder {folder}", json)


def _teller(told: Any, stage: str) -> Callable[[str], None]:
    return lambda line: told.line(stage, line)
