"""nearest: the training sources that are most like a text, and the floor: what is known for the first of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.fields.text.sequences.search import largest
from modelcommons.workbench.task import Answer, Row, Rows

CHARACTERS = (1, 4)  # lengths of the n-grams
NAME = "nearest neighbour (characters)"
BLOCK = 256  # texts compared with all sources at a time


class Alike:
    """Sources by the cosine of TF-IDF of character n-grams."""

    def __init__(self, sources: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._weights = TfidfVectorizer(analyzer="char", ngram_range=CHARACTERS)
        self._sources = self._weights.fit_transform(sources).T.tocsr()  # (n-grams, sources)

    def find(
        self, texts: Sequence[str], count: int, but: Sequence[Sequence[int]] = ()
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where the sources most like each text stand, `count` at most, the most alike first, of equal ones the first;
        and how like they are, 0 to 1.

        Args:
            but: for each text, where sources stand that are not to be found: itself, and what belongs to it.
        """
        found = []
        for start in range(0, len(texts), BLOCK):
            alike = (self._weights.transform(texts[start : start + BLOCK]) @ self._sources).toarray()
            for at, each in enumerate(alike, start):
                if but:
                    each[list(but[at])] = -1.0
                places = largest(each, min(count, int((each >= 0).sum())))
                found.append((places, each[places]))
        return found


class Nearest:
    """The first target of the nearest source."""

    labels: Sequence[str] = ()

    def __init__(self, train: Rows) -> None:
        rows = [train[at] for at in range(len(train))]
        self._targets = [row.y.texts[0] for row in rows]
        self._alike = Alike([row.x for row in rows])

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        found = self._alike.find([row.x for row in rows], 1)
        return [{"prediction": {"text": self._targets[int(places[0])]}} for places, _ in found]
