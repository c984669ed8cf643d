"""fitting: closed forms and networks, each judged on validation rows, each written as a model folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from modelcommons.workbench.engine.training import Defaults, Fit, Point
from modelcommons.workbench.fields.recommendation import closed, ranking
from modelcommons.workbench.fields.recommendation.catalogue import Catalogue, catalogue_of, trending
from modelcommons.workbench.fields.recommendation.closed import Scorer, Weights
from modelcommons.workbench.fields.recommendation.events import Events, Questions, sequences
from modelcommons.workbench.fields.recommendation.metrics import LISTED
from modelcommons.workbench.fields.recommendation.recommender import NETWORKS, Blend, Recommender, write
from modelcommons.workbench.task import Job

if TYPE_CHECKING:
    from torch import Tensor, nn

STRICT = ConfigDict(frozen=True, extra="forbid")
JUDGED = 2048  # validation rows that a choice rests on, evenly spaced
TRENDS = (0.0, 0.1, 0.3, 1.0)  # weights of the trend that `auto` tries
CANDIDATES = 20_000  # items a network's loss runs over; of a larger catalogue so many are drawn anew for each batch


class _Options(BaseModel):
    model_config = STRICT

    trend: float | Literal["auto"] = Field(
        "auto", description="Weight of what is chosen much these days; 0: none; `auto`: the best on validation."
    )
    diversity: float = Field(
        0.0, ge=0, le=1, description="Weight of unlikeness when the list of ten is picked (MMR); 0: scores alone."
    )


class PopularityOptions(_Options):
    """The most chosen items, to everybody."""


class KnnOptions(_Options):
    """Items whose audiences resemble those of the items one chose."""

    neighbours: int | Literal["auto"] = Field("auto", description="Nearest items kept of each; `auto`: on validation.")
    shrink: float | Literal["auto"] = Field("auto", description="Doubt in likeness of small audiences; `auto`.")


class EaseOptions(_Options):
    """A linear autoencoder in closed form."""

    regularization: float | Literal["auto"] = Field("auto", description="Ridge; `auto`: the best on validation.")
    most_items: int = Field(
        2048, ge=1, description="Only the most chosen items take part: memory grows with the square of their number."
    )


class SlitOptions(_Options):
    """A linear map from what was chosen to what comes next, in closed form."""

    memory: float | Literal["auto"] = Field("auto", description="Events after which a choice counts 1/e; `auto`.")
    ahead: float = Field(3.0, gt=0, description="Events ahead at which a choice to come counts 1/e.")
    regularization: float | Literal["auto"] = Field("auto", description="Ridge; `auto`: the best on validation.")
    most_items: int = Field(
        2048, ge=1, description="Only the most chosen items take part: memory grows with the square of their number."
    )


class IalsOptions(_Options):
    """Matrix factorisation by alternating least squares for chosen and not chosen."""

    factors: int = Field(32, ge=1, description="Length of a factor.")
    unobserved: float | Literal["auto"] = Field("auto", description="Weight of what was not chosen; `auto`.")
    regularization: float | Literal["auto"] = Field("auto", description="Ridge; `auto`: the best on validation.")


class TwoTowerOptions(_Options):
    """Vectors of who asks and of items, with features of both."""

    width: int = Field(64, ge=1, description="Length of a vector.")
    dropout: float = Field(
        0.3, ge=0, lt=1, description="Share of items whose own vector is left out, and of the layer."
    )
    longest: int = Field(50, ge=1, description="Latest items of a history that are read.")


class SasrecOptions(_Options):
    """Causal self-attention over the history."""

    width: int = Field(64, ge=1, description="Length of a vector.")
    layers: int = Field(2, ge=1, description="Blocks.")
    heads: int = Field(2, ge=1, description="Attention heads; they divide the width.")
    dropout: float = Field(0.3, ge=0, lt=1, description="Dropout everywhere.")
    longest: int = Field(50, ge=1, description="Latest items of a history that are read.")


ARCHITECTURES: dict[str, type[BaseModel]] = {
    "slit": SlitOptions,
    "ease": EaseOptions,
    "item-knn": KnnOptions,
    "ials": IalsOptions,
    "popularity": PopularityOptions,
    "two-tower": TwoTowerOptions,
    "sasrec": SasrecOptions,
}
# what `auto` tries, option by option, in this order; each is then kept at its best
GRID: dict[str, dict[str, tuple[float, ...]]] = {
    "popularity": {},
    "item-knn": {"shrink": (3.0, 10.0, 30.0), "neighbours": (50, 200)},
    "ease": {"regularization": (300.0, 100.0, 1000.0)},
    "slit": {"memory": (3.0, 10.0, 1.5, 30.0), "regularization": (100.0, 30.0, 300.0)},
    "ials": {"unobserved": (0.1, 0.03, 0.3), "regularization": (0.01, 0.003, 0.03)},
}
DEFAULTS = {
    "two-tower": Defaults(epochs=8, batch_size=512, learning_rate=3e-3),
    "sasrec": Defaults(epochs=16, batch_size=128, learning_rate=2e-3),
}


def fit(train: Questions, validation: Questions, job: Job) -> Fit:
    """Fits the architecture that was chosen and writes its folder."""
    options = ARCHITECTURES[job.choice.name].model_validate(dict(job.choice.options))
    if job.choice.name in NETWORKS:
        return _fit_network(train, validation, job, options)
    return _solve(train, validation, job, options)


class Judge:
    """Validation rows, asked as the test rows will be."""

    def __init__(self, validation: Questions, catalogue: Catalogue) -> None:
        step = max(1, len(validation) // JUDGED)
        rows = [validation[at] for at in range(0, len(validation), step)]
        self.catalogue = catalogue
        self.model = Recommender(
            catalogue, lambda asked: np.zeros((len(asked), len(catalogue.items)), np.float32), Blend()
        )
        self.asked = self.model.asked([row.x for row in rows])
        code = {id: at for at, id in enumerate(catalogue.items)}
        self.wanted = [np.array([code[id] for id in row.y.items], np.int64) for row in rows]

    def scored(self, score: Scorer) -> Iterator[tuple[int, np.ndarray]]:
        """(place of the first row, scores) for so many rows as fit into memory."""
        step = min(ranking.at_once(len(self.catalogue.items)), 512)
        for start in range(0, len(self.wanted), step):
            yield start, score(self.asked.part(start, start + step))

    def scale(self, score: Scorer) -> float:
        """The mean of the best score of each row, of the first few hundred; 1 where it is not positive."""
        _, scores = next(self.scored(score))
        best = float(scores.max(axis=1).mean())
        return best if best > 1e-9 else 1.0

    def recalls(self, score: Scorer, scale: float, trends: tuple[float, ...]) -> list[float]:
        """Mean Recall@10 at each weight of the trend."""
        found = np.zeros(len(trends))
        for start, scores in self.scored(score):
            end = start + len(scores)
            pairs = self.asked.part(start, end).pairs()
            trend = trending(self.catalogue, self.asked.moments[start:end]) if any(trends) else None
            for number, weight in enumerate(trends):
                blended = scores / scale if trend is None or not weight else scores / scale + weight * trend
                blended[pairs] = -np.inf
                lists = ranking.top(blended, LISTED)
                found[number] += sum(
                    np.isin(wanted, listed).sum() / min(LISTED, len(wanted))
                    for wanted, listed in zip(self.wanted[start:end], lists, strict=True)
                )
        return [float(value) for value in found / len(self.wanted)]

    def price(self, model: Recommender) -> dict[str, float]:
        """Recall@10 and diversity of the lists of a finished model."""
        step, recall, diversity = ranking.at_once(len(self.catalogue.items)), [], []
        for start in range(0, len(self.wanted), step):
            lists = model.lists(self.asked.part(start, start + step))
            for wanted, (items, _) in zip(self.wanted[start : start + step], lists, strict=True):
                recall.append(np.isin(wanted, items).sum() / min(LISTED, len(wanted)))
                diversity.append(model.diversity(items))
        return {"recall@10": round(float(np.mean(recall)), 4), "diversity@10": round(float(np.mean(diversity)), 4)}


def _trends(options: BaseModel) -> tuple[float, ...]:
    asked = cast(_Options, options).trend
    return TRENDS if asked == "auto" else (float(asked),)


def _blended(judge: Judge, score: Scorer, options: BaseModel) -> tuple[Blend, float]:
    """The blend that does best on validation rows, and its recall."""
    scale, trends = judge.scale(score), _trends(options)
    recalls = judge.recalls(score, scale, trends)
    best = int(np.argmax(recalls))
    return Blend(scale, trends[best], cast(_Options, options).diversity), recalls[best]


def _price(judge: Judge, score: Scorer, blend: Blend) -> dict[str, Any]:
    """What diversity costs, on validation rows, for the card."""
    if not blend.diversity:
        return {}
    blends = {"0": replace(blend, diversity=0.0), f"{blend.diversity:g}": blend}
    told = {name: judge.price(Recommender(judge.catalogue, score, one)) for name, one in blends.items()}
    return {"price of diversity, on validation rows": told}


# --- closed forms ---------------------------------------------------------------------------------------------------


def _solve(train: Questions, validation: Questions, job: Job, options: BaseModel) -> Fit:
    """Chooses options on validation rows, then solves once more with the validation events among the known ones."""
    started = time.monotonic()
    name, events = job.choice.name, train.events
    learned = events.before("validation")
    judge = Judge(validation, catalogue_of(events, learned))
    histories, num_items = sequences(events, "validation"), len(events.items)
    chosen: dict[str, Any] = options.model_dump()
    grid = {key: values for key, values in GRID[name].items() if chosen[key] == "auto"}
    chosen |= {key: values[0] for key, values in grid.items()}
    tried: dict[str, float] = {}

    def attempt(settings: Mapping[str, Any]) -> tuple[float, Blend, Scorer]:
        score = closed.scorer(name, closed.solve(name, histories, num_items, settings, job.seed), num_items, settings)
        blend, recall = _blended(judge, score, options)
        tried[" ".join(f"{key}={settings[key]:g}" for key in grid) or name] = round(recall, 4)
        return recall, blend, score

    best = attempt(chosen)
    for key, value in [(key, value) for key, values in grid.items() for value in values[1:]]:
        spent = time.monotonic() - started
        if job.seconds is not None and spent * (len(tried) + 2) / len(tried) > job.seconds:
            tried["the budget ended the search"] = round(best[0], 4)
            break
        job.progress.step("tune", len(tried), 1 + sum(len(values) - 1 for values in grid.values()), f"{key} {value:g}")
        settings = {**chosen, key: value}
        result = attempt(settings)
        if result[0] > best[0]:
            best, chosen = result, settings
    recall, blend, score = best
    price = _price(judge, score, blend)
    known = events.before("test")
    weights = closed.solve(name, sequences(events, "test"), num_items, chosen, job.seed)
    write(job.folder, name, {**chosen, "trend": blend.trend}, weights, catalogue_of(events, known), blend)
    seconds = time.monotonic() - started
    point = Point(step=0, epoch=1.0, seconds=seconds, train_loss=1 - recall, metric=recall)
    size = sum(value.size for value in weights.values())
    settings = {"trend": blend.trend, **{key: chosen[key] for key in grid}, "tried on validation": tried, **price}
    return Fit(
        metric="recall@10", value=recall, curve=(point,), steps=0, epochs=1.0, seconds=seconds,
        rows_per_second=len(train) / max(seconds, 1e-9), parameters=size, trained_parameters=size,
        settings=settings,
    )  # fmt: skip


# --- networks -------------------------------------------------------------------------------------------------------


def _fit_network(train: Questions, validation: Questions, job: Job, options: BaseModel) -> Fit:
    import torch

    from modelcommons.workbench.engine.train import train as train_network
    from modelcommons.workbench.fields.recommendation import models

    name, events = job.choice.name, train.events
    learned = events.before("validation")
    catalogue = catalogue_of(events, learned)
    judge, chosen = Judge(validation, catalogue), options.model_dump()
    torch.manual_seed(job.seed)
    network = models.build(name, catalogue, chosen, catalogue.counts)
    batches = _SasrecBatches(events, chosen) if name == "sasrec" else _TowerBatches(events, chosen)

    def score(network: nn.Module) -> float:
        return judge.recalls(models.network_scorer(network, chosen["longest"]), 1.0, (0.0,))[0]

    fit = train_network(
        network, num_rows=len(batches), batch=batches.batch, loss=batches.loss, counts=batches.counts, score=score,
        metric="recall@10", direction="higher", limit=1.0, training=job.training, defaults=DEFAULTS[name],
        seed=job.seed, checkpoints=job.checkpoints, progress=job.progress, lengths=batches.lengths, seconds=job.seconds,
        max_steps=job.max_steps,
    )  # fmt: skip
    network = network.cpu().eval()
    weights: Weights = {f"{models.NETWORK}{key}": value.numpy() for key, value in network.state_dict().items()}
    scorer = models.load_scorer(name, weights, catalogue, chosen)
    blend, recall = _blended(judge, scorer, options)
    price = _price(judge, scorer, blend)
    write(
        job.folder, name, {**chosen, "trend": blend.trend}, weights, catalogue_of(events, events.before("test")), blend
    )
    return replace(fit, value=recall, settings={**fit.settings, "trend": blend.trend, **price})


def _candidates(wanted: np.ndarray, num_items: int, rng: np.random.Generator) -> np.ndarray:
    """Items a loss runs over: all, or in a large catalogue those wanted and others at random; int64, sorted."""
    if num_items <= CANDIDATES:
        return np.arange(num_items)
    return np.unique(np.concatenate([wanted, rng.integers(0, num_items, CANDIDATES)]))


class _TowerBatches:
    """One row for each training event: what its user chose before it, and the item."""

    counts = ()

    def __init__(self, events: Events, options: Mapping[str, Any]) -> None:
        self.events, self.longest = events, int(options["longest"])
        self.which = np.flatnonzero(events.before("validation"))
        self.lengths = np.minimum(self.which - events.starts[events.user[self.which]], self.longest).tolist()

    def __len__(self) -> int:
        return len(self.which)

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        import torch

        from modelcommons.workbench.fields.recommendation.models import left_padded, many_hot

        events, at = self.events, self.which[indices]
        starts = events.starts[events.user[at]]
        past = [events.item[a:b] for a, b in zip(starts.tolist(), at.tolist(), strict=True)]
        wanted = events.item[at]
        candidates = _candidates(wanted, len(events.items), rng)
        made = {
            "history": torch.from_numpy(left_padded(past, self.longest)),
            "candidates": torch.from_numpy(candidates),
            "wanted": torch.from_numpy(np.searchsorted(candidates, wanted)),
        }
        if events.user_features is not None:
            has = events.user_features.has
            features = [has.indices[has.indptr[user] : has.indptr[user + 1]] for user in events.user[at].tolist()]
            made["features"] = torch.from_numpy(many_hot(features, has.shape[1]))
        return made

    @staticmethod
    def loss(network: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        tower = cast(Any, network)
        items, bias = tower.items()
        users = tower.users(items, batch["history"], batch.get("features"))
        some = batch["candidates"]
        return cross_entropy((users @ items[some].T + bias[some]).float(), batch["wanted"])


class _SasrecBatches:
    """One row for each user: at every place of the history, what came next."""

    counts = (lambda batch: len(batch["wanted"]),)

    def __init__(self, events: Events, options: Mapping[str, Any]) -> None:
        self.num_items, self.longest = len(events.items), int(options["longest"])
        self.items = [items for items in sequences(events, "validation") if len(items)]
        self.lengths = [min(len(items), self.longest) for items in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, indices: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        import torch

        from modelcommons.workbench.fields.recommendation.models import right_padded

        some = [self.items[at][-self.longest :] for at in indices.tolist()]
        history = right_padded([items[:-1] for items in some], self.longest, self.num_items)
        wanted = np.concatenate(some)
        candidates = _candidates(wanted, self.num_items, rng)
        return {
            "history": torch.from_numpy(history),
            "candidates": torch.from_numpy(candidates),
            "wanted": torch.from_numpy(np.searchsorted(candidates, wanted)),
        }

    @staticmethod
    def loss(network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor]:
        from torch.nn.functional import cross_entropy

        sasrec = cast(Any, network)
        history, some = batch["history"], batch["candidates"]
        states = sasrec.states(history)[history >= 0]  # (places of all rows, D), row by row as `wanted` is
        scores = states @ sasrec.items.weight[some].T + sasrec.bias[some]
        return (cross_entropy(scores.float(), batch["wanted"], reduction="sum"),)
