"""tune: one training per seed, the best on validation data kept, or all as one model.

Under `model.auto` candidates are tried first.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from modelcommons.errors import BudgetReached, UsageError
from modelcommons.formats.canonical import canonical
from modelcommons.formats.digest import sha256
from modelcommons.workbench.engine import fan_out, ranks
from modelcommons.workbench.engine.energy import Energy
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.folder import RunFolder, replacing
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.get import Got
from modelcommons.workbench.task import Choice, Job, Joins, Parts, Task

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
    together: str = ""  # folder, relative to the run folder, of the model that all are joined to; empty: they are not

    @property
    def model(self) -> str:
        """Folder of the model that is shipped, relative to the run folder."""
        return self.together or self.trained[self.chosen].folder


def tune(
    task: Task, got: Got, parts: Parts, recipe: Recipe, folder: RunFolder, progress: Progress, told: dict[str, Any]
) -> Tuned:
    """Trains; what is finished is not trained again, and a training that was killed goes on at its last checkpoint.

    Args:
        told: what another process needs to know to train a part of it.

    Raises:
        BudgetReached: the budget ended before one model could be used.
        Stopped: Ctrl-C; a checkpoint was written.
        UsageError: several processes train one model, and several models are to be trained at once.
    """
    if recipe.tune.parallel > 1 and ranks.count() > 1:
        raise UsageError("torchrun and tune.parallel do not go together: expected one of them. Leave the other out.")
    tuning = Tuning(task, got, parts, recipe, folder, progress, told)
    index, tried = tuning.choose()
    trained = tuning.train_all(index)
    best = _best([each.fit.value for each in trained], task)
    choice = got.choices[index]
    together = tuning.join(trained) if recipe.tune.together else ""
    tuned = Tuned(best, trained, tried, Chosen(index, choice.name, dict(choice.options)), together=together)
    progress.line("tune", words(tuned, recipe))
    return tuned


def words(tuned: Tuned, recipe: Recipe) -> str:
    """What tuning came to, in one line."""
    fit, values = tuned.trained[tuned.chosen].fit, [each.fit.value for each in tuned.trained]
    count = f"{len(values)} times {fit.parameters:,}" if tuned.together else f"{fit.parameters:,}"
    text = f"{tuned.choice.name} {count} parameters · validation {fit.metric} {fit.value:.4g}"
    if len(values) > 1:
        text += f" (seeds: mean {statistics.mean(values):.4g}, spread {statistics.stdev(values):.2g})"
    lanes = min(recipe.tune.parallel, len(tuned.trained))
    seconds = max(sum(each.fit.seconds for each in tuned.trained[lane::lanes]) for lane in range(lanes))
    minutes = recipe.tune.budget.minutes
    text += f" · {seconds:.0f} s" if minutes is None else f" · {seconds / 60:.1f} of {minutes:g} min"
    return f"{text} · {fit.more}" if fit.stopped == "budget" and fit.more else text


class Tuning:
    """The trainings of one run, each in its own folder below `tune/`.

    With `tune.parallel` they are dealt out to so many lanes, each of which trains its own one after the other, in a
    process of its own.
    """

    def __init__(
        self,
        task: Task,
        got: Got,
        parts: Parts,
        recipe: Recipe,
        folder: RunFolder,
        progress: Progress,
        told: dict[str, Any],
    ) -> None:
        self.task, self.got, self.parts, self.recipe, self.progress = task, got, parts, recipe, progress
        self.folder, self.told = folder, told
        self.options = task.options.model_validate(recipe.data.options)

    def choose(self) -> tuple[int, tuple[Tried, ...]]:
        """Index of the model to tune: the only one, or the candidate that did best in an equal short budget."""
        if len(self.got.choices) == 1:
            return 0, ()
        self._ahead("try", [f"try-{index}" for index in range(len(self.got.choices))])
        tried = []
        for index, choice in enumerate(self.got.choices):
            fit = self._try(index)
            tried.append(Tried(choice.name, dict(choice.options), fit.value, fit.seconds))
            self.progress.line("tune", f"tried {choice.name}: validation {fit.metric} {fit.value:.4g}")
            shutil.rmtree(self.folder.stage("tune") / f"try-{index}" / "model", ignore_errors=True)
        return _best([each.value for each in tried], self.task), tuple(tried)

    def train_all(self, index: int) -> tuple[Trained, ...]:
        """The model at `index`, once for each seed."""
        self._ahead("train", self._names(), index)
        return tuple(self.train(index, number) for number in range(len(self.recipe.tune.seeds)))

    def join(self, trained: Sequence[Trained]) -> str:
        """The models of all seeds as one; its folder, relative to the run folder."""
        assert isinstance(self.task, Joins)
        place = "tune/together/model"
        with replacing(self.folder.path / place) as part:
            self.task.join({f"seed-{each.seed}": self.folder.path / each.folder for each in trained}, part)
        return place

    def lane(self, told: dict[str, Any]) -> None:
        """What `_ahead` deals out to one process."""
        for number in range(told["lane"], told["count"], told["lanes"]):
            if told["work"] == "try":
                self._try(number)
            else:
                self.train(told["index"], number)

    def _ahead(self, work: Literal["try", "train"], names: Sequence[str], index: int = 0) -> None:
        """Has the trainings of these names finished by several processes at once, where the recipe asks for it."""
        lanes = min(self.recipe.tune.parallel, len(names))
        if lanes > 1 and any(self._finished(name) is None for name in names):
            self.progress.line("tune", f"{len(names)} trainings, {lanes} at a time")
            told = {**self.told, "work": work, "index": index, "count": len(names), "lanes": lanes}
            told["folder"] = str(self.folder.path.resolve())
            fan_out.carry_out("modelcommons.workbench.lane", [{**told, "lane": lane} for lane in range(lanes)])

    def _try(self, index: int) -> Fit:
        """A candidate of `model.auto` in its short budget."""
        seconds = self.recipe.model.try_minutes * 60
        return self._fit(f"try-{index}", self.got.choices[index], self.recipe.tune.seeds[0], seconds)

    def train(self, index: int, number: int) -> Trained:
        """The training of seed `number`; those of a lane share its time evenly, what one leaves goes to the next."""
        seeds, minutes = self.recipe.tune.seeds, self.recipe.tune.budget.minutes
        lanes, seconds = min(self.recipe.tune.parallel, len(seeds)), None
        if minutes is not None:
            before = self._names()[number % lanes : number : lanes]
            spent = sum(fit.seconds for fit in map(self._finished, before) if fit is not None)
            seconds = max(1.0, (minutes * 60 - spent) / len(range(number, len(seeds), lanes)))
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
