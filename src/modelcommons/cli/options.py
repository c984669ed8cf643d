"""options: those that several commands have, and the hub that they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from modelcommons.hub.stores import Stores

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", hidden=True)]

Folder = Annotated[Path | None, typer.Option(help="The hub's folder.", show_default=False)]
Database = Annotated[str | None, typer.Option(help="postgresql://...; SQLite in the folder if not given.")]


@contextmanager
def opened_hub(folder: Path | None, database: str | None, *, new: bool = False) -> Iterator[Stores]:
    """The hub that the options and the environment name.

    Args:
        new: make it where there is none yet; else a slip in the folder's name would make a hub there.

    Raises:
        UsageError: there is none.
    """
    from modelcommons.errors import UsageError
    from modelcommons.hub.settings import load
    from modelcommons.hub.stores import open_stores

    settings = load(folder=folder, database=database)
    if not (new or settings.database or (settings.folder / "hub.sqlite3").is_file()):
        raise UsageError(f"There is no hub in {settings.folder}. Name its folder: --folder hub.")
    stores = open_stores(settings)
    try:
        yield stores
    finally:
        stores.database.close()
