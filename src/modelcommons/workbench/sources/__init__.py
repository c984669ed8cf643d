"""how a name in a recipe becomes files on this machine: a path, `bundled:NAME`, or a hub data set.

Files are listed and digested here; nothing in them is read yet.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from modelcommons.errors import NotFound
from modelcommons.workbench.task import Source

BUNDLED = "bundled:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def find(name: str, revision: str | None = None, licence: str | None = None) -> Source:
    """The files that `name` stands for, digested.

    Args:
        name: a file, a folder, `bundled:NAME`, or the id of a hub data set.
        revision: branch, tag or commit of a hub data set.
        licence: what the recipe says; used where the source itself says nothing.

    Raises:
        NotFound: there is no such file, bundled set or hub data set.
        UnsafeFile: the hub data set is a script; it is never executed.
        DataError: there are no data files in it.
    """
    source = _found(name, revision)
    return source if source.licence or not licence else replace(source, licence=licence)


def _found(name: str, revision: str | None) -> Source:
    from modelcommons.workbench.sources import bundled, hub, listing, local

    if name.startswith(BUNDLED):
        return bundled.find(name.removeprefix(BUNDLED))
    path = Path(name).expanduser()
    if path.exists():
        return local.find(path, name)
    if HUB_ID.fullmatch(name) and path.suffix.lower() not in listing.DATA_SUFFIXES:
        return hub.find_data(name, revision)
    raise NotFound(f"Expected a file or folder at {name}, found nothing. Check the path, or name a hub data set.")
