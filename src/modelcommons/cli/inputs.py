"""what a person hands to `commons predict`: arguments, files, or stdin."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modelcommons.errors import UsageError

FILE = re.compile(  # what nobody means as a text
    r"\S+\.(txt|csv|tsv|json|jsonl|ndjson|parquet|png|jpe?g|gif|bmp|tiff?|webp|wav|flac|ogg|mp3)", re.IGNORECASE
)


def read(inputs: Sequence[str]) -> Iterator[Any]:
    """Each input as `Served.predict` takes it; `-` stands for what comes through stdin."""
    for value in inputs:
        if value == "-":
            yield from _stdin(sys.stdin.buffer.read())
            continue
        if FILE.fullmatch(value) and not Path(value).exists():
            raise UsageError(f"There is no file {value}. To ask about these words themselves, pipe them in: `-`.")
        yield value


def _stdin(raw: bytes) -> Iterator[Any]:
    """JSON or JSON Lines, else one input for each line; bytes that are no text (a picture) as they are."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        yield raw
        return
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError("Expected an input on stdin, got nothing. Name a text or a file, or pipe one in.")
    if lines[0].lstrip()[:1] in ("[", "{"):
        yield from _json(text, lines)
    else:
        yield from lines


def _json(text: str, lines: Sequence[str]) -> Iterator[Any]:
    """One JSON value, or JSON Lines, one input each."""
    try:
        yield json.loads(text)
    except ValueError as error:
        try:
            values = [json.loads(line) for line in lines]
        except ValueError:
            raise UsageError(f"Expected JSON on stdin, as it begins with [ or {{: {error}.") from None
        yield from values
