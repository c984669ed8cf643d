"""shrink: ONNX and int8, scored by the same ruler as their parent, paired with it, and left out when they are worse."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelcommons.errors import UsageError
from modelcommons.formats import predictions
from modelcommons.formats.keys import Key
from modelcommons.formats.predictions import Lines
from modelcommons.workbench.engine.energy import Energy
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.engine.quantize import dynamic_int8, static_int8
from modelcommons.workbench.engine.statistics import paired
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.evaluate import Evaluated, Evaluation, Ruler
from modelcommons.workbench.stages.get import Got
from modelcommons.workbench.stages.prepare import Prepared
from modelcommons.workbench.stages.tune import Tuned
from modelcommons.workbench.task import Exports, Model, Row, Rows, Task

PATHS = {"onnx": "onnx/model.onnx", "int8": "onnx/model_int8.onnx"}  # where the Hub's own exports stand
SIGNIFICANT = 0.05
TOLD = 5e-5  # of the parent's value; less would be told as 0.00 %
AT_ONCE = (1, 32)  # rows
ROUNDS = 7  # timed runs of each number of rows; the median is told


@dataclass(frozen=True, slots=True)
class Export:
    format: str
    path: str  # inside the model folder
    size_bytes: int
    parent_size_bytes: int
    latency_ms: dict[str, float]  # median per row, by rows answered at once: "1", "32"
    parent_latency_ms: dict[str, float]
    evaluation: Evaluation
    changed: int  # answers that differ from the parent's
    p_value: float  # of losing as much as the parent, on the same rows
    accepted: bool
    why: str  # it was not


@dataclass(frozen=True, slots=True)
class Shrunk:
    exports: tuple[Export, ...]
    skipped: str  # why there are none; empty otherwise
    energy: Energy | None = None  # with the scoring of all exports


def shrink(
    task: Task,
    tuned: Tuned,
    got: Got,
    data: Prepared,
    scored: Evaluated,
    recipe: Recipe,
    folder: RunFolder,
    progress: Progress,
    key: Key | None = None,
) -> Shrunk:
    """Makes and judges each export that the recipe asks for, inside a copy of the model folder below `shrink/`.

    Args:
        key: what receipts are signed with; the person's own when not given.
    """
    formats = recipe.shrink.formats
    if not formats:
        return Shrunk((), "the recipe asks for no export")
    if not isinstance(task, Exports):
        progress.line("shrink", f"left out: {task.name} has no export")
        return Shrunk((), f"{task.name} has no export")
    place = folder.stage("shrink")
    shutil.copytree(folder.path / tuned.model, place, dirs_exist_ok=True)
    progress.step("shrink", 0, len(formats) + 1, "exporting")
    try:
        write_exports(task, place, data.parts.train, formats)
    except UsageError as error:  # this model has none, though others of its task do
        progress.line("shrink", f"left out: {error}")
        return Shrunk((), str(error))
    ruler = Ruler(task, tuned, got, data, recipe, folder, progress, key)
    parent = Parent(task, place, folder.path / scored.main.predictions, data)
    exports = []
    for done, name in enumerate(formats):
        progress.step("shrink", done + 1, len(formats) + 1, name)
        exports.append(_judge(name, ruler, parent, scored.main.seed, scored.main, recipe))
        progress.line("shrink", words(exports[-1], scored.main))
    return Shrunk(tuple(exports), "")


def words(export: Export, parent: Evaluation) -> str:
    """`int8 22.9 MB (4.0x smaller, 2.7x faster)  accuracy 0.920, 31 answers changed, not worse (p = 0.41)`."""
    score = export.evaluation.scores[0]
    ratio, speed = export.parent_size_bytes / export.size_bytes, export.parent_latency_ms["1"] / export.latency_ms["1"]
    return (
        f"{export.format} {export.size_bytes / 1e6:.3g} MB ({ratio:.1f}x smaller, {speed:.1f}x as fast)  "
        f"{score.metric} {score.value:.4g}, {export.changed:,} answers changed, {verdict(export, parent)} "
        f"(p = {export.p_value:.2g})"
    )


def verdict(export: Export, parent: Evaluation) -> str:
    """What the comparison with the parent came to; a loss that is allowed and no chance is told all the same."""
    if not export.accepted:
        return f"left out: {export.why}"
    loss = _loss(parent, export.evaluation)
    surely = export.p_value < SIGNIFICANT and loss >= TOLD
    return f"{loss:.2%} worse, which the recipe allows" if surely else "not worse"


class Parent:
    """The model that exports are compared with: its answers, its size, its speed."""

    def __init__(self, task: Task, folder: Path, answered: Path, data: Prepared) -> None:
        self.task, self.folder = task, folder
        self.lines = predictions.read(answered)
        self.losses = task.losses(self.lines)
        self.size_bytes = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        test = data.parts.test
        self.rows = [test[index % len(test)] for index in range(max(AT_ONCE))]
        self.model = task.load(folder)

    def latencies(self, export: Model) -> tuple[dict[str, float], dict[str, float]]:
        """Of the export and of the parent, taken in turn, so that a busy machine is unfair to neither."""
        times: tuple[dict[str, list[float]], ...] = ({}, {})
        for _ in range(ROUNDS):
            for which, model in enumerate((export, self.model)):
                for size in AT_ONCE:
                    times[which].setdefault(str(size), []).append(_milliseconds(model, self.rows[:size]) / size)
        mine, theirs = ({size: statistics.median(taken) for size, taken in each.items()} for each in times)
        return mine, theirs


def _milliseconds(model: Model, rows: Sequence[Row]) -> float:
    begun = time.perf_counter()
    model.predict(rows)
    return (time.perf_counter() - begun) * 1000


def write_exports(task: Exports, place: Path, train: Rows, formats: Sequence[str]) -> None:
    """Writes the fp32 export into a model folder, and the int8 one, which is made from it, where it is asked for.

    Args:
        train: what int8 is calibrated on where that is needed: validation rows chose the model, test rows judge it.

    Raises:
        UsageError: this model has none.
    """
    full, small = place / PATHS["onnx"], place / PATHS["int8"]
    task.export(place, full)
    if "int8" in formats and task.quantization == "static":
        static_int8(full, small, task.calibration(place, train))
    elif "int8" in formats:
        dynamic_int8(full, small)


def _judge(name: str, ruler: Ruler, parent: Parent, seed: int, scored: Evaluation, recipe: Recipe) -> Export:
    """Scores one export and decides whether it may be shipped."""
    path = PATHS[name]
    evaluation = ruler.evaluate(parent.folder, path, path.removesuffix(".onnx"), seed)
    lines = predictions.read(ruler.folder.path / evaluation.predictions)
    p_value = paired(parent.losses, ruler.task.losses(lines), recipe.evaluate.seed, ruler.task.block(lines))
    latency, parent_latency = parent.latencies(ruler.task.load(parent.folder, path))
    why = _worse(scored, evaluation, p_value, recipe.shrink.max_loss)
    return Export(
        format=name,
        path=path,
        size_bytes=(parent.folder / path).stat().st_size,
        parent_size_bytes=parent.size_bytes,
        latency_ms=latency,
        parent_latency_ms=parent_latency,
        evaluation=evaluation,
        changed=_changed(ruler.task, parent.lines, lines),
        p_value=p_value,
        accepted=not why,
        why=why,
    )


def _changed(task: Task, a: Lines, b: Lines) -> int:
    return sum(task.changed(x, y) for x, y in zip(a, b, strict=True))


def _worse(parent: Evaluation, export: Evaluation, p_value: float, allowed: float) -> str:
    """Why the export may not be shipped: it loses more than allowed, and not by chance. Empty when it may."""
    loss = _loss(parent, export)
    if loss <= allowed or p_value >= SIGNIFICANT:
        return ""
    mine, theirs = export.scores[0], parent.scores[0]
    told = f"{mine.metric} {mine.value:.4g} is {loss:.1%} worse than {theirs.value:.4g}"
    return f"{told}; the recipe allows {allowed:.1%}"


def _loss(parent: Evaluation, export: Evaluation) -> float:
    """How much worse the main metric is, as a share of the parent's value; below 0 where it is better."""
    mine, theirs = export.scores[0], parent.scores[0]
    loss = (theirs.value - mine.value) * (1 if theirs.direction == "higher" else -1)
    return loss / abs(theirs.value) if theirs.value else loss
