"""plan: whether a recipe fits this machine and its budget: a few steps are taken, a few rows go through every stage."""

from __future__ import annotations

import math
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil

from modelcommons.formats import keys
from modelcommons.workbench import fields
from modelcommons.workbench.engine.progress import Progress, Silent
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.find import settled
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.stages.evaluate import BATCH, Evaluated, answers, evaluate, to_disturb
from modelcommons.workbench.stages.explain import Explained, explain
from modelcommons.workbench.stages.get import Got, get
from modelcommons.workbench.stages.prepare import Prepared, prepare
from modelcommons.workbench.stages.publish import decide, publish
from modelcommons.workbench.stages.shrink import shrink
from modelcommons.workbench.stages.tune import Chosen, Trained, Tuned
from modelcommons.workbench.task import Job, Task

FEW = 3  # steps of the first try, which also pays what is paid once
MORE = (12, 400)  # steps of the second, at least and at most
TRIED_SECONDS = 4.0  # that the second takes where steps are quick
ANSWER_SECONDS = 2.0  # that the fewer of the test rows take, which go through the other stages
FEWEST = 8  # of them
TIMES = 4  # as many rows for what each row adds
EXPLAINED = 2  # examples
YOUNG = 30.0  # seconds: a process that is no older was started for the plan, as another will be for the run
COPIES = 3  # of a model on disk: as trained, as exported, as published

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the recipe would take; sizes in bytes."""

    model: str
    rows: dict[str, int]  # of each part
    parameters: int
    epochs: float
    steps: int  # of one training
    seconds_per_step: float
    prepare_seconds: float  # starting, getting and reading the data
    tune_seconds: float  # all seeds and candidates, inside the budget
    evaluate_seconds: float  # all seeds
    explain_seconds: float
    shrink_seconds: float  # exports made and scored
    publish_seconds: float  # without the upload
    budget_seconds: float | None
    affordable_epochs: float | None  # that the budget pays for; None without one
    memory: int  # peak of this process while it measured
    memory_available: int  # to it
    disk: int
    disk_free: int

    @property
    def fits(self) -> bool:
        return not self.why

    @property
    def why(self) -> str:
        """What does not fit; empty when all does."""
        if self.memory > self.memory_available:
            return "the memory is too small; lower tune.batch_size and raise tune.accumulate"
        if self.disk > self.disk_free:
            return "the disk is too full"
        if self.affordable_epochs is not None and self.affordable_epochs * self.steps < self.epochs:
            return "the budget does not pay for one step"
        return ""

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        before, after = self.prepare_seconds + self.tune_seconds, self.explain_seconds + self.shrink_seconds
        return before + self.evaluate_seconds + after + self.publish_seconds

    def __str__(self) -> str:
        sizes = " + ".join(f"{count:,}" for count in self.rows.values())
        budget = "no budget"
        if self.budget_seconds is not None and self.affordable_epochs is not None:
            enough = self.affordable_epochs >= self.epochs
            part = "all of it" if enough else f"{self.affordable_epochs:.3g} of {self.epochs:g} epochs"
            budget = f"{self.budget_seconds / 60:g} minutes pay for {part}"
        steps = f"{self.steps:,} steps of {self.seconds_per_step * 1000:.3g} ms"
        return "\n".join(
            [
                f"model     {self.model}, {self.parameters:,} parameters",
                f"rows      {sizes} · read and checked in {_time(self.prepare_seconds)}",
                f"tune      {_time(self.tune_seconds)}: {steps} · {budget}",
                f"evaluate  {_time(self.evaluate_seconds)} · explain {_time(self.explain_seconds)} · "
                f"shrink {_time(self.shrink_seconds)} · publish {_time(self.publish_seconds)}",
                f"memory    {_size(self.memory)} of {_size(self.memory_available)}",
                f"disk      {_size(self.disk)} of {_size(self.disk_free)} free",
                f"It fits: about {_time(self.seconds)}." if self.fits else f"It does not fit: {self.why}.",
            ]
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{line[:10].strip()}</td><td>{line[10:]}</td></tr>" for line in str(self).splitlines()[:-1]
        )
        return f"<table>{rows}</table><p>{str(self).splitlines()[-1]}</p>"


def plan(recipe: Recipe, progress: Progress | None = None) -> Plan:
    """Reads the data, trains for a few steps in a temporary folder, takes a few test rows through every other stage,
    and reckons from there.

    Under `model.auto` the first candidate stands for all. Memory is the peak of this very process, so call it in a
    fresh one; the first use of libraries is in its seconds as it is in those of a run.

    Raises:
        CommonsError: as `run` would; that licences do not go together is said before anything is trained.
    """
    progress = progress or Silent()
    begun = time.monotonic() - _started()
    task = resolve(recipe)
    recipe = settled(recipe, task, progress)
    got = get(task, recipe, progress)
    decide(got, recipe).agreed()
    with fields.needed(task), tempfile.TemporaryDirectory(prefix="commons-plan-") as name:
        folder = RunFolder(Path(name))
        data = prepare(task, got.source, recipe, folder, progress)
        read = time.monotonic() - begun
        tried = _Tried(task, got, data, recipe, folder, progress)
        stages = _Stages(task, got, data, recipe, folder, tried, progress)
        return _planned(read, tried, stages, got, data, recipe)


def _started() -> float:
    """Seconds that Python and its imports took to start; 0 where this process has been doing something else."""
    age = time.time() - psutil.Process().create_time()
    return age if age < YOUNG else 0.0


class _Watch:
    """Notes when each step of a training ended."""

    def __init__(self) -> None:
        self.ended: dict[int, float] = {}

    def line(self, stage: str, text: str) -> None:
        pass

    def step(self, stage: str, done: float, total: float, text: str = "") -> None:
        self.ended[int(done)] = time.monotonic()


class _Tried:
    """A few steps taken: what one costs, what a scoring costs, and what is paid once for each training or for all."""

    def __init__(
        self, task: Task, got: Got, data: Prepared, recipe: Recipe, folder: RunFolder, progress: Progress
    ) -> None:
        self.task, self.choice, self.data, self.recipe = task, got.choices[0], data, recipe
        progress.step("plan", 0, 3, "the first steps")
        self.fit, cold, cold_start = self._try(folder.stage("first"), FEW, checkpoint_seconds=0)
        self.checkpoints = _folder_size(folder.path / "first" / "checkpoints")
        self.model, self.once, self.training = "first/model", 0.0, cold
        if self.fit.steps or self.fit.stopped != "done":  # else it is solved, whole
            progress.step("plan", 1, 3, "more steps")
            each = self.fit.seconds / self.fit.steps if self.fit.steps else 0.0
            steps = min(max(MORE[0], round(TRIED_SECONDS / max(each, 1e-6))), MORE[1]) if each else None
            self.fit, warm, warm_start = self._try(folder.stage("tuned"), steps, checkpoint_seconds=3600)
            self.model, self.once, self.training = "tuned/model", cold, warm
            if self.fit.steps:
                self.once, self.training = max(0.0, cold_start - warm_start), max(0.0, warm - self.fit.seconds)
        self.model_size = _folder_size(folder.path / self.model)
        self.step, self.scoring = step_and_scoring(self.fit, self.watch.ended)

    def _try(self, place: Path, steps: int | None, checkpoint_seconds: float) -> tuple[Fit, float, float]:
        """A training of so many steps; its seconds, and those before its first step had ended."""
        (place / "model").mkdir()
        self.watch = _Watch()
        job = Job(
            choice=self.choice,
            training=self.recipe.tune.model_copy(update={"checkpoint_seconds": checkpoint_seconds}),
            options=self.task.options.model_validate(self.recipe.data.options),
            seed=self.recipe.tune.seeds[0],
            folder=place / "model",
            checkpoints=place / "checkpoints",
            progress=self.watch,
            max_steps=steps,
        )
        begun = time.monotonic()
        fit = self.task.fit(self.data.parts.train, self.data.parts.validation, job)
        return fit, time.monotonic() - begun, min(self.watch.ended.values(), default=begun) - begun


def step_and_scoring(fit: Fit, ended: Mapping[int, float]) -> tuple[float, float]:
    """Seconds of a step and of a scoring.

    Args:
        ended: step -> when it had ended; what comes between two steps without a scoring is a step.
    """
    if not fit.steps:
        return 0.0, 0.0
    scored = {point.step for point in fit.curve}
    steps = [ended[at] - ended[at - 1] for at in ended if at - 1 in ended and at - 1 not in scored]
    if not steps:  # a scoring after each: they count together
        return fit.seconds / fit.steps, 0.0
    each = float(np.mean(steps))
    return each, max(0.0, fit.seconds - fit.steps * each) / len(fit.curve)


class _Stages:
    """Seconds of what comes after tuning: of a few rows, which pay all that is paid once, and what each row adds."""

    def __init__(
        self, task: Task, got: Got, data: Prepared, recipe: Recipe, folder: RunFolder, tried: _Tried, progress: Progress
    ) -> None:
        self.task, self.got, self.data, self.folder, self.model = task, got, data, folder, tried.model
        self.key = keys.passing()  # nothing that is signed here stays, and nobody's name stands below it
        self.recipe = recipe.model_copy(
            update={
                "evaluate": recipe.evaluate.model_copy(update={"protocol": None, "disturb": ()}),
                "explain": recipe.explain.model_copy(update={"examples": min(EXPLAINED, recipe.explain.examples)}),
                "publish": recipe.publish.model_copy(update={"repo": None}),
            }
        )
        choice, seed = got.choices[0], recipe.tune.seeds[0]
        trained = Trained(seed, tried.model, tried.fit)
        self.tuned = Tuned(0, (trained,), (), Chosen(0, choice.name, dict(choice.options)))
        progress.step("plan", 2, 3, "a few rows through every stage")
        few = self._rows(self._affordable())
        many = self._rows(TIMES * len(few.parts.test))
        scored, self.evaluate = self._timed(lambda: self._evaluate(few, self.recipe))
        _, longer = self._timed(lambda: self._evaluate(many, self.recipe))
        _, again = self._timed(lambda: self._evaluate(few, self.recipe))  # its answers are those that stay
        num_few, num_rows = len(few.parts.test), len(data.parts.test)
        self.per_row = max(0.0, longer - again) / max(1, len(many.parts.test) - num_few)
        self.seed = again + (num_rows - num_few) * self.per_row  # each seed more
        self.evaluate += (num_rows - num_few) * self.per_row
        disturbed = len(to_disturb(task, recipe, num_few))
        if disturbed:
            asked = self.recipe.evaluate.model_copy(update={"disturb": recipe.evaluate.disturb})
            with_them = self.recipe.model_copy(update={"evaluate": asked})
            cold, warm = (self._timed(lambda: self._evaluate(few, with_them))[1] for _ in range(2))
            each = max(0.0, warm - again) / disturbed
            self.evaluate += max(0.0, cold - warm) + each * len(to_disturb(task, recipe, num_rows))
        explained, self.explain = self._explain(few, scored, recipe.explain.examples)
        shrunk, self.shrink = self._timed(
            lambda: shrink(task, self.tuned, got, few, scored, self.recipe, folder, Silent(), self.key)
        )
        self.shrink += len(shrunk.exports) * (num_rows - num_few) * self.per_row
        _, self.publish = self._timed(
            lambda: publish(task, got, few, self.tuned, scored, explained, shrunk, self.recipe, folder, Silent())
        )

    def _timed(self, work: Callable[[], Value]) -> tuple[Value, float]:
        begun = time.monotonic()
        return work(), time.monotonic() - begun

    def _rows(self, number: int) -> Prepared:
        """The data with fewer test rows, evenly chosen."""
        test = self.data.parts.test
        some = np.unique(np.linspace(0, len(test) - 1, min(number, len(test))).round().astype(np.int64))
        return replace(self.data, parts=replace(self.data.parts, test=test.take(some)))

    def _affordable(self) -> int:
        """Rows that can be answered in a short time, up to a batch."""
        model, rows = self.task.load(self.folder.path / self.model), self.data.parts.test
        few = range(min(FEWEST, len(rows)))
        _, seconds = self._timed(lambda: list(answers(model, rows, few)))
        return max(FEWEST, min(BATCH, int(len(few) * ANSWER_SECONDS / max(seconds, 1e-9))))

    def _evaluate(self, data: Prepared, recipe: Recipe) -> Evaluated:
        return evaluate(self.task, self.tuned, self.got, data, recipe, self.folder, Silent(), self.key)

    def _explain(self, data: Prepared, scored: Evaluated, wanted: int) -> tuple[Explained, float]:
        def some() -> Explained:
            return explain(self.task, self.tuned, data, scored, self.recipe, self.folder, Silent())

        explained, cold = self._timed(some)
        made = len(explained.examples)
        if not made:
            return explained, cold
        _, warm = self._timed(some)
        return explained, cold + (min(wanted, len(self.data.parts.test)) - made) * warm / made


def _planned(read: float, tried: _Tried, stages: _Stages, got: Got, data: Prepared, recipe: Recipe) -> Plan:
    from modelcommons.workbench.engine.pace import scored_every

    fit, seeds, parts = tried.fit, len(recipe.tune.seeds), data.parts
    steps, epochs = int(fit.settings.get("total", fit.steps)), float(fit.settings.get("epochs", fit.epochs))
    fixed = math.ceil(steps / scored_every(steps, round(steps / max(epochs, 1e-9)))) * tried.scoring
    budget = None if recipe.tune.budget.minutes is None else recipe.tune.budget.minutes * 60
    affordable = None
    if budget is not None:
        step_budget = max(0.0, budget / seeds - fixed)
        affordable = min(epochs, epochs * step_budget / max(steps * tried.step, 1e-9))
    whole = steps * tried.step + fixed
    candidates = len(got.choices) if len(got.choices) > 1 else 0
    trying = candidates * min(whole, recipe.model.try_minutes * 60)
    tune = tried.once + (candidates + seeds) * tried.training + trying + min(seeds * whole, budget or math.inf)
    answering, others = (seeds, seeds) if recipe.tune.together else (1, seeds - 1)  # networks
    process = psutil.Process()
    return Plan(
        model=got.choices[0].name,
        rows={name: len(getattr(parts, name)) for name in ("train", "validation", "test")},
        parameters=fit.parameters,
        epochs=epochs,
        steps=steps,
        seconds_per_step=tried.step,
        prepare_seconds=read,
        tune_seconds=tune,
        evaluate_seconds=stages.evaluate + (answering - 1 + others) * stages.seed,
        explain_seconds=answering * stages.explain,
        shrink_seconds=answering * stages.shrink,
        publish_seconds=stages.publish,
        budget_seconds=budget,
        affordable_epochs=affordable,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        memory_available=psutil.virtual_memory().available + process.memory_info().rss,
        disk=(seeds + answering * COPIES) * tried.model_size + 2 * tried.checkpoints,
        disk_free=shutil.disk_usage(Path.cwd()).free,
    )


def _folder_size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
