"""nearest: the floor: what is known for the training source that is most like the one asked about."""

from __future__ import annotations

from collections.abc import Sequence

from modelcommons.workbench.task import Answer, Row, Rows

CHARACTERS = (1, 4)  # lengths of the n-grams
NAME = "nearest neighbour (characters)"


class Nearest:
    """The first target of the nearest source, by the cosine of TF-IDF of character n-grams; the first of equals."""

    labels: Sequence[str] = ()

    def __init__(self, train: Rows) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        rows = [train[at] for at in range(len(train))]
        self._targets = [row.y.texts[0] for row in rows]
        self._weights = TfidfVectorizer(analyzer="char", ngram_range=CHARACTERS)
        self._sources = self._weights.fit_transform([row.x for row in rows]).T.tocsr()  # (n-grams, rows)

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        alike = self._weights.transform([row.x for row in rows]) @ self._sources
        return [{"prediction": {"text": self._targets[int(one.toarray().argmax())]}} for one in alike]
