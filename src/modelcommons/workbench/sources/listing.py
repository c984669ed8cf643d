"""which files of a folder are its data, and which part of the data each one is."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelcommons.errors import DataError
from modelcommons.formats.digest import file_sha256, tree_sha256
from modelcommons.formats.tables import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from modelcommons.workbench.task import SourceFile

# One family of files is the data; where a folder has several, the first in this list: a Parquet file is usually what
# was made of the CSV beside it, and a table beside pictures or recordings describes them.
LOOSE = IMAGE_SUFFIXES + AUDIO_SUFFIXES  # a file is a row
FAMILIES: tuple[tuple[str, ...], ...] = (
    (".parquet",), (".csv", ".tsv"), (".jsonl", ".ndjson"), IMAGE_SUFFIXES, AUDIO_SUFFIXES, (".json",),
    (".txt",),
)  # fmt: skip
DATA_SUFFIXES = tuple(suffix for family in FAMILIES for suffix in family)

# words in file and folder names, as `datasets` reads them
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
WORDS = {word: split for split, words in SPLITS.items() for word in words}

# what stands beside pictures, file by file or for all of them, and says where things are on them; and which of them are
# of which part
ANNOTATIONS = (".xml", ".json")
LISTS = re.compile(r"(.*/)?ImageSets/Main/[^/]*\.txt")

# folders of pictures and of what belongs to them (masks), file by file: a folder below them is no class
PAIRED = ("images", "masks")

# JSON that tells of a data set or a model and is none of its rows
ABOUT = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json", "metadata.json")

# tables beside the data that say what its rows name: features of items and of users
BESIDE = ("items", "users")

# each part of a path that is looked at: not hidden, and no way out of the folder (empty: from the root; `..`)
SEEN = re.compile(r"([^._\\][^\\]*|_annotations\.coco\.json)$")

Chosen = Mapping[str, str | None]  # path -> train, validation, test, beside, or None: it does not say


def choose(paths: Iterable[str], front: Mapping[str, Any] | None = None) -> Chosen:
    """The data files among `paths` (relative, forward slashes): one family of them, and named splits before none.

    Args:
        front: front matter of the README.md beside them; its `configs` rule where there are any, as in `datasets`.
    """
    seen = sorted(path for path in paths if all(SEEN.match(part) for part in path.split("/")))
    data = [path for path in seen if path.lower().endswith(DATA_SUFFIXES) and not path.lower().endswith(ABOUT)]
    configured = _configured(data, (front or {}).get("configs"))
    if configured:
        return configured
    families = [{path: split_of(path) for path in data if path.lower().endswith(family)} for family in FAMILIES]
    for family, chosen in zip(FAMILIES, families, strict=True):
        if any(split != "beside" for split in chosen.values()):
            beside = dict.fromkeys(filter(_annotates, seen), "beside") if family is IMAGE_SUFFIXES else {}
            return {**_named_first(chosen), **beside}
    return dict.fromkeys(next(filter(None, families), {}))  # what stands beside nothing is the data itself


def _annotates(path: str) -> bool:
    """Whether a file is an annotation of pictures, or a list of them."""
    name = path.lower()
    return bool(LISTS.fullmatch(path)) or (name.endswith(ANNOTATIONS) and not name.endswith(ABOUT))


def _named_first(chosen: Chosen) -> Chosen:
    """Files whose names say their part, where there are any, and what stands beside them."""
    named = any(split not in (None, "beside") for split in chosen.values())
    return {path: split for path, split in chosen.items() if split} if named else chosen


def split_of(path: str) -> str | None:
    """train, validation or test, where a name says so: the file's own first, then its folders from the inside out.

    `beside` for a table that is called as `BESIDE` has it. The own name of a picture or recording, and the folder that
    is its class, say nothing; below `images` and `masks` a folder is no class.
    """
    parts = path.lower().split("/")
    if parts[-1].rsplit(".", 1)[0] in BESIDE and not path.lower().endswith(LOOSE):
        return "beside"
    names = parts
    if path.lower().endswith(LOOSE):
        names = parts[:-1] if any(name in PAIRED for name in parts[:-1]) else parts[:-2]
    for name in reversed(names):
        found = [WORDS[word] for word in re.split(r"[^a-z]+", name) if word in WORDS]
        if found:
            return found[0]
    return None


def digested(folder: Path, chosen: Chosen, name: str) -> tuple[tuple[SourceFile, ...], str]:
    """The files with size and digest, and the tree digest over all of them.

    Raises:
        DataError: there is none.
    """
    if not chosen:
        raise DataError(f"{name} has no data files. Expected some that end in {', '.join(DATA_SUFFIXES)}.")
    files = tuple(
        SourceFile(path, (folder / path).stat().st_size, file_sha256(folder / path), split)
        for path, split in chosen.items()
    )
    return files, tree_sha256([(file.path, file.size, file.sha256) for file in files])


def _configured(paths: list[str], configs: Any) -> Chosen:
    """The files of the default configuration in a card: `configs: [{config_name, data_files: [{split, path}]}]`."""
    listed = [config for config in configs or () if isinstance(config, dict)] if isinstance(configs, list) else []
    if not listed:
        return {}
    rank = {True: 0, False: 1}
    config = min(listed, key=lambda c: (rank[c.get("default") is True], rank[c.get("config_name") == "default"]))
    files = config.get("data_files")
    chosen: dict[str, str | None] = {}
    for entry in files if isinstance(files, list) else [files]:
        split, patterns = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else (None, entry)
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            for path in fnmatch.filter(paths, str(pattern)):
                chosen[path] = split_of(str(split)) if split else split_of(path)
    return _named_first(chosen)
