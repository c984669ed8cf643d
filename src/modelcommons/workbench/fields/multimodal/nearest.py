"""nearest: the floor: the training pictures of most alike colours lend a picture their words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelcommons.formats.pixels import Shape, pixels
from modelcommons.workbench.fields.multimodal.pairs import Gallery, Pairs

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NEIGHBOURS = 10
LEVELS = 4  # of each channel's brightness in a histogram
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\w+")


class Nearest:
    """A picture and a text are as alike as the text's words and those of the picture's ten nearest in train.

    Pictures are compared by the intersection of their colour histograms (Swain & Ballard, Color Indexing, 1991), texts
    by the share of their words that both have (Jaccard), summed over the ten.
    """

    temperature = 1.0

    def __init__(self, train: Pairs) -> None:
        every = range(len(train))
        self._shape = train.shape
        self._histograms = np.stack([histogram(train.pixels(np.array([at]))[0]) for at in every])
        texts = train.texts()
        self._code = {word: at for at, word in enumerate(sorted(set().union(*map(words, texts))))}
        self._words = self._matrix(texts)
        self._seen: tuple[Gallery, np.ndarray, csr_array] | None = None

    def to_texts(self, gallery: Gallery, pictures: np.ndarray) -> np.ndarray:
        near, known = self._of(gallery)
        return np.stack([self._alike(self._words[near[at]], known, gallery.texts).sum(axis=0) for at in pictures])

    def to_pictures(self, gallery: Gallery, texts: np.ndarray) -> np.ndarray:
        near, known = self._of(gallery)
        some = [gallery.texts[at] for at in texts.tolist()]
        alike = self._alike(self._words, known[texts], some)  # (train, texts)
        return np.stack([row[near].sum(axis=1) for row in alike.T])

    def _of(self, gallery: Gallery) -> tuple[np.ndarray, csr_array]:
        """The neighbours of each picture, (pictures, 10), and the words of each text that train has."""
        if self._seen is None or self._seen[0] is not gallery:
            near = np.stack([self._neighbours(picture) for picture in gallery.pictures])
            self._seen = (gallery, near, self._matrix(gallery.texts))
        return self._seen[1:]

    def _neighbours(self, picture: np.ndarray) -> np.ndarray:
        fitted = picture if picture.shape == self._shape.dimensions else pixels(picture, Shape(*self._shape.dimensions))
        shared = np.minimum(self._histograms, histogram(fitted)).sum(axis=1)  # pixels of like colour
        return np.argsort(-shared, kind="stable")[:NEIGHBOURS]

    def _matrix(self, texts: Sequence[str]) -> csr_array:
        """Texts by known words, 1 where a text has it."""
        from scipy.sparse import csr_array

        found = [sorted(self._code[word] for word in words(text) if word in self._code) for text in texts]
        starts = np.cumsum([0, *map(len, found)])
        columns = np.array([at for some in found for at in some], np.int64)
        return csr_array((np.ones(len(columns), np.int64), columns, starts), shape=(len(texts), len(self._code)))

    def _alike(self, lent: csr_array, known: csr_array, texts: Sequence[str]) -> np.ndarray:
        """Words that both have over words that either has, (lenders, texts)."""
        both = (lent @ known.T).toarray()
        sizes = np.array([len(words(text)) for text in texts], np.int64)
        either = np.asarray(lent.sum(axis=1)).reshape(-1, 1) + sizes - both
        return np.asarray(both / np.maximum(either, 1))


def histogram(picture: np.ndarray) -> np.ndarray:
    """How many pixels have each colour, in four levels a channel, int64 (4 ** channels,)."""
    levels = picture.reshape(-1, picture.shape[2]).astype(np.int64) * LEVELS // 256
    codes = levels @ (LEVELS ** np.arange(picture.shape[2]))
    return np.bincount(codes, minlength=LEVELS ** picture.shape[2])


def words(text: str) -> frozenset[str]:
    return frozenset(WORD.findall(text.lower()))
