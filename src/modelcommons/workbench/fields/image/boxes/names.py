"""names: what a Parquet file's schema calls the numbered classes of its boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from modelcommons.formats.tables import Source


def named_classes(source: Source) -> tuple[str, ...]:
    """The names that the schema of the first Parquet file has: as `datasets` writes them (a `ClassLabel` anywhere among
    its features), or a plain list `label_names`; empty where there are none."""
    import pyarrow.parquet as pq

    for file in source.files:
        if file.path.lower().endswith(".parquet"):
            metadata = pq.read_schema(source.folder / file.path).metadata or {}
            try:
                plain = json.loads(metadata.get(b"dataset_info", b"{}")).get("label_names")
                features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
            except (ValueError, AttributeError):
                return ()
            names = plain or next(_class_labels(features), ())
            return tuple(map(str, names))
    return ()


def _class_labels(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, dict) and value.get("_type") == "ClassLabel" and isinstance(value.get("names"), list):
        yield value["names"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _class_labels(inner)
