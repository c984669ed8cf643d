"""recommender: a model folder that answers histories with lists of ten. Nothing in it is code.

config.json        {"model_type": "modelcommons", "task", "architecture", "options", "num_users", "moment", "blend"}
catalogue.json     {"items": [[id, title], ...], "values": names of item features, "user_values": of user features}
model.safetensors  the model's own arrays; `profile.*`, what items are compared by; `counts`, how many chose each;
                   `trend.*`, how many chose each on which day
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelcommons.errors import DataError, FormatError
from modelcommons.formats import model_folder
from modelcommons.formats.model_folder import CONFIG, WEIGHTS, check_weights
from modelcommons.workbench.fields.recommendation import closed, ranking
from modelcommons.workbench.fields.recommendation.catalogue import Catalogue, trending
from modelcommons.workbench.fields.recommendation.closed import Asked, Scorer, Weights
from modelcommons.workbench.fields.recommendation.events import DAY, History
from modelcommons.workbench.fields.recommendation.metrics import LISTED
from modelcommons.workbench.task import Answer, Row

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CATALOGUE = "catalogue.json"
NETWORKS = ("two-tower", "sasrec")


@dataclass(frozen=True, slots=True)
class Blend:
    """How a model's scores become the ones that are ranked."""

    scale: float = 1.0  # the model's scores are divided by it: the mean of its best ones on validation rows
    trend: float = 0.0  # weight of what is chosen much at the moment, whose best is 1
    diversity: float = 0.0  # weight of unlikeness in maximal marginal relevance


class Recommender:
    """A model that is ready to answer."""

    labels: Sequence[str] = ()

    def __init__(self, catalogue: Catalogue, score: Scorer, blend: Blend) -> None:
        self.catalogue, self.blend, self._score = catalogue, blend, score
        self._code = {id: at for at, id in enumerate(catalogue.items)}
        self._user_code = {name: at for at, name in enumerate(catalogue.user_values)}

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Lists of ten for the histories of the rows, so many at a time that scores fit into memory."""
        step, answers = ranking.at_once(len(self.catalogue.items)), []
        for start in range(0, len(rows), step):
            asked = self.asked([rows[at].x for at in range(start, min(start + step, len(rows)))])
            for at, (items, scores) in enumerate(self.lists(asked)):
                answers.append(self._answer(items, scores, rows[start + at].x.titled))
        return answers

    def asked(self, wanted: Sequence[History]) -> Asked:
        """Histories as indices into the catalogue; items it does not hold are passed over.

        Raises:
            DataError: somebody names items, and the catalogue has none of them.
        """
        items = [np.array([self._code[id] for id in each.items if id in self._code], np.int64) for each in wanted]
        for each, known in zip(wanted, items, strict=True):
            if each.titled and each.items and not len(known):
                raise DataError(
                    f"Expected ids of the catalogue such as {', '.join(self.catalogue.items[:3])}; it has no "
                    f"'{each.items[0]}'. Name items the model knows, or none."
                )
        latest = (self.catalogue.first_day + self.catalogue.trend.shape[0]) * DAY
        moments = np.array([latest if each.moment is None else each.moment for each in wanted])
        features = [np.array([self._user_code[name] for name in each.features if name in self._user_code], np.int64)
                    for each in wanted] if self._user_code else []  # fmt: skip
        return Asked(items, moments, features)

    def scores(self, asked: Asked) -> np.ndarray:
        """What is ranked, (users, items) float32: the model's scores and the trend of the moment."""
        scores = self._score(asked)
        scores /= self.blend.scale
        if self.blend.trend:
            scores += self.blend.trend * trending(self.catalogue, asked.moments)
        return scores

    def lists(self, asked: Asked) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each who asks: ten items they have not had (int64), and their scores."""
        scores = self.scores(asked)
        scores[asked.pairs()] = -np.inf
        best = ranking.top(scores, ranking.POOL if self.blend.diversity else LISTED)
        good, sizes = np.take_along_axis(scores, best, axis=1), (best >= 0).sum(axis=1)
        for items, values, size in zip(best, good, sizes.tolist(), strict=True):
            items, values = items[:size], values[:size]
            if self.blend.diversity and size:
                likeness = ranking.alike(self.catalogue.profiles, items)
                picked = ranking.mixed(values, likeness, LISTED, self.blend.diversity)
                items, values = items[picked], values[picked]
            yield items, values

    def diversity(self, items: np.ndarray) -> float:
        return ranking.diversity(ranking.alike(self.catalogue.profiles, items))

    def novelty(self, items: np.ndarray) -> float:
        """Mean of -log2 of the share of users who chose the items, bits; one that nobody chose counts as chosen once.

        Source: Zhou et al., Solving the apparent diversity-accuracy dilemma (PNAS 2010), mean self-information.
        """
        if not len(items):
            return 0.0
        chosen = np.maximum(self.catalogue.counts[items], 1)
        return float(np.log2(max(self.catalogue.num_users, 1) / chosen).clip(0).mean())

    def _answer(self, items: np.ndarray, scores: np.ndarray, titled: bool) -> Answer:
        prediction: dict[str, Any] = {
            "items": [self.catalogue.items[at] for at in items.tolist()],
            "scores": [rounded(score) for score in scores.tolist()],
            "novelty": rounded(self.novelty(items)),
            "diversity": rounded(self.diversity(items)),
        }
        if titled:
            prediction["titles"] = [self.catalogue.titles[at] for at in items.tolist()]
        return {"prediction": prediction}


def rounded(value: float) -> float:
    """6 significant digits."""
    return float(f"{value:.6g}")


# --- folders --------------------------------------------------------------------------------------------------------


def write(
    folder: Path, architecture: str, options: Mapping[str, Any], weights: Weights, catalogue: Catalogue, blend: Blend
) -> None:
    """A finished model folder."""
    from safetensors.numpy import save_file

    rest = {"num_users": catalogue.num_users, "first_day": catalogue.first_day, "num_days": catalogue.trend.shape[0],
            "num_profile_values": catalogue.profiles.shape[1],
            "blend": {"scale": blend.scale, "trend": blend.trend, "diversity": blend.diversity}}  # fmt: skip
    model_folder.write_config(folder, "recommendation", architecture, options, **rest)
    known = {
        "items": [list(pair) for pair in zip(catalogue.items, catalogue.titles, strict=True)],
        "values": list(catalogue.values),
        "user_values": list(catalogue.user_values),
    }
    (folder / CATALOGUE).write_text(json.dumps(known, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    arrays = {
        **weights,
        "counts": catalogue.counts,
        **_parts("profile", catalogue.profiles),
        **_parts("trend", catalogue.trend),
    }
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / WEIGHTS, {"format": "pt"})


def load(folder: Path) -> Recommender:
    """A recommender from its folder.

    Raises:
        UnsafeFile: the weights are a pickle.
        FormatError: a file is truncated, or not what the config says.
    """
    from safetensors.numpy import load_file

    config = model_folder.read_config(folder)
    check_weights(folder)
    weights = load_file(folder / WEIGHTS)
    try:
        catalogue = _catalogue(folder, config, weights)
        architecture, options = str(config["architecture"]), config["options"]
        if architecture in NETWORKS:
            from modelcommons.workbench.fields.recommendation.models import load_scorer

            score = load_scorer(architecture, weights, catalogue, options)
        else:
            score = closed.scorer(architecture, weights, len(catalogue.items), options)
        blend = Blend(**{name: float(value) for name, value in config["blend"].items()})
    except (KeyError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise FormatError(
            f"{folder}: the weights are not those of its config ({error!s:.200}). Get it again."
        ) from error
    return Recommender(catalogue, score, blend)


def files() -> list[str]:
    return [CONFIG, CATALOGUE, WEIGHTS]


def _parts(name: str, matrix: csr_array) -> Weights:
    matrix.sort_indices()
    return {
        f"{name}.value": matrix.data.astype(np.float32),
        f"{name}.at": matrix.indices.astype(np.int32),
        f"{name}.start": matrix.indptr.astype(np.int64),
    }


def _matrix(name: str, weights: Weights, shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    value, at, start = (weights.pop(f"{name}.{part}") for part in ("value", "at", "start"))
    if len(start) != shape[0] + 1 or len(at) != len(value) or (len(at) and not 0 <= at.min() <= at.max() < shape[1]):
        raise ValueError(f"{name} is not of shape {shape}")
    matrix = csr_array((value.astype(np.float64), at, start), shape=shape)
    matrix.check_format()
    return matrix


def _catalogue(folder: Path, config: Mapping[str, Any], weights: Weights) -> Catalogue:
    try:
        known = json.loads((folder / CATALOGUE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(
            f"Expected the catalogue in {folder / CATALOGUE}; it is none ({error}). Get it again."
        ) from error
    items = tuple(str(id) for id, _ in known["items"])
    profiles = _matrix("profile", weights, (len(items), int(config["num_profile_values"])))
    trend = _matrix("trend", weights, (int(config["num_days"]), len(items)))
    return Catalogue(
        items, tuple(str(title) for _, title in known["items"]), weights.pop("counts"), int(config["num_users"]),
        profiles, trend, int(config["first_day"]), tuple(known["values"]), tuple(known["user_values"]),
    )  # fmt: skip
