"""the contract that a task fulfils. A stage calls these members and knows nothing of the field behind them.

A task is one object with these members; whatever is *optional* is an extra method (`Explains`, `Exports`, `Joins`,
`Slices`, `AlwaysSlices`, `Disturbs`): a stage that finds none says so on the card. Importing a task loads no torch:
what needs torch is imported inside the method that needs it, so that `commons verify --level score` runs where no torch
is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.engine.scoring import Metric as Metric
from modelcommons.workbench.engine.scoring import Score as Score
from modelcommons.workbench.engine.training import Fit, Training

Json = Any  # what json.loads gives back
Answer = dict[str, Json]  # {"prediction": ..., "margin": ...?}: one row's answer; see `Line`
Line = dict[str, Json]  # {"id", "target", "prediction", "margin"?}: one line of predictions.jsonl.gz


# --- values that cross between stages and fields --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One data file: `path` relative to the source's folder with forward slashes, size in bytes, its digest."""

    path: str
    size: int
    sha256: str
    split: str | None = None  # train, validation, test where a name says so; beside: what describes the rows


@dataclass(frozen=True, slots=True)
class Source:
    """Data as it was found: digested before anything was read. `sha256` is the tree digest over `files`."""

    name: str  # as the recipe names it
    folder: Path
    files: tuple[SourceFile, ...]
    sha256: str
    revision: str | None = None
    licence: str | None = None  # SPDX or Hub identifier; None when nobody said
    homepage: str | None = None
    notes: str = ""  # attribution or what was done to make these files


class Row:
    """One example. `x` is what the model sees, `y` the answer known (None when asked for), both the task's own."""

    __slots__ = ("group", "id", "x", "y")

    def __init__(self, id: str, x: Any, y: Any = None, group: str | None = None) -> None:
        self.id, self.x, self.y, self.group = id, x, y, group


class Rows(Protocol):
    """A sequence of `Row` that need not be in memory (a memory-mapped table, windows over an array)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...
    def ids(self) -> Iterable[str]: ...
    def take(self, indices: np.ndarray) -> Rows:
        """The rows at `indices` (int64), in that order, without copying what they hold."""


@dataclass(frozen=True, slots=True)
class BadRow:
    where: str  # `news.csv:17`
    reason: str  # one clause: what was expected, what came


@dataclass(frozen=True, slots=True)
class Column:
    """One line of the schema report."""

    name: str
    kind: str  # text, integer, number, category, image, time, ...
    role: str  # text, label, id, group, time, target, unused, ...
    missing: int
    distinct: int | None = None
    example: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a task read from a source: rows by official split (`all` where there is none), and what it could not."""

    parts: Mapping[str, Rows]  # "all", or some of "train", "validation", "test"
    columns: tuple[Column, ...] = ()
    bad: tuple[BadRow, ...] = ()  # the first five
    num_bad: int = 0
    num_read: int = 0  # good and bad
    notes: tuple[str, ...] = ()  # what a person should know: `2 gaps of 1 week filled by interpolation`


def column_of(role: str, columns: Sequence[Column]) -> str | None:
    """The name of the column that has this role; None where none has."""
    return next((column.name for column in columns if column.role == role), None)


class Split(BaseModel):
    """`data.split` of a recipe: how rows are divided where the data has no official division."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["auto", "hash", "group", "time"] = Field(
        "auto",
        description="`hash` of the id, whole `group`s, or `time`: what came last is the test (by the column of that "
        "role, else by the order of the rows); `auto`: as the task is used to.",
    )
    validation: float = Field(0.1, gt=0, lt=1, description="Share of the training rows held out to choose by.")
    test: float = Field(0.2, gt=0, lt=1, description="Share of all rows for the test, where no official test exists.")
    salt: str = Field("", description="Another salt gives another, equally stable, hash split.")
    sizes: tuple[int, int, int] | None = Field(
        None, description="Exact numbers of train, validation and test rows (time steps for series), in time order."
    )


@dataclass(frozen=True, slots=True)
class Parts:
    train: Rows
    validation: Rows
    test: Rows
    how: str = ""  # `official test, validation by hash of the id`


@dataclass(frozen=True, slots=True)
class Choice:
    """The model a recipe asks for, resolved by `get`: an open model's folder, or a new architecture by name."""

    folder: Path | None = None  # files of an open model (safetensors only)
    name: str = ""  # hub id or folder of the open model; or the name of the new architecture
    options: Mapping[str, Json] = field(default_factory=dict)  # validated by `Task.architectures[name]`

    @property
    def is_new(self) -> bool:
        return self.folder is None


@dataclass(frozen=True, slots=True)
class Job:
    """Everything `fit` needs besides the rows. `fit` writes the finished model into `folder`."""

    choice: Choice
    training: Training
    options: BaseModel  # the task's own `data.options`
    seed: int
    folder: Path  # empty; becomes a model folder in the Hugging Face layout
    checkpoints: Path  # a folder that survives a kill; the same path is handed in when a run is resumed
    progress: Progress
    seconds: float | None = None  # budget left for this fit, wall clock; None: no limit
    max_steps: int | None = None  # `commons plan` and `auto` train for a few measured steps only


@dataclass(frozen=True, slots=True)
class Tiny:
    """A small world whose right answer is known, in the task's own file format, written into a folder."""

    source: Path
    recipe: Mapping[str, Json]  # sections `model`, `data`, `tune` for a run of seconds
    metric: str
    at_least: float  # what a correct task reaches on the test rows (at most, for a lower-is-better metric)
    wrong_file: str  # content (text) of a broken data file of the same kind, for the bad-input checks
    example: Any = None  # an input for `Model.predict` as a person gives it: a text, a path


@dataclass(frozen=True, slots=True)
class Attribution:
    """What an answer rested on: one weight per feature; positive speaks for the answer."""

    weights: np.ndarray  # (features,) float
    names: tuple[str, ...] = ()  # tokens, or `lag 12`; empty for images
    shape: tuple[int, ...] = ()  # how to lay the weights out, e.g. (rows, columns) of patches; empty: a line
    method: str = ""  # integrated gradients (32 steps); occlusion 4x4; ...
    answer: str = ""  # the answer explained, in words


class Model(Protocol):
    """A loaded model folder, ready to answer. Always fp32 and deterministic on one machine."""

    labels: Sequence[str]  # empty where the task has none

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer per row, in order; JSON values only, floats rounded to 6 significant digits."""


# --- the contract ---------------------------------------------------------------------------------------------------


class Task(Protocol):
    name: str  # the Hub's pipeline_tag
    field: str  # image, text, speech, recommendation, series
    summary: str  # one line for `commons tasks`
    roles: Mapping[str, str]  # names of `data.columns` this task understands -> one line of help
    options: type[BaseModel]  # model of `data.options`, frozen, extra="forbid", every field described
    architectures: Mapping[str, type[BaseModel]]  # `model.new` -> model of `model.options`, the default one first
    metrics: tuple[Metric, ...]  # the main one first
    open_models: tuple[str, ...]  # pipeline tags of the transformers models that it adapts; empty: none

    def rows(self, source: Source, columns: Mapping[str, str], options: BaseModel) -> Reading:
        """Reads the source; the only code that knows its file format. `columns` maps role -> column name as the
        recipe gives them; roles not given are found by name and type, or refused with a sentence naming the columns.

        Raises:
            DataError: nothing can be read: no file of a known kind, a column is missing, one class only.
        """

    def split(self, reading: Reading, how: Split, options: BaseModel) -> Parts:
        """Official parts kept; what is missing divided by `how`. Train and test never overlap in time or group."""

    def fit(self, train: Rows, validation: Rows, job: Job) -> Fit:
        """Trains and writes a model folder into `job.folder` (config.json, model.safetensors, tokenizer, ...).

        Called again with the same `job.checkpoints` after a kill it continues, and gives the same bits.
        """

    def load(self, folder: Path, variant: str = "") -> Model:
        """A model from its folder, without running any code from it. `variant`: an export inside the folder, such as
        `onnx/model_int8.onnx`.

        Raises:
            UnsafeFile: the weights are a pickle.
            FormatError: a file is truncated or not what the config says.
        """

    def files(self, folder: Path, variant: str = "") -> list[str]:
        """Relative paths of the files that are read to predict; the model digest is over exactly these."""

    def read_input(self, value: Any, options: BaseModel) -> list[Row]:
        """Rows from what a person hands in: a text, a path, an array, a table; for `predict`.

        A row of a file has an id by which a person knows it again; what was handed in by itself is called `input`.
        """

    def target(self, row: Row) -> Json:
        """`row.y` as the JSON value that stands in a prediction line."""

    def baseline(self, train: Rows, options: BaseModel) -> tuple[str, Model]:
        """The floor: its name (`majority class`, `seasonal naive (7)`) and a model that answers it."""

    def scores(self, lines: Sequence[Line], seed: int = 0) -> list[Score]:
        """Every metric in `metrics` from stored predictions alone, in order, with intervals. Pure numpy."""

    def losses(self, lines: Sequence[Line]) -> np.ndarray:
        """One number per line, shape (lines,), lower is better, for paired tests: 0/1 error, squared error."""

    def block(self, lines: Sequence[Line]) -> int:
        """How many neighbouring lines hang together, for paired tests: 1, or the horizon of overlapping windows."""

    def changed(self, a: Line, b: Line) -> bool:
        """Whether two answers to the same row differ in what a person would call the answer."""

    def agrees(self, stored: Line, fresh: Line, noise: float) -> bool:
        """Whether a re-run's answer is the same decision (receipts.md, "When is a re-run the same")."""

    def tiny(self, folder: Path) -> Tiny:
        """Writes the small world."""


# --- optional abilities ---------------------------------------------------------------------------------------------


@runtime_checkable
class HasContent(Protocol):
    def content(self, row: Row) -> str | bytes:
        """What makes two rows duplicates, and where personal data is looked for (text only)."""


@runtime_checkable
class HasClasses(Protocol):
    def label(self, row: Row) -> str:
        """The row's class, for the class balance."""


@runtime_checkable
class Slices(Protocol):
    slices: Mapping[str, str]  # name -> one line of help

    def slice(self, row: Row, name: str) -> str:
        """Which slice of `name` the row is in: `length` -> `1-16 words`."""


@runtime_checkable
class AlwaysSlices(Slices, Protocol):
    always: tuple[str, ...]  # those of `slices` that are scored unasked, where the test has more than one part


@runtime_checkable
class Disturbs(Protocol):
    disturbances: Mapping[str, str]  # name -> one line of help, with its strength

    def disturb(self, row: Row, name: str) -> Row:
        """The row as a worse sensor or a hastier hand would have given it, its answer as it is; each time the same."""


class Explainer(Protocol):
    def attribute(self, row: Row) -> Attribution: ...

    def strength(self, row: Row, removed: Sequence[np.ndarray]) -> np.ndarray:
        """How strongly the model still gives its original answer when the features with these indices are removed
        (one int array per trial); shape (len(removed),). `removed=[[]]` gives the undisturbed strength."""

    def show(self, row: Row, attribution: Attribution) -> str:
        """A self-contained piece of HTML or SVG (escaped; no script, no outside links) for the report."""


@runtime_checkable
class Explains(Protocol):
    def explainer(self, folder: Path) -> Explainer: ...


@runtime_checkable
class Joins(Protocol):
    def join(self, folders: Mapping[str, Path], out: Path) -> None:
        """One model folder, `out`, out of several: each in a folder of its own below it, named by its key.

        What it loads as answers by the mean of their probabilities.
        """


@runtime_checkable
class Exports(Protocol):
    def export(self, folder: Path, out: Path) -> None:
        """Writes the model in `folder` as one ONNX file at `out`, batch size free."""

    def calibration(self, folder: Path, rows: Rows) -> Iterator[dict[str, np.ndarray]]:
        """Model inputs by ONNX input name, for static quantisation."""

    quantization: Literal["dynamic", "static"]  # transformers: dynamic; convolutions: static


@runtime_checkable
class Draws(Protocol):
    def figures(self, lines: Sequence[Line], language: Literal["en", "zh"]) -> list[tuple[str, str]]:
        """(title, SVG) pairs for the report: confusion, reliability, forecasts. Uses matplotlib."""


@runtime_checkable
class Cautions(Protocol):
    caution: Mapping[
        Literal["en", "zh"], str
    ]  # what whoever meets an answer elsewhere has to know; for card and report


@runtime_checkable
class Carries(Protocol):
    def carried(self, folder: Path) -> list[str]:
        """Files of a model folder that hold training rows as they are, by relative path."""


@runtime_checkable
class Streams(Protocol):
    """An ability of a loaded `Model`, not of the task."""

    def stream(self, row: Row) -> Iterator[str]:
        """The answer bit by bit, as it comes about."""
