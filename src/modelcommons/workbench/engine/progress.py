"""what long work tells the person who waits: a line per stage, a bar in between."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """The one channel from stages to a person; the command line prints it, Python callers may stay silent."""

    def line(self, stage: str, text: str) -> None:
        """One finished statement of a stage, for example `evaluate`, `accuracy 0.921 [0.915, 0.927]`."""

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        """How far a stage is: `done` of `total` (any unit); `text` is shown beside the bar (rate, budget left)."""


class Silent:
    """Says nothing."""

    def line(self, stage: str, text: str) -> None:
        pass

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        pass
