"""what a command says: values to stdout, progress to stderr."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelcommons.workbench.engine.progress import Progress, Silent

EVERY_SECONDS = 30  # between plain lines of one stage, where there is no terminal


def show(value: Any, words: str, as_json: bool) -> None:
    """The command's result: one JSON value, or the same in words."""
    write([json.dumps(plain(value), ensure_ascii=False, indent=2) if as_json else words])


def write(parts: Iterable[str]) -> None:
    """A text to stdout, each part as soon as it is there."""
    try:
        for part in parts:
            print(part, end="", flush=True)
        print(flush=True)
    except BrokenPipeError:  # `commons verify FOLDER | head -1`: the exit code is still the command's own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(value: Any) -> Any:
    """JSON values from ours."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    match value:
        case Mapping():
            return {str(key): plain(part) for key, part in value.items()}
        case str() | bool() | int() | float() | None:
            return value
        case Path():
            return str(value)
        case Sequence() | frozenset() | set():
            return [plain(part) for part in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return value.model_dump(mode="json", by_alias=True) if hasattr(value, "model_dump") else str(value)


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Columns that line up, two spaces apart; the last one is as long as it wants."""
    lines = [*([list(head)] if head else []), *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(lines[0]))] if lines else []
    padded = ("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """A bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _Bar() as bar:
            yield bar
    else:
        yield _Lines()


class _Lines:
    """Plain lines, for logs."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}  # stage -> when it last said how far it is

    def line(self, stage: str, text: str) -> None:
        print(f"{stage:<9} {text}\n", end="", file=sys.stderr, flush=True)  # in one write: Ctrl-C may come any time

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        now = time.monotonic()
        if now - self.told.setdefault(stage, now) >= EVERY_SECONDS:
            self.told[stage] = now
            self.line(stage, f"{done / max(total, 1e-9):.0%}  {text}")


class _Bar:
    """A bar below the lines that are finished."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn

        columns = (TextColumn("{task.fields[stage]:<9}"), BarColumn(24), TextColumn("{task.fields[text]}"))
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self.task: TaskID | None = None

    def __enter__(self) -> _Bar:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def line(self, stage: str, text: str) -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.task = None
        self.bars.console.print(f"{stage:<9} {text}", markup=False, highlight=False, soft_wrap=True)

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        if self.task is None:
            self.task = self.bars.add_task("", stage=stage, text=text)
        self.bars.update(self.task, completed=done, total=total, stage=stage, text=text)
