"""what a person hands to `commons predict`: arguments, files, or stdin."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modelcommons.errors import UsageError


def read(inputs: Sequence[str]) -> Iterator[Any]:
    """Each input as `Served.predict` takes it; `-` stands for what comes through stdin."""
    for value in inputs:
        if value == "-":
            yield from _stdin(sys.stdin.buffer.read())
        else:
            yield value


def _stdin(raw: bytes) -> Iterator[Any]:
    """A JSON list or object, else one input for each line; bytes that are no text (a picture) through a file."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "stdin")
            path.write_bytes(raw)
            yield path
        return
    if text.lstrip()[:1] in ("[", "{"):
        try:
            yield json.loads(text)
        except ValueError as error:
            raise UsageError(f"Expected JSON on stdin, as it begins with [ or {{: {error}.") from None
    else:
        yield from (line for line in text.splitlines() if line.strip())
