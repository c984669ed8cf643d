"""a file or folder on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from modelcommons.errors import DataError
from modelcommons.workbench.sources import about, listing
from modelcommons.workbench.task import Source

MOST_FILES = 1_000_000


def find(path: Path, name: str) -> Source:
    """The data in `path`, and what its folder says of its origin."""
    if path.is_dir():
        folder, chosen = path, listing.choose(_walk(path), about.front_matter(path))
    elif path.name.lower().endswith(listing.DATA_SUFFIXES):
        folder, chosen = path.parent, {path.name: None}  # one file is all of the data, whatever its name
    else:
        raise DataError(f"{name}: expected a folder, or a file that ends in {', '.join(listing.DATA_SUFFIXES)}.")
    files, sha256 = listing.digested(folder, chosen, name)
    origin = about.read(folder, with_text=path.is_dir())
    known_as = path.resolve().name  # where it lies on this machine is nobody's business
    return Source(
        known_as, folder.resolve(), files, sha256, origin.revision, origin.licence, origin.homepage, origin.notes
    )


def _walk(folder: Path) -> list[str]:
    found: list[str] = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        found += [Path(where, name).relative_to(folder).as_posix() for name in names]
        if len(found) > MOST_FILES:
            raise DataError(f"{folder} has more than {MOST_FILES:,} files. Pack them into Parquet.")
    return found
