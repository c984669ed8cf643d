"""recommendation: ten items of a catalogue for each person, from what they and others chose before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import BaseModel

from modelcommons.errors import DataError
from modelcommons.formats import tables
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.fields.recommendation import closed, recommender
from modelcommons.workbench.fields.recommendation.catalogue import catalogue_of
from modelcommons.workbench.fields.recommendation.events import History, Options, Questions, sequences, split
from modelcommons.workbench.fields.recommendation.figures import figures
from modelcommons.workbench.fields.recommendation.fitting import ARCHITECTURES, fit
from modelcommons.workbench.fields.recommendation.metrics import METRICS, agrees, block, changed, losses, scores
from modelcommons.workbench.fields.recommendation.reading import read, read_histories
from modelcommons.workbench.fields.recommendation.recommender import Blend, Recommender
from modelcommons.workbench.task import Job, Json, Model, Parts, Reading, Row, Rows, Source, Split, Tiny

if TYPE_CHECKING:
    from modelcommons.workbench.fields.recommendation.explain import Explainer

HISTORIES = ((0, "0 events"), (4, "1-4 events"), (9, "5-9 events"), (19, "10-19 events"), (49, "20-49 events"))
AUDIENCES = ((0, "0 users"), (9, "1-9 users"), (99, "10-99 users"))


class Recommendation:
    """A list of ten out of the whole catalogue; what the person already had is left out."""

    name = "recommendation"
    field = "recommendation"
    summary = "ten items of a catalogue for each person, from what they and others chose before"
    roles: Mapping[str, str] = {
        "user": "who chose",
        "item": "what was chosen",
        "time": "when: seconds since 1970, or ISO 8601; the order of the rows when there is none",
        "rating": "how it was liked; only read for `least_rating`",
    }
    options: type[BaseModel] = Options
    architectures: Mapping[str, type[BaseModel]] = ARCHITECTURES
    metrics = METRICS
    open_models: tuple[str, ...] = ()
    slices: Mapping[str, str] = {
        "history": "how many events of the user are known, cold users first",
        "audience": "how many users chose what is wanted, by the median of a row's items, cold items first",
    }
    always = ("history", "audience")

    # --- data ---

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        return read(source, columns, cast(Options, options))

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        return split(cast(Questions, next(iter(reading.parts.values()))).events, how)

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """Histories, the latest item last: ids with commas between them, a list of ids, `{"items": [...], "features":
        [...]}`, or the path of a table of events."""
        if isinstance(value, Path) or (isinstance(value, str) and tables.is_file(value)):
            return read_histories(Path(value))
        features: tuple[str, ...] = ()
        if isinstance(value, dict):
            value, features = value.get("items"), tuple(map(str, value.get("features", ())))
        if isinstance(value, str):
            value = [id for id in re.split(r"[,\s]+", value.strip("[] \n")) if id]
        if not isinstance(value, (list, tuple)) or not all(isinstance(id, (str, int)) for id in value):
            raise DataError(f"Expected ids of items, the latest last, or a file of events, got {value!r:.80}.")
        return [Row("input", History(tuple(map(str, value)), None, features, titled=True))]

    def target(self, row: Row) -> Json:
        """The items that were chosen, and how many there were to choose from."""
        return {"items": list(row.y.items), "num_items": row.y.num_items}

    def slice(self, row: Row, name: str) -> str:
        if name == "history":
            count = len(row.x.items)
            return next((words for limit, words in HISTORIES if count <= limit), "50 and more events")
        median = float(np.median(row.y.seen))
        return next((words for limit, words in AUDIENCES if median <= limit), "100 and more users")

    # --- models ---

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        return fit(cast(Questions, train), cast(Questions, validation), job)

    def load(self, folder: Path, variant: str = "") -> Model:
        return recommender.load(folder)

    def files(self, folder: Path, variant: str = "") -> list[str]:
        return recommender.files()

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """What most users chose in all that is not the test, validation included: the floor of the literature."""
        events = cast(Questions, train).events
        known = events.before("test")
        weights = closed.solve("popularity", sequences(events, "test"), len(events.items), {}, 0)
        score = closed.scorer("popularity", weights, len(events.items), {})
        return "most popular", Recommender(catalogue_of(events, known), score, Blend())

    # --- scores ---

    scores = staticmethod(scores)
    losses = staticmethod(losses)
    block = staticmethod(block)
    changed = staticmethod(changed)
    agrees = staticmethod(agrees)
    figures = staticmethod(figures)

    # --- more ---

    def explainer(self, folder: Path) -> Explainer:
        from modelcommons.workbench.fields.recommendation.explain import Explainer

        return Explainer(recommender.load(folder))

    def tiny(self, folder: Path) -> Tiny:
        """A checkerboard of tastes: readers of even and of odd books, each with 30 books of their own to choose from.

        A reader has 12 books; of the 18 to 20 left in the reader's half ten are listed, so that a correct task finds
        about half of what comes next, popularity about a quarter.
        """
        rng = np.random.default_rng(7)
        lines = ["user,item,day"]
        for reader in range(80):
            books = rng.choice(30, 12, replace=False) * 2 + reader % 2
            days = np.sort(rng.choice(300, 12, replace=False))
            dates = np.datetime64("2024-01-01") + days
            lines += [f"reader{reader},book{book},{date}" for book, date in zip(books, dates, strict=True)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "events.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        subjects = [f"book{book},Book {book},{'even' if book % 2 == 0 else 'odd'}" for book in range(60)]
        (folder / "items.csv").write_text("\n".join(["item,title,shelf", *subjects]) + "\n", encoding="utf-8")
        recipe = {
            "model": {"new": "ease", "options": {"regularization": 10, "trend": 0}},
            "data": {"columns": {"time": "day"}}, "tune": {"epochs": 2},
        }  # fmt: skip
        return Tiny(
            source=folder, recipe=recipe, metric="recall@10", at_least=0.4, wrong_file="user,day\nreader1,2024-01-01\n",
            example="book2, book4",
        )  # fmt: skip


TASK = Recommendation()
