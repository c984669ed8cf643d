"""paragraphs of Python's own language reference, each labelled with the chapter it comes from.

Every Python brings this text along (`pydoc_data.topics`, for `help("...")`), so it is real English that needs no
download. The task is honest: which chapter is this paragraph from?
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypedDict

SHORTEST, LONGEST = 40, 300  # characters
FEWEST_WORDS = 7

NO_PROSE = ("::=", ">>>", "+--", "==", "**\n", "|  ")  # grammar, sessions, tables, headings
CODE = re.compile(r"\s*(@|#|async |def |class \w+.*:|import |from \w+ import |(if|for|while|with|try|match)\b.*:\n)")

# chapter -> its topics. Topics that repeat parts of another one (`if` of `compound`, `customization` of `specialnames`)
# are left out, as are those of chapters too short to be a class (execution model).
CHAPTERS: dict[str, tuple[str, ...]] = {
    "data model": ("objects", "types", "specialnames"),
    "expressions": (
        "atom-identifiers", "atom-literals", "attribute-references", "await", "binary", "bitwise", "booleans", "calls",
        "comparisons", "conversions", "dict", "exprlists", "lambda", "lists", "operator-summary", "power", "shifting",
        "slicings", "subscriptions", "unary",
    ),
    "simple statements": (
        "assert", "assignment", "break", "continue", "del", "global", "import", "nonlocal", "pass", "raise", "return",
        "yield",
    ),
    "compound statements": ("compound",),
    "lexical analysis": ("identifiers", "strings", "numbers", "integers", "floating", "imaginary"),
    "built-in types": (
        "bltin-code-objects", "bltin-ellipsis-object", "bltin-null-object", "bltin-type-objects", "string-methods",
        "truth", "typesfunctions", "typesmapping", "typesmethods", "typesmodules", "typesseq", "specialattrs",
    ),
    "format strings": ("formatstrings",),
    "debugger": ("debugger",),
}  # fmt: skip


class Paragraph(TypedDict):
    text: str
    label: str  # chapter
    topic: str  # paragraphs of one topic follow each other in the text: split by it to keep neighbours together


def paragraphs() -> Iterator[Paragraph]:
    """All prose paragraphs, in the order of the table; one that stands in two places comes once, where it is first."""
    from pydoc_data.topics import topics

    seen: set[str] = set()
    for chapter, names in CHAPTERS.items():
        for name in names:
            for text in _prose(topics.get(name, "")):  # a later Python may drop a topic
                if text not in seen:
                    seen.add(text)
                    yield {"text": text, "label": chapter, "topic": name}


def _prose(topic: str) -> Iterator[str]:
    """Paragraphs that are sentences, no longer than `LONGEST`: no headings, code, grammar, tables."""
    for block in re.split(r"\n\s*\n|\n(?=\s*[*+-] )", topic):
        if any(mark in block for mark in NO_PROSE) or CODE.match(block):
            continue
        text = re.sub(r"^([*+-]|\d+\.|\(\d+\)) ", "", " ".join(block.split()))
        for part in _pieces(text):
            if len(part) >= SHORTEST and len(part.split()) >= FEWEST_WORDS and re.search(r"[.:;)!]\W*$", part):
                yield part


def _pieces(text: str) -> Iterator[str]:
    """`text` cut at the ends of sentences, each piece as long as `LONGEST` allows."""
    piece = ""
    for sentence in re.split(r"(?<=[.!?]) (?=[A-Z\"*])", text):
        if piece and len(piece) + len(sentence) >= LONGEST:
            yield piece
            piece = ""
        piece = f"{piece} {sentence}".strip()
    yield piece
