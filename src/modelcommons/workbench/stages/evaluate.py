"""evaluate: every test row answered once by the shipped files, scored from what was stored, and signed."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import modelcommons
from modelcommons.errors import Contradicted
from modelcommons.formats import keys, predictions, receipt
from modelcommons.formats.digest import file_sha256, folder_sha256, tree_sha256
from modelcommons.formats.predictions import Lines, Written
from modelcommons.formats.receipt import decimal
from modelcommons.workbench import protocols
from modelcommons.workbench.engine.energy import Energy, Meter
from modelcommons.workbench.engine.progress import Progress
from modelcommons.workbench.folder import RunFolder, write
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.stages.get import Got
from modelcommons.workbench.stages.prepare import Prepared
from modelcommons.workbench.stages.tune import Tuned
from modelcommons.workbench.task import AlwaysSlices, Answer, Disturbs, Line, Model, Row, Rows, Score, Slices, Task

BATCH = 64  # rows answered together; part of the protocol, since padding and blocking may move the last digit
MOST_DISTURBED = 500  # test rows that are answered again, disturbed
SAMPLE = 32  # rows answered under other kernels, to measure the noise of a margin
NOISE = 50  # times the largest change seen (receipts.md, "Same decisions")
LEAST_NOISE = 1e-4
JUDGED = ("task", "model", "data", "tune", "evaluate")  # recipe sections a receipt is about
PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "transformers",
    "tokenizers",
    "onnxruntime",
    "pyarrow",
    "sacrebleu",
    "safetensors",
)
EXCLUSIONS = (
    "train-test overlap with data that the base model saw and nobody declared is not excluded",
    "a public test set may have been trained on; a re-run cannot show that it was not",
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model, scored."""

    name: str  # model, seed-1, onnx/model_int8
    seed: int  # of the best on validation rows where several answer together
    variant: str
    scores: tuple[Score, ...]
    baseline: tuple[Score, ...]
    baseline_name: str
    without_leaked: tuple[Score, ...]  # empty when no test row stands in train
    slices: dict[str, dict[str, tuple[Score, ...]]]
    disturbed: dict[str, tuple[Score, ...]]  # by disturbance, the first is none; empty but for the chosen model
    num_disturbed: int  # rows
    predictions: str  # path, relative to the run folder
    receipt: str
    model_sha256: str
    noise: float
    seconds: float
    num_rows: int


@dataclass(frozen=True, slots=True)
class Evaluated:
    main: Evaluation
    others: tuple[Evaluation, ...]  # of other seeds, or of each that answers together
    baseline_predictions: str  # path, relative to the run folder
    energy: Energy | None = None  # of all seeds and the baseline


def evaluate(
    task: Task,
    tuned: Tuned,
    got: Got,
    data: Prepared,
    recipe: Recipe,
    folder: RunFolder,
    progress: Progress,
    key: keys.Key | None = None,
) -> Evaluated:
    """Scores the model that is shipped, and each other seed's, on the test rows.

    Args:
        key: what receipts are signed with; the person's own when not given.

    Raises:
        Contradicted: the recipe names a protocol, and the data, the test rows or the baseline are not the protocol's.
    """
    ruler = Ruler(task, tuned, got, data, recipe, folder, progress, key)
    chosen = tuned.trained[tuned.chosen]
    main = ruler.evaluate(folder.path / tuned.model, "", "model", chosen.seed)
    others = tuple(
        ruler.evaluate(folder.path / trained.folder, "", f"seed-{trained.seed}", trained.seed)
        for trained in tuned.trained
        if tuned.together or trained is not chosen
    )
    progress.line("evaluate", _words(main))
    return Evaluated(main, others, ruler.baseline_path)


def _words(evaluation: Evaluation) -> str:
    score, floor = evaluation.scores[0], evaluation.baseline[0]
    interval = f"[{score.low:.4g}, {score.high:.4g}]"
    text = f"{score.metric} {score.value:.4g} {interval}  baseline {floor.value:.4g}  · {evaluation.num_rows:,} rows"
    if evaluation.without_leaked:
        text += f" · {evaluation.without_leaked[0].value:.4g} without rows seen in train"
    return text


class Ruler:
    """The one way from a model folder to scores: for the model, the baseline, other seeds and every export."""

    def __init__(
        self,
        task: Task,
        tuned: Tuned,
        got: Got,
        data: Prepared,
        recipe: Recipe,
        folder: RunFolder,
        progress: Progress,
        key: keys.Key | None = None,
    ) -> None:
        self.key = key or keys.own()
        self.task, self.tuned, self.got, self.data, self.recipe, self.folder, self.progress = (
            task, tuned, got, data, recipe, folder, progress
        )  # fmt: skip
        if recipe.evaluate.protocol:
            protocol, test = protocols.find(recipe.evaluate.protocol), data.parts.test
            protocols.check(protocol, task.name, got.source.sha256, data.ids_sha256["test"], len(test))
        self.baseline_name, floor = task.baseline(data.parts.train, task.options.model_validate(recipe.data.options))
        self.baseline_path = "evaluate/predictions/baseline.jsonl.gz"
        path = folder.path / self.baseline_path
        self.baseline_written = predictions.write(path, self._lines(floor, "baseline"))
        self.baseline = tuple(task.scores(predictions.read(path), recipe.evaluate.seed))
        self._check_baseline()

    def evaluate(self, model_folder: Path, variant: str, name: str, seed: int) -> Evaluation:
        """Answers every test row by the files in `model_folder`, stores, scores and signs."""
        started, begun = datetime.now(UTC), (time.monotonic(), time.process_time())
        with Meter() as meter:
            model = self.task.load(model_folder, variant)
            path = self.folder.path / f"evaluate/predictions/{name}.jsonl.gz"
            written = predictions.write(path, self._lines(model, name))
            lines = predictions.read(path)
            scores = tuple(self.task.scores(lines, self.recipe.evaluate.seed))
            moved = noise(model, self.data.parts.test)
            digest = folder_sha256(model_folder, self.task.files(model_folder, variant))
        disturbed = to_disturb(self.task, self.recipe, len(lines)) if name == "model" else range(0)
        cost = _cost(*begun, meter.energy(), self.tuned)
        statement = self._statement(name, digest, scores, written, moved, cost, started)
        target = f"evaluate/receipts/{name}.json"
        write(self.folder.path / target, receipt.sign(statement, self.key))
        return Evaluation(
            name=name,
            seed=seed,
            variant=variant,
            scores=scores,
            baseline=self.baseline,
            baseline_name=self.baseline_name,
            without_leaked=self._without_leaked(lines),
            slices=self._slices(lines),
            disturbed=self._disturbed(model, lines, disturbed),
            num_disturbed=len(disturbed),
            predictions=str(path.relative_to(self.folder.path)),
            receipt=target,
            model_sha256=digest,
            noise=moved,
            seconds=time.monotonic() - begun[0],
            num_rows=len(lines),
        )

    def _lines(self, model: Model, name: str) -> Iterator[Line]:
        """One line per test row, in the rows' own order."""
        for done, (row, answer) in enumerate(answers(model, self.data.parts.test)):
            if done % (8 * BATCH) == 0:
                self.progress.step("evaluate", done, len(self.data.parts.test), name)
            yield {"id": row.id, "target": self.task.target(row), **answer}

    def _without_leaked(self, lines: Lines) -> tuple[Score, ...]:
        if not self.data.leaked:
            return ()
        kept = [line for line in lines if line["id"] not in self.data.leaked]
        return tuple(self.task.scores(kept, self.recipe.evaluate.seed)) if kept else ()

    def _slices(self, lines: Lines) -> dict[str, dict[str, tuple[Score, ...]]]:
        """Scores of each part of the test rows, by slice name and value: what the recipe asks for, then what the task
        is always scored by, unless that is all in one part."""
        asked = self.recipe.evaluate.slices
        always = self.task.always if isinstance(self.task, AlwaysSlices) else ()
        found: dict[str, dict[str, tuple[Score, ...]]] = {}
        for name in dict.fromkeys((*asked, *always)):
            assert isinstance(self.task, Slices)  # checked with the recipe
            parts: dict[str, list[Line]] = {}
            for index, line in enumerate(lines):
                parts.setdefault(self.task.slice(self.data.parts.test[index], name), []).append(line)
            if name not in asked and len(parts) == 1:
                continue
            found[name] = {
                value: tuple(self.task.scores(parts[value], self.recipe.evaluate.seed))
                for value in sorted(parts, key=_natural)
            }
        return found

    def _disturbed(self, model: Model, lines: Lines, rows: range) -> dict[str, tuple[Score, ...]]:
        """Scores of some test rows as they are, and after each disturbance."""
        if not rows:
            return {}
        assert isinstance(self.task, Disturbs)
        seed, test, asked = self.recipe.evaluate.seed, self.data.parts.test, self.recipe.evaluate.disturb
        found = {"": tuple(self.task.scores([lines[index] for index in rows], seed))}
        for name in self.task.disturbances if asked == "auto" else asked:
            self.progress.step("evaluate", len(found), len(self.task.disturbances) + 1, name)
            disturbed = [self.task.disturb(test[index], name) for index in rows]
            again = [
                {"id": row.id, "target": self.task.target(row), **answer} for row, answer in answers(model, disturbed)
            ]
            found[name] = tuple(self.task.scores(again, seed))
        return found

    def _check_baseline(self) -> None:
        name = self.recipe.evaluate.protocol
        if name is None:
            return
        values = {score.metric: decimal(score.value) for score in self.baseline}
        for metric, wanted in protocols.find(name).baseline_values.items():
            if values.get(metric) != wanted:
                raise Contradicted(
                    f"The baseline of {name} must give {metric} {wanted}, it gave {values.get(metric)}: "
                    "rows, targets or scoring are not the protocol's, so no score of this run would be."
                )

    def _statement(
        self,
        name: str,
        model_sha256: str,
        scores: Sequence[Score],
        written: Written,
        moved: float,
        cost: dict[str, Any],
        started: datetime,
    ) -> receipt.Statement:
        values = results(scores, self.baseline)
        repo = self.recipe.publish.repo or self.recipe.name
        predicate = receipt.Predicate(
            relationship="first-party",
            claim=receipt.Claim(metric=values[0].metric, value=values[0].value, split="test"),
            verdict="MEASURED",
            results=values,
            inputs=receipt.Inputs(
                data=self._data(),
                protocol={**rule(self.task, self.recipe), "noise": decimal(moved), "baseline": self._floor()},
                evaluator=evaluator(),
                environment=environment(),
            ),
            predictions=receipt.Predictions(sha256=written.sha256, root=written.merkle_root, count=written.count),
            exclusions=EXCLUSIONS,
            cost=cost,
            started=_utc(started),
            finished=_utc(datetime.now(UTC)),
        )
        subject = receipt.Subject(name=f"{repo}:{name}", digest={"sha256": model_sha256})
        return receipt.Statement(subject=(subject,), predicate=predicate)

    def _data(self) -> dict[str, Any]:
        source = self.got.source
        known = {
            "revision": source.revision,
            "licence": source.licence,
            "trainIdsSha256": self.data.ids_sha256.get("train"),
        }
        return {
            "name": source.name,
            "sha256": source.sha256,
            "split": "test",
            "idsSha256": self.data.ids_sha256["test"],
            "rows": len(self.data.parts.test),
            "recipeSha256": self.recipe.digest(JUDGED),
            **{key: value for key, value in known.items() if value},
        }

    def _floor(self) -> dict[str, Any]:
        written = self.baseline_written
        return {"name": self.baseline_name, "sha256": written.sha256, "merkleRoot": written.merkle_root}


def to_disturb(task: Task, recipe: Recipe, num_rows: int) -> range:
    """Which test rows are answered again, disturbed: so many at most, evenly."""
    if not isinstance(task, Disturbs) or not recipe.evaluate.disturb:
        return range(0)
    return range(0, num_rows, -(-num_rows // MOST_DISTURBED))


def _natural(name: str) -> list[str | int]:
    """Sorts `9-16 words` before `17-32 words`."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def answers(
    model: Model, rows: Rows | Sequence[Row], indices: Sequence[int] | None = None
) -> Iterator[tuple[Row, Answer]]:
    """Rows with their answers, `BATCH` at a time."""
    wanted = range(len(rows)) if indices is None else indices
    for start in range(0, len(wanted), BATCH):
        batch = [rows[index] for index in wanted[start : start + BATCH]]
        yield from zip(batch, model.predict(batch), strict=True)


def results(scores: Sequence[Score], baseline: Sequence[Score]) -> tuple[receipt.Result, ...]:
    """Scores as a receipt carries them, each beside the baseline's; one that the baseline lacks is left out."""
    floors = {score.metric: score for score in baseline}
    return tuple(
        receipt.Result(
            metric=score.metric,
            direction=score.direction,
            value=decimal(score.value),
            num=score.num,
            den=score.den,
            ci95=receipt.Interval(method=score.method, low=decimal(score.low), high=decimal(score.high)),
            baseline=decimal(floors[score.metric].value),
        )
        for score in scores
        if score.metric in floors
    )


def rule(task: Task, recipe: Recipe) -> dict[str, Any]:
    """The rule in force, as receipts carry it: that of the named protocol, or the task's own."""
    metrics = [
        {"name": metric.name, "direction": metric.direction, "low": _bound(metric.low), "high": _bound(metric.high)}
        for metric in task.metrics
    ]
    return {
        "name": recipe.evaluate.protocol or "the task's own",
        "task": task.name,
        "metrics": metrics,
        "batchSize": BATCH,
        "dropLast": False,
        "precision": "fp32",
        "ties": "the first of equal answers",
        "seed": recipe.evaluate.seed,
    }


def _bound(value: float) -> str:
    return decimal(value) if abs(value) != float("inf") else "unbounded"


def noise(model: Model, rows: Rows) -> float:
    """How far a margin may move on another machine: 50 times the largest change seen on a sample that is answered row
    by row with other kernels (oneDNN off), at least 1e-4; 0 for answers without margin, which have a tolerance."""
    step = max(1, len(rows) // SAMPLE)
    sample = [rows[index] for index in range(0, len(rows), step)][:SAMPLE]
    usual = model.predict(sample)
    if not usual or "margin" not in usual[0]:
        return 0.0
    with _other_kernels():
        unusual = [model.predict([row])[0] for row in sample]
    largest = max(abs(a["margin"] - b["margin"]) for a, b in zip(usual, unusual, strict=True))
    return max(LEAST_NOISE, NOISE * float(largest))


def _other_kernels() -> Any:
    from contextlib import nullcontext

    try:
        import torch
    except ModuleNotFoundError:
        return nullcontext()
    # allow_tf32: its default, True, warns on every machine without an Intel GPU
    return torch.backends.mkldnn.flags(enabled=False, allow_tf32=None)


@cache
def evaluator() -> dict[str, Any]:
    """Our version, the digest of our sources, and the packages that a score depends on."""
    root = Path(modelcommons.__file__).parent
    paths = [path for path in root.rglob("*") if path.suffix in (".py", ".yaml")]
    sources = tree_sha256((path.relative_to(root).as_posix(), path.stat().st_size, file_sha256(path)) for path in paths)
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"name": "modelcommons", "version": modelcommons.__version__, "sourcesSha256": sources, "packages": found}


def environment() -> dict[str, Any]:
    """Where the answers were computed; its digest decides whether a re-run must give the same bytes."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "onnxruntime": evaluator()["packages"].get("onnxruntime", "none"),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _cost(wall: float, cpu: float, scoring: Energy, tuned: Tuned) -> dict[str, Any]:
    """Of scoring, and of the tuning before it: of all seeds, whichever was scored."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    cost = {
        "seconds": decimal(round(time.monotonic() - wall, 1)),
        "cpuSeconds": decimal(round(time.process_time() - cpu, 1)),
        "peakRssMiB": peak,
        "energyWh": energy_wh(scoring).model_dump(),
        "trainingSeconds": decimal(round(sum(each.fit.seconds for each in tuned.trained), 1)),
    }
    return cost | ({"trainingEnergyWh": energy_wh(tuned.energy).model_dump()} if tuned.energy else {})


def energy_wh(energy: Energy) -> receipt.EnergyWh:
    """As receipts carry it, three digits of each number."""
    value, low, high = (decimal(float(f"{each:.3g}")) for each in (energy.wh, energy.low, energy.high))
    return receipt.EnergyWh(value=value, band=f"{low} to {high}", method=energy.method)


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
