"""what a folder says of its own origin: licence, revision, homepage."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelcommons.errors import CommonsError
from modelcommons.formats.card import read_front_matter

LONGEST = 2**20  # bytes of a README or licence that are looked at
NOBODY = ("", "noassertion", "unknown", "other", "none")  # words for: nobody said

# licence -> phrases that its text has and the others' have not; the more special one first
TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("CC-BY-NC-ND-4.0", ("attribution-noncommercial-noderivatives 4.0",)),
    ("CC-BY-NC-SA-4.0", ("attribution-noncommercial-sharealike 4.0",)),
    ("CC-BY-NC-4.0", ("attribution-noncommercial 4.0",)),
    ("CC-BY-ND-4.0", ("attribution-noderivatives 4.0",)),
    ("CC-BY-SA-4.0", ("attribution-sharealike 4.0",)),
    ("CC-BY-4.0", ("attribution 4.0 international",)),
    ("CC0-1.0", ("cc0 1.0 universal",)),
    ("ODbL-1.0", ("open database license", "odbl")),
    ("Apache-2.0", ("apache license", "version 2.0, january 2004")),
    ("GPL-3.0-only", ("gnu general public license", "version 3, 29 june 2007")),
    ("MIT", ("permission is hereby granted, free of charge", "the above copyright notice and this permission notice")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name of")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
)


@dataclass(frozen=True, slots=True)
class About:
    licence: str | None = None  # SPDX or Hub identifier
    revision: str | None = None
    homepage: str | None = None
    notes: str = ""


def read(folder: Path, with_text: bool = True) -> About:
    """What `_meta.json`, the front matter of README.md or the licence file say; the first that names a licence.

    Args:
        with_text: also recognise a licence by its text. The one beside a single file may belong to something else.
    """
    meta = _meta(folder / "_meta.json")
    licence = meta.licence or card_licence(folder) or (text_licence(folder) if with_text else None)
    return About(licence, meta.revision, meta.homepage, meta.notes)


def card_licence(folder: Path) -> str | None:
    """`license:` in the front matter of README.md."""
    front = front_matter(folder)
    licence = front.get("license")
    if isinstance(licence, str) and licence.lower() == "other":
        licence = front.get("license_name")
    return _known(licence)


def front_matter(folder: Path) -> dict[str, Any]:
    """What stands on top of README.md; nothing where there is none, or it is faulty."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    try:
        return read_front_matter(_text(card))
    except CommonsError:  # a stranger's card; its faults are no reason to refuse the data
        return {}


def text_licence(folder: Path) -> str | None:
    """The licence whose text stands in LICENSE, LICENCE or COPYING."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and re.fullmatch(r"(licen[sc]e|copying)(\.\w+)?", path.name, re.IGNORECASE):
            text = " ".join(_text(path).lower().split())
            return next((name for name, phrases in TEXTS if all(phrase in text for phrase in phrases)), None)
    return None


def _meta(path: Path) -> About:
    """A `_meta.json` beside the data: source, commit, licence."""
    if not path.is_file():
        return About()
    try:
        meta = json.loads(_text(path))
    except (ValueError, RecursionError):
        return About()
    if not isinstance(meta, dict):
        return About()
    home = re.match(r"[\w-]+(\.[\w-]+)+/[\w./~-]+", str(meta.get("source", "")))
    commit = meta.get("commit")
    return About(
        licence=_known(meta.get("licence", meta.get("license"))),
        revision=commit if isinstance(commit, str) else None,
        homepage=f"https://{home[0]}" if home else None,
        notes=str(meta.get("licence_text", "")),
    )


def _known(licence: Any) -> str | None:
    if isinstance(licence, list) and len(licence) == 1:
        licence = licence[0]
    return licence if isinstance(licence, str) and licence.lower() not in NOBODY else None


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LONGEST).decode("utf-8", "replace")
