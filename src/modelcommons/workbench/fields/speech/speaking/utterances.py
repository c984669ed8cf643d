"""utterances: rows of texts and speakers, and the recordings of them as the answers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from modelcommons.errors import DataError
from modelcommons.formats.tables import is_file, read_text
from modelcommons.workbench.fields.speech import rows as reading
from modelcommons.workbench.fields.speech.options import SynthesisOptions
from modelcommons.workbench.fields.speech.rows import Clips
from modelcommons.workbench.task import Reading, Row, Source

LONGEST = 2_000  # characters that are spoken at once
LONGEST_S = 60  # seconds of a recording: alignment and time warping take memory by the square


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is to be said, and in whose voice."""

    text: str
    speaker: str = ""  # empty: nobody is named


class Utterances:
    """Clips the other way round: the text is asked, the recording is the answer; fulfils the workbench's `Rows`."""

    def __init__(self, clips: Clips) -> None:
        self.clips = clips
        self.rate_hz = clips.rate_hz

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Row:
        row = self.clips[index]
        return Row(row.id, Utterance(row.y, row.group or ""), row.x, row.group)

    def __iter__(self) -> Iterator[Row]:
        return (self[index] for index in range(len(self)))

    def ids(self) -> Iterable[str]:
        return self.clips.ids()

    def take(self, indices: np.ndarray) -> Utterances:
        return Utterances(self.clips.take(indices))

    def moments(self) -> np.ndarray:
        return self.clips.moments()


def read(source: Source, columns: Mapping[str, str], options: SynthesisOptions) -> Reading:
    """All texts of a source with their recordings, decoded once to one rate.

    Raises:
        DataError: see `rows.read`; or a recording is too long.
    """
    found = reading.read(source, columns, options.rate, "text")
    parts = cast(Mapping[str, Clips], found.parts)
    longest = max(float(clips.lengths.max(initial=0)) / clips.rate_hz for clips in parts.values())
    if longest > LONGEST_S:
        raise DataError(
            f"Expected recordings of at most {LONGEST_S} seconds, got one of {longest:,.0f}. Cut them into sentences."
        )
    return replace(found, parts={split: Utterances(clips) for split, clips in parts.items()})


def read_input(value: Any) -> list[Row]:
    """Rows from a text, from `{"text": ..., "speaker": ...}`, from a .txt file's path, or from a list of such.

    Raises:
        DataError: one is no text, or a very long one.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, Path) or (isinstance(value, str) and value.lower().endswith(".txt") and is_file(value)):
        value = read_text(Path(value))
    asked = value if isinstance(value, Mapping) else {"text": value}
    text, speaker = asked.get("text"), asked.get("speaker", "")
    if not isinstance(text, str) or not any(map(str.isalnum, text)) or not isinstance(speaker, str):
        raise DataError(f"Expected a text to say, or a text and a speaker, got {value!r:.80}. Hand in a text.")
    if len(text) > LONGEST:
        raise DataError(f"Expected a text of at most {LONGEST:,} characters, got {len(text):,}. Hand in parts of it.")
    return [Row("input", Utterance(text, speaker))]


def number_of(speaker: str, speakers: Sequence[str]) -> int:
    """Which of a voice's speakers it is; the first where nobody is named.

    Raises:
        DataError: there is none of that name.
    """
    if not speaker:
        return 0
    if speaker not in speakers:
        known = f"Speakers: {', '.join(speakers)}." if speakers else "It has one, without a name: name none."
        raise DataError(f"There is no speaker '{speaker}' in this voice. {known}")
    return speakers.index(speaker)


def is_said(char: str) -> bool:
    """Letters, figures, accents and signs such as %; neither punctuation nor blanks."""
    return unicodedata.category(char)[0] in "LMNS"


def spelled(text: str, capitals: bool) -> str:
    """The text as a voice reads it: single blanks, one on each side, without capitals unless they are kept."""
    folded = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    return f" {' '.join((folded if capitals else folded.lower()).split())} "
