"""fitting: linear models and trees chosen by held-out rows and then fitted to all known ones; a network by the loop.

What is held out: of few known rows each fifth in turn, of many the validation rows. From the answers there come the
choice, the temperature that makes probabilities honest, and the errors that intervals are made of.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Defaults, Fit, Point
from modelcommons.workbench.fields.tabular.encoder import Encoder
from modelcommons.workbench.fields.tabular.predictor import RAW, Finish, linear_run, probabilities, write
from modelcommons.workbench.fields.tabular.rows import Records, RegressionOptions
from modelcommons.workbench.fields.tabular.trees import Forest
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

STRICT = ConfigDict(frozen=True, extra="forbid")
FEW, FOLDS = 5_000, 5  # up to so many known rows are held out in turn, in so many parts
RIDGES = (1.0, 0.1, 10.0, 0.01, 100.0, 1000.0)  # that `auto` tries
LEAVES = (7, 15, 31)
ROUNDS = (25, 50, 100, 200, 300)
DOUBT = 0.5  # deviation of the logarithm of the temperature that is expected before any row is seen
RATE = 0.05  # learning rate of boosting


class LinearOptions(BaseModel):
    """Logistic or linear regression with a ridge."""

    model_config = STRICT

    ridge: float | Literal["auto"] = Field("auto", description="Penalty of the weights; `auto`: the best held-out.")


class BoostingOptions(BaseModel):
    """Gradient boosting with histograms, grown by scikit-learn, stored and scored as arrays of nodes."""

    model_config = STRICT

    leaves: int | Literal["auto"] = Field("auto", description="Leaves of a tree; `auto`: the best held-out.")
    rounds: int | Literal["auto"] = Field("auto", description="Trees one after the other; `auto`: the best held-out.")
    least_rows: int = Field(10, ge=1, description="Rows in a leaf, at least.")


class MlpOptions(BaseModel):
    """A small network."""

    model_config = STRICT

    width: int = Field(64, ge=1, description="Neurons of a layer.")
    layers: int = Field(2, ge=0, description="Layers with a way around them.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Share of neurons left out at a step.")


ARCHITECTURES: dict[str, type[BaseModel]] = {"linear": LinearOptions, "boosting": BoostingOptions, "mlp": MlpOptions}


@dataclass(frozen=True, slots=True)
class Known:
    """Training and validation rows as numbers. `y`: codes of labels, or the target standardised."""

    records: Records  # train, then validation
    num_train: int
    y: np.ndarray
    labels: tuple[str, ...]
    center: float
    unit: float

    @property
    def num_outputs(self) -> int:
        return 1 if len(self.labels) <= 2 else len(self.labels)

    def loss(self, outputs: np.ndarray, rows: np.ndarray) -> float:
        """Log loss, or mean squared error."""
        if not self.labels:
            return float(((outputs[:, 0] - self.y[rows]) ** 2).mean())
        right = probabilities(outputs, 1.0)[np.arange(len(rows)), self.y[rows]]
        return float(-np.log(np.maximum(right, 1e-15)).mean())

    def value(self, outputs: np.ndarray, rows: np.ndarray) -> float:
        """The task's main metric: accuracy, or RMSE in the target's units."""
        if not self.labels:
            return math.sqrt(self.loss(outputs, rows)) * self.unit
        return float((probabilities(outputs, 1.0).argmax(axis=1) == self.y[rows]).mean())

    def held_out(self, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(rows to fit, rows to judge by), int64."""
        everything = np.arange(len(self.y))
        if len(self.y) > FEW:
            yield everything[: self.num_train], everything[self.num_train :]
            return
        fold = np.random.default_rng(seed).permutation(len(self.y)) % min(FOLDS, len(self.y))
        for number in range(min(FOLDS, len(self.y))):
            fitted = np.flatnonzero(fold != number)
            if not self.labels or len(np.unique(self.y[fitted])) == len(self.labels):
                yield fitted, np.flatnonzero(fold == number)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One setting, with its outputs on all held-out rows."""

    settings: dict[str, Any]
    outputs: np.ndarray  # (held-out rows, outputs)


def fit(task: str, train: Records, validation: Records, job: Job) -> Fit:
    """Fits the architecture that was chosen and writes its folder."""
    started = time.monotonic()
    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    known = _known(task, train, validation)
    if job.choice.name == "mlp":
        return _fit_mlp(task, known, train, validation, job, options)
    name = job.choice.name
    encoder = Encoder.of(known.records.columns)
    x = encoder.encode(known.records.columns, name in RAW)
    folds = list(known.held_out(0)) or [(np.arange(known.num_train), np.arange(known.num_train, len(known.y)))]
    rows = np.concatenate([held for _, held in folds])
    best: tuple[float, Candidate] | None = None
    tried: dict[str, float] = {}
    for candidate in _candidates(name, known, x, folds, options, job):
        loss = known.loss(candidate.outputs, rows)
        tried[" ".join(f"{key}={value:g}" for key, value in candidate.settings.items())] = round(loss, 5)
        if best is None or loss < best[0]:
            best = (loss, candidate)
        if job.seconds is not None and time.monotonic() - started > job.seconds / 2:
            tried["the budget ended the search"] = round(best[0], 5)
            break
    assert best is not None
    loss, chosen = best
    weights = _solved(name, known, x, np.arange(len(known.y)), chosen.settings, options, job)
    finish = _finish(known, chosen.outputs, rows, job)
    write(job.folder, task, name, options.model_dump() | chosen.settings, encoder, finish, known.num_outputs, weights)
    seconds, value = time.monotonic() - started, known.value(chosen.outputs, rows)
    size = sum(array.size for array in weights.values())
    metric = "accuracy" if known.labels else "rmse"
    return Fit(
        metric=metric, value=value, curve=(Point(0, 1.0, seconds, loss, value),), steps=0, epochs=1.0,
        seconds=seconds, rows_per_second=len(known.y) / max(seconds, 1e-9), parameters=size, trained_parameters=size,
        stopped="budget" if job.max_steps and name == "boosting" else "done",
        settings={**chosen.settings, "held out": f"{len(rows):,} rows in {len(folds)} parts",
                  "loss on held-out rows": tried, **_told(finish)},
    )  # fmt: skip


def _known(task: str, train: Records, validation: Records) -> Known:
    columns: dict[str, Any] = {}
    for name, cells in train.columns.items():
        more = validation.columns[name]
        columns[name] = (
            np.concatenate([cells, cast(np.ndarray, more)]) if isinstance(cells, np.ndarray) else [*cells, *more]
        )
    answers = [*train.y, *validation.y]
    records = Records(columns, answers, [*train.ids(), *validation.ids()], None, None)
    if task == "tabular-classification":
        labels = tuple(sorted(set(answers)))
        code = {label: at for at, label in enumerate(labels)}
        return Known(records, len(train), np.array([code[label] for label in answers]), labels, 0.0, 1.0)
    y = np.array(answers, np.float64)
    unit = float(y.std()) or 1.0
    return Known(records, len(train), (y - y.mean()) / unit, (), float(y.mean()), unit)


# --- what is tried --------------------------------------------------------------------------------------------------


def _candidates(
    name: str, known: Known, x: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]], options: BaseModel, job: Job
) -> Iterator[Candidate]:
    if isinstance(options, LinearOptions):
        for ridge in RIDGES if options.ridge == "auto" else (options.ridge,):
            maps = [_linear(known, x, fitted, ridge) for fitted, _ in folds]
            outputs = [linear_run(*one)(x[held]) for one, (_, held) in zip(maps, folds, strict=True)]
            yield Candidate({"ridge": ridge}, np.concatenate(outputs))
        return
    assert isinstance(options, BoostingOptions)
    rounds = ROUNDS if options.rounds == "auto" else (options.rounds,)
    rounds = (min(rounds[0], job.max_steps),) if job.max_steps else rounds
    for leaves in LEAVES if options.leaves == "auto" else (options.leaves,):
        forests = [_boosted(known, x, fitted, leaves, max(rounds), options, job) for fitted, _ in folds]
        for number in rounds:
            outputs = [forest.score(x[held], number) for forest, (_, held) in zip(forests, folds, strict=True)]
            yield Candidate({"leaves": leaves, "rounds": number}, np.concatenate(outputs))


def _solved(
    name: str, known: Known, x: np.ndarray, rows: np.ndarray, settings: Mapping[str, Any], options: BaseModel, job: Job
) -> dict[str, np.ndarray]:
    if name == "linear":
        weight, bias = _linear(known, x, rows, settings["ridge"])
        return {"weight": weight, "bias": bias}
    assert isinstance(options, BoostingOptions)
    return _boosted(known, x, rows, settings["leaves"], settings["rounds"], options, job).arrays()


def _linear(known: Known, x: np.ndarray, rows: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (features, outputs) and biases (outputs,), float64."""
    some, y = x[rows], known.y[rows]
    if not known.labels:
        mean, level = some.mean(axis=0), y.mean()
        gram = (some - mean).T @ (some - mean) + ridge * np.eye(some.shape[1])
        weight = np.linalg.solve(gram, (some - mean).T @ (y - level))[:, None]
        return weight, np.array([level - float(mean @ weight[:, 0])])
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # near its best is good enough, and is judged like any other
        fitted = LogisticRegression(C=1 / ridge, max_iter=500).fit(some, y)
    return np.asarray(fitted.coef_.T, np.float64), np.asarray(fitted.intercept_, np.float64)


def _boosted(
    known: Known, x: np.ndarray, rows: np.ndarray, leaves: int, rounds: int, options: BoostingOptions, job: Job
) -> Forest:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if known.labels else HistGradientBoostingRegressor
    grown = kind(
        learning_rate=RATE, max_iter=rounds, max_leaf_nodes=leaves, min_samples_leaf=options.least_rows,
        early_stopping=False, random_state=job.seed, categorical_features=None,
    )  # fmt: skip
    return Forest.of(grown.fit(x[rows], known.y[rows]))


# --- honest probabilities and intervals -----------------------------------------------------------------------------


def _finish(known: Known, outputs: np.ndarray, rows: np.ndarray, job: Job) -> Finish:
    """Temperature, or interval, from outputs on rows that the model had not seen."""
    if known.labels:
        return Finish(known.labels, temperature(outputs, known.y[rows]))
    share = cast(RegressionOptions, job.options).interval
    low, high = conformal(known.unit * (known.y[rows] - outputs[:, 0]), share)
    return Finish((), 1.0, known.center, known.unit, low, high)


def temperature(outputs: np.ndarray, y: np.ndarray) -> float:
    """What logits are divided by so that the log loss is least, between a quarter and four.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), section 4.2; found by golden section. A dozen
    rows that are all right would ask for boundless sureness: a prior on the logarithm, of deviation `DOUBT` around no
    change, weighs as much as a few rows.
    """

    def loss(log: float) -> float:
        right = probabilities(outputs, math.exp(log))[np.arange(len(y)), y]
        return float(-np.log(np.maximum(right, 1e-15)).sum()) + 0.5 * (log / DOUBT) ** 2

    low, high, golden = -math.log(4), math.log(4), (math.sqrt(5) - 1) / 2
    for _ in range(40):
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if loss(a) <= loss(b) else (a, high)
    return round(math.exp((low + high) / 2), 6)


def conformal(errors: np.ndarray, share: float) -> tuple[float, float]:
    """What to add to an answer for an interval that holds `share` of the targets.

    Source: split conformal prediction (Vovk et al. 2005) on signed errors of rows that were held out.
    """
    tail = (1 - share) / 2
    tail = max(0.0, tail - (1 - tail) / len(errors))  # one row more than were seen: the one to come
    low, high = np.quantile(errors, (tail, 1 - tail)).tolist()
    return min(low, 0.0), max(high, 0.0)


def _told(finish: Finish) -> dict[str, Any]:
    return {"temperature": finish.temperature} if finish.labels else {"interval": [finish.low, finish.high]}


# --- network --------------------------------------------------------------------------------------------------------


def _fit_mlp(task: str, known: Known, train: Records, validation: Records, job: Job, options: BaseModel) -> Fit:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

    from modelcommons.workbench.engine.device import device
    from modelcommons.workbench.engine.train import train as train_network
    from modelcommons.workbench.fields.tabular import models

    encoder = Encoder.of(train.columns)
    x = encoder.encode(known.records.columns).astype(np.float32)
    judged = np.arange(known.num_train, len(known.y))
    torch.manual_seed(job.seed)
    network = models.build(options.model_dump(), x.shape[1], known.num_outputs)

    def batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(x[indices]), torch.from_numpy(known.y[indices])

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        outputs, y = network(batch[0]).float(), batch[1]
        if not known.labels:
            return mse_loss(outputs[:, 0], y.float(), reduction="none")
        if known.num_outputs == 1:
            return binary_cross_entropy_with_logits(outputs[:, 0], y.float(), reduction="none")
        return cross_entropy(outputs, y, label_smoothing=job.training.label_smoothing, reduction="none")

    def score(network: nn.Module) -> float:
        outputs = network(torch.from_numpy(x[judged]).to(device())).double().cpu().numpy()
        return known.loss(outputs, judged)  # a dozen rows are soon all right; how sure the answers are still tells

    epochs = min(200.0, max(10.0, math.ceil(2_000 * 32 / known.num_train)))
    fitted = train_network(
        network, num_rows=known.num_train, batch=batch, loss=loss, score=score,
        metric="log_loss" if known.labels else "mse", direction="lower", limit=0.0, training=job.training,
        defaults=Defaults(epochs=epochs, batch_size=32, learning_rate=1e-3, weight_decay=0.1), seed=job.seed,
        checkpoints=job.checkpoints, progress=job.progress, seconds=job.seconds, max_steps=job.max_steps,
    )  # fmt: skip
    weights = {name: value.numpy() for name, value in network.cpu().state_dict().items()}
    run = models.load_run(options.model_dump(), x.shape[1], known.num_outputs, weights)
    outputs = run(x[judged].astype(np.float64))
    finish, value = _finish(known, outputs, judged, job), known.value(outputs, judged)
    write(job.folder, task, "mlp", options.model_dump(), encoder, finish, known.num_outputs, weights)
    last = replace(fitted.curve[-1], metric=value)
    settings = {**fitted.settings, "validation loss kept": round(fitted.value, 6), **_told(finish)}
    return replace(fitted, metric="accuracy" if known.labels else "rmse", value=value, curve=(last,), settings=settings)
