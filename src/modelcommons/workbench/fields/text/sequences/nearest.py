"""nearest: the training source that is most like a text, and the floor: what is known for it."""

from __future__ import annotations

from collections.abc import Sequence

from modelcommons.workbench.task import Answer, Row, Rows

CHARACTERS = (1, 4)  # lengths of the n-grams
NAME = "nearest neighbour (characters)"


class Alike:
    """Sources by the cosine of TF-IDF of character n-grams."""

    def __init__(self, sources: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._weights = TfidfVectorizer(analyzer="char", ngram_range=CHARACTERS)
        self._sources = self._weights.fit_transform(sources).T.tocsr()  # (n-grams, sources)

    def nearest(self, texts: Sequence[str]) -> list[tuple[int, float]]:
        """Where the source most like each text stands, the first of equal ones, and how like it is: 0 to 1."""
        alike = self._weights.transform(texts) @ self._sources
        found = []
        for one in alike:
            row = one.toarray()[0]
            at = int(row.argmax())
            found.append((at, float(row[at])))
        return found


class Nearest:
    """The first target of the nearest source."""

    labels: Sequence[str] = ()

    def __init__(self, train: Rows) -> None:
        rows = [train[at] for at in range(len(train))]
        self._targets = [row.y.texts[0] for row in rows]
        self._alike = Alike([row.x for row in rows])

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        found = self._alike.nearest([row.x for row in rows])
        return [{"prediction": {"text": self._targets[at]}} for at, _ in found]
