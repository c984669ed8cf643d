"""asked: pictures as a person hands them in, with the least score of a box that they want to be told of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelcommons.errors import DataError
from modelcommons.workbench.fields.image import rows
from modelcommons.workbench.task import Answer, Row


class Wanted(BaseModel):
    """What may be said of a picture, or of a folder of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Any = Field(description="Whatever is a picture, or a folder of pictures.")
    score: float = Field(0.0, ge=0, le=1, description="The least score of a box that is told.")


class Asked(Row):
    """A picture, uint8 (height, width, 1 or 3), of which boxes below a score are not told."""

    __slots__ = ("score",)

    def __init__(self, id: str, x: np.ndarray, score: float) -> None:
        super().__init__(id, x)
        self.score = score

    def told(self, answer: Answer) -> Answer:
        """The answer without boxes below the score."""
        found = answer["prediction"]
        few = sum(score >= self.score for score in found["scores"])  # the surest stand first
        kept = {name: found[name][:few] for name in ("boxes", "labels", "scores")}
        return {**answer, "prediction": {**found, **kept}}


def read_input(value: Any) -> list[Row]:
    """Rows from whatever is a picture, a folder or a list of such (see `rows.read_input`), or from `{"image": ...,
    "score": 0.5}` of it, as a value or as JSON.

    Raises:
        DataError: one is no picture, or something else is said of it.
    """
    if isinstance(value, (list, tuple)):
        return [row for one in value for row in read_input(one)]
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f'Expected {{"image": ..., "score": 0.5}}, got JSON that is wrong ({error}).') from None
    if not isinstance(value, Mapping):
        return rows.read_input(value)
    try:
        wanted = Wanted.model_validate(value)
    except ValidationError:
        raise DataError(f'Expected {{"image": ..., "score": 0.5}} with a score of 0 to 1, got {value!r:.80}.') from None
    return [Asked(row.id, row.x, wanted.score) for row in rows.read_input(wanted.image)]
