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

    def find(self, texts: Sequence[str], count: int, but: Sequence[int] | None = None) -> list[np.ndarray]:
        """Where the most alike sources of each text stand, `count` at most, the first of equal ones first.

        Args:
            but: a source for each text that is not to be found: itself.
        """
        found = []
        for start in range(0, len(texts), BLOCK):
            alike = (self._weights.transform(texts[start : start + BLOCK]) @ self._sources).toarray()
            if but is not None:
                alike[np.arange(len(alike)), but[start : start + BLOCK]] = -1.0
            most = min(count, alike.shape[1] - (but is not None))
            found += [largest(each, most) for each in alike]
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
        return [{"prediction": {"text": self._targets[int(one[0])]}} for one in found]
