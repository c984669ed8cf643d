"""lines: stored predictions as texts and the references known for them."""

from __future__ import annotations

from collections.abc import Sequence

from modelcommons.errors import DataError, FormatError
from modelcommons.workbench.task import Line


def texts_of(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """What was written, and what is known.

    Raises:
        DataError: there are no lines.
        FormatError: a line has none of these.
    """
    if not lines:
        raise DataError("Expected texts to score, there are none. Give the test at least one row.")
    try:
        pairs = [(line["prediction"]["text"], line["target"]["references"]) for line in lines]
        if not all(
            isinstance(text, str) and known and all(isinstance(one, str) for one in known) for text, known in pairs
        ):
            raise TypeError("not a text")
    except (KeyError, TypeError) as error:
        raise FormatError(
            f"Expected lines with `prediction.text` and `target.references`; one has none ({error}). "
            "Score the model again."
        ) from error
    return [text for text, _ in pairs], [list(known) for _, known in pairs]


def block(lines: Sequence[Line]) -> int:
    """1: rows are different sources."""
    return 1


def changed(a: Line, b: Line) -> bool:
    """Whether another text is written."""
    return bool(a["prediction"]["text"] != b["prediction"]["text"])


def agrees(stored: Line, fresh: Line, noise: float) -> bool:
    """The same text, or one that the recorded margin leaves open."""
    return not changed(stored, fresh) or stored.get("margin", float("inf")) <= noise
