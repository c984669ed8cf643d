"""the matrix: every check on every task in the table, unasked. A new task gets all of them without a line here."""

from __future__ import annotations

import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelcommons as mc
from modelcommons.errors import CommonsError, FormatError, RecipeError, UnsafeFile
from modelcommons.formats.digest import folder_sha256
from modelcommons.formats.receipt import read
from modelcommons.workbench import fields
from modelcommons.workbench.engine.training import Training
from modelcommons.workbench.folder import RunFolder
from modelcommons.workbench.recipe import Recipe
from modelcommons.workbench.run import Run, run
from modelcommons.workbench.stages.get import get, get_source
from modelcommons.workbench.stages.prepare import prepare
from modelcommons.workbench.stages.tune import tune
from modelcommons.workbench.task import (
    AlwaysSlices,
    Choice,
    Disturbs,
    Explains,
    Exports,
    HasClasses,
    HasContent,
    Job,
    Parts,
    Slices,
    Task,
    Tiny,
)


class World:
    """One task's tiny world, run once from data to model folder; the checks look at what it left."""

    def __init__(self, name: str, folder: Path) -> None:
        self.task: Task = fields.find(name)
        self.folder = folder
        self.tiny: Tiny = self.task.tiny(folder / "data")
        self.recipe = Recipe.model_validate(self.sections())
        self.run: Run = run(self.recipe, folder / "run")
        self.model_folder = folder / "run" / "model"

    def sections(self) -> dict[str, Any]:
        tiny = {section: dict(values) for section, values in self.tiny.recipe.items()}
        data = tiny.pop("data", {}) | {"source": str(self.tiny.source), "license": "cc0-1.0"}
        shrink = {"formats": ["onnx", "int8"] if isinstance(self.task, Exports) else []}
        return {"task": self.task.name, "data": data, "explain": {"examples": 2}, "shrink": shrink, **tiny}

    def lines(self, name: str = "model") -> list[dict[str, Any]]:
        from modelcommons.formats.predictions import read

        return list(read(self.model_folder / "predictions" / f"{name}.jsonl.gz"))

    @cached_property
    def parts(self) -> Parts:
        source = get_source(self.recipe.data)
        return prepare(self.task, source, self.recipe, RunFolder(self.folder / "again"), mc.Silent()).parts


@pytest.fixture(scope="module", params=list(fields.TASKS))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, tmp_path_factory.mktemp("world"))


def test_says_what_it_is(world: World) -> None:
    task = world.task
    assert fields.TASKS[task.name].split(".")[0] == task.field
    assert task.summary and not task.summary.endswith(".")
    assert task.architectures, "a task has at least one new architecture"
    for model in (task.options, *task.architectures.values()):
        assert model.model_config.get("extra") == "forbid" and model.model_config.get("frozen")
        assert all(option.description for option in model.model_fields.values()), (
            f"{model.__name__}: describe every field"
        )
    assert len({metric.name for metric in task.metrics}) == len(task.metrics)


def test_learns_its_tiny_world_and_beats_the_floor(world: World) -> None:
    by_name = {score.metric: score for score in world.run.scored.main.scores}
    floor = {score.metric: score for score in world.run.scored.main.baseline}
    score = by_name[world.tiny.metric]
    if score.direction == "higher":
        assert score.value >= world.tiny.at_least and score.value > floor[world.tiny.metric].value
    else:
        assert score.value <= world.tiny.at_least and score.value < floor[world.tiny.metric].value


def test_every_metric_has_its_interval_and_range(world: World) -> None:
    metrics = {metric.name: metric for metric in world.task.metrics}
    names = [score.metric for score in world.run.scored.main.scores]
    assert set(names) <= set(metrics) and names[0] == world.task.metrics[0].name
    for score in world.run.scored.main.scores:
        assert score.low <= score.value <= score.high, score
        assert metrics[score.metric].low <= score.value <= metrics[score.metric].high
        assert math.isfinite(score.value) and score.direction == metrics[score.metric].direction and score.method


def test_right_answers_get_the_best_value(world: World) -> None:
    """A line whose losses are all zero is scored at the good end of the range of the main metric."""
    lines = world.lines()
    losses = world.task.losses(lines)
    assert losses.shape == (len(lines),) and (losses >= 0).all()
    best = [line for line, loss in zip(lines, losses, strict=True) if loss == losses.min()]
    worst = [line for line, loss in zip(lines, losses, strict=True) if loss == losses.max()]
    if losses.min() < losses.max():
        good, bad = world.task.scores(best)[0], world.task.scores(worst)[0]
        assert (good.value > bad.value) == (good.direction == "higher")


def test_lines_are_one_per_test_row_in_order(world: World) -> None:
    parts, lines = world.parts, world.lines()
    assert [line["id"] for line in lines] == list(parts.test.ids())
    assert len({line["id"] for line in lines}) == len(lines)
    row = parts.test[0]
    assert json.loads(json.dumps(world.task.target(row))) == lines[0]["target"]


def test_scores_come_from_the_stored_lines_alone(world: World) -> None:
    again = world.task.scores(world.lines(), seed=world.recipe.evaluate.seed)
    assert again == list(world.run.scored.main.scores)


def test_the_shipped_folder_gives_the_stored_answers(world: World) -> None:
    model, parts, lines = world.task.load(world.model_folder), world.parts, world.lines()
    some = range(0, len(parts.test), max(1, len(parts.test) // 12))
    for index, answer in zip(some, model.predict([parts.test[i] for i in some]), strict=True):
        fresh = {"id": lines[index]["id"], "target": lines[index]["target"], **answer}
        assert world.task.agrees(lines[index], fresh, world.run.scored.main.noise)


def test_an_answer_does_not_depend_on_its_neighbours(world: World) -> None:
    model, test = world.task.load(world.model_folder), world.parts.test
    rows = [test[i] for i in range(min(5, len(test)))]
    together = model.predict(rows)
    for row, answer in zip(rows, together, strict=True):
        line = {"id": row.id, "target": world.task.target(row)}
        assert world.task.agrees({**line, **answer}, {**line, **model.predict([row])[0]}, world.run.scored.main.noise)


def test_the_model_digest_covers_what_is_loaded(world: World) -> None:
    files = world.task.files(world.model_folder)
    assert "config.json" in files and any(name.endswith(".safetensors") for name in files)
    assert all((world.model_folder / name).is_file() for name in files)
    assert not any(name.startswith(("receipts", "predictions", "README")) for name in files)


def test_same_recipe_same_model_bit_for_bit(world: World) -> None:
    folder = RunFolder(world.folder / "again")
    got = get(world.task, world.recipe, mc.Silent())
    tuned = tune(world.task, got, world.parts, world.recipe, folder, mc.Silent(), {})
    again = folder.path / tuned.trained[tuned.chosen].folder
    assert folder_sha256(again, world.task.files(again)) == world.run.scored.main.model_sha256


def test_every_architecture_trained_again_is_the_same_bit_for_bit(world: World, tmp_path: Path) -> None:
    """Also what is learned beside the weights, such as a tokenizer: a resumed run learns it a second time."""
    parts, options = world.parts, world.task.options.model_validate(world.recipe.data.options)
    for name in world.task.architectures:
        digests = set()
        for place in (tmp_path / name / "first", tmp_path / name / "again"):
            (place / "model").mkdir(parents=True)
            job = Job(
                choice=Choice(None, name, {}), training=Training(epochs=1), options=options, seed=0,
                folder=place / "model", checkpoints=place / "checkpoints", progress=mc.Silent(), max_steps=2,
            )  # fmt: skip
            world.task.fit(parts.train, parts.validation, job)
            digests.add(folder_sha256(place / "model", world.task.files(place / "model")))
        assert len(digests) == 1, name


def test_easy_rows_are_skipped_where_each_row_has_a_loss_and_else_it_is_said(world: World, tmp_path: Path) -> None:
    parts, options = world.parts, world.task.options.model_validate(world.recipe.data.options)
    refused = []
    for name in world.task.architectures:
        (tmp_path / name / "model").mkdir(parents=True)
        job = Job(
            choice=Choice(None, name, {}), training=Training(epochs=2, skip_easy=0.5), options=options, seed=0,
            folder=tmp_path / name / "model", checkpoints=tmp_path / name / "checkpoints", progress=mc.Silent(),
            max_steps=1,
        )  # fmt: skip
        try:
            world.task.fit(parts.train, parts.validation, job)
        except RecipeError as error:
            assert str(error).startswith("tune.skip_easy: expected"), error
            refused.append(name)
    assert not (refused and world.task.name.split("-")[-1] in ("classification", "regression")), refused


def test_the_test_rows_are_not_seen_in_training(world: World) -> None:
    """Train, validation and test share no id, and no group."""
    parts = world.parts
    train, validation, test = (set(rows.ids()) for rows in (parts.train, parts.validation, parts.test))
    assert not train & test and not train & validation and not validation & test
    assert train and validation and test


def test_a_finished_run_is_not_run_again(world: World) -> None:
    weights = world.model_folder / "model.safetensors"
    done = world.folder / "run" / "tune" / "done.json"
    before = (done.stat().st_mtime_ns, weights.read_bytes())
    again = run(world.recipe, world.folder / "run")
    assert (done.stat().st_mtime_ns, weights.read_bytes()) == before
    assert again.scored == world.run.scored


def test_answers_what_a_person_hands_in(world: World) -> None:
    answers = mc.load(world.folder / "run").predict(world.tiny.example)
    assert answers and all("prediction" in json.loads(json.dumps(answer)) for answer in answers)


def test_an_answer_is_the_same_as_itself(world: World) -> None:
    for line in world.lines()[:5]:
        assert world.task.agrees(line, line, 0.0) and not world.task.changed(line, line)


def test_a_broken_file_is_refused_in_a_sentence(world: World, tmp_path: Path) -> None:
    suffix = next(path.suffix for path in sorted(Path(world.tiny.source).parent.rglob("*.*")) if path.is_file())
    broken = tmp_path / f"broken{suffix if world.tiny.source.is_file() else '.csv'}"
    broken.write_text(world.tiny.wrong_file)
    sections = world.sections()
    sections["data"]["source"] = str(broken)
    with pytest.raises(CommonsError) as caught:
        run(Recipe.model_validate(sections), tmp_path / "run")
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value).strip().split("\n\n")[0]
    assert not (tmp_path / "run" / "model").exists()


def test_nothing_published_names_this_machine(world: World) -> None:
    texts = [
        path for path in world.model_folder.rglob("*") if path.suffix in (".md", ".json", ".yaml", ".html", ".txt")
    ]
    assert texts
    assert not [path.name for path in texts if str(world.folder) in path.read_text(encoding="utf-8")]
    for path in (world.model_folder / "receipts").rglob("*.json"):  # base64 inside
        assert str(world.folder) not in read(path).statement.model_dump_json()


def test_a_pickle_is_refused_and_never_loaded(world: World, tmp_path: Path) -> None:
    import pickle
    import shutil

    class Canary:
        def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
            return (Path.touch, (Path(tmp_path / "ran"),))  # type: ignore[return-value]

    folder = shutil.copytree(world.model_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Canary()))
        with pytest.raises(UnsafeFile):
            world.task.load(folder)
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.99])
def test_truncated_weights_are_refused_in_a_sentence(world: World, tmp_path: Path, keep: float) -> None:
    import shutil

    folder = shutil.copytree(world.model_folder, tmp_path / "model")
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(FormatError):
        world.task.load(folder)


def test_exports_give_the_parents_answers(world: World) -> None:
    if not isinstance(world.task, Exports):
        pytest.skip(f"{world.task.name} has no export")
    assert not world.run.shrunk.skipped, world.run.shrunk.skipped
    parent = world.lines()
    onnx = world.lines("onnx/model")
    changed = sum(world.task.changed(a, b) for a, b in zip(parent, onnx, strict=True))
    assert changed <= 0.01 * len(parent), "the fp32 export is the same model"
    for export in world.run.shrunk.exports:
        assert export.accepted == (world.model_folder / export.path).is_file()
        assert export.accepted or export.why


def test_explanations_can_be_checked(world: World) -> None:
    if not isinstance(world.task, Explains):
        pytest.skip(f"{world.task.name} explains nothing")
    explainer, row = world.task.explainer(world.model_folder), world.parts.test[0]
    attribution = explainer.attribute(row)
    assert attribution.weights.ndim == 1 and np.isfinite(attribution.weights).all()
    strength = explainer.strength(row, [np.array([], dtype=np.int64), np.arange(len(attribution.weights))])
    assert strength.shape == (2,) and np.isfinite(strength).all()
    html = explainer.show(row, attribution)
    assert html and "<script" not in html.lower()


def test_slices_cover_every_row(world: World) -> None:
    if not isinstance(world.task, Slices):
        pytest.skip(f"{world.task.name} has no slices")
    test = world.parts.test
    for name in world.task.slices:
        assert all(isinstance(world.task.slice(test[i], name), str) for i in range(len(test)))
    for name in world.task.always if isinstance(world.task, AlwaysSlices) else ():
        parts = {world.task.slice(test[i], name) for i in range(len(test))}
        assert set(world.run.scored.main.slices.get(name, ())) == (parts if len(parts) > 1 else set()), name


def test_disturbed_rows_are_the_same_rows(world: World) -> None:
    """The same id and the right answer as before, another input, and each time the same one."""
    if not isinstance(world.task, Disturbs):
        pytest.skip(f"{world.task.name} disturbs nothing")
    test, lines = world.parts.test, world.lines()
    for name in world.task.disturbances:
        rows = [world.task.disturb(test[i], name) for i in range(len(test))]
        again = [world.task.disturb(test[i], name) for i in range(len(test))]
        assert [(row.id, world.task.target(row)) for row in rows] == [(line["id"], line["target"]) for line in lines]
        if isinstance(world.task, HasContent):
            assert list(map(world.task.content, rows)) == list(map(world.task.content, again))
            assert any(world.task.content(row) != world.task.content(test[i]) for i, row in enumerate(rows)), name
    main = world.run.scored.main
    assert list(main.disturbed) == ["", *world.task.disturbances] and 0 < main.num_disturbed <= len(test)


def test_content_and_class_are_plain(world: World) -> None:
    row = world.parts.train[0]
    if isinstance(world.task, HasContent):
        assert isinstance(world.task.content(row), (str, bytes))
    if isinstance(world.task, HasClasses):
        assert isinstance(world.task.label(row), str)


def test_the_receipts_hold(world: World) -> None:
    verdict = mc.verify(world.folder / "run", level="infer")
    assert verdict.holds, verdict
    assert {check.level for check in verdict.checks} == {"signature", "files", "score", "infer"}
