"""tune: one training per seed, the best on validation data kept; under `model.auto` candidates are tried first."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from modelcommons.errors import BudgetReached
from modelcommons.formats.canonical import canonical
from modelcommons.formats.digest import sha256
from modelcommons.workbench.engine import ranks
from modelcommons.workbench.engine.energy import Energy
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.get import Got
from modelcommons.workbench.task import Choice, Job, Parts, Task

LEAST_STEPS = 6  # of a training that its budget ended; fewer are still warming up


@dataclass(frozen=True, slots=True)
class Trained:
    """One training, finished."""

    seed: int
    folder: str  # of the model, relative to the run folder
    fit: Fit


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate of `model.auto`, after its short budget."""

    name: str
    options: dict[str, Any]
    value: float  # main metric on validation rows
    seconds: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which model was tuned."""

    index: int  # into `Got.choices`
    name: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tuned:
    chosen: int  # index into `trained`: the best on validation rows
    trained: tuple[Trained, ...]  # one per seed
    tried: tuple[Tried, ...]  # candidates of `model.auto`, in the recipe's order
    choice: Chosen
    energy: Energy | None = None  # of all of it, lost work included


def tune(task: Task, got: Got, parts: Parts, recipe: Recipe, folder: RunFolder, progress: Progress) -> Tuned:
    """Trains; what is finished is not trained again, and a training that was killed goes on at its last checkpoint.

    Raises:
        BudgetReached: the budget ended before one model could be used.
        Stopped: Ctrl-C; a checkpoint was written.
    """
    tuning = Tuning(task, got, parts, recipe, folder, progress)
    index, tried = tuning.choose()
    trained = tuple(tuning.train(index, number) for number in range(len(recipe.tune.seeds)))
    best = _best([each.fit.value for each in trained], task)
    choice = got.choices[index]
    tuned = Tuned(best, trained, tried, Chosen(index, choice.name, dict(choice.options)))
    progress.line("tune", words(tuned, recipe))
    return tuned


def words(tuned: Tuned, recipe: Recipe) -> str:
    """What tuning came to, in one line."""
    fit, values = tuned.trained[tuned.chosen].fit, [each.fit.value for each in tuned.trained]
    text = f"{tuned.choice.name} {fit.parameters:,} parameters · validation {fit.metric} {fit.value:.4g}"
    if len(values) > 1:
        text += f" (seeds: mean {statistics.mean(values):.4g}, spread {statistics.stdev(values):.2g})"
    seconds = sum(each.fit.seconds for each in tuned.trained)
    minutes = recipe.tune.budget.minutes
    text += f" · {seconds:.0f} s" if minutes is None else f" · {seconds / 60:.1f} of {minutes:g} min"
    return f"{text} · {fit.more}" if fit.stopped == "budget" and fit.more else text


class Tuning:
    """The trainings of one run, each in its own folder below `tune/`."""

    def __init__(
        self, task: Task, got: Got, parts: Parts, recipe: Recipe, folder: RunFolder, progress: Progress
    ) -> None:
        self.task, self.got, self.parts, self.recipe, self.progress = task, got, parts, recipe, progress
        self.folder = folder
        self.options = task.options.model_validate(recipe.data.options)

    def choose(self) -> tuple[int, tuple[Tried, ...]]:
        """Index of the model to tune: the only one, or the candidate that did best in an equal short budget."""
        if len(self.got.choices) == 1:
            return 0, ()
        tried = []
        for index, choice in enumerate(self.got.choices):
            fit = self._fit(f"try-{index}", choice, self.recipe.tune.seeds[0], self.recipe.model.try_minutes * 60)
            tried.append(Tried(choice.name, dict(choice.options), fit.value, fit.seconds))
            self.progress.line("tune", f"tried {choice.name}: validation {fit.metric} {fit.value:.4g}")
            shutil.rmtree(self.folder.stage("tune") / f"try-{index}" / "model", ignore_errors=True)
        return _best([each.value for each in tried], self.task), tuple(tried)

    def train(self, index: int, number: int) -> Trained:
        """The training of seed `number`; seeds share the budget evenly, what one leaves goes to those after it."""
        seeds, minutes = self.recipe.tune.seeds, self.recipe.tune.budget.minutes
        seconds = None
        if minutes is not None:
            spent = sum(fit.seconds for fit in map(self._finished, self._names()[:number]) if fit is not None)
            seconds = max(1.0, (minutes * 60 - spent) / (len(seeds) - number))
        name = self._names()[number]
        fit = self._fit(name, self.got.choices[index], seeds[number], seconds)
        if fit.stopped == "budget" and fit.steps < LEAST_STEPS:
            raise BudgetReached(
                f"The budget of {minutes:g} min ended after {fit.steps} steps, before anything usable; one epoch takes "
                f"about {fit.seconds / 60 / fit.epochs:.2g} min. Give tune.budget.minutes a larger number."
            )
        return Trained(seeds[number], f"tune/{name}/model", fit)

    def _names(self) -> list[str]:
        return [f"seed-{seed}" for seed in self.recipe.tune.seeds]

    def _finished(self, name: str) -> Fit | None:
        done = self.folder.finished(f"tune/{name}", self._key(name))
        return None if done is None else TypeAdapter(Fit).validate_python(done)

    def _key(self, name: str) -> str:
        """A training depends on what `tune` as a whole depends on; the stage's own key has seen to that."""
        return sha256(canonical({"training": name, "seeds": list(self.recipe.tune.seeds)}))

    def _fit(self, name: str, choice: Choice, seed: int, seconds: float | None) -> Fit:
        """Trains into `tune/<name>/model`, unless that is finished."""
        found = self._finished(name)
        if found is not None:
            return found
        place = self.folder.restart(f"tune/{name}", self._key(name))
        model = place / "model"
        shutil.rmtree(model, ignore_errors=True)  # a kill left it half written
        model.mkdir(parents=True)
        ranks.shared(
            {"choice": self.got.choices.index(choice), "seed": seed, "seconds": seconds, "place": str(place.resolve())}
        )
        fit = self._trained(choice, seed, seconds, model, place / "checkpoints")
        self.folder.finish(f"tune/{name}", self._key(name), TypeAdapter(Fit).dump_python(fit, mode="json"))
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
        return fit

    def follow(self) -> None:
        """Trains beside the first process, for as long as it says; what this one comes to is left to it."""
        while (order := ranks.shared()) is not None:
            model = self.folder.stage("tune") / "model"
            shutil.rmtree(model, ignore_errors=True)
            model.mkdir()
            choice, checkpoints = self.got.choices[order["choice"]], Path(order["place"]) / "checkpoints"
            self._trained(choice, order["seed"], order["seconds"], model, checkpoints)

    def _trained(self, choice: Choice, seed: int, seconds: float | None, model: Path, checkpoints: Path) -> Fit:
        job = Job(
            choice=choice,
            training=self.recipe.tune,
            options=self.options,
            seed=seed,
            folder=model,
            checkpoints=checkpoints,
            progress=self.progress,
            seconds=seconds,
        )
        return self.task.fit(self.parts.train, self.parts.validation, job)


def _best(values: Sequence[float], task: Task) -> int:
    """Index of the best value; of equal ones the first."""
    sign = 1 if task.metrics[0].direction == "higher" else -1
    return max(range(len(values)), key=lambda index: (sign * values[index], -index))
