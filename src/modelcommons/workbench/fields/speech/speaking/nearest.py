"""nearest: the floor: of the training recordings the one whose text is most like the one asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from modelcommons.workbench.fields.speech.sound import Sound
from modelcommons.workbench.fields.speech.speaking import metrics
from modelcommons.workbench.fields.speech.speaking.utterances import Utterance, Utterances
from modelcommons.workbench.fields.speech.transcription.alphabet import plain
from modelcommons.workbench.fields.speech.transcription.metrics import edits
from modelcommons.workbench.task import Answer, Row


@dataclass
class Nearest:
    """Fewest words put in, left out or replaced, by the same speaker where there is one; of equal ones the first."""

    rows: Utterances
    labels: Sequence[str] = ()
    _words: list[tuple[str, list[str]]] = field(init=False)

    def __post_init__(self) -> None:
        self._words = [(row.x.speaker, plain(row.x.text).split()) for row in self.rows]

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        return [metrics.answer(self.say(row.x), self.rows.rate_hz) for row in rows]

    def say(self, asked: Utterance) -> Sound:
        words = plain(asked.text).split()
        theirs = [at for at, (speaker, _) in enumerate(self._words) if speaker == asked.speaker]
        some = theirs or range(len(self._words))
        return self.rows.clips.sound(min(some, key=lambda at: (edits(words, self._words[at][1]), at)))
