"""ranking: where what belongs to a picture or a text stands among all candidates; ties are told, not broken.

One answer:    {"similarity", "texts": placed, "images": placed}
placed:        {"rank", "tied", "near", "best": ids, "similarities"}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from modelcommons.errors import DataError
from modelcommons.workbench.fields.multimodal.pairs import Asked, Gallery
from modelcommons.workbench.task import Answer, Row

LISTED = 5  # best candidates that an answer names
DECIMALS = 6  # similarities are compared to so many: the last bits differ from machine to machine
NEAR = 2e-5  # of similarity: candidates so near may change places with it on another machine


class Similarity(Protocol):
    """How alike pictures and texts of a gallery are."""

    temperature: float  # similarities are divided by it before they become probabilities

    def to_texts(self, gallery: Gallery, pictures: np.ndarray) -> np.ndarray:
        """Of these pictures (int64) to every text, (pictures, texts) float64."""

    def to_pictures(self, gallery: Gallery, texts: np.ndarray) -> np.ndarray:
        """Of these texts (int64) to every picture, (texts, pictures) float64."""


class Ranker:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, similarity: Similarity) -> None:
        self.similarity = similarity

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Ranks in both directions of a pair; candidates with probabilities where one side is asked about alone."""
        asked: list[Asked] = [row.x for row in rows]
        texts = _by_gallery([(one.gallery, one.picture) for one in asked], self.similarity.to_texts)
        pictures = _by_gallery([(one.gallery, one.text) for one in asked], self.similarity.to_pictures)
        return [{"prediction": self._answer(*one)} for one in zip(asked, texts, pictures, strict=True)]

    def _answer(self, asked: Asked, texts: np.ndarray | None, pictures: np.ndarray | None) -> dict[str, Any]:
        gallery = asked.gallery
        if asked.picture is not None and asked.text is not None:
            assert texts is not None and pictures is not None
            return {
                "similarity": _rounded(texts[asked.text]),
                "texts": placed(texts, gallery.texts_of[asked.picture], gallery.text_ids),
                "images": placed(pictures, gallery.pictures_of[asked.text], gallery.picture_ids),
            }
        found, names = (texts, gallery.text_ids) if texts is not None else (pictures, gallery.picture_ids)
        if found is None:
            raise DataError("Expected a picture or a text to find the other for, got neither. Give one.")
        powers = np.exp((found - found.max()) / self.similarity.temperature)
        order = np.argsort(-found, kind="stable").tolist()
        return {
            "best": [names[at] for at in order],
            "similarities": [_rounded(found[at]) for at in order],
            "probabilities": [_rounded(powers[at] / powers.sum()) for at in order],
        }


def _by_gallery(
    asked: Sequence[tuple[Gallery, int | None]], similarities: Callable[[Gallery, np.ndarray], np.ndarray]
) -> list[np.ndarray | None]:
    """Similarities of each question to all candidates; those of one gallery are computed together."""
    found: list[np.ndarray | None] = [None] * len(asked)
    galleries = {id(gallery): gallery for gallery, at in asked if at is not None}
    for key, gallery in galleries.items():
        rows = [row for row, (its, at) in enumerate(asked) if at is not None and id(its) == key]
        values = similarities(gallery, np.array([asked[row][1] for row in rows], np.int64))
        for row, value in zip(rows, np.round(values, DECIMALS), strict=True):
            found[row] = value
    return found


def placed(similarities: np.ndarray, right: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Where the best right candidate stands, how many wrong ones tie with it or are near, and the best of all.

    Args:
        similarities: to every candidate, (candidates,).
        right: indices of those that belong to what was asked, at least one.
    """
    best = similarities[right].max()
    wrong = np.delete(similarities, right)
    order = np.argsort(-similarities, kind="stable")[:LISTED].tolist()
    return {
        "rank": 1 + int((wrong > best).sum()),
        "tied": int((wrong == best).sum()),
        "near": int((np.abs(wrong - best) <= NEAR).sum()),
        "best": [names[at] for at in order],
        "similarities": [_rounded(similarities[at]) for at in order],
    }


def _rounded(value: float) -> float:
    """6 significant digits."""
    return float(f"{value:.6g}")
