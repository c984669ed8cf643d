"""plan: whether a recipe fits this machine and its budget, from a few steps that were really taken."""

from __future__ import annotations

import math
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from modelcommons.workbench import fields
from modelcommons.workbench.engine.progress import Progress, Silent
from modelcommons.workbench.engine.training import Fit
from modelcommons.workbench.find import settled
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.resolve import resolve
from modelcommons.workbench.stages.evaluate import BATCH, answers
from modelcommons.workbench.stages.get import get
from modelcommons.workbench.stages.prepare import Prepared, prepare
from modelcommons.workbench.task import Choice, Job, Task

FEW, MORE = 3, 12  # steps of the two measured tries: their difference is free of what is paid once
ANSWERED = 4 * BATCH  # test rows answered to measure
COPIES = 3  # of a model on disk: as trained, as exported, as published


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the recipe would take; sizes in bytes."""

    model: str
    rows: dict[str, int]  # of each part
    parameters: int
    epochs: float
    steps: int  # of one training
    seconds_per_step: float
    tune_seconds: float  # all seeds, without the budget
    evaluate_seconds: float  # all seeds and exports
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
        """Of the whole run: tuning inside its budget, and scoring."""
        return min(self.tune_seconds, self.budget_seconds or math.inf) + self.evaluate_seconds

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
                f"rows      {sizes}",
                f"tune      {_time(self.tune_seconds)}: {steps} · {budget}",
                f"evaluate  {_time(self.evaluate_seconds)}; exports and explanations come on top",
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
    """Reads the data, takes a few training steps in a temporary folder, and reckons from there.

    Under `model.auto` the first candidate stands for all. Memory is the peak of this very process, so call it in a
    fresh one.

    Raises:
        CommonsError: as `run` would, before it trains.
    """
    progress = progress or Silent()
    task = resolve(recipe)
    recipe = settled(recipe, task, progress)
    got = get(task, recipe, progress)
    with fields.needed(task), tempfile.TemporaryDirectory(prefix="commons-plan-") as name:
        folder = RunFolder(Path(name))
        data = prepare(task, got.source, recipe, folder, progress)
        measured = _Measured(task, got.choices[0], data, recipe, folder, progress)
        return _planned(measured, got.choices[0], data, recipe)


class _Measured:
    """A few steps taken, a few rows answered."""

    def __init__(
        self, task: Task, choice: Choice, data: Prepared, recipe: Recipe, folder: RunFolder, progress: Progress
    ) -> None:
        self.task, self.choice, self.data, self.recipe, self.progress = task, choice, data, recipe, progress
        first, seconds = self._try(folder.stage("first"), FEW, checkpoint_seconds=0)
        self.fit, self.seconds_per_step, self.scoring = first, 0.0, seconds
        place = folder.path / "first"
        if first.steps:
            place = folder.stage("second")
            self.fit, more = self._try(place, FEW + MORE, checkpoint_seconds=3600)
            taken = max(1, self.fit.steps - first.steps)
            self.seconds_per_step = max(0.0, more - seconds) / taken or more / self.fit.steps
            self.scoring = max(0.0, more - self.fit.steps * self.seconds_per_step)  # and all that is paid once
        self.model_size = _folder_size(place / "model")
        self.checkpoints = _folder_size(folder.path / "first" / "checkpoints")
        self.seconds_per_row = self._answer(place / "model")

    def _try(self, place: Path, steps: int, checkpoint_seconds: float) -> tuple[Fit, float]:
        """A training of so many steps; its seconds."""
        (place / "model").mkdir()
        job = Job(
            choice=self.choice,
            training=self.recipe.tune.model_copy(update={"checkpoint_seconds": checkpoint_seconds}),
            options=self.task.options.model_validate(self.recipe.data.options),
            seed=self.recipe.tune.seeds[0],
            folder=place / "model",
            checkpoints=place / "checkpoints",
            progress=self.progress,
            max_steps=steps,
        )
        begun = time.monotonic()
        fit = self.task.fit(self.data.parts.train, self.data.parts.validation, job)
        return fit, time.monotonic() - begun

    def _answer(self, folder: Path) -> float:
        model, rows = self.task.load(folder), self.data.parts.test
        chosen = range(min(len(rows), ANSWERED))
        begun = time.monotonic()
        for _ in answers(model, rows, chosen):
            pass
        return (time.monotonic() - begun) / max(1, len(chosen))


def _planned(measured: _Measured, choice: Choice, data: Prepared, recipe: Recipe) -> Plan:
    from modelcommons.workbench.engine.train import SCORINGS

    fit, seeds, parts = measured.fit, len(recipe.tune.seeds), data.parts
    steps, epochs = int(fit.settings.get("total", fit.steps)), float(fit.settings.get("epochs", fit.epochs))
    scorings = min(steps, max(SCORINGS, math.ceil(epochs))) if fit.steps else 1
    fixed = scorings * measured.scoring
    budget = None if recipe.tune.budget.minutes is None else recipe.tune.budget.minutes * 60
    affordable = None
    if budget is not None:
        step_budget = max(0.0, budget / seeds - fixed)
        affordable = min(epochs, epochs * step_budget / max(steps * measured.seconds_per_step, 1e-9))
    exports = len(recipe.shrink.formats)
    process = psutil.Process()
    return Plan(
        model=choice.name,
        rows={name: len(getattr(parts, name)) for name in ("train", "validation", "test")},
        parameters=fit.parameters,
        epochs=epochs,
        steps=steps,
        seconds_per_step=measured.seconds_per_step,
        tune_seconds=seeds * (steps * measured.seconds_per_step + fixed),
        evaluate_seconds=(seeds + exports) * len(parts.test) * measured.seconds_per_row,
        budget_seconds=budget,
        affordable_epochs=affordable,
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        memory_available=psutil.virtual_memory().available + process.memory_info().rss,
        disk=(seeds + COPIES) * measured.model_size + 2 * measured.checkpoints,
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
