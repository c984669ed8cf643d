"""explain: which patches of a picture, and which words of the text that a model finds for it, make the two alike."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from modelcommons.workbench.engine.drawing import patched
from modelcommons.workbench.fields.multimodal.matcher import Vectors
from modelcommons.workbench.fields.multimodal.nearest import WORD
from modelcommons.workbench.task import Attribution, Row

PATCHES = 7  # along the shorter side, about
SHOWN = 168  # pixels of a drawing's height


class Explainer:
    """Features are square patches, then words: a patch is filled with the mean colour, a word is taken out.

    The answer is the text that the model finds for the picture, right or wrong.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        shape = vectors.preprocess.shape
        self.side = max(1, round(min(shape.height, shape.width) / PATCHES))
        self.columns = -(-shape.width // self.side)
        self.num_patches = self.columns * -(-shape.height // self.side)
        self._found: dict[str, str] = {}

    def attribute(self, row: Row) -> Attribution:
        """How far the similarity of picture and text falls without each feature."""
        text = self._answer(row)
        count = self.num_patches + len(WORD.findall(text))
        alone = [np.array([at]) for at in range(count)]
        with_all, *without = self.strength(row, [np.array([], np.int64), *alone])
        names = (*(f"patch {at + 1}" for at in range(self.num_patches)), *WORD.findall(text))
        method = f"leaving out each patch of {self.side} pixels and each word (occlusion)"
        return Attribution(with_all - np.array(without), names, (), method, text)

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """Similarity of the picture and the text that was found for it, for each trial."""
        picture, text = self._picture(row), self._answer(row)
        patches = self._patches(*picture.shape[:2])
        gone = np.stack([np.isin(patches, features) for features in removed])  # (trials, height, width)
        pictures = np.where(gone[..., None], self.vectors.preprocess.fill, picture)
        texts = [without(text, set((features - self.num_patches).tolist())) for features in removed]
        return np.asarray((self.vectors.images(list(pictures)) * self.vectors.texts(texts)).sum(axis=1))

    def show(self, row: Row, attribution: Attribution) -> str:
        """The picture with its patches coloured, warm for and cold against, and the text with its words."""
        weights = attribution.weights
        largest = float(np.abs(weights).max()) or 1.0
        drawing = patched(
            self._picture(row), weights[: self.num_patches] / largest, self.side, attribution.answer, SHOWN
        )
        pieces, end = [], 0
        for match, weight in zip(WORD.finditer(attribution.answer), weights[self.num_patches :], strict=False):
            color = "37,99,235" if weight > 0 else "234,88,12"
            style = f"background:rgba({color},{abs(float(weight)) / largest * 0.55:.2f})"
            pieces.append(html.escape(attribution.answer[end : match.start()]))
            pieces.append(f'<span style="{style}" title="{float(weight):+.3f}">{html.escape(match[0])}</span>')
            end = match.end()
        return f'{drawing}<p class="text">{"".join(pieces)}{html.escape(attribution.answer[end:])}</p>'

    def _picture(self, row: Row) -> np.ndarray:
        picture: np.ndarray = self.vectors.fitted([row.x.gallery.pictures[row.x.picture]])[0]
        return picture

    def _answer(self, row: Row) -> str:
        """The text that the model finds for the picture."""
        if row.id not in self._found:
            similarities = self.vectors.to_texts(row.x.gallery, np.array([row.x.picture]))[0]
            self._found[row.id] = row.x.gallery.texts[int(similarities.argmax())]
        return self._found[row.id]

    def _patches(self, height: int, width: int) -> np.ndarray:
        """The patch each place belongs to, int64 (height, width)."""
        return np.asarray(np.arange(height)[:, None] // self.side * self.columns + np.arange(width) // self.side)


def without(text: str, gone: set[int]) -> str:
    """The text with these words taken out."""
    kept, end = [], 0
    for at, match in enumerate(WORD.finditer(text)):
        if at in gone:
            kept.append(text[end : match.start()])
            end = match.end()
    return "".join([*kept, text[end:]])
