"""pairs: stretches of documents as rows: one, or two of which the second follows the first or comes from elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.tables import is_file, read_text
from modelcommons.workbench.engine.split import divide
from modelcommons.workbench.fields.text.ngrams import WORD
from modelcommons.workbench.fields.text.pretraining import documents
from modelcommons.workbench.fields.text.pretraining.documents import PLAIN, Document, Options
from modelcommons.workbench.task import Parts, Reading, Row, Source, Split

MASK = "[MASK]"  # as a person writes it, whatever the model calls it
OTHERWISE = 0.5  # share of the pairs whose second stretch is from another document
TRIES = 32  # drawings of another document


@dataclass(frozen=True, slots=True)
class Place:
    """Where a word stands that is asked for: in the first (0) or second (1) stretch, characters from `start` on."""

    side: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """What a model reads, and which of its words it is asked for; without places, each `[MASK]` is one."""

    first: str
    second: str | None = None
    places: tuple[Place, ...] = ()
    stretch: str = ""  # what stands in the document itself, to find repeats by

    @property
    def sides(self) -> tuple[str, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)

    def word(self, place: Place) -> str:
        return self.sides[place.side][place.start : place.end]


@dataclass(frozen=True, slots=True)
class Known:
    """The words at a question's places, and whether the second stretch follows the first; None: there is none."""

    words: tuple[str, ...]
    next: bool | None


class Pairs:
    """Stretches of documents as `Rows`.

    `where` has a line for each, (rows, 7) int64: document, first sentence, first of the second stretch, end; and what
    is taken instead of that second stretch: document, first sentence and end, else -1.
    """

    def __init__(self, texts: Sequence[Document], where: np.ndarray, mask: float) -> None:
        self.texts, self.where, self.mask = texts, where, mask

    @classmethod
    def of(cls, texts: Sequence[Document], options: Options) -> Pairs:
        """Every sentence once, in stretches of at most `options.words` words; not in pairs yet."""
        where = [
            (at, *each, each[1], -1, -1, -1) for at, text in enumerate(texts) for each in _cut(text, options.words)
        ]
        made = np.array(where, np.int64).reshape(-1, 7)
        return cls(texts, made, options.mask)

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: int) -> Row:
        at, start, middle, end, other, other_start, other_end = self.where[range(len(self))[index]].tolist()
        text, id = self.texts[at], self.name(index)
        own = [" ".join(text.sentences[a:b]) for a, b in ((start, middle), (middle, end)) if b > a]
        sides = [own[0], " ".join(self.texts[other].sentences[other_start:other_end])] if other >= 0 else own
        places = _places(sides, self.mask, id)
        question = Question(sides[0], sides[1] if len(sides) > 1 else None, places, " ".join(own))
        known = Known(tuple(map(question.word, places)), None if len(sides) < 2 else other < 0)
        return Row(id, question, known, text.group)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def name(self, index: int) -> str:
        at, start = self.where[index, :2].tolist()
        return f"{self.texts[at].name}@{start}"

    def ids(self) -> Iterable[str]:
        return (self.name(index) for index in range(len(self)))

    def groups(self) -> list[str]:
        """What stays together when rows are divided: the document, or its group."""
        return [self.texts[at].group or self.texts[at].name for at in self.where[:, 0].tolist()]

    def take(self, indices: np.ndarray) -> Pairs:
        return Pairs(self.texts, self.where[indices], self.mask)

    def paired(self) -> Pairs:
        """The same stretches as pairs, each drawn by its own id; the others are stretches of these same rows."""
        where = self.where.copy()
        for index in range(len(where)):
            where[index] = self.drawn(index, _rng(self.name(index), "pair"))
        return Pairs(self.texts, where, self.mask)

    @cached_property
    def until(self) -> np.ndarray:
        """Where the sentences of these rows end that go on from each row without a gap, (rows,)."""
        ends = self.where[:, 3].copy()
        order = np.lexsort((self.where[:, 1], self.where[:, 0]))
        for before, after in zip(order[-2::-1].tolist(), order[:0:-1].tolist(), strict=True):
            if self.where[before, 0] == self.where[after, 0] and self.where[before, 3] == self.where[after, 1]:
                ends[before] = ends[after]
        return ends

    def drawn(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """One line of `where` as a pair: cut between two of its sentences; half of the time the second stretch is about
        as many words of another document. A single sentence, and one document alone, stay as they are.

        Source: Devlin et al. (2019), appendix A.2.
        """
        at, start, _, end = self.where[index, :4].tolist()
        if end - start < 2:
            return np.array([at, start, end, end, -1, -1, -1])
        middle = start + int(rng.integers(1, end - start))
        if rng.random() < OTHERWISE:
            for other in rng.integers(0, len(self.where), TRIES).tolist():
                if self.where[other, 0] != at:
                    words = int(self.texts[at].sizes[middle:end].sum())
                    return np.array([at, start, middle, end, *self._like(other, words)])
        return np.array([at, start, middle, end, -1, -1, -1])

    def _like(self, index: int, words: int) -> tuple[int, int, int]:
        """Document, first sentence and end of a stretch that begins in a row and has about so many words: one that was
        mostly longer, or shorter, would be told by its length."""
        at, first, _, last = self.where[index, :4].tolist()
        sizes = self.texts[at].sizes[first : self.until[index]]
        off = [np.abs(np.cumsum(sizes[begin:]) - words) for begin in range(last - first)]
        begin = min(range(last - first), key=lambda each: int(off[each].min()))
        return at, first + begin, first + begin + int(off[begin].argmin()) + 1


def read(source: Source, columns: Mapping[str, str], options: Options) -> Reading:
    """All documents of a source, cut into stretches; see `documents.read`."""
    found = documents.read(source, columns, options)
    made = {split: Pairs.of(texts, options) for split, texts in found.parts.items()}
    notes = tuple(
        f"{split}: {sum(int(text.sizes.sum()) for text in rows.texts):,} words and marks in {len(rows.texts):,} "
        f"document{'s' * (len(rows.texts) != 1)}, {len(rows):,} stretches"
        for split, rows in made.items()
    )
    return Reading(made, found.columns, found.bad, found.num_bad, found.num_read, notes)


def split(reading: Reading, how: Split, options: Options) -> Parts:
    """Whole documents by the hash of their name or group; then stretches become pairs, each part by itself."""
    parts: Any = reading.parts
    train, validation, test, words = divide(parts, how, auto="group", groups=Pairs.groups)
    if options.next_sentence is not False:
        train, validation, test = train.paired(), validation.paired(), test.paired()
        if options.next_sentence is True and not all(map(has_pairs, (train, validation, test))):
            raise DataError(
                "data.options.next_sentence: expected at least two documents of several sentences in each part, there "
                "are fewer. Give more documents, or leave the option out."
            )
    return Parts(train, validation, test, words)


def has_pairs(rows: Pairs) -> bool:
    """Whether second stretches are asked about: some are the next, and some another."""
    where = rows.where
    return bool((where[:, 4] >= 0).any() and ((where[:, 2] < where[:, 3]) & (where[:, 4] < 0)).any())


def read_input(value: Any) -> list[Row]:
    """Questions from a text with `[MASK]`, `{"text": ..., "next": ...}` (as JSON too), a list of such, or a .txt file.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, Path) or (isinstance(value, str) and value.lower().endswith(PLAIN) and is_file(value)):
        value = read_text(Path(value))
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(ValueError):  # a text that begins with a brace
            value = json.loads(value)
    asked = {"text": value} if isinstance(value, str) else value
    if (
        not isinstance(asked, dict)
        or set(asked) - {"text", "next"}
        or not all(isinstance(v, str) for v in asked.values())
    ):
        raise DataError(f"Expected a text with {MASK}, or an object with `text` and `next`, got {value!r:.80}.")
    text, after = asked.get("text", ""), asked.get("next")
    if after is None and MASK not in text:
        raise DataError(f"Expected a text with {MASK} where a word is asked for, got {text!r:.80}.")
    return [Row("input", Question(text, after))]


def _cut(text: Document, most: int) -> Iterator[tuple[int, int]]:
    """First sentence and end of stretches of at most so many words."""
    start, held = 0, 0
    for at, size in enumerate(text.sizes.tolist()):
        if at > start and held + size > most:
            yield start, at
            start, held = at, 0
        held += size
    if start < len(text.sizes):
        yield start, len(text.sizes)


def _places(sides: Sequence[str], share: float, id: str) -> tuple[Place, ...]:
    """The words that are asked for: drawn by the row's own id, so they are the same each time."""
    words = [(side, match) for side, text in enumerate(sides) for match in WORD.finditer(text)]
    wanted = max(1, round(share * len(words)))
    chosen = sorted(_rng(id, "mask").choice(len(words), wanted, replace=False).tolist())
    return tuple(Place(side, *match.span()) for side, match in (words[at] for at in chosen))


def _rng(id: str, what: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{what}\0{id}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
